/**
 * What other servers have told an account of its contacts' presence, while it has a device here: the next device hears it at once, and
 * nobody hears it twice. Bounded in bytes; what was not used for longest goes, and is asked for again.
 */
import { Cache, clone, flatten, jidOf, namespaceOf, NS, octets, parseElement, parseJid, stanza } from '../../lib/api.js'
import type { Addressed, Element, Jid, Presence, Session } from '../../lib/api.js'

/** What a contact's device last said. */
interface Said {
  /** All but its caps. */
  readonly content: string
  /** Servers leave caps out where they are the same as before (XEP-0115 §8.4). */
  readonly caps: string
  /** Devices of the account that have it. */
  readonly devices: WeakSet<Session>
}

/** A contact: what each of its devices last said, since it was asked for; `heardAt`: when anything of it last came. */
interface Known { readonly askedAt: number, readonly heardAt: number, readonly said: ReadonlyMap<string, Said> }

/** By then the contact's server has answered, if it answers; in milliseconds. */
export const ANSWERS = 120_000
/** What was heard longer ago is asked for again: a server that was lost, and nobody noticed, leaves ghosts. */
const FRESH = 3600_000
/** Longer presence, and more devices of one contact, are not remembered. */
const LONGEST = 8192
const MOST_DEVICES = 30
/** What a contact costs, and a device of it, beside what it says; in bytes. */
const CONTACT = 500
const DEVICE = 300

export class KnownPresence {
  readonly #known: Cache<string, Known>
  readonly #contacts = new Map<string, Set<string>>()

  constructor (bytes: number) {
    this.#known = new Cache({
      maxSize: Math.max(1, bytes),
      sizeCalculation: sizeOf,
      dispose: (_, key, reason) => { if (reason !== 'set') this.#dropped(key) },
    })
  }

  /** How many contacts are known, of all accounts together. */
  get size (): number { return this.#known.size }

  /** A contact's presence is asked for: from now on all that comes is noted. */
  ask (account: Jid, contact: Jid, now: number): void {
    const key = keyOf(account, contact)
    if (!this.#known.has(key)) this.#keep(key, { askedAt: now, heardAt: -Infinity, said: new Map() })
  }

  /** It has come for these devices. Answers with those that do not have it yet. */
  hear (account: Jid, presence: Presence, devices: readonly Session[], now: number): readonly Session[] {
    const { from } = presence
    const key = keyOf(account, from)
    const known = this.#known.get(key)
    if (known === undefined) return devices
    const said = new Map(known.said)
    const before = said.get(from.resource)
    said.delete(from.resource)
    if (presence.type !== 'available') {
      if (from.resource === '') said.clear() // RFC 6121 §4.3.2: none of its devices is there
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

  /** What is known of a contact, told to a device. Whether that is all there is, and new enough. */
  tell (device: Session, contact: Jid, now: number): boolean {
    const known = this.#known.get(keyOf(device.account, contact))
    if (known === undefined) return false
    for (const [resource, said] of known.said) {
      said.devices.add(device)
      device.send(presenceOf(said, jidOf(contact.local, contact.domain, resource), device.jid))
    }
    return now - known.askedAt >= ANSWERS && now - known.heardAt < FRESH
  }

  /** Forgets what an account was told, of these contacts. */
  forget (account: Jid, whom: (contact: Jid) => boolean = () => true): void {
    for (const contact of [...this.#contacts.get(account.toString()) ?? []]) {
      if (whom(parseJid(contact))) this.#known.delete(`${account.toString()} ${contact}`)
    }
  }

  /** The same for all accounts. */
  forgetDomain (domain: string): void {
    for (const account of [...this.#contacts.keys()]) this.forget(parseJid(account), contact => contact.domain === domain)
  }

  #keep (key: string, known: Known): void {
    const [account = '', contact = ''] = key.split(' ')
    const contacts = this.#contacts.get(account) ?? new Set()
    this.#contacts.set(account, contacts.add(contact))
    this.#known.set(key, known)
    if (!this.#known.has(key)) this.#dropped(key) // it alone is more than there is room for
  }

  #dropped (key: string): void {
    const [account = '', contact = ''] = key.split(' ')
    const contacts = this.#contacts.get(account)
    contacts?.delete(contact)
    if (contacts?.size === 0) this.#contacts.delete(account)
  }
}

/** Bare addresses have no space in them (RFC 7622 §3.3). */
function keyOf (account: Jid, contact: Jid): string { return `${account.toString()} ${contact.bare.toString()}` }

function sizeOf ({ said }: Known): number {
  let size = CONTACT
  for (const [resource, { content, caps }] of said) size += DEVICE + resource.length + content.length + caps.length
  return size
}

/** Whoever has what was said before has this as well, where it is the same. */
function saidBy (presence: Presence, before: Said | undefined): Said {
  const own = presence.child(NS.CAPS, 'c')
  const content = contentOf(presence.with({ without: isCaps }))
  const caps = own === undefined ? before?.caps ?? '' : flatten(octets(clone(own)))
  const isSame = before?.content === content && before.caps === caps
  return { content, caps, devices: isSame ? before.devices : new WeakSet() }
}

function presenceOf ({ content, caps }: Said, from: Jid, to: Jid): Addressed {
  const element = parseElement(content)
  if (caps !== '') element.append(parseElement(caps))
  return stanza(element, from, to)
}

/** What presence says, the same to all whom it is sent to, as octets: without its addresses, and its id, which tells them nothing. */
export function contentOf (presence: Presence): string {
  const element = presence.whole()
  for (const name of ['from', 'to', 'id']) element.attr(name, null)
  return flatten(octets(element))
}

function isCaps (element: Element): boolean {
  return element.getName() === 'c' && namespaceOf(element) === NS.CAPS
}
