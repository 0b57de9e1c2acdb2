/** Broadcasts to the devices of one host: those that need nothing but the stanza get it without a passage each. */
import type { Hook, Hooks } from '../base/hook.js'
import type { Maybe } from '../base/maybe.js'
import { inTurns, type Turns } from '../base/turns.js'
import type { Batch } from '../storage/store.js'
import type { Jid } from '../xmpp/jid.js'
import type { Stanza } from '../xmpp/stanza.js'
import type { Broadcast, BroadcastPart } from './broadcast.js'
import type { Reservation } from './delivery-tracker.js'
import { broadcastArriving, broadcastDelivered } from './events.js'
import { Passage } from './pipeline/passage.js'
import type { Watch } from './pipeline/watch.js'
import type { Session } from './session.js'
import type { Sessions } from './sessions.js'

/** The parts of the host that broadcasts to its devices use. */
export interface BroadcastHome {
  readonly hooks: Hooks
  readonly sessions: Sessions
  readonly turns: Turns | undefined
  readonly pipeline: { readonly watch: Watch }
  readonly lanes: { isBusy (account: Jid): boolean }
  /** The gate before the socket. Returns undefined if the stanza is held or dropped. */
  gate (session: Session, stanza: Stanza): Stanza | undefined
  /** Called with a stanza that the ended session did not get. */
  undelivered (stanza: Stanza): void
  /** Fires a hook about something that has happened. */
  tell<E> (hook: Hook<E>, event: E): void
  /** Logs an unexpected error. */
  defect (error: unknown): void
}

/**
 * Takes a broadcast to addresses of the host. Apart are those without a session, those for whom other stanzas wait, and
 * those for whom a module must look at the stanza.
 */
export function broadcastHere (
  home: BroadcastHome, broadcast: Broadcast, to: readonly Jid[], batch: Batch,
): BroadcastPart {
  if (!isPlain(broadcast.stanza)) return { apart: to, deliver: () => undefined, fail: () => {} }
  const { apart, here } = divided(home, to)
  const taken = screened(home, broadcast.stanza, here, batch)
  if (taken.length < here.length) {
    const direct = new Set(taken)
    for (const session of here) if (!direct.has(session)) apart.push(session.jid)
  }
  return new PartHere(home, broadcast, taken, apart, batch)
}

/**
 * True if RFC 6121 §8.5.3.1 alone says what happens to the stanza at a full address: it goes to that device. A chat
 * message is also archived, copied and stored, and a subscription changes the roster.
 */
function isPlain ({ kind, type }: Stanza): boolean {
  if (kind === 'message') return type === 'groupchat' || type === 'headline'
  return kind === 'presence' && (type === 'available' || type === 'unavailable')
}

function divided (
  { sessions, lanes }: BroadcastHome, to: readonly Jid[],
): { readonly apart: Jid[], readonly here: readonly Session[] } {
  const apart: Jid[] = []
  const here: Session[] = []
  for (const jid of to) {
    const session = jid.resource === '' ? undefined : sessions.at(jid)
    // Earlier stanzas of the same sender may wait there: this one must not overtake them.
    if (session === undefined || lanes.isBusy(session.account)) apart.push(jid)
    else here.push(session)
  }
  return { apart, here }
}

/** Returns the sessions that modules leave to the broadcast. If a module fails, all go the usual way: fail closed. */
function screened (
  home: BroadcastHome, stanza: Stanza, here: readonly Session[], batch: Batch,
): readonly Session[] {
  const { hooks } = home
  if (!hooks.has(broadcastArriving)) return here
  const event = { stanza, recipients: here, batch }
  try {
    const verdict = hooks.run(broadcastArriving, event)
    if (verdict === undefined) return event.recipients
    if (verdict instanceof Promise) verdict.catch((error: unknown) => { home.defect(error) })
  } catch (error) {
    home.defect(error)
  }
  return []
}

/** The reservation of a stanza that the gate holds or drops. */
const HELD: Reservation = { ready () {}, failed () {} }

class PartHere implements BroadcastPart {
  readonly apart: readonly Jid[]
  readonly #home: BroadcastHome
  readonly #broadcast: Broadcast
  readonly #sessions: readonly Session[]
  /** The reservations of managed sessions, in the order of `#sessions`; undefined for the others. */
  readonly #reserved: readonly (Reservation | undefined)[]
  #next = 0

  constructor (
    home: BroadcastHome, broadcast: Broadcast, sessions: readonly Session[], apart: readonly Jid[], batch: Batch,
  ) {
    this.#home = home
    this.#broadcast = broadcast
    this.#sessions = sessions
    this.apart = apart
    this.#reserved = sessions.map(session => this.#reserve(session, batch))
  }

  deliver (): Maybe<void> {
    const home = this.#home
    const sent = inTurns(home.turns, this.#sessions, session => { this.#give(session, this.#reserved[this.#next++]) })
    const told = (): void => {
      home.tell(broadcastDelivered, { stanza: this.#broadcast.stanza, recipients: this.#sessions })
    }
    if (sent instanceof Promise) return sent.then(told)
    told()
    return undefined
  }

  fail (): void { for (const reservation of this.#reserved) reservation?.failed() }

  /** Reserves a place in the outgoing order of a managed session. Returns undefined for a session without one. */
  #reserve (session: Session, batch: Batch): Reservation | undefined {
    const { manager } = session
    if (manager === undefined) return undefined
    const stanza = this.#broadcast.to(session.jid)
    const passed = this.#home.gate(session, stanza)
    if (passed === undefined) return HELD
    return passed === stanza
      ? manager.reserveShared(this.#broadcast, stanza, batch)
      : manager.reserve(passed, undefined, batch)
  }

  /** Gives the stanza to one device. An error concerns this device alone. */
  #give (session: Session, reservation: Reservation | undefined): void {
    try {
      if (reservation === undefined) this.#send(session)
      else reservation.ready()
      const { watch } = this.#home.pipeline
      if (!watch.isOn) return
      const passage = new Passage(this.#broadcast.to(session.jid), {})
      watch.step(passage, 'broadcast', { go: 'delivered', to: [session] })
    } catch (error) {
      this.#home.defect(error)
    }
  }

  #send (session: Session): void {
    const stanza = this.#broadcast.to(session.jid)
    if (session.send(stanza) === 'full') this.#home.undelivered(stanza)
  }
}
