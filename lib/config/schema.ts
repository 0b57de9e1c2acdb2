/** Kinds of settings, over zod: what a setting may be, what it is if nobody says, and a sentence on what it does. */
import { isAbsolute, resolve } from 'node:path'
import { z } from 'zod'
import { isRange } from '../base/reach.js'
import { readDuration, readRate, readSize, UnitError, type Duration, type Rate, type Size } from '../base/units.js'
import { didYouMean, shown } from './words.js'

/** What is outside the conf file: handed in, so that tests hand in another. */
export interface World {
  /** Where relative paths start: the conf file's folder, absolute. */
  readonly folder: string
  /** A variable of the environment. */
  env (name: string): string | undefined
  /** The text of a file. Throws where it cannot be read. */
  file (path: string): string
}

/** The settings of a module, or of a table: each with its kind. */
export type Schema = Readonly<Record<string, Kind<unknown>>>
/** What the settings are once they are read. */
export type Values<S extends Schema> = { readonly [K in keyof S]: S[K] extends Kind<infer T> ? T : never }

interface Make<T> {
  readonly zod: (world: World) => z.ZodType<T>
  readonly called: string
  readonly fields?: Schema
  readonly item?: Kind<unknown>
  readonly written?: unknown
  readonly required?: boolean
  readonly sentence?: string
}

/** A kind of setting. `T`: what the code gets. `Written`: what the operator writes. */
export class Kind<T, Written = unknown> {
  readonly #make: Make<T>

