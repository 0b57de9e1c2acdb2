/**
 * Kinds of settings, built on zod: the values a setting may have, its default, and a sentence that says what it does.
 */
import { isAbsolute, resolve } from 'node:path'
import { z } from 'zod'
import { isRange } from '../base/reach.js'
import { readDuration, readRate, readSize, UnitError, type Duration, type Rate, type Size } from '../base/units.js'
import { didYouMean, shown } from './words.js'

/** The world outside of the conf file. The caller passes it in, so that tests can pass another one. */
export interface ConfDeps {
  /** The folder that relative paths start from: that of the conf file, as an absolute path. */
  readonly folder: string
  /** Returns an environment variable, or undefined. */
  env (name: string): string | undefined
  /** Returns the text of a file. Throws if it cannot be read. */
  file (path: string): string
}

/** The settings of a module or a table, each with its kind. */
export type Schema = Readonly<Record<string, Kind<unknown>>>
/** The values of these settings after reading. */
export type Values<S extends Schema> = { readonly [K in keyof S]: S[K] extends Kind<infer T> ? T : never }

interface Make<T> {
  readonly zod: (world: ConfDeps) => z.ZodType<T>
  readonly called: string
  readonly fields?: Schema
  readonly item?: Kind<unknown>
  readonly written?: unknown
  readonly required?: boolean
  readonly sentence?: string
  readonly former?: readonly string[]
}

/** A kind of setting. `T` is what the code gets, `Written` what the operator writes. */
export class Kind<T, Written = unknown> {
  readonly #make: Make<T>

