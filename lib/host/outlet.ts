/** Outlet: all that one address of this server says, in one order; and long answers in pieces, as fast as their recipient takes them. */
import type { Clock } from '../base/clock.js'
import type { Maybe } from '../base/maybe.js'
import type { Batch } from '../storage/store.js'
import { LARGEST_ANSWER } from '../stream/bounds.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed } from '../xmpp/stanza.js'
import { Session } from './session.js'

/** The pieces of a long answer, each made when it is about to go. */
export type Pieces = Iterable<Addressed> | AsyncIterable<Addressed>

/** What leaves one address. */
export interface Outlet {
  readonly from: Jid
  /** Sends a stanza, after all that was sent before. */
  send (stanza: Addressed): void
  /** The same once the batch is stored; its place is taken when the batch is handed over. If the batch is not stored, it is never sent. */
  sendWith (batch: Batch, stanza: Addressed): void
  /**
   * Sends a long answer piece by piece. The next piece is asked for when the recipient has taken most of those before, so the answer is
   * never in memory as a whole, and no session ends because it reads slowly. What is sent to the same recipient meanwhile goes after the
   * last piece; to others it goes at once. Answers, without a promise if nothing has to be waited for, whether all pieces have gone: false
   * if the recipient is gone, acknowledges nothing, or lets too much wait. Rejects with what `pieces` throws.
   */
  draw (to: Session | Jid, pieces: Pieces): Maybe<boolean>
}

/** What outlets need of their host. */
export interface OutletHome {
  readonly clock: Clock
  route (stanza: Addressed): void
  /** The session with this full address, if it is one of this host's. */
  sessionAt (address: Jid): Session | undefined
}

/** How long a device may acknowledge nothing while a long answer waits for that, in milliseconds. */
const ACK_TIMEOUT = 60_000

export class Outlets {
  readonly #home: OutletHome
  /** Addresses of which something is on its way. */
  readonly #lines = new Map<string, Line>()

