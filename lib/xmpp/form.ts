/** XEP-0004: data forms, with typed fields; XEP-0068: FORM_TYPE. */
import { attributeOf, child, children, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError, type StanzaCondition } from './errors.js'
import type { FilledField, FormField } from './form-field.js'

export { field } from './form-field.js'
export type { FieldOptions, FieldType, FilledField, FormField, FormOption } from './form-field.js'

export type FormType = 'form' | 'submit' | 'cancel' | 'result'

/** A form that cannot be taken: malformed is bad-request, unfit not-acceptable. Goes to the sender as any StanzaError. */
export class FormError extends StanzaError {
  /** The field that is to blame, where one is. */
  readonly field: string | undefined

  constructor (condition: StanzaCondition, text: string, field?: string) {
    super(condition, field === undefined ? text : `${field}: ${text}`)
    this.field = field
  }
}

/** A field as it came. */
export interface RawField {
  readonly name: string
  /** As declared; a submitted form need not. */
  readonly type: string | undefined
  readonly label: string | undefined
  readonly values: readonly string[]
}

/** A form as it came, whatever its fields mean. */
export interface RawForm {
  readonly type: FormType
  /** Its FORM_TYPE, where it counts as one. */
  readonly formType: string | undefined
  /** By name; FORM_TYPE is not among them where it counts as one. */
  readonly fields: ReadonlyMap<string, RawField>
}

/** What was filled in. */
export class FormAnswers {
  readonly #raw: RawForm

  constructor (raw: RawForm) {
    this.#raw = raw
  }

  /** Whether the field is there with a value; a list may be there and empty. */
  has (field: FormField<unknown>): boolean {
    return this.get(field) !== undefined
  }

  /** The field's value; undefined where it was left out or left empty. Throws FormError for one that does not fit. */
  get<T> (field: FormField<T>): T | undefined {
    const raw = this.#raw.fields.get(field.name)
    if (raw === undefined) return undefined
    if (!field.many && raw.values.length > 1) throw new FormError('bad-request', 'one value, not more', field.name)
    try {
      return field.read(raw.values)
    } catch (error) {
      if (error instanceof RangeError) throw new FormError('not-acceptable', error.message, field.name)
      throw error
    }
  }
}

export interface FormTexts { readonly title?: string, readonly instructions?: string }

/** A form that this server knows: written out to be filled in, and read when it comes back. */
export class DataForm {
  readonly formType: string | undefined
  readonly #fields: readonly FormField<unknown>[]
  readonly #texts: FormTexts

  /** `fields` come in the order they are shown in. */
  constructor (formType: string | undefined, fields: readonly FormField<unknown>[], texts: FormTexts = {}) {
    this.formType = formType
    this.#fields = fields
    this.#texts = texts
  }

  /** To be filled in. `filled`: what is in force, or suggested. */
  form (filled: readonly FilledField[] = []): Element {
    const { title, instructions } = this.#texts
    const byName = new Map(filled.map(one => [one.field.name, one]))
    return formElement('form', this.formType, [
      title === undefined ? undefined : xml('title', {}, title),
      instructions === undefined ? undefined : xml('instructions', {}, instructions),
      ...this.#fields.map(field => fieldElement(field, byName.get(field.name)?.values ?? [], 'described')),
    ])
  }

  /** Filled in. */
  submit (filled: readonly FilledField[]): Element {
    return formElement('submit', this.formType, filled.map(one => fieldElement(one.field, one.values, 'bare')))
  }

  /** What came of it, or what is the case (XEP-0128). */
  result (filled: readonly FilledField[]): Element {
    return formElement('result', this.formType, filled.map(one => fieldElement(one.field, one.values, 'typed')))
  }

  /**
   * What was filled in, every value looked at. Throws FormError for another form, a missing required field, a value that does not fit;
   * and for an unknown field where those are refused (XEP-0004 §3.1 has them ignored).
   */
  read (element: Element, how: { readonly unknown?: 'ignored' | 'refused' } = {}): FormAnswers {
    const raw = readForm(element)
    if (raw.type !== 'submit') throw new FormError('bad-request', 'the form is not filled in')
    if (raw.formType !== this.formType) throw new FormError('bad-request', `the form is not ${this.formType ?? 'this one'}`)
    const answers = new FormAnswers(raw)
    for (const field of this.#fields) {
      if (isBlank(answers.get(field)) && field.required) throw new FormError('not-acceptable', 'a value is required', field.name)
    }
    if (how.unknown === 'refused') this.#refuseUnknown(raw)
    return answers
  }

