/** The fields of data forms (XEP-0004 §3.3): each knows how its value is written, and what it takes. */
import { JidError, parseJid, type Jid } from './jid.js'

export type FieldType = 'boolean' | 'fixed' | 'hidden' | 'jid-multi' | 'jid-single' | 'list-multi' | 'list-single' |
  'text-multi' | 'text-private' | 'text-single'

export interface FormOption { readonly value: string, readonly label?: string | undefined }

export interface FieldOptions {
  /** What people read before it. */
  readonly label?: string
  readonly description?: string
  readonly required?: boolean
}

/** A field whose value is a T. */
export interface FormField<T> {
  readonly name: string
  readonly type: FieldType
  readonly label: string | undefined
  readonly description: string | undefined
  readonly required: boolean
  readonly options: readonly FormOption[]
  /** Whether there may be more than one value. */
  readonly many: boolean
  /** The field with this value. */
  is (value: T): FilledField
  /** The value; undefined where it was left empty. Throws RangeError for one that does not fit. */
  read (values: readonly string[]): T | undefined
}

export interface FilledField { readonly field: FormField<unknown>, readonly values: readonly string[] }

/** The kinds of fields, by what they hold: `field.flag('muc#roomconfig_membersonly', { label: 'Members only' })`. */
export const field = {
  /** A line of text. */
  text: (name: string, how: FieldOptions = {}): FormField<string> => make(name, 'text-single', how, single(line)),
  /** A line that is not shown while it is typed. */
  secret: (name: string, how: FieldOptions = {}): FormField<string> => make(name, 'text-private', how, single(line)),
  /** What no person sees. */
  hidden: (name: string, how: FieldOptions = {}): FormField<string> => make(name, 'hidden', how, single(line)),
  /** A text of more than one line. */
  lines: (name: string, how: FieldOptions = {}): FormField<string> => make(name, 'text-multi', how, {
    many: true,
    write: text => text.split(/\r\n|\r|\n/), // §3.3: no newline within a value
    read: values => values.length === 0 ? undefined : values.join('\n'),
  }),
  /** Many texts of a line each. */
  texts: (name: string, how: FieldOptions = {}): FormField<readonly string[]> => make(name, 'text-multi', how, several(line, false)),
  flag: (name: string, how: FieldOptions = {}): FormField<boolean> => make(name, 'boolean', how, single(boolean)),
  /** A whole number within these bounds, both included. */
  count: (name: string, how: FieldOptions & { readonly least?: number, readonly most?: number } = {}): FormField<number> =>
    make(name, 'text-single', how, single(whole(how.least ?? 0, how.most ?? Number.MAX_SAFE_INTEGER))),
  /** One of these options. */
  choice: <V extends string> (name: string, options: readonly Choice<V>[], how: FieldOptions = {}): FormField<V> =>
    make(name, 'list-single', how, single(oneOf(options)), asOptions(options)),
  /** Any of these options. */
  choices: <V extends string> (name: string, options: readonly Choice<V>[], how: FieldOptions = {}): FormField<readonly V[]> =>
    make(name, 'list-multi', how, several(oneOf(options)), asOptions(options)),
  jid: (name: string, how: FieldOptions = {}): FormField<Jid> => make(name, 'jid-single', how, single(address)),
  jids: (name: string, how: FieldOptions = {}): FormField<readonly Jid[]> => make(name, 'jid-multi', how, several(address)),
  /** A text between the others, for reading: `field.fixed('x').is('Who may enter')`. It has no answer. */
  fixed: (name: string): FormField<string> => make(name, 'fixed', {}, single(line)),
} as const

type Choice<V extends string> = V | { readonly value: V, readonly label: string }

interface Way<T> { readonly many: boolean, write (value: T): readonly string[], read (values: readonly string[]): T | undefined }

/** One value as text and back. `blank`: an empty text is a value too. */
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
      if (error instanceof JidError) throw new RangeError('no address', { cause: error })
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

/** `once`: addresses and options that come twice are the same (§3.3). */
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

function make<T> (name: string, type: FieldType, how: FieldOptions, way: Way<T>, options: readonly FormOption[] = []): FormField<T> {
  const field: FormField<T> = {
    name,
    type,
    label: how.label,
    description: how.description,
    required: how.required ?? false,
    options,
    many: way.many,
    is: value => ({ field, values: way.write(value) }),
    read: values => way.read(values),
  }
  return field
}
