/** Session: one device of one account. It outlives its stream: a resumed stream is attached to the same session. */
import type { Clock, Timer } from '../base/clock.js'
import type { TokenBucket } from '../base/rate.js'
import { Named, type Slot } from '../base/slot.js'
import type { Turns } from '../base/turns.js'
import type { Batch } from '../storage/store.js'
import type { Storage } from '../storage/storage.js'
import { DRAW_WATER } from '../stream/bounds.js'
import { kindOfStanza, type TrafficKind } from '../stream/traffic.js'
import type { Element } from '../xml/element.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { Stanza, stanza as stanzaOf, type Presence } from '../xmpp/stanza.js'
import type { Arrival } from './arrivals.js'
import type { Connection } from './connection.js'
import type { DeliveryTracker, StreamManager } from './delivery-tracker.js'
import { Input } from './input.js'
import { ReleaseOrder } from './order.js'

export type { Connection } from './connection.js'

/** The parts of the host that a session uses. */
export interface SessionHome {
  readonly clock: Clock
  readonly storage: Storage
  readonly turns: Turns | undefined
  /** Called with an unexpected error, to log it. */
  defect (error: unknown): void
  /** The most bytes that may wait for a slow reader. */
  readonly backlogBound: number
  /** The gate before the socket. Returns undefined if the stanza is held or dropped. */
  gate (session: Session, stanza: Stanza): Stanza | undefined
  attached (session: Session): void
  detached (session: Session, reason: Error | undefined): void
  closed (session: Session, reason: Error | undefined): void
  /** Called with a stanza that the ended session did not get: it is delivered another way, or answered. */
  undelivered (stanza: Stanza): void
}

/** A session that the previous process saved. */
export interface SavedSession {
  readonly since: number
  readonly address: string
  readonly secure: boolean
  readonly lang: string | undefined
  readonly presence: Presence | undefined
  readonly priority: number
  /** The values of slots, as their codecs wrote them. */
  readonly slots: Readonly<Record<string, string>>
}

export class Session {
  readonly jid: Jid
  readonly account: Jid
  /** When the session was bound, in milliseconds since 1970. */
  readonly since: number
  /** True if the stanza at the gate may be delayed on a managed stream (XEP-0352). The gate sets it for each stanza. */
  mayBeDelayed = false
  /** The budget for what the session costs the server; undefined if there is no limit. */
  budget: TokenBucket | undefined
  /** The stanzas of the device. */
  readonly input: Input
  readonly #home: SessionHome
  readonly #slots = new Named()
  /** Slots that survive a restart, with the function that writes each. */
  readonly #codecs = new Map<string, () => string>()
  /** Slot values from before a restart that nobody has read yet. */
  readonly #texts: Map<string, string>
  /** Slots whose values are reset by a new connection. */
  readonly #passing = new Map<string, { readonly name: string }>()
  readonly #order: ReleaseOrder
  #connection: Connection | undefined
  #closed = false
  #presence: Presence | undefined
  #priority = 0
  #paused: Timer | undefined
  /** The device is not read until this time, in milliseconds since 1970. */
  #pausedUntil = 0
  #lastAddress: string
  #lastRead: number
  #lastWritten: number
  /** The longest silence of both sides that the server ended since the device was last heard. */
  #broken = 0
  #wasSecure: boolean
  #lang: string | undefined
  #manager: StreamManager | undefined
  #isFrozen = false
  #isExpelled = false
  /** Callbacks that wait until the device has read what was written. */
  #draining: (() => void)[] = []