  #refuseUnknown (raw: RawForm): void {
    const known = new Set(this.#fields.map(field => field.name))
    for (const name of raw.fields.keys()) if (!known.has(name)) throw new FormError('feature-not-implemented', 'an unknown field', name)
  }
}

/** The form in this payload; undefined where there is none. */
export function formIn (payload: Element): Element | undefined {
  return child(payload, NS.DATA, 'x')
}

/** The form's fields by name. Throws FormError where it breaks XEP-0004. */
export function readForm (element: Element): RawForm {
  const type = typeOf(element)
  const fields = new Map<string, RawField>()
  for (const one of children(element, NS.DATA, 'field')) {
    const name = attributeOf(one, 'var')
    const declared = attributeOf(one, 'type')
    if (name === undefined && declared !== 'fixed') throw new FormError('bad-request', 'a field has no name') // §3.2
    if (name === undefined || declared === 'fixed') continue
    if (fields.has(name)) throw new FormError('bad-request', 'the field is there twice', name) // §3.2: unique
    const values = children(one, NS.DATA, 'value').map(textOf)
    fields.set(name, { name, type: declared, label: attributeOf(one, 'label'), values })
  }
  const formType = fields.get('FORM_TYPE')
  if (formType === undefined || !countsAsType(formType, type)) return { type, formType: undefined, fields }
  fields.delete('FORM_TYPE')
  return { type, formType: formType.values[0], fields }
}

/** Nothing is filled in, and nothing shall happen. */
export function cancelForm (): Element {
  return formElement('cancel', undefined, [])
}

/** Many results of one kind, as a table (§3.4). */
export function resultTable (
  formType: string | undefined, columns: readonly FormField<unknown>[], rows: readonly (readonly FilledField[])[],
): Element {
  return formElement('result', formType, [
    xml('reported', {}, ...columns.map(column => fieldElement(column, [], 'typed'))),
    ...rows.map(row => xml('item', {}, ...row.map(one => fieldElement(one.field, one.values, 'bare')))),
  ])
}

function formElement (type: FormType, formType: string | undefined, content: readonly (Element | undefined)[]): Element {
  const named = formType === undefined
    ? undefined
    : xml('field', { var: 'FORM_TYPE', type: 'hidden' }, xml('value', {}, formType))
  const texts = content.filter(element => element?.name === 'title' || element?.name === 'instructions')
  return xml('x', { xmlns: NS.DATA, type }, ...texts, named, ...content.filter(element => !texts.includes(element)))
}

/** `described`: all that a reader needs to fill it in; `typed`: what the value is; `bare`: the value. */
function fieldElement (field: FormField<unknown>, values: readonly string[], how: 'described' | 'typed' | 'bare'): Element {
  const { name, type, label, description, required, options } = field
  const given = values.map(value => xml('value', {}, value))
  if (how === 'bare') return xml('field', { var: name }, ...given)
  if (how === 'typed') return xml('field', { var: name, type, label }, ...given)
  return xml('field', { var: type === 'fixed' ? undefined : name, type, label },
    description === undefined ? undefined : xml('desc', {}, description),
    required ? xml('required') : undefined,
    ...given,
    ...options.map(option => xml('option', { label: option.label }, xml('value', {}, option.value))))
}

function isBlank (value: unknown): boolean {
  return value === undefined || value === '' || (Array.isArray(value) && value.length === 0)
}

function typeOf (element: Element): FormType {
  const type = attributeOf(element, 'type')
  if (element.getName() === 'x' && (type === 'form' || type === 'submit' || type === 'cancel' || type === 'result')) return type
  throw new FormError('bad-request', 'no form')
}

/** XEP-0068 §4: it must be hidden, which a submitted form need not say. */
function countsAsType (field: RawField, type: FormType): boolean {
  return field.type === 'hidden' || (field.type === undefined && type === 'submit')
}
