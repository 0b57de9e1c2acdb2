/** Session: one device of one user. It outlives its stream: a resumed stream is attached to the same session. */
import type { Clock, Timer } from '../base/clock.js'
import { Named, type Slot } from '../base/slot.js'
import type { Storage } from '../storage/store.js'
import type { Element } from '../xml/element.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { Stanza, stanza as stanzaOf, type Presence } from '../xmpp/stanza.js'

/** What a session needs of a stream. */
export interface Connection {
  /** The peer's address, as text. */
  readonly address: string
  /** Under TLS. */
  readonly secure: boolean
  /** xml:lang of the peer's stream header. */
  readonly lang: string | undefined
  /** When the last byte came, in milliseconds since 1970. */
  readonly lastRead: number
  /** Bytes not yet taken by the kernel. */
  readonly backlog: number
  /** Writes UTF-8, one character a byte; gathered, and written once a turn of the event loop. */
  send (octets: string): void
  /** Ends the stream, with a stream error if one is given. */
  close (error?: StreamError): void
  /** Stops reading, and goes on: a session over its limits is not read. */
  pause (): void
  resume (): void
}

/** What a session asks of its host. */
export interface SessionHome {
  readonly clock: Clock
  readonly storage: Storage
  /** Bytes that may wait for a slow reader. */
  readonly backlogBound: number
  /** The gate before the socket: undefined where the stanza is held or dropped. */
  gate (session: Session, stanza: Stanza): Stanza | undefined
  detached (session: Session, reason: Error | undefined): void
  closed (session: Session, reason: Error | undefined): void
}

export class Session {
  readonly jid: Jid
  readonly account: Jid
  /** When it was bound, in milliseconds since 1970. */
  readonly since: number
  readonly #home: SessionHome
  readonly #slots = new Named()
  #connection: Connection | undefined
  #closed = false
  #presence: Presence | undefined
  #priority = 0
  #released = 0
  #paused: Timer | undefined
  #lastAddress: string

  constructor (home: SessionHome, jid: Jid, connection: Connection) {
    this.jid = jid
    this.account = jid.bare
    this.since = home.clock.now()
    this.#home = home
    this.#connection = connection
    this.#lastAddress = connection.address
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
  get secure (): boolean { return this.#connection?.secure ?? false }
  get lang (): string | undefined { return this.#connection?.lang }
  /** When its device was last heard, in milliseconds since 1970. */
  get lastRead (): number { return this.#connection?.lastRead ?? this.since }

  /**
   * Writes to the device, behind the gate. 'full': it reads too slowly, and is closed; nobody else waits for it.
   * 'kept': it waits for its connection.
   */
  send (what: Stanza | Element): 'sent' | 'kept' | 'full' {
    if (this.#closed) return 'full'
    const passed = this.#home.gate(this, what instanceof Stanza ? what : stanzaOf(what, this.account, this.jid))
    if (passed === undefined) return 'kept'
    return this.write(passed.octets())
  }

  /** Writes a nonza, or what has passed the gate already. */
  write (text: string | Element): 'sent' | 'kept' | 'full' {
    const connection = this.#connection
    if (connection === undefined) return this.#closed ? 'full' : 'kept'
    if (connection.backlog > this.#home.backlogBound) {
      this.close(new StreamError('policy-violation', 'reading too slowly'))
      return 'full'
    }
    connection.send(typeof text === 'string' ? text : octets(text))
    return 'sent'
  }

  get<T> (slot: Slot<T>): T {
    return this.#slots.made(slot, slot.initial)
  }

  put<T> (slot: Slot<T>, value: T): void {
    this.#slots.put(slot, value)
  }

  /** Runs `then` once commit `number` has settled, and behind all that this session released before: its stanzas keep their order. */
  release (number: number, then: (error: Error | undefined) => void): void {
    const { storage } = this.#home
    if (number !== 0) {
      this.#released = number
      storage.after(number, then)
    } else if (this.#released <= storage.settled) then(undefined)
    else storage.after(this.#released, () => { then(undefined) })
  }

  /** Stops reading its device for so many milliseconds. Calls add up to the longest. */
  pause (ms: number): void {
    const connection = this.#connection
    if (connection === undefined) return
    this.#paused?.cancel()
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
  }

  /** A new connection takes the place of the old one. */
  attach (connection: Connection): void {
    if (this.#closed) throw new Error('a closed session cannot be attached')
    const old = this.#connection
    this.#connection = connection
    this.#lastAddress = connection.address
    old?.close(new StreamError('conflict', 'resumed elsewhere'))
  }

  /** Its connection is gone. Called by the connection that is; one that was replaced is not heard. */
  detach (connection: Connection, reason?: Error): void {
    if (this.#connection !== connection) return
    this.#connection = undefined
    this.#stopPause()
    if (!this.#closed) this.#home.detached(this, reason)
  }

  /** Ends the session and its stream. Calling it again does nothing. */
  close (reason?: Error): void {
    if (this.#closed) return
    this.#closed = true
    this.#stopPause()
    const connection = this.#connection
    this.#connection = undefined
    // First the others hear of it, then the socket goes: nothing is routed to a stream that is closing.
    this.#home.closed(this, reason)
    connection?.close(reason instanceof StreamError ? reason : undefined)
  }

  #stopPause (): void {
    this.#paused?.cancel()
    this.#paused = undefined
  }
}