  constructor (home: OutletHome) { this.#home = home }

  /** How many addresses have something on its way. */
  get size (): number { return this.#lines.size }

  /** What leaves this address; whoever asks for it shares one order. */
  of (from: Jid): Outlet {
    return {
      from,
      send: stanza => {
        const line = this.#lines.get(from.toString())
        if (line === undefined) this.#home.route(stanza)
        else line.send(stanza)
      },
      sendWith: (batch, stanza) => { batch.submitting(() => { this.#line(from).sendWith(batch, stanza) }) },
      draw: (to, pieces) => this.#line(from).draw(to, pieces),
    }
  }

  #line (from: Jid): Line {
    const key = from.toString()
    const line = this.#lines.get(key) ?? new Line(this.#home, () => { this.#lines.delete(key) })
    this.#lines.set(key, line)
    return line
  }
}

interface Place { readonly stanza: Addressed, state: 'waiting' | 'ready' | 'void' }

/** What is on its way from one address. */
class Line {
  readonly #home: OutletHome
  readonly #idle: () => void
  /** What may not go yet: a commit stands before it. */
  readonly #places: Place[] = []
  readonly #drawings = new Map<string, Drawing>()

  /** `idle`: nothing is on its way any more. */
  constructor (home: OutletHome, idle: () => void) {
    this.#home = home
    this.#idle = idle
  }

  send (stanza: Addressed): void {
    if (this.#places.length === 0) this.#go(stanza)
    else this.#places.push({ stanza, state: 'ready' })
  }

  sendWith (batch: Batch, stanza: Addressed): void {
    const place: Place = { stanza, state: 'waiting' }
    this.#places.push(place)
    const settle = (state: 'ready' | 'void') => (): void => {
      place.state = state
      this.#drain()
    }
    batch.delivering(settle('ready'))
    batch.failed(settle('void'))
  }

  draw (to: Session | Jid, pieces: Pieces): Maybe<boolean> {
    const session = to instanceof Session ? to : this.#home.sessionAt(to)
    const send = (stanza: Addressed): void => {
      if (session === undefined) this.#home.route(stanza)
      else session.send(stanza)
    }
    const key = to instanceof Session ? to.jid.toString() : to.toString()
    const before = this.#drawings.get(key)
    const drawing = new Drawing(session, pieces, send, this.#home.clock)
    try {
      const work = before === undefined ? drawing.run() : before.over.then(() => drawing.run())
      if (!(work instanceof Promise)) return work
      this.#drawings.set(key, drawing)
      drawing.over = work.then(() => {}, () => {}).then(() => {
        if (this.#drawings.get(key) === drawing) this.#drawings.delete(key)
        for (const stanza of drawing.take()) send(stanza)
        this.#rest()
      })
      return work
    } finally {
      this.#rest()
    }
  }

  #drain (): void {
    for (let first = this.#places[0]; first !== undefined && first.state !== 'waiting'; first = this.#places[0]) {
      this.#places.shift()
      if (first.state === 'ready') this.#go(first.stanza)
    }
    this.#rest()
  }

  #go (stanza: Addressed): void {
    const drawing = this.#drawings.get(stanza.to.toString())
    if (drawing === undefined) this.#home.route(stanza)
    else drawing.follow(stanza)
  }

  #rest (): void { if (this.#places.length === 0 && this.#drawings.size === 0) this.#idle() }
}

/** One long answer on its way to one recipient. */
class Drawing {
  readonly #session: Session | undefined
  readonly #send: (stanza: Addressed) => void
  readonly #next: () => Maybe<IteratorResult<Addressed, unknown>>
  readonly #stop: () => unknown
  readonly #clock: Clock
  /** What goes after the last piece. */
  readonly #after: Addressed[] = []
  #bytes = 0
  /** Resolves when it is over, and what went after it has gone. */
  over: Promise<void> = Promise.resolve()

  constructor (session: Session | undefined, pieces: Pieces, send: (stanza: Addressed) => void, clock: Clock) {
    const iterator = Symbol.asyncIterator in pieces ? pieces[Symbol.asyncIterator]() : pieces[Symbol.iterator]()
    this.#session = session
    this.#send = send
    this.#clock = clock
    this.#next = () => iterator.next()
    this.#stop = () => iterator.return?.()
  }

  /** Sends what there is room for at once. */
  run (): Maybe<boolean> {
    while (this.#hasRoom) {
      const next = this.#next()
      if (next instanceof Promise) return this.#rest(next)
      if (next.done === true) return true
      this.#send(next.value)
    }
    return this.#rest(undefined)
  }

  /** This is sent to the same recipient meanwhile. */
  follow (stanza: Addressed): void {
    this.#after.push(stanza)
    this.#bytes += stanza.octets().length
  }

  /** What goes after it. */
  take (): readonly Addressed[] { return this.#after.splice(0) }

  async #rest (first: Promise<IteratorResult<Addressed, unknown>> | undefined): Promise<boolean> {
    let next = first
    for (;;) {
      const result = await (next ?? (await this.#isReady() ? this.#next() : undefined))
      next = undefined
      if (result === undefined) {
        await this.#stop()
        return false
      }
      if (result.done === true) return true
      if (this.#isGone) continue
      this.#send(result.value)
    }
  }

  get #isGone (): boolean { return this.#session?.connection === 'closed' || this.#bytes > LARGEST_ANSWER }

  /** Only what a device has on its connection, or has not acknowledged, is known; other servers' queues have bounds of their own. */
  get #hasRoom (): boolean {
    const session = this.#session
    if (session === undefined) return true
    return (session.connection === 'waiting' || session.hasRoom) && session.manager?.hasRoom !== false
  }

  /** Resolves with whether the next piece may go; false if it never may. */
  async #isReady (): Promise<boolean> {
    while (!this.#isGone && !this.#hasRoom) {
      const session = this.#session
      if (session === undefined) return true
      const { manager } = session
      if (manager?.hasRoom === false) {
        if (session.connection === 'waiting' || !await this.#acknowledged(then => { manager.confirming(then) })) return false
      } else await new Promise<void>(resolve => { session.drained(resolve) })
    }
    return !this.#isGone
  }

  #acknowledged (wait: (then: () => void) => void): Promise<boolean> {
    return new Promise(resolve => {
      const timer = this.#clock.after(ACK_TIMEOUT, () => { resolve(false) })
      wait(() => {
        timer.cancel()
        resolve(true)
      })
    })
  }
}
