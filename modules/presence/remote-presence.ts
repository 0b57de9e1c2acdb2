/**
 * Caches the presence of remote contacts for each account with available devices. A new device sees it at once, and no
 * device gets it twice. The cache is bounded in bytes; the least recently used contact is dropped, and probed again
 * when needed.
 */
import { Cache, clone, flatten, jidOf, namespaceOf, NS, octets, parseElement, parseJid, stanza } from '../../lib/api.js'
import type { Addressed, Element, Jid, Presence, Session } from '../../lib/api.js'

/** The last presence of one device of a contact. */
interface CachedPresence {
  /** The presence without its caps. */
  readonly content: string
  /** The last caps. Servers leave out caps that have not changed (XEP-0115 §8.4). */
  readonly caps: string
  /** The account's devices that have this presence. */
  readonly devices: WeakSet<Session>
}

/**
 * A contact: the last presence of each of its devices since `askedAt`, the time of the probe; `heardAt`: when presence
 * last came.
 */
interface Known {
  readonly askedAt: number
  readonly heardAt: number
  readonly said: ReadonlyMap<string, CachedPresence>
}

/** A probe counts as answered completely after this time, in milliseconds. */
export const ANSWERS = 120_000
/** Older presence is probed again, in milliseconds: a server that went away unnoticed leaves ghosts. */
const FRESH = 3600_000
/** Longer presence (in characters) and contacts with more devices are not cached. */
const LONGEST = 8192
const MOST_DEVICES = 30
/** The cost of a contact, and of one of its devices, beside the content; in bytes. */
const CONTACT = 500
const DEVICE = 300

/** The cached presence of remote contacts, for all accounts of a host. */
export class RemotePresenceCache {
  readonly #known: Cache<string, Known>
  readonly #contacts = new Map<string, Set<string>>()

  constructor (bytes: number) {
    this.#known = new Cache({
      maxSize: Math.max(1, bytes),
      sizeCalculation: sizeOf,
      dispose: (_, key, reason) => { if (reason !== 'set') this.#dropped(key) },
    })
  }

  /** The number of cached contacts of all accounts. */
  get size (): number { return this.#known.size }

  /** Notes that a contact is probed: from now on its presence is cached. */
  ask (account: Jid, contact: Jid, now: number): void {
    const key = keyOf(account, contact)
    if (!this.#known.has(key)) this.#keep(key, { askedAt: now, heardAt: -Infinity, said: new Map() })
  }

  /** Caches presence that arrived for these devices. Returns those that do not have it yet. */
  hear (account: Jid, presence: Presence, devices: readonly Session[], now: number): readonly Session[] {
    const { from } = presence
    const key = keyOf(account, from)
    const known = this.#known.get(key)
    if (known === undefined) return devices
    const said = new Map(known.said)
    const before = said.get(from.resource)
    said.delete(from.resource)
    if (presence.type !== 'available') {
      if (from.resource === '') said.clear() // RFC 6121 §4.3.2: none of its devices is available
      this.#keep(key, { ...known, heardAt: now, said })
      return devices
    }
    const next = saidBy(presence, before)
    if (next.content.length + next.caps.length > LONGEST || said.size >= MOST_DEVICES) {
      this.#known.delete(key)
      return devices
    }
    const missing = devices.filter(device => !next.devices.has(device))
    for (const device of devices) if (device.available) next.devices.add(device)
    said.set(from.resource, next)
    this.#keep(key, { ...known, heardAt: now, said })
    return missing
  }

  /**
   * Sends the cached presence of a contact to a device. True if it is complete and fresh, so that no probe is needed.
   */
  tell (device: Session, contact: Jid, now: number): boolean {
    const known = this.#known.get(keyOf(device.account, contact))
    if (known === undefined) return false
    for (const [resource, said] of known.said) {
      said.devices.add(device)
      device.send(presenceOf(said, jidOf(contact.local, contact.domain, resource), device.jid))
    }
    return now - known.askedAt >= ANSWERS && now - known.heardAt < FRESH
  }

  /** Forgets the presence of an account's contacts, of all or of those that match. */
  forget (account: Jid, whom: (contact: Jid) => boolean = () => true): void {
    for (const contact of [...this.#contacts.get(account.toString()) ?? []]) {
      if (whom(parseJid(contact))) this.#known.delete(`${account.toString()} ${contact}`)
    }
  }

  /** Forgets the contacts at a domain, for all accounts. */
  forgetDomain (domain: string): void {
    for (const account of [...this.#contacts.keys()]) {
      this.forget(parseJid(account), contact => contact.domain === domain)
    }
  }

  #keep (key: string, known: Known): void {
    const [account = '', contact = ''] = key.split(' ')
    const contacts = this.#contacts.get(account) ?? new Set()
    this.#contacts.set(account, contacts.add(contact))
    this.#known.set(key, known)
    if (!this.#known.has(key)) this.#dropped(key) // the entry alone exceeds the bounds
  }

  #dropped (key: string): void {
    const [account = '', contact = ''] = key.split(' ')
    const contacts = this.#contacts.get(account)
    contacts?.delete(contact)
    if (contacts?.size === 0) this.#contacts.delete(account)
  }
}

/** Returns the cache key. Bare addresses contain no space (RFC 7622 §3.3). */
function keyOf (account: Jid, contact: Jid): string { return `${account.toString()} ${contact.bare.toString()}` }

function sizeOf ({ said }: Known): number {
  let size = CONTACT
  for (const [resource, { content, caps }] of said) size += DEVICE + resource.length + content.length + caps.length
  return size
}

/** Makes the cached form. Devices that have the former presence also have this one if it is equal. */
function saidBy (presence: Presence, before: CachedPresence | undefined): CachedPresence {
  const own = presence.child(NS.CAPS, 'c')
  const content = contentOf(presence.with({ without: isCaps }))
  const caps = own === undefined ? before?.caps ?? '' : flatten(octets(clone(own)))
  const isSame = before?.content === content && before.caps === caps
  return { content, caps, devices: isSame ? before.devices : new WeakSet() }
}

function presenceOf ({ content, caps }: CachedPresence, from: Jid, to: Jid): Addressed {
  const element = parseElement(content)
  if (caps !== '') element.append(parseElement(caps))
  return stanza(element, from, to)
}

/** Returns the content of presence as octets: without addresses and id, so that it is equal for all recipients. */
export function contentOf (presence: Presence): string {
  const element = presence.toElement()
  for (const name of ['from', 'to', 'id']) element.attr(name, null)
  return flatten(octets(element))
}

function isCaps (element: Element): boolean {
  return element.getName() === 'c' && namespaceOf(element) === NS.CAPS
}
