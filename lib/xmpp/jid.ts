/** Addresses (RFC 7622): split, prepared and compared. */
import { anyResource, idnaDomain, opaqueString, PrepError, usernameCaseMapped } from './prep.js'
import { Recent } from './recent.js'

/** The text is no address. */
export class JidError extends Error {}

/** How many addresses are remembered by text. */
export const JIDS_KEPT = 20_000

/** Longer texts are prepared each time, so that what is remembered stays small. */
const LONGEST_KEPT = 200
/** RFC 7622 §3.2 to §3.4: no part is longer, in octets. */
const LONGEST_PART = 1023
/** Preparation composes at most four characters into one: what is longer cannot become short enough, and is not worth a look. */
const LONGEST_UNPREPARED = 4 * LONGEST_PART
const LONGEST_TEXT = 3 * LONGEST_UNPREPARED
/** RFC 7622 §3.3.1: what the profile would let into a local part, but addresses would not survive. */
const EXCLUDED = /["&'/:<>@]/

/** An XMPP address, already prepared: two equal addresses have equal texts. */
export class Jid {
  /** '' for a domain. */
  readonly local: string
  readonly domain: string
  /** '' where the address is bare. */
  readonly resource: string
  /** Without its resource; a bare address is its own. */
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
   * The address of these parts, which get prepared; '' where there is none. A resource may have the characters that emoji are made of,
   * wherever they stand: other servers let them in, and what they send is delivered. Throws JidError.
   */
  static of (local: string, domain: string, resource = ''): Jid {
    const account = local === '' ? '' : `${prepared('local part', local, localPart)}@`
    const bare = Jid.#at(account + prepared('domain', domain, idnaDomain), undefined)
    return resource === '' ? bare : Jid.#at(`${bare.#text}/${prepared('resource', resource, foreignResource)}`, bare)
  }

  static #at (text: string, bare: Jid | undefined): Jid {
    const known = recent.get(text)
    if (known !== undefined) return known
    const jid = new Jid(alone(text), bare)
    if (jid.#text.length <= LONGEST_KEPT) recent.set(jid.#text, jid)
    return jid
  }

  equals (other: Jid): boolean {
    return this === other || this.#text === other.#text
  }

  /** The full address of a resource that is made here: by the letter of RFC 7622 §3.4. Throws JidError; for none, there is `bare`. */
  withResource (resource: string): Jid {
    return Jid.#at(`${this.bare.#text}/${prepared('resource', resource, resourcePart)}`, this.bare)
  }

  toString (): string { return this.#text }

  toJSON (): string { return this.#text }
}

const recent = new Recent<Jid>(JIDS_KEPT)

/** The address of a text. Throws JidError, and nothing else whatever the text is. */
export function parseJid (text: string): Jid {
  const known = recent.get(text)
  if (known !== undefined) return known
  const jid = split(text)
  if (text !== jid.toString() && text.length <= LONGEST_KEPT) recent.set(alone(text), jid)
  return jid
}

/** The address of these parts, which get prepared; '' where there is none. Throws JidError. */
export function jidOf (local: string, domain: string, resource = ''): Jid {
  return Jid.of(local, domain, resource)
}

/** How many addresses are remembered now: never more than JIDS_KEPT. */
export function jidsKept (): number {
  return recent.size
}

/** RFC 7622 §3.1: the first slash ends the domain, and the first at-sign before it the local part. */
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
  if (EXCLUDED.test(name)) throw new PrepError('has a character that addresses cannot carry')
  return name
}

function resourcePart (text: string): string { return withoutSpace(opaqueString(text)) }

function foreignResource (text: string): string { return withoutSpace(anyResource(text)) }

/** RFC 7622 §3.5, row 18: a space in front makes it no address, though the profile would let it in. */
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

/** A copy that stands alone: a slice holds the whole text it was cut from, which may be a chunk off the network. */
function alone (text: string): string {
  const bytes = Buffer.from(text, 'utf8')
  return bytes.toString(bytes.length === text.length ? 'latin1' : 'utf8')
}
