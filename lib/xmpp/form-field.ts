/** The kinds of fields in data forms (XEP-0004 §3.3): how each writes its value, and which values it accepts. */
import { JidError, parseJid, type Jid } from './jid.js'

export type FieldType = 'boolean' | 'fixed' | 'hidden' | 'jid-multi' | 'jid-single' | 'list-multi' | 'list-single' |
  'text-multi' | 'text-private' | 'text-single'

export interface FormOption { readonly value: string, readonly label?: string | undefined }

export interface FieldOptions {
  /** The text that is shown before the field. */
  readonly label?: string
  readonly description?: string
  readonly required?: boolean
}

/** The least and the most of the accepted numbers; `most` is left out if there is no bound. */
export interface Range { readonly least: number, readonly most?: number }

/** A field whose value is a T. */
export interface FormField<T> {
  readonly name: string
  readonly type: FieldType
  readonly label: string | undefined
  readonly description: string | undefined
  readonly required: boolean
  readonly options: readonly FormOption[]
  /** True if the field may have more than one value. */
  readonly many: boolean
  /** The whole numbers that the field accepts (XEP-0122); undefined for a field of another kind. */
  readonly range: Range | undefined
  /** Returns the field with this value. */
  is (value: T): FilledField
  /** Returns the value; undefined if it was left empty. Throws RangeError if the value does not fit. */
  read (values: readonly string[]): T | undefined
}

export interface FilledField { readonly field: FormField<unknown>, readonly values: readonly string[] }

/** Creates fields by what they hold: `field.flag('muc#roomconfig_membersonly', { label: 'Members only' })`. */
export const field = {
  /** One line of text. */
  text: (name: string, how: FieldOptions = {}): FormField<string> => make(name, 'text-single', how, single(line)),
  /** One line of text that is not shown while it is typed. */
  secret: (name: string, how: FieldOptions = {}): FormField<string> => make(name, 'text-private', how, single(line)),
  /** A value that is not shown to people. */
  hidden: (name: string, how: FieldOptions = {}): FormField<string> => make(name, 'hidden', how, single(line)),
  /** One text that may have several lines. */
  lines: (name: string, how: FieldOptions = {}): FormField<string> => make(name, 'text-multi', how, {
    many: true,
    write: text => text.split(/\r\n|\r|\n/), // §3.3: no newline within a value
    read: values => values.length === 0 ? undefined : values.join('\n'),
  }),
  /** Several texts of one line each. */
  texts: (name: string, how: FieldOptions = {}): FormField<readonly string[]> =>
    make(name, 'text-multi', how, several(line, false)),
  flag: (name: string, how: FieldOptions = {}): FormField<boolean> => make(name, 'boolean', how, single(boolean)),
  /** A whole number from `least` to `most`, inclusive. */
  count: (
    name: string, how: FieldOptions & { readonly least?: number, readonly most?: number } = {},
  ): FormField<number> =>
    make(name, 'text-single', how, single(whole(how.least ?? 0, how.most ?? Number.MAX_SAFE_INTEGER)), [], {
      least: how.least ?? 0, ...how.most === undefined ? {} : { most: how.most },
    }),
  /** A whole number from `least` to `most`, inclusive, or `max`: as many as the server allows (XEP-0060 §15.5). */
  countOrMax: (
    name: string, how: FieldOptions & { readonly least?: number, readonly most?: number } = {},
  ): FormField<number | 'max'> =>
    make(name, 'text-single', how, single(orMax(whole(how.least ?? 0, how.most ?? Number.MAX_SAFE_INTEGER)))),
  /** One of these options. */
  choice: <V extends string> (name: string, options: readonly Choice<V>[], how: FieldOptions = {}): FormField<V> =>
    make(name, 'list-single', how, single(oneOf(options)), asOptions(options)),
  /** One of options that are known when the form is shown. Any value is read: its reader must check it. */
  option: (name: string, options: readonly string[], how: FieldOptions = {}): FormField<string> =>
    make(name, 'list-single', how, single(line), asOptions(options)),
  /** Any number of these options. */
  choices: <V extends string> (
    name: string, options: readonly Choice<V>[], how: FieldOptions = {},
  ): FormField<readonly V[]> =>
    make(name, 'list-multi', how, several(oneOf(options)), asOptions(options)),
  jid: (name: string, how: FieldOptions = {}): FormField<Jid> => make(name, 'jid-single', how, single(address)),
  jids: (name: string, how: FieldOptions = {}): FormField<readonly Jid[]> =>
    make(name, 'jid-multi', how, several(address)),
  /** A text to read between the other fields, without an answer: `field.fixed('x').is('Who may enter')`. */
  fixed: (name: string): FormField<string> => make(name, 'fixed', {}, single(line)),
} as const

