/** Data forms with typed fields (XEP-0004), and FORM_TYPE (XEP-0068). */
import { attributeOf, child, children, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError, type StanzaCondition } from './errors.js'
import type { FilledField, FormField, Range } from './form-field.js'

export { field } from './form-field.js'
export type { FieldOptions, FieldType, FilledField, FormField, FormOption } from './form-field.js'

export type FormType = 'form' | 'submit' | 'cancel' | 'result'

/**
 * Thrown for a form that cannot be accepted: bad-request if it is malformed, not-acceptable if a value does not fit.
 * The sender gets it as any StanzaError.
 */
export class FormError extends StanzaError {
  /** The name of the field with the error, if there is one. */
  readonly field: string | undefined

  constructor (condition: StanzaCondition, text: string, field?: string) {
    super(condition, field === undefined ? text : `${field}: ${text}`)
    this.field = field
  }
}

/** A field as received. */
export interface RawField {
  readonly name: string
  /** The declared type; a submitted form need not declare one. */
  readonly type: string | undefined
  readonly label: string | undefined
  readonly values: readonly string[]
}

/** A form as received, whatever its fields mean. */
export interface RawForm {
  readonly type: FormType
  /** The value of FORM_TYPE, if the field counts as one. */
  readonly formType: string | undefined
  /** The fields by name, without FORM_TYPE if it counts as one. */
  readonly fields: ReadonlyMap<string, RawField>
}

/** The answers in a submitted form. */
export class FormAnswers {
  readonly #raw: RawForm

  constructor (raw: RawForm) {
    this.#raw = raw
  }

  /** True if the field has a value; a list may be empty. */
  has (field: FormField<unknown>): boolean {
    return this.get(field) !== undefined
  }

  /** Returns the value of a field; undefined if it is missing or empty. Throws FormError if the value does not fit. */
  get<T> (field: FormField<T>): T | undefined {
    const raw = this.#raw.fields.get(field.name)
    if (raw === undefined) return undefined
    if (!field.many && raw.values.length > 1) {
      throw new FormError('bad-request', 'only one value is allowed', field.name)
    }
    try {
      return field.read(raw.values)
    } catch (error) {
      if (error instanceof RangeError) throw new FormError('not-acceptable', error.message, field.name)
      throw error
    }
  }
}

export interface FormTexts { readonly title?: string, readonly instructions?: string }

/** A form that this server offers, and reads when it is submitted. */
export class DataForm {
  readonly formType: string | undefined
  readonly #fields: readonly FormField<unknown>[]
  readonly #texts: FormTexts

  /** The order of `fields` is the order of display. */
  constructor (formType: string | undefined, fields: readonly FormField<unknown>[], texts: FormTexts = {}) {
    this.formType = formType
    this.#fields = fields
    this.#texts = texts
  }

  /**
   * Returns the form to be filled in. `filled` are the current or suggested values, and options that are known only
   * now.
   */
  form (filled: readonly FilledField[] = []): Element {
    const { title, instructions } = this.#texts
    const byName = new Map(filled.map(one => [one.field.name, one]))
    return formElement('form', this.formType, [
      title === undefined ? undefined : xml('title', {}, title),
      instructions === undefined ? undefined : xml('instructions', {}, instructions),
      ...this.#fields.map(field => {
        const known = byName.get(field.name)
        return fieldElement(known?.field ?? field, known?.values ?? [], 'described')
      }),
    ])
  }

  /** Returns the submitted form with these values. */
  submit (filled: readonly FilledField[]): Element {
    return formElement('submit', this.formType, filled.map(one => fieldElement(one.field, one.values, 'bare')))
  }

  /** Returns a form that reports values, such as a result or extended information (XEP-0128). */
  result (filled: readonly FilledField[]): Element {
    return formElement('result', this.formType, filled.map(one => fieldElement(one.field, one.values, 'typed')))
  }

  /**
   * Reads a submitted form and checks every value. Throws FormError if it is another form, if a required field is
   * missing, if a value does not fit, and, with `unknown: 'refused'`, if a field is unknown (XEP-0004 §3.1 says to
   * ignore those).
   */
  read (element: Element, how: { readonly unknown?: 'ignored' | 'refused' } = {}): FormAnswers {
    const raw = readForm(element)
    if (raw.type !== 'submit') throw new FormError('bad-request', 'the form is not filled in')
    if (raw.formType !== this.formType) {
      throw new FormError('bad-request', `the form is not ${this.formType ?? 'the expected one'}`)
    }
    const answers = new FormAnswers(raw)
    for (const field of this.#fields) {
      if (isBlank(answers.get(field)) && field.required) {
        throw new FormError('not-acceptable', 'a value is required', field.name)
      }
    }
    if (how.unknown === 'refused') this.#refuseUnknown(raw)
    return answers
  }

  #refuseUnknown (raw: RawForm): void {
    const known = new Set(this.#fields.map(field => field.name))
    for (const name of raw.fields.keys()) {
      if (!known.has(name)) throw new FormError('feature-not-implemented', 'an unknown field', name)
    }
  }
}

