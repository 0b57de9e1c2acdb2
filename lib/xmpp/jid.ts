/** Addresses (RFC 7622): parsed, prepared and compared. */
import { anyResource, idnaDomain, opaqueString, PrepError, usernameCaseMapped } from './prep.js'
import { TwoGenerationCache } from '../base/two-generation-cache.js'

/** Thrown if a text is not an address. */
export class JidError extends Error {}

/** The most addresses that are cached by their text. */
export const JIDS_KEPT = 20_000

/** A longer text is prepared each time, so that the cache stays small. */
const LONGEST_KEPT = 200
/** RFC 7622 §3.2 to §3.4: the most octets of a part. */
const LONGEST_PART = 1023
/**
 * Preparation combines at most four characters into one, so a longer text cannot become short enough and is refused
 * unprepared.
 */
const LONGEST_UNPREPARED = 4 * LONGEST_PART
const LONGEST_TEXT = 3 * LONGEST_UNPREPARED
/** RFC 7622 §3.3.1: characters that the profile allows, but that are excluded from local parts. */
const EXCLUDED = /["&'/:<>@]/

/** An XMPP address, already prepared: two equal addresses have equal texts. */
export class Jid {
  /** '' for the address of a domain. */
  readonly local: string
  readonly domain: string
  /** '' for a bare address. */
  readonly resource: string
  /** The address without its resource; for a bare address the same object. */
  readonly bare: Jid
  readonly #text: string

  private constructor (text: string, bare: Jid | undefined) {
    const slash = bare === undefined ? -1 : bare.#text.length
    const account = slash < 0 ? text : text.slice(0, slash)
    const at = account.indexOf('@')
    this.#text = text
    this.local = at < 0 ? '' : account.slice(0, at)
    this.domain = account.slice(at + 1)
    this.resource = slash < 0 ? '' : text.slice(slash + 1)
    this.bare = bare ?? this
  }

  /**
   * Returns the address of these parts after preparing them; '' stands for a missing part. A resource may contain the
   * parts of emoji anywhere, because other servers allow them and their stanzas must be delivered. Throws JidError.
   */
  static of (local: string, domain: string, resource = ''): Jid {
    const account = local === '' ? '' : `${prepared('local part', local, localPart)}@`
    const bare = Jid.#at(account + prepared('domain', domain, idnaDomain), undefined)
    return resource === '' ? bare : Jid.#at(`${bare.#text}/${prepared('resource', resource, foreignResource)}`, bare)
  }

  static #at (text: string, bare: Jid | undefined): Jid {
    const known = recent.get(text)
    if (known !== undefined) return known
    const jid = new Jid(flatCopy(text), bare)
    if (jid.#text.length <= LONGEST_KEPT) recent.set(jid.#text, jid)
    return jid
  }

  equals (other: Jid): boolean {
    return this === other || this.#text === other.#text
  }

  /**
   * Returns the full address with a resource that this server assigns, by the strict rules of RFC 7622 §3.4. Throws
   * JidError, also for an empty resource: use `bare`.
   */
  withResource (resource: string): Jid {
    return Jid.#at(`${this.bare.#text}/${prepared('resource', resource, resourcePart)}`, this.bare)
  }

  toString (): string { return this.#text }

  toJSON (): string { return this.#text }
}

const recent = new TwoGenerationCache<Jid>(JIDS_KEPT)

/** Parses an address. Throws JidError for an invalid text, and no other error. */
export function parseJid (text: string): Jid {
  const known = recent.get(text)
  if (known !== undefined) return known
  const jid = split(text)
  if (text !== jid.toString() && text.length <= LONGEST_KEPT) recent.set(flatCopy(text), jid)
  return jid
}

/** Returns the address of these parts after preparing them; '' stands for a missing part. Throws JidError. */
export function jidOf (local: string, domain: string, resource = ''): Jid {
  return Jid.of(local, domain, resource)
}

/** Returns the number of cached addresses, never more than JIDS_KEPT. */
export function jidsKept (): number {
  return recent.size
}

/** RFC 7622 §3.1: the first slash ends the domain, and the first at-sign before it ends the local part. */
function split (text: string): Jid {
  if (text.length > LONGEST_TEXT) throw new JidError('the address is too long')
  const slash = text.indexOf('/')
  const account = slash < 0 ? text : text.slice(0, slash)
  const at = account.indexOf('@')
  if (at === 0) throw new JidError('the local part is empty')
  if (slash === text.length - 1 && slash >= 0) throw new JidError('the resource is empty')
  return Jid.of(account.slice(0, Math.max(at, 0)), account.slice(at + 1), slash < 0 ? '' : text.slice(slash + 1))
}

function localPart (text: string): string {
  const name = usernameCaseMapped(text)
  if (EXCLUDED.test(name)) throw new PrepError('has a character that is not allowed in addresses')
  return name
}

function resourcePart (text: string): string { return withoutSpace(opaqueString(text)) }

function foreignResource (text: string): string { return withoutSpace(anyResource(text)) }

/**
 * RFC 7622 §3.5, row 18: a resource that begins with a space makes an address invalid, although the profile allows it.
 */
function withoutSpace (resource: string): string {
  if (resource.startsWith(' ')) throw new PrepError('begins with a space')
  return resource
}

function prepared (part: string, text: string, prepare: (text: string) => string): string {
  if (text.length > LONGEST_UNPREPARED) throw new JidError(`the ${part} is too long`)
  try {
    const ready = prepare(text)
    if (Buffer.byteLength(ready) > LONGEST_PART) throw new PrepError('is too long')
    return ready
  } catch (error) {
    if (error instanceof PrepError) throw new JidError(`the ${part} ${error.message}`, { cause: error })
    throw error
  }
}

/**
 * Returns a copy in memory of its own: a slice would keep the string from which it was cut, possibly a network chunk.
 */
function flatCopy (text: string): string {
  const bytes = Buffer.from(text, 'utf8')
  return bytes.toString(bytes.length === text.length ? 'latin1' : 'utf8')
}