  constructor (home: SessionHome, jid: Jid, from: Connection | SavedSession) {
    const now = home.clock.now()
    const former = 'since' in from ? from : undefined
    this.jid = jid
    this.account = jid.bare
    this.since = former?.since ?? now
    this.#home = home
    this.#connection = 'since' in from ? undefined : from
    this.#lastAddress = from.address
    this.#wasSecure = from.secure
    this.#lang = from.lang
    this.#lastRead = this.#lastWritten = now
    this.#presence = former?.presence
    this.#priority = former?.priority ?? 0
    this.#texts = new Map(Object.entries(former?.slots ?? {}))
    this.#order = new ReleaseOrder(home.storage)
    this.input = new Input({
      defect: error => { home.defect(error) },
      failed: error => { this.#fails(error) },
    }, home.turns)
  }

  get connection (): 'attached' | 'waiting' | 'closed' {
    return this.#closed ? 'closed' : this.#connection === undefined ? 'waiting' : 'attached'
  }

  /** The last available presence; undefined while unavailable. */
  get presence (): Presence | undefined { return this.#presence }
  /** From -128 to 127; 0 while unavailable (RFC 6121 §4.7.2.3). */
  get priority (): number { return this.#priority }
  get available (): boolean { return this.#presence !== undefined }
  /** The IP address that the device connects from, or last connected from. */
  get address (): string { return this.#lastAddress }
  get secure (): boolean { return this.#wasSecure }
  get lang (): string | undefined { return this.#lang }
  /** When the device was last heard, in milliseconds since 1970. */
  get lastRead (): number { return this.#connection?.lastRead ?? this.#lastRead }
  /** When something was last sent in either direction, in milliseconds since 1970. */
  get lastActive (): number { return Math.max(this.lastRead, this.#lastWritten) }
  /**
   * The longest silence of both sides, in milliseconds, that the server ended, if the device has not been heard since;
   * else 0.
   */
  get unansweredSilence (): number { return this.lastRead >= this.#lastWritten ? 0 : this.#broken }
  /** The manager that counts and keeps what the session sends, if its stream is managed (XEP-0198). */
  get manager (): StreamManager | undefined { return this.#manager }
  /** True if no stanza of the device is taken any more. */
  get isFrozen (): boolean { return this.#isFrozen }
  /** True if the server has ended the session by a stream error. */
  get isExpelled (): boolean { return this.#isExpelled }
  /** True if the device is connected and little waits to be written. A long answer goes on while this is true. */
  get hasRoom (): boolean { return this.#connection !== undefined && this.#connection.backlog <= DRAW_WATER }

  /**
   * Writes to the device, through the gate. Returns 'full' if the device reads too slowly: the session is then closed,
   * so that nobody waits for it. Returns 'kept' if the stanza waits for a connection.
   */
  send (what: Stanza | Element): 'sent' | 'kept' | 'full' {
    if (this.#closed) return 'full'
    const passed = this.#home.gate(this, what instanceof Stanza ? what : stanzaOf(what, this.account, this.jid))
    return passed === undefined ? 'kept' : this.pass(passed)
  }

  /** Writes a stanza that has passed the gate. */
  pass (stanza: Stanza): 'sent' | 'kept' | 'full' {
    if (this.#closed) return 'full'
    return this.#manager === undefined ? this.write(stanza.octets(), kindOfStanza(stanza)) : this.#manager.send(stanza)
  }

  /**
   * Sends a stanza after the batch is stored. On a managed stream the stanza takes its place in the outgoing order when
   * the batch is submitted, and may be stored with the batch. `handed` tracks the devices of the account that get the
   * stanza.
   */
  sendWith (batch: Batch, what: Stanza | Element, handed?: DeliveryTracker): void {
    if (handed !== undefined) handed.devices++
    const stanza = what instanceof Stanza ? what : stanzaOf(what, this.account, this.jid)
    if (this.#manager === undefined) {
      this.#sendOnce(batch, stanza, handed)
      return
    }
    batch.submitting(() => {
      const manager = this.#manager
      // The manager could not be turned on: a session without one still gets the stanza.
      if (manager === undefined) {
        this.#sendOnce(batch, stanza, handed)
        return
      }
      const passed = this.#closed ? stanza : this.#home.gate(this, stanza)
      if (passed === undefined) return
      const booking = manager.reserve(passed, handed, batch)
      batch.delivering(() => { booking.ready() })
      batch.failed(() => { booking.failed() })
    })
  }

  /** Sends a stanza after the batch is stored, without keeping it until the device acknowledges it. */
  #sendOnce (batch: Batch, stanza: Stanza, handed: DeliveryTracker | undefined): void {
    batch.delivering(() => {
      if (this.send(stanza) === 'full') {
        if (handed === undefined || !handed.isConfirmed && !handed.isOpen) this.#home.undelivered(stanza)
      } else handed?.confirm()
    })
  }

  /** Writes a nonza: it is not counted, and waits for nothing. */
  write (text: string | Element, kind?: TrafficKind): 'sent' | 'kept' | 'full' {
    const connection = this.#connection
    if (connection === undefined) return this.#closed ? 'full' : 'kept'
    if (connection.backlog > this.#home.backlogBound) {
      this.close(new StreamError('policy-violation', 'the client reads too slowly'))
      return 'full'
    }
    this.#speaks(connection.lastRead)
    connection.send(typeof text === 'string' ? text : octets(text), kind)
    return 'sent'
  }

  /**
   * Runs `then` once, when the device has read what was written, or the connection is replaced or lost. Without a
   * connection, runs it at once.
   */
  drained (then: () => void): void {
    const connection = this.#connection
    if (connection === undefined) { then(); return }
    if (this.#draining.push(then) > 1) return
    connection.drained(() => { if (this.#connection === connection) this.#drained() })
  }

  #drained (): void {
    for (const then of this.#draining.splice(0)) then()
  }

  #speaks (heard: number): void {
    const now = this.#home.clock.now()
    this.#broken = heard >= this.#lastWritten ? now - heard : Math.max(this.#broken, now - this.#lastWritten)
    this.#lastWritten = now
  }

  get<T> (slot: Slot<T>): T {
    if (!this.#slots.has(slot)) this.#begin(slot)
    return this.#slots.made(slot, slot.initial)
  }

  put<T> (slot: Slot<T>, value: T): void {
    if (!this.#slots.has(slot)) this.#begin(slot)
    const isNew = this.#slots.get(slot) !== value
    this.#slots.put(slot, value)
    if (slot.codec !== undefined && isNew) this.#manager?.changed(true)
  }

  /** The values of slots that survive a restart, as text. */
  texts (): Record<string, string> {
    return Object.fromEntries([...this.#texts, ...[...this.#codecs].map(([name, write]) => [name, write()] as const)])
  }

  /** Restores a slot's value from before a restart, if there is one. */
  #begin<T> (slot: Slot<T>): void {
    const { codec, name } = slot
    if (slot.onResume === 'reset') this.#passing.set(name, slot)
    if (codec === undefined) return
    this.#codecs.set(name, () => codec.write(this.#slots.made(slot, slot.initial)))
    const text = this.#texts.get(name)
    if (text === undefined) return
    this.#texts.delete(name)
    this.#slots.put(slot, codec.read(text))
  }

  /** Sets the manager of the session; undefined removes it. Throws if there is one already. */
  setManager (manager: StreamManager | undefined): void {
    if (manager !== undefined && this.#manager !== undefined) throw new Error('the session has a manager already')
    this.#manager = manager
  }

  /**
   * Stops taking stanzas of the device, because the server stops: the device sends them again after it resumes. The
   * stream is still read, because the device may close it (XEP-0198 §6) or acknowledge stanzas.
   */
  freeze (): void { this.#isFrozen = true }

  /**
   * Runs `then` after commit `number` has settled, and after all earlier callbacks: the session's stanzas keep their
   * order.
   */
  release (number: number, then: (error: Error | undefined) => void): void {
    this.#order.release(number, then)
  }

  /**
   * Resolves when all that the device sent before this stanza is settled and stored (RFC 6120 §10.1); returns undefined
   * if it is.
   */
  caughtUp (arrival: Arrival | undefined): Promise<void> | undefined {
    if (arrival?.isFirst !== false && this.#order.isClear) return undefined
    return new Promise(resolve => {
      const settled = (): void => { this.#order.release(0, () => { resolve() }) }
      if (arrival === undefined) settled()
      else arrival.whenFirst(settled)
    })
  }

  /** Ends the stream because of an error in a stanza that had waited (RFC 6120 §4.9). */
  #fails (error: unknown): void {
    if (!(error instanceof StreamError)) this.#home.defect(error)
    this.close(error instanceof StreamError ? error : new StreamError('internal-server-error'))
  }

  /** Charges the session units (lib/host/cost.ts). Over its budget, its device is read more slowly. */
  charge (units: number): void {
    const wait = this.budget?.take(units) ?? 0
    if (wait > 0) this.pause(wait)
  }

  /** Stops reading the device for `ms` milliseconds. Of several pauses the one that ends last counts. */
  pause (ms: number): void {
    const connection = this.#connection
    if (connection === undefined) return
    const until = this.#home.clock.now() + ms
    if (this.#paused !== undefined && this.#pausedUntil >= until) return
    this.#paused?.cancel()
    this.#pausedUntil = until
    connection.pause()
    this.#paused = this.#home.clock.after(ms, () => {
      this.#paused = undefined
      this.#connection?.resume()
    })
  }

  /** Sets the presence. Only Sessions.present calls this. */
  setPresence (presence: Presence | undefined, priority: number): void {
    const isElsewhere = (presence === undefined) !== (this.#presence === undefined) || priority !== this.#priority
    this.#presence = presence
    this.#priority = priority
    this.#manager?.changed(isElsewhere)
  }

  /** Replaces the connection by a new one. */
  attach (connection: Connection): void {
    if (this.#closed) throw new Error('a closed session cannot be attached')
    const old = this.#connection
    this.#connection = connection
    this.#lastWritten = this.#home.clock.now()
    this.#broken = 0
    this.#lastAddress = connection.address
    this.#wasSecure = connection.secure
    this.#lang = connection.lang
    old?.close(new StreamError('conflict', 'resumed elsewhere'))
    for (const slot of this.#passing.values()) this.#slots.delete(slot)
    const draining = this.#draining.splice(0) // callbacks of the old connection
    this.#manager?.attached()
    for (const then of draining) then()
    this.#home.attached(this)
  }

  /** True if this is the connection of the session. */
  isOn (connection: Connection): boolean { return this.#connection === connection }

  /** Ends the connection with this error. The device can resume the session if it is resumable. */
  disconnect (reason: StreamError): void {
    const connection = this.#connection
    if (connection === undefined) return
    connection.close(reason)
    this.detach(connection, reason)
  }

  /** Ends the connection without closing the stream, because the server stops. The session stays as it is. */
  leave (): void {
    const connection = this.#connection
    this.#connection = undefined
    this.#stopPause()
    this.#drained()
    connection?.leave()
  }

  /** Called by a connection that was lost. Does nothing if the connection was replaced. */
  detach (connection: Connection, reason?: Error): void {
    if (this.#connection !== connection) return
    this.#connection = undefined
    this.#lastRead = connection.lastRead
    this.#stopPause()
    if (!this.#closed) this.#home.detached(this, reason)
    this.#drained()
  }

  /** Ends the session and its stream. Calling it again does nothing. */
  close (reason?: Error): void {
    if (this.#closed) return
    this.#closed = true
    this.#isExpelled = reason instanceof StreamError
    this.#stopPause()
    const connection = this.#connection
    this.#connection = undefined
    if (connection !== undefined) this.#lastRead = connection.lastRead
    // The handlers run before the socket is closed: nothing is routed to a closing stream.
    this.#home.closed(this, reason)
    this.#drained()
    connection?.close(reason instanceof StreamError ? reason : undefined)
  }

  #stopPause (): void {
    this.#paused?.cancel()
    this.#paused = undefined
  }
}