  constructor (make: Make<T>) { this.#make = make }

  /** The kind's name on the reference page, such as 'duration' or 'true or false'. */
  get called (): string { return this.#make.called }
  /** The settings in the table, if the kind is a table. */
  get fields (): Schema | undefined { return this.#make.fields }
  /** The kind of the items, if the kind is a list or a table by chosen keys. */
  get item (): Kind<unknown> | undefined { return this.#make.item }
  /** The default, as the operator would write it. */
  get written (): unknown { return this.#make.written }
  /** True if the operator has to write the setting. */
  get required (): boolean { return this.#make.required ?? true }
  /** A sentence that says what the setting does. */
  get sentence (): string { return this.#make.sentence ?? '' }
  /** The former names of the setting. A conf file may still use them. */
  get former (): readonly string[] { return this.#make.former ?? [] }

  /** Sets the default, as the operator would write it. Throws TypeError if the default itself is wrong. */
  default (written: Written): Kind<T, Written> {
    const result = this.#make.zod(NOWHERE).safeParse(written)
    if (!result.success) throw new TypeError(`a default is wrong: ${result.error.issues.map(issue => issue.message).join(', ')}`)
    return new Kind({ ...this.#make, written, required: false })
  }

  /** Sets the sentence that says what the setting does, for the reference page and for editors. */
  says (sentence: string): Kind<T, Written> {
    return new Kind({ ...this.#make, sentence })
  }

  /**
   * Sets the former names of the setting. A conf file that uses one of them is read with a warning that names the
   * present one.
   */
  was (...former: readonly string[]): Kind<T, Written> {
    return new Kind({ ...this.#make, former })
  }

  /** Returns the zod type that reads the setting. The messages of its issues are for the operator. */
  zod (world: ConfDeps): z.ZodType<T> {
    const { zod, written, sentence } = this.#make
    const type = zod(world)
    // A prefault is read as if the conf file had it; zod's default would be used unread.
    const filled: z.ZodType<T> = written === undefined ? type : type.prefault(written)
    return sentence === undefined ? filled : filled.describe(sentence)
  }
}

/** A setting that is true or false. */
export function flag (): Kind<boolean, boolean> {
  return new Kind({ called: 'true or false', zod: () => z.boolean({ error: isNot('true or false') }) })
}

/** A whole number. Without bounds, any number from 0 on is allowed. */
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

/** A number of milliseconds, written as "30s", "12h" or "7d". */
export function duration (bounds: { readonly min?: Duration, readonly max?: Duration } = {}): Kind<number, Duration> {
  return quantity('duration', '^(0|[1-9][0-9]*)(ms|s|m|h|d|y)$', readDuration, bounds)
}

/** A number of bytes, written as "256KiB" or "10MiB". */
export function size (bounds: { readonly min?: Size, readonly max?: Size } = {}): Kind<number, Size> {
  return quantity('size', '^(0|[1-9][0-9]*)([KMGT]i)?B$', readSize, bounds)
}

/** A number of bytes per second, written as "20KiB/s". */
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
      .min(1, { error: () => 'an empty text is not allowed' })
      .max(max, { error: issue => `${shown(issue.input)} is longer than ${max} characters` }),
  })
}

/** A text that looks like a bare XMPP address. The code that uses it parses it, because lib/config knows no XMPP. */
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

/** The name of an npm package. */
export function packageName (): Kind<string, string> {
  return matching('npm package', 'the name of an npm package such as "sestina-module-dice"', /^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/)
}

/** The name of a module, or a list of such names. */
export function moduleNames (): Kind<readonly string[], string | readonly string[]> {
  const error = isNot('the name of a module such as "echo", or a list of such names')
  const name = z.string({ error }).regex(/^[a-z][a-z0-9-]*$/, { error })
  return new Kind({
    called: 'module, or list of modules',
    zod: () => z.union([name.transform(one => [one]), z.array(name).min(1).max(100)], { error }),
  })
}

/** The keys of a table by domain, for `named`. */
export const DOMAINS = { called: 'domain', isRight: (text: string): boolean => DOMAIN.test(text) }

/** A server to connect to: an IP address, with or without a port. */
export function socket (): Kind<string, string> {
  const ip = z.union([z.ipv4(), z.ipv6()])
  return checked('IP address and port', 'an IP address such as "127.0.0.1", or one with a port, such as "127.0.0.1:53" or "[::1]:53"', text => {
    const [, six, four, port = '1'] = /^(?:\[([^\]]+)\]|([0-9.]+))(?::(\d{1,5}))?$/.exec(text) ?? []
    return ip.safeParse(text).success || ip.safeParse(six ?? four).success && Number(port) > 0 && Number(port) < 65536
  })
}

/** An absolute URI, such as a contact address: "mailto:admin@example.org". */
export function uri (): Kind<string, string> {
  return checked('URI', 'a URI such as "mailto:admin@example.org"', text => /^[a-z][a-z0-9+.-]*:[^\s"<>]+$/i.test(text) && URL.canParse(text))
}

/** The origin of web pages (RFC 6454 §6.1): a scheme and a host, with a port if it is not the usual one. */
export function webOrigin (): Kind<string, string> {
  return checked('origin', 'an origin of web pages such as "https://chat.example.org"', text => {
    return /^https?:\/\/[^/?#\s]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text
  })
}

/** An IP address to listen on. */
export function address (): Kind<string, string> {
  const ip = z.union([z.ipv4(), z.ipv6()])
  return checked('IP address', 'an IP address such as "127.0.0.1" or "::1"', text => ip.safeParse(text).success)
}

/** A range of IP addresses, or a single one. */
export function ipRange (): Kind<string, string> {
  return checked('range of IP addresses', 'a range of IP addresses such as "10.0.0.0/8" or "fd00::/8"', isRange)
}

/** A file or folder, read as an absolute path. A relative path starts at the conf file's folder. */
export function path (): Kind<string, string> {
  return new Kind({
    called: 'path',
    zod: ({ folder }) => z.string({ error: isNot('a path in quotes') })
      .regex(/^[^\0]+$/, { error: issue => `${shown(issue.input)} is not a path` })
      .transform(text => isAbsolute(text) ? text : resolve(folder, text)),
  })
}

/**
 * A secret: a file or the environment holds it, never the conf file. No message repeats what the operator wrote here.
 */
export function secret (): Kind<string, { readonly file: string } | { readonly env: string }> {
  const wanted = 'must be { file = "…" } or { env = "…" }: a secret is never written in the conf file'
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

/** A list with items of one kind. */
export function list<T, W> (
  item: Kind<T, W>, bounds: { readonly min?: number, readonly max?: number } = {},
): Kind<readonly T[], readonly W[]> {
  const { min = 0, max = 10_000 } = bounds
  return new Kind<readonly T[], readonly W[]>({
    called: item.fields === undefined ? `list of ${item.called}` : 'list of tables',
    item,
    zod: world => z.array(item.zod(world), { error: isNot('a list, in [ and ]') })
      .min(min, { error: () => min === 1 ? 'an empty list is not allowed' : `there are fewer than ${min} items` })
      .max(max, { error: () => `there are more than ${max} items` }),
  })
}

/** A table with values of one kind, under keys that the operator chooses, such as domains. */
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
    ).refine(all => Object.keys(all).length <= max, { error: () => `there are more than ${max} entries` }),
  })
}

/** A setting that may be left out; it is then undefined. */
export function optional<T, W> (kind: Kind<T, W>): Kind<T | undefined, W> {
  const { called, fields, item, sentence, former } = kind
  return new Kind<T | undefined, W>({
    called,
    required: false,
    former,
    zod: world => kind.zod(world).optional(),
    ...sentence && { sentence },
    ...fields && { fields },
    ...item && { item },
  })
}

/**
 * Settings in a table of their own. The table may be left out if each setting in it may be. Throws TypeError if a
 * former name of one setting is a name of another.
 */
export function table<S extends Schema> (fields: S): Kind<Values<S>, { readonly [K in keyof S]?: unknown }> {
  refuseTwice(fields)
  const required = Object.values(fields).some(kind => kind.required)
  return new Kind({
    called: 'table',
    fields,
    required,
    ...!required && { written: {} },
    zod: world => {
      const types = Object.fromEntries(Object.entries(fields).map(([name, kind]) => [name, kind.zod(world)]))
      const error = (issue: { readonly code: string, readonly input?: unknown }): string | undefined =>
        issue.code === 'invalid_type' ? isNot('a table')(issue) : undefined
      // zod checks key by key, which TypeScript cannot follow
      return z.strictObject(types, { error }).pipe(z.custom<Values<S>>())
    },
  })
}

const DOMAIN = /^[^@/\s"&'<>\0]{1,1023}$/

/** The message for a required value that is left out. */
export const MISSING = 'is missing'

/** An empty world: a default must be valid without files and environment. */
const NOWHERE: ConfDeps = { folder: resolve('/'), env: () => undefined, file: () => '' }

function refuseTwice (fields: Schema): void {
  const names = Object.entries(fields).flatMap(([name, kind]) => [name, ...kind.former])
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) throw new TypeError(`two settings have the name '${twice}'`)
}

function isNot (wanted: string): (issue: { readonly input?: unknown }) => string {
  return ({ input }) => input === undefined ? MISSING : `${shown(input)} is not ${wanted}`
}

function checked (called: string, wanted: string, isRight: (text: string) => boolean): Kind<string, string> {
  return new Kind({ called, zod: () => z.string({ error: isNot(wanted) }).refine(isRight, { error: isNot(wanted) }) })
}

function matching (called: string, wanted: string, pattern: RegExp): Kind<string, string> {
  return new Kind({ called, zod: () => z.string({ error: isNot(wanted) }).regex(pattern, { error: isNot(wanted) }) })
}

/** Makes the kind of a number that is written with its unit. */
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

/** Reads a quantity, or returns a text that says what is wrong, such as a missing unit. */
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

function fromEnvironment (world: ConfDeps, name: string): Found {
  const secret = world.env(name)
  return secret ? { secret } : { trouble: `the environment variable ${name} is not set` }
}

function fromFile (world: ConfDeps, path: string): Found {
  try {
    const secret = world.file(resolve(world.folder, path)).trim()
    return secret === '' ? { trouble: `the file ${path} is empty` } : { secret }
  } catch (error) {
    return { trouble: `the file ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}` }
  }
}
