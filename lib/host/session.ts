/** Session: one device of one user. It outlives its stream: a resumed stream is attached to the same session. */
import type { Clock, Timer } from '../base/clock.js'
import type { TokenBucket } from '../base/rate.js'
import { Named, type Slot } from '../base/slot.js'
import type { Turns } from '../base/turns.js'
import type { Batch, Storage } from '../storage/store.js'
import { DRAW_WATER } from '../stream/bounds.js'
import { kindOfStanza, type TrafficKind } from '../stream/traffic.js'
import type { Element } from '../xml/element.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { Stanza, stanza as stanzaOf, type Presence } from '../xmpp/stanza.js'
import type { Arrival } from './arrivals.js'
import type { Connection } from './connection.js'
import type { Handed, Manager } from './handed.js'
import { Input } from './input.js'
import { ReleaseOrder } from './order.js'

export type { Connection } from './connection.js'

/** What a session asks of its host. */
export interface SessionHome {
  readonly clock: Clock
  readonly storage: Storage
  readonly turns: Turns | undefined
  /** Something failed that should not: it is logged. */
  defect (error: unknown): void
  /** Bytes that may wait for a slow reader. */
  readonly backlogBound: number
  /** The gate before the socket: undefined where the stanza is held or dropped. */
  gate (session: Session, stanza: Stanza): Stanza | undefined
  attached (session: Session): void
  detached (session: Session, reason: Error | undefined): void
  closed (session: Session, reason: Error | undefined): void
  /** It was to have this, and is gone: whatever else can be done with it is done. */
  undelivered (stanza: Stanza): void
}

/** What a session is made of that lived before this process. */
export interface Former {
  readonly since: number
  readonly address: string
  readonly secure: boolean
  readonly lang: string | undefined
  readonly presence: Presence | undefined
  readonly priority: number
  /** Values of slots, as their codecs wrote them. */
  readonly slots: Readonly<Record<string, string>>
}

export class Session {
  readonly jid: Jid
  readonly account: Jid
  /** When it was bound, in milliseconds since 1970. */
  readonly since: number
  /** What passes the gate now may wait for what may not, where its stream is managed: set in the gate, stanza by stanza (XEP-0352). */
  isPatient = false
  /** What it may cost the server; undefined: as much as it likes. */
  budget: TokenBucket | undefined
  /** What its device says. */
  readonly input: Input
  readonly #home: SessionHome
  readonly #slots = new Named()
  /** Slots that outlive a restart, and how each is written. */
  readonly #codecs = new Map<string, () => string>()
  /** What slots held before a restart, and nobody has asked for yet. */
  readonly #texts: Map<string, string>
  /** Slots whose value does not outlive a connection. */
  readonly #passing = new Map<string, { readonly name: string }>()
  readonly #order: ReleaseOrder
  #connection: Connection | undefined
  #closed = false
  #presence: Presence | undefined
  #priority = 0
  #paused: Timer | undefined
  /** Until when its device is not read, in milliseconds since 1970. */
  #pausedUntil = 0
  #lastAddress: string
  #lastRead: number
  #lastWritten: number
  /** The longest silence of both sides that we have broken since the device was last heard. */
  #broken = 0
  #wasSecure: boolean
  #lang: string | undefined
  #manager: Manager | undefined
  #isFrozen = false
  #isExpelled = false
  /** They wait until the device has taken what was written. */
  #draining: (() => void)[] = []