type Choice<V extends string> = V | { readonly value: V, readonly label: string }

interface Way<T> {
  readonly many: boolean
  write (value: T): readonly string[]
  read (values: readonly string[]): T | undefined
}

/** Converts one value to text and back. `blank`: an empty text is a value too. */
interface Single<T> { readonly blank: boolean, write (value: T): string, read (text: string): T }

const line: Single<string> = { blank: true, write: value => value, read: text => text }

const boolean: Single<boolean> = {
  blank: false,
  write: value => value ? '1' : '0',
  read: text => {
    if (text === '1' || text === 'true') return true
    if (text === '0' || text === 'false') return false
    throw new RangeError('neither true nor false')
  },
}

const address: Single<Jid> = {
  blank: false,
  write: jid => jid.toString(),
  read: text => {
    try {
      return parseJid(text)
    } catch (error) {
      if (error instanceof JidError) throw new RangeError('not an address', { cause: error })
      throw error
    }
  },
}

function whole (least: number, most: number): Single<number> {
  return {
    blank: false,
    write: String,
    read: text => {
      const number = /^-?[0-9]{1,15}$/.test(text) ? Number(text) : NaN
      if (number >= least && number <= most) return number
      throw new RangeError(`not a whole number from ${least} to ${most}`)
    },
  }
}

function orMax (number: Single<number>): Single<number | 'max'> {
  return { blank: false, write: String, read: text => text === 'max' ? 'max' : number.read(text) }
}

function oneOf<V extends string> (choices: readonly Choice<V>[]): Single<V> {
  const values = choices.map(choice => typeof choice === 'string' ? choice : choice.value)
  return {
    blank: values.some(value => value === ''),
    write: value => value,
    read: text => {
      const found = values.find(value => value === text)
      if (found === undefined) throw new RangeError('not one of the options') // §3.3: no new options
      return found
    },
  }
}

function asOptions (choices: readonly Choice<string>[]): FormOption[] {
  return choices.map(choice => typeof choice === 'string' ? { value: choice } : choice)
}

function single<T> (one: Single<T>): Way<T> {
  return {
    many: false,
    write: value => [one.write(value)],
    read: ([text]) => text === undefined || (text === '' && !one.blank) ? undefined : one.read(text),
  }
}

/** `once`: equal values count once, as for addresses and options (§3.3). */
function several<T> (one: Single<T>, once = true): Way<readonly T[]> {
  return {
    many: true,
    write: values => values.map(value => one.write(value)),
    read: texts => {
      const values = texts.filter(text => text !== '' || one.blank).map(text => one.read(text))
      return once ? [...new Map(values.map(value => [one.write(value), value])).values()] : values
    },
  }
}

function make<T> (
  name: string, type: FieldType, how: FieldOptions, way: Way<T>, options: readonly FormOption[] = [], range?: Range,
): FormField<T> {
  const field: FormField<T> = {
    name,
    type,
    label: how.label,
    description: how.description,
    required: how.required ?? false,
    options,
    many: way.many,
    range,
    is: value => ({ field, values: way.write(value) }),
    read: values => way.read(values),
  }
  return field
}