/** Returns the form in this payload; undefined if there is none. */
export function formIn (payload: Element): Element | undefined {
  return child(payload, NS.DATA, 'x')
}

/** Reads the fields of a form by name. Throws FormError if the form breaks XEP-0004. */
export function readForm (element: Element): RawForm {
  const type = typeOf(element)
  const fields = new Map<string, RawField>()
  for (const one of children(element, NS.DATA, 'field')) {
    const name = attributeOf(one, 'var')
    const declared = attributeOf(one, 'type')
    if (name === undefined && declared !== 'fixed') throw new FormError('bad-request', 'a field has no name') // §3.2
    if (name === undefined || declared === 'fixed') continue
    if (fields.has(name)) throw new FormError('bad-request', 'the field occurs twice', name) // §3.2: unique
    const values = children(one, NS.DATA, 'value').map(textOf)
    fields.set(name, { name, type: declared, label: attributeOf(one, 'label'), values })
  }
  const formType = fields.get('FORM_TYPE')
  if (formType === undefined || !countsAsType(formType, type)) return { type, formType: undefined, fields }
  fields.delete('FORM_TYPE')
  return { type, formType: formType.values[0], fields }
}

/** Returns a form that cancels: nothing is filled in, and nothing is done. */
export function cancelForm (): Element {
  return formElement('cancel', undefined, [])
}

/** Returns many results of one kind as a table (§3.4). */
export function resultTable (
  formType: string | undefined, columns: readonly FormField<unknown>[], rows: readonly (readonly FilledField[])[],
): Element {
  return formElement('result', formType, [
    xml('reported', {}, ...columns.map(column => fieldElement(column, [], 'typed'))),
    ...rows.map(row => xml('item', {}, ...row.map(one => fieldElement(one.field, one.values, 'bare')))),
  ])
}

function formElement (
  type: FormType, formType: string | undefined, content: readonly (Element | undefined)[],
): Element {
  const named = formType === undefined
    ? undefined
    : xml('field', { var: 'FORM_TYPE', type: 'hidden' }, xml('value', {}, formType))
  const texts = content.filter(element => element?.name === 'title' || element?.name === 'instructions')
  return xml('x', { xmlns: NS.DATA, type }, ...texts, named, ...content.filter(element => !texts.includes(element)))
}

/**
 * `described` writes all that a reader needs to fill in the field; `typed` writes its type, label and value; `bare`
 * only its value.
 */
function fieldElement (
  field: FormField<unknown>, values: readonly string[], how: 'described' | 'typed' | 'bare',
): Element {
  const { name, type, label, description, required, options } = field
  const given = values.map(value => xml('value', {}, value))
  if (how === 'bare') return xml('field', { var: name }, ...given)
  if (how === 'typed') return xml('field', { var: name, type, label }, ...given)
  return xml('field', { var: type === 'fixed' ? undefined : name, type, label },
    description === undefined ? undefined : xml('desc', {}, description),
    required ? xml('required') : undefined,
    field.range === undefined ? undefined : validation(field.range),
    ...given,
    ...options.map(option => xml('option', { label: option.label }, xml('value', {}, option.value))))
}

/** XEP-0122 §3: a whole number within bounds. */
function validation ({ least, most }: Range): Element {
  return xml('validate', { xmlns: NS.DATA_VALIDATE, datatype: 'xs:integer' }, xml('range', { min: least, max: most }))
}

function isBlank (value: unknown): boolean {
  return value === undefined || value === '' || (Array.isArray(value) && value.length === 0)
}

function typeOf (element: Element): FormType {
  const type = attributeOf(element, 'type')
  if (element.getName() === 'x' && (type === 'form' || type === 'submit' || type === 'cancel' || type === 'result')) {
    return type
  }
  throw new FormError('bad-request', 'not a data form')
}

/** XEP-0068 §4: FORM_TYPE must be hidden; a submitted form need not say so. */
function countsAsType (field: RawField, type: FormType): boolean {
  return field.type === 'hidden' || (field.type === undefined && type === 'submit')
}