  constructor (home: SessionHome, jid: Jid, from: Connection | Former) {
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

  /** Its last available presence, undefined while it is unavailable. */
  get presence (): Presence | undefined { return this.#presence }
  /** -128 to 127; 0 while unavailable (RFC 6121 §4.7.2.3). */
  get priority (): number { return this.#priority }
  get available (): boolean { return this.#presence !== undefined }
  /** Where its device connects from, or last did. */
  get address (): string { return this.#lastAddress }
  get secure (): boolean { return this.#wasSecure }
  get lang (): string | undefined { return this.#lang }
  /** When its device was last heard, in milliseconds since 1970. */
  get lastRead (): number { return this.#connection?.lastRead ?? this.#lastRead }
  /** When something last went either way, in milliseconds since 1970. */
  get lastActive (): number { return Math.max(this.lastRead, this.#lastWritten) }
  /** The longest silence of both sides, in milliseconds, that was ended by us, and the device has not been heard since. */
  get unanswered (): number { return this.lastRead >= this.#lastWritten ? 0 : this.#broken }
  /** Counts and keeps what it sends, where its stream is managed (XEP-0198). */
  get manager (): Manager | undefined { return this.#manager }
  /** No stanza of its device is taken any more. */
  get isFrozen (): boolean { return this.#isFrozen }
  /** The server has ended it, by a stream error. */
  get isExpelled (): boolean { return this.#isExpelled }
  /** Its device is here, and takes what is written: little waits. Long answers go on while this holds. */
  get hasRoom (): boolean { return this.#connection !== undefined && this.#connection.backlog <= DRAW_WATER }

  /**
   * Writes to the device, behind the gate. 'full': it reads too slowly, and is closed; nobody else waits for it.
   * 'kept': it waits for its connection.
   */
  send (what: Stanza | Element): 'sent' | 'kept' | 'full' {
    if (this.#closed) return 'full'
    const passed = this.#home.gate(this, what instanceof Stanza ? what : stanzaOf(what, this.account, this.jid))
    return passed === undefined ? 'kept' : this.pass(passed)
  }

  /** The same for what has passed the gate already. */
  pass (stanza: Stanza): 'sent' | 'kept' | 'full' {
    if (this.#closed) return 'full'
    return this.#manager === undefined ? this.write(stanza.octets(), kindOfStanza(stanza)) : this.#manager.send(stanza)
  }

  /**
   * Sends it once the batch is stored. Where its stream is managed it takes its place among what is sent at once, and may be written down
   * in the batch. `handed`: who else of the account gets it.
   */
  sendWith (batch: Batch, what: Stanza | Element, handed?: Handed): void {
    if (handed !== undefined) handed.devices++
    const stanza = what instanceof Stanza ? what : stanzaOf(what, this.account, this.jid)
    if (this.#manager === undefined) {
      this.#sendOnce(batch, stanza, handed)
      return
    }
    batch.submitting(() => {
      const manager = this.#manager
      // It could not be turned on after all: a session that is not managed still gets what was meant for it.
      if (manager === undefined) {
        this.#sendOnce(batch, stanza, handed)
        return
      }
      const passed = this.#closed ? stanza : this.#home.gate(this, stanza)
      if (passed === undefined) return
      const booking = manager.book(passed, handed, batch)
      batch.delivering(() => { booking.ready() })
      batch.failed(() => { booking.failed() })
    })
  }

  /** Sends it once the batch is stored, where nothing keeps it until the device has it. */
  #sendOnce (batch: Batch, stanza: Stanza, handed: Handed | undefined): void {
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
      this.close(new StreamError('policy-violation', 'reading too slowly'))
      return 'full'
    }
    this.#speaks(connection.lastRead)
    connection.send(typeof text === 'string' ? text : octets(text), kind)
    return 'sent'
  }

  /** Runs `then` once: when the device has taken what was written, or the connection is another, or gone; in this case at once. */
  drained (then: () => void): void {
    const connection = this.#connection
    if (connection === undefined) { then(); return }
    if (this.#draining.push(then) === 1) connection.drained(() => { if (this.#connection === connection) this.#drained() })
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
    this.#slots.put(slot, value)
    if (slot.codec !== undefined) this.#manager?.changed()
  }

  /** The values of slots that outlive a restart, as text. */
  texts (): Record<string, string> {
    return Object.fromEntries([...this.#texts, ...[...this.#codecs].map(([name, write]) => [name, write()] as const)])
  }

  /** A value that was written before a restart becomes one again, where there is one. */
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

  /** From now on this counts and keeps what it sends; undefined: nothing does. */
  manage (manager: Manager | undefined): void {
    if (manager !== undefined && this.#manager !== undefined) throw new Error('a session is managed by one alone')
    this.#manager = manager
  }

  /**
   * No stanza of its device is taken from now on: the server ends, and the device says them again when it resumes. The stream is still
   * read, for the device may close it (XEP-0198 §6), or acknowledge what it has.
   */
  freeze (): void { this.#isFrozen = true }

  /** Runs `then` once commit `number` has settled, and behind all that this session released before: its stanzas keep their order. */
  release (number: number, then: (error: Error | undefined) => void): void {
    this.#order.release(number, then)
  }

  /**
   * Resolves once all that its device said before the stanza of this place is settled, and what that stores is stored (RFC 6120 §10.1);
   * undefined where it is.
   */
  caughtUp (arrival: Arrival | undefined): Promise<void> | undefined {
    if (arrival?.isFirst !== false && this.#order.isClear) return undefined
    return new Promise(resolve => {
      const settled = (): void => { this.#order.release(0, () => { resolve() }) }
      if (arrival === undefined) settled()
      else arrival.whenFirst(settled)
    })
  }

  /** One of its stanzas, after one that waited, ends the stream (RFC 6120 §4.9). */
  #fails (error: unknown): void {
    if (!(error instanceof StreamError)) this.#home.defect(error)
    this.close(error instanceof StreamError ? error : new StreamError('internal-server-error'))
  }

  /** The session has cost the server this many units (lib/host/cost.ts). Over its budget its device is read more slowly. */
  charge (units: number): void {
    const wait = this.budget?.take(units) ?? 0
    if (wait > 0) this.pause(wait)
  }

  /** Stops reading its device for so many milliseconds. Calls add up to the longest. */
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

  /** What the presence module last heard: set through Sessions.present alone. */
  become (presence: Presence | undefined, priority: number): void {
    this.#presence = presence
    this.#priority = priority
    this.#manager?.changed()
  }

  /** A new connection takes the place of the old one. */
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
    const draining = this.#draining.splice(0) // of the old connection
    this.#manager?.attached()
    for (const then of draining) then()
    this.#home.attached(this)
  }

  /** Whether this is its connection. */
  isOn (connection: Connection): boolean { return this.#connection === connection }

  /** Ends its connection with this error; it may come back to the session by another one, where it can be resumed. */
  disconnect (reason: StreamError): void {
    const connection = this.#connection
    if (connection === undefined) return
    connection.close(reason)
    this.detach(connection, reason)
  }

  /** Lets go of its connection without a word, and stays as it is: the server ends. */
  leave (): void {
    const connection = this.#connection
    this.#connection = undefined
    this.#stopPause()
    this.#drained()
    connection?.leave()
  }

  /** Its connection is gone. Called by the connection that is; one that was replaced is not heard. */
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
    // First the others hear of it, then the socket goes: nothing is routed to a stream that is closing.
    this.#home.closed(this, reason)
    this.#drained()
    connection?.close(reason instanceof StreamError ? reason : undefined)
  }

  #stopPause (): void {
    this.#paused?.cancel()
    this.#paused = undefined
  }
}
