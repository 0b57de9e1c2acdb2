/** The presence of an account's own sessions: broadcast, probes of its contacts, and its end (RFC 6121 §4.2–4.6). */
import {
  capabilities, children, follow, hasFrom, hasTo, isAddressed, NS, slot, stanza, StanzaError, textOf, xml,
} from '../../lib/api.js'
import type { Jid, Maybe, ModuleHost, Presence, Roster, Session } from '../../lib/api.js'
import { absence, announceEnd, broadcast, countSpared, rosterOf } from './broadcast.js'
import type { Directed } from './directed.js'
import type { StoredPresence } from './stored-presence.js'
import { contentOf, type RemotePresenceCache } from './remote-presence.js'

/** The content of the last broadcast presence of a session, and its time. */
const broadcasted = slot('presence.broadcasted', { initial: () => ({ content: '', at: 0 }) })
/** When the session probed its contacts. */
const looked = slot('presence.looked', { initial: () => 0 })

/** Returns when the session probed its contacts. Presence that is sent to it alone soon after that is an answer. */
export function lookedAt (session: Session): number { return session.get(looked) }

/** The parts that know of presence: stored presence, directed presence, and the presence of remote contacts. */
export interface PresenceDeps {
  readonly here: StoredPresence
  readonly directed: Directed
  readonly known: RemotePresenceCache
}

/** Handles the presence that the sessions of a host send. */
export class OwnPresence {
  readonly #host: ModuleHost
  readonly #parts: PresenceDeps
  readonly #repeats: number

  /** `repeats`: how long repeated presence is not broadcast again, in milliseconds. */
  constructor (host: ModuleHost, parts: PresenceDeps, repeats: number) {
    this.#host = host
    this.#parts = parts
    this.#repeats = repeats
  }

  /** Takes presence that a session sends. Throws StanzaError for a type that needs a recipient (§4.7.1). */
  sent (session: Session, presence: Presence): Maybe<'handled' | undefined> {
    if (isAddressed(presence)) {
      if (presence.type === 'available' || presence.type === 'unavailable') this.#parts.directed.note(session, presence)
      return undefined
    }
    switch (presence.type) {
      case 'available': return follow(this.#available(session, presence), () => 'handled' as const)
      case 'unavailable': return follow(this.#leave(session, presence), () => 'handled' as const)
      default: throw new StanzaError('bad-request')
    }
  }

  /** Sends unavailable presence for a session that was closed. */
  closed (session: Session): Maybe<void> {
    if (!session.available && this.#parts.directed.of(session).size === 0) return undefined
    return this.#leave(session, absence(session.jid))
  }

  #available (session: Session, presence: Presence): Maybe<void> {
    const host = this.#host
    const priority = priorityOf(presence)
    const before = session.presence
    const isNews = this.#isNews(session, presence)
    host.sessions.present(session, presence, priority)
    return follow(rosterOf(host, session.account), contacts => {
      if (before === undefined) this.#parts.here.changed(session.jid)
      // The broadcast may take several turns. If the presence changed meanwhile, the rest of the old one is not sent.
      const now = session.presence
      const isThere = (): boolean => session.presence === now
      const told = isNews
        ? broadcast(host, host.find(capabilities)?.trimmed(presence, before) ?? presence, contacts, session, isThere)
        : this.#spare(session, presence, contacts)
      return before === undefined ? follow(told, () => this.#look(session, contacts)) : told
    })
  }

  /** True if the presence differs from the last broadcast, or that is too long ago. */
  #isNews (session: Session, presence: Presence): boolean {
    const now = this.#host.clock.now()
    const before = session.get(broadcasted)
    const content = contentOf(presence)
    if (session.available && content === before.content && now - before.at < this.#repeats) return false
    session.put(broadcasted, { content, at: now })
    return true
  }

  /**
   * §4.4.2 requires a broadcast for updated presence. Repeated presence is no update: contacts got it at its first
   * broadcast, or when they probed or were accepted later. Only the session itself gets it back.
   */
  #spare (session: Session, presence: Presence, contacts: Roster): void {
    let spared = this.#host.sessions.of(session.account).filter(device => device.available && device !== session).length
    for (const item of contacts.items()) if (hasFrom(item)) spared++
    countSpared(this.#host, 'presence', spared, presence)
    session.send(presence.with({ to: session.jid }))
  }

  /**
   * Shows a new session the presence of contacts (§4.2.2, §4.3.1): cached presence at once, the rest when probes are
   * answered.
   */
  #look (session: Session, contacts: Roster): Maybe<void> {
    const { sessions, router, clock } = this.#host
    for (const device of sessions.of(session.account)) {
      if (device !== session && device.presence !== undefined) session.send(device.presence.with({ to: session.jid }))
    }
    const now = clock.now()
    session.put(looked, now)
    const seen = [...contacts.items()].filter(hasTo)
    session.charge(seen.length)
    return router.each(seen, ({ jid }) => { if (session.available) this.#probe(session, jid, now) })
  }

  /** Shows a session the cached presence of a contact, and probes the contact unless that is complete and fresh. */
  #probe (session: Session, contact: Jid, now: number): void {
    const { known } = this.#parts
    const probe = stanza(xml('presence', { type: 'probe' }), session.jid, contact)
    // §4.2.2: a probe is sent only if the presence is not known.
    if (known.tell(session, contact, now)) {
      countSpared(this.#host, 'probe', 1, probe)
      return
    }
    if (!this.#host.router.serves(contact.domain)) known.ask(session.account, contact, now)
    this.#host.router.route(probe)
  }

  /** Sends unavailable presence to everyone who saw the session as available (§4.5.2, §4.6.5). */
  #leave (session: Session, presence: Presence): Maybe<void> {
    const { here, directed } = this.#parts
    const wasAvailable = session.available
    if (wasAvailable) here.changed(session.jid)
    this.#host.sessions.present(session, undefined)
    const told = directed.take(session)
    session.put(broadcasted, { content: '', at: 0 })
    return follow(rosterOf(this.#host, session.account), contacts =>
      announceEnd(this.#host, { presence, contacts, wasAvailable, told: told.values() }, session))
  }
}

/** Reads the priority (§4.7.2.3): an integer from -128 to 127, at most once. Throws StanzaError bad-request. */
function priorityOf (presence: Presence): number {
  const [first, second] = children(presence.element, NS.CLIENT, 'priority')
  if (first === undefined) return 0
  const text = textOf(first).trim()
  const priority = Number(text)
  if (second !== undefined || !/^[+-]?\d{1,3}$/.test(text) || priority < -128 || priority > 127) {
    throw new StanzaError('bad-request', 'a priority is an integer from -128 to 127')
  }
  return priority
}