  constructor (make: Make<T>) { this.#make = make }

  /** What the reference page calls it: 'duration', 'true or false'. */
  get called (): string { return this.#make.called }
  /** The settings in it, where it is a table. */
  get fields (): Schema | undefined { return this.#make.fields }
  /** The kind of its items, where it is a list. */
  get item (): Kind<unknown> | undefined { return this.#make.item }
  /** The default as the operator would write it. */
  get written (): unknown { return this.#make.written }
  /** Whether the operator has to write it. */
  get required (): boolean { return this.#make.required ?? true }
  /** What the setting does, in a sentence. */
  get sentence (): string { return this.#make.sentence ?? '' }

  /** What holds where the operator says nothing, as the operator would write it. Throws TypeError where that is wrong itself. */
  default (written: Written): Kind<T, Written> {
    const result = this.#make.zod(NOWHERE).safeParse(written)
    if (!result.success) throw new TypeError(`a default is wrong: ${result.error.issues.map(issue => issue.message).join(', ')}`)
    return new Kind({ ...this.#make, written, required: false })
  }

  /** What the setting does, in a sentence: for the reference page and for editors. */
  says (sentence: string): Kind<T, Written> {
    return new Kind({ ...this.#make, sentence })
  }

  /** The zod type that reads it. The messages of its issues are for the operator. */
  zod (world: World): z.ZodType<T> {
    const { zod, written, sentence } = this.#make
    const type = zod(world)
    // A prefault is read as if it stood in the conf file; zod's default would be taken as it is.
    const filled: z.ZodType<T> = written === undefined ? type : type.prefault(written)
    return sentence === undefined ? filled : filled.describe(sentence)
  }
}

/** true or false. */
export function flag (): Kind<boolean, boolean> {
  return new Kind({ called: 'true or false', zod: () => z.boolean({ error: isNot('true or false') }) })
}

/** A whole number. Without bounds it may be anything from 0 on. */
export function count (bounds: { readonly min?: number, readonly max?: number } = {}): Kind<number, number> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = bounds
  return new Kind({
    called: `whole number${range(bounds.min, bounds.max)}`,
    zod: () => z.int({ error: isNot('a whole number'), abort: true })
      .min(min, { error: issue => `${shown(issue.input)} is less than ${min}` })
      .max(max, { error: issue => `${shown(issue.input)} is more than ${max}` }),
  })
}

/** A TCP port. 0 lets the system choose one. */
export function port (): Kind<number, number> {
  return count({ min: 0, max: 65535 })
}

/** Milliseconds, written as "30s", "12h" or "7d". */
export function duration (bounds: { readonly min?: Duration, readonly max?: Duration } = {}): Kind<number, Duration> {
  return quantity('duration', '^(0|[1-9][0-9]*)(ms|s|m|h|d|y)$', readDuration, bounds)
}

/** Bytes, written as "256KiB" or "10MiB". */
export function size (bounds: { readonly min?: Size, readonly max?: Size } = {}): Kind<number, Size> {
  return quantity('size', '^(0|[1-9][0-9]*)([KMGT]i)?B$', readSize, bounds)
}

/** Bytes per second, written as "20KiB/s". */
export function rate (bounds: { readonly min?: Rate, readonly max?: Rate } = {}): Kind<number, Rate> {
  return quantity('rate', '^(0|[1-9][0-9]*)([KMGT]i)?B/s$', readRate, bounds)
}

/** One of these words. */
export function choice<const W extends string> (...words: readonly W[]): Kind<W, W> {
  return new Kind({
    called: words.map(word => `"${word}"`).join(', '),
    zod: () => z.enum(words, {
      error: ({ input }) => isNot(`one of ${words.join(', ')}`)({ input }) + (typeof input === 'string' ? didYouMean(input, words) : ''),
    }),
  })
}

/** A text of at least one character. */
export function text (bounds: { readonly max?: number } = {}): Kind<string, string> {
  const { max = 10_000 } = bounds
  return new Kind({
    called: 'text',
    zod: () => z.string({ error: isNot('a text in quotes') })
      .min(1, { error: () => 'an empty text says nothing' })
      .max(max, { error: issue => `${shown(issue.input)} is longer than ${max} characters` }),
  })
}

/** A text that looks like a bare XMPP address. Whoever uses it parses it: this room knows no XMPP. */
export function jid (): Kind<string, string> {
  return matching('address', 'an address such as "romeo@example.org"', /^(?:[^@/\s"&'<>:]{1,1023}@)?[^@/\s"&'<>]{1,1023}$/)
}

/** A text that looks like the bare address of an account. */
export function account (): Kind<string, string> {
  return matching('account', 'the address of an account, with its domain, such as "romeo@example.org"', /^[^@/\s"&'<>:]{1,1023}@[^@/\s"&'<>]{1,1023}$/)
}

/** A domain, or an IP address. */
export function domain (): Kind<string, string> {
  return matching('domain', 'a domain such as "example.org"', DOMAIN)
}

/** For tables by domain. */
export const DOMAINS = { called: 'domain', isRight: (text: string): boolean => DOMAIN.test(text) }

/** A server to ask: an IP address, and perhaps a port. */
export function socket (): Kind<string, string> {
  const ip = z.union([z.ipv4(), z.ipv6()])
  return checked('IP address and port', 'an IP address such as "127.0.0.1", or one with a port, such as "127.0.0.1:53" or "[::1]:53"', text => {
    const [, six, four, port = '1'] = /^(?:\[([^\]]+)\]|([0-9.]+))(?::(\d{1,5}))?$/.exec(text) ?? []
    return ip.safeParse(text).success || ip.safeParse(six ?? four).success && Number(port) > 0 && Number(port) < 65536
  })
}

/** An absolute URI, such as a way to reach somebody: "mailto:admin@example.org". */
export function uri (): Kind<string, string> {
  return checked('URI', 'a URI such as "mailto:admin@example.org"', text => /^[a-z][a-z0-9+.-]*:[^\s"<>]+$/i.test(text) && URL.canParse(text))
}

/** An IP address to listen on. */
export function address (): Kind<string, string> {
  const ip = z.union([z.ipv4(), z.ipv6()])
  return checked('IP address', 'an IP address such as "127.0.0.1" or "::1"', text => ip.safeParse(text).success)
}

/** A range of IP addresses, or one. */
export function ipRange (): Kind<string, string> {
  return checked('range of IP addresses', 'a range of IP addresses such as "10.0.0.0/8" or "fd00::/8"', isRange)
}

/** A file or folder, as an absolute path: a relative one starts at the conf file's folder. */
export function path (): Kind<string, string> {
  return new Kind({
    called: 'path',
    zod: ({ folder }) => z.string({ error: isNot('a path in quotes') })
      .regex(/^[^\0]+$/, { error: issue => `${shown(issue.input)} is not a path` })
      .transform(text => isAbsolute(text) ? text : resolve(folder, text)),
  })
}

/** What must not stand in the conf file: a file holds it, or the environment. No message repeats what was written here. */
export function secret (): Kind<string, { readonly file: string } | { readonly env: string }> {
  const wanted = 'must be { file = "…" } or { env = "…" }: a secret never stands in the conf file'
  return new Kind({
    called: '{ file = "…" } or { env = "…" }',
    zod: world => z.union([z.strictObject({ file: z.string().min(1) }), z.strictObject({ env: z.string().min(1) })], {
      error: ({ input }) => input === undefined ? MISSING : wanted,
    }).transform((source, issues) => {
      const found = 'env' in source ? fromEnvironment(world, source.env) : fromFile(world, source.file)
      if ('secret' in found) return found.secret
      issues.addIssue({ code: 'custom', message: found.trouble })
      return z.NEVER
    }),
  })
}

/** A list whose items are all of this kind. */
export function list<T, W> (
  item: Kind<T, W>, bounds: { readonly min?: number, readonly max?: number } = {},
): Kind<readonly T[], readonly W[]> {
  const { min = 0, max = 10_000 } = bounds
  return new Kind<readonly T[], readonly W[]>({
    called: item.fields === undefined ? `list of ${item.called}` : 'list of tables',
    item,
    zod: world => z.array(item.zod(world), { error: isNot('a list, in [ and ]') })
      .min(min, { error: () => min === 1 ? 'an empty list says nothing' : `there are less than ${min} items` })
      .max(max, { error: () => `there are more than ${max} items` }),
  })
}

/** A table whose keys the operator chooses, such as domains; its values are all of this kind. */
export function named<T, W> (
  item: Kind<T, W>, key: { readonly called: string, readonly isRight: (text: string) => boolean }, max = 10_000,
): Kind<Readonly<Record<string, T>>, Readonly<Record<string, unknown>>> {
  return new Kind<Readonly<Record<string, T>>, Readonly<Record<string, unknown>>>({
    called: `table by ${key.called}`,
    item,
    required: false,
    written: {},
    zod: world => z.record(
      z.string().refine(key.isRight, { error: issue => `${shown(issue.input)} is not a ${key.called}` }), item.zod(world), { error: isNot('a table') },
    ).refine(all => Object.keys(all).length <= max, { error: () => `there are more than ${max} of them` }),
  })
}

/** A setting that may be left out: it is undefined then. */
export function optional<T, W> (kind: Kind<T, W>): Kind<T | undefined, W> {
  const { called, fields, item, sentence } = kind
  return new Kind<T | undefined, W>({
    called,
    required: false,
    zod: world => kind.zod(world).optional(),
    ...sentence && { sentence },
    ...fields && { fields },
    ...item && { item },
  })
}

/** Settings in a table of their own. May be left out where each of them may. */
export function table<S extends Schema> (fields: S): Kind<Values<S>, { readonly [K in keyof S]?: unknown }> {
  const required = Object.values(fields).some(kind => kind.required)
  return new Kind({
    called: 'table',
    fields,
    required,
    ...!required && { written: {} },
    zod: world => z.strictObject(Object.fromEntries(Object.entries(fields).map(([name, kind]) => [name, kind.zod(world)])), {
      error: issue => issue.code === 'invalid_type' ? isNot('a table')(issue) : undefined,
    }).pipe(z.custom<Values<S>>()), // what zod has checked key by key, TypeScript cannot follow
  })
}

const DOMAIN = /^[^@/\s"&'<>\0]{1,1023}$/

/** How a value that is left out is reported. */
export const MISSING = 'is missing'

/** A world with nothing in it: defaults must be right there too. */
const NOWHERE: World = { folder: resolve('/'), env: () => undefined, file: () => '' }

function isNot (wanted: string): (issue: { readonly input?: unknown }) => string {
  return ({ input }) => input === undefined ? MISSING : `${shown(input)} is not ${wanted}`
}

function checked (called: string, wanted: string, isRight: (text: string) => boolean): Kind<string, string> {
  return new Kind({ called, zod: () => z.string({ error: isNot(wanted) }).refine(isRight, { error: isNot(wanted) }) })
}

function matching (called: string, wanted: string, pattern: RegExp): Kind<string, string> {
  return new Kind({ called, zod: () => z.string({ error: isNot(wanted) }).regex(pattern, { error: isNot(wanted) }) })
}

/** A number that is written with its unit. */
function quantity<W extends string> (
  called: string, pattern: string, read: (text: string) => number, bounds: { readonly min?: W, readonly max?: W },
): Kind<number, W> {
  const { min, max } = bounds
  const [least, most] = [min === undefined ? 0 : read(min), max === undefined ? Infinity : read(max)]
  return new Kind({
    called: called + range(min, max),
    zod: () => z.unknown().meta({ type: 'string', pattern }).transform((value, issues) => {
      const result = value === undefined ? MISSING : attempt(read, value)
      if (typeof result === 'number' && result >= least && result <= most) return result
      const bound = typeof result === 'string' ? result : `${shown(value)} is ${result < least ? `less than ${min}` : `more than ${max}`}`
      issues.addIssue({ code: 'custom', message: bound })
      return z.NEVER
    }),
  })
}

/** A number without its unit is told what a unit is. */
function attempt (read: (text: string) => number, value: unknown): number | string {
  try {
    return read(typeof value === 'string' ? value : shown(value))
  } catch (error) {
    if (error instanceof UnitError) return error.message
    throw error
  }
}

function range (min: number | string | undefined, max: number | string | undefined): string {
  if (min === undefined) return max === undefined ? '' : ` up to ${max}`
  return max === undefined ? ` from ${min}` : ` from ${min} to ${max}`
}

type Found = { readonly secret: string } | { readonly trouble: string }

function fromEnvironment (world: World, name: string): Found {
  const secret = world.env(name)
  return secret ? { secret } : { trouble: `the environment has no ${name}` }
}

function fromFile (world: World, path: string): Found {
  try {
    const secret = world.file(resolve(world.folder, path)).trim()
    return secret === '' ? { trouble: `the file ${path} is empty` } : { secret }
  } catch (error) {
    return { trouble: `the file ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}` }
  }
}
