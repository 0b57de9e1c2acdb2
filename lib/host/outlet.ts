/**
 * Outlet: everything that one address of this server sends, in one order. Long answers are sent in pieces, as fast as
 * the recipient reads. A stanza to many is one broadcast.
 */
import type { Clock } from '../base/clock.js'
import { Fifo } from '../base/fifo.js'
import { follow, type Maybe } from '../base/maybe.js'
import { inTurns, type Turns } from '../base/turns.js'
import type { Batch } from '../storage/store.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed, Stanza } from '../xmpp/stanza.js'
import { Broadcast, type BroadcastPart } from './broadcast.js'
import { deviceOf, Drawing, serverOf, type Pieces } from './drawing.js'
import type { Router } from './router.js'
import { Session } from './session.js'

export type { Pieces } from './drawing.js'

/** Sends on behalf of one address. */
export interface Outlet {
  readonly from: Jid
  /** Sends a stanza, after all that was sent before. */
  send (stanza: Addressed): void
  /**
   * Sends a stanza after the batch is stored. The stanza takes its place in the order when the batch is submitted. If
   * the batch fails, the stanza is never sent.
   */
  sendWith (batch: Batch, stanza: Addressed): void
  /**
   * Sends one stanza to many addresses after the batch is stored; the stanza's own `to` means nothing. It takes its
   * place in the order when the batch is submitted, for all recipients at once. Only the `to` is written for each of
   * them. What devices with stream management must get also after a crash is stored in the same batch, with one body.
   * For each other domain there is one entry in its queue. Devices of this server get it by the hook
   * `broadcastArriving`, and in the usual way if they have no session. The loop is shared with other work meanwhile.
   */
  broadcast (batch: Batch, stanza: Stanza, to: Iterable<Jid>): void
  /**
   * Sends a long answer piece by piece. The next piece is taken from `pieces` when the recipient has read most of those
   * before it. So the whole answer is never in memory, and no session ends because it reads slowly. Other stanzas to
   * the same recipient wait until the last piece is sent; stanzas to others are sent at once. Returns true if all
   * pieces were sent, and false if the recipient is gone, acknowledges nothing, or too much waits after the pieces. The
   * result is a promise only if something must be waited for. Rejects with what `pieces` throws.
   */
  draw (to: Session | Jid, pieces: Pieces): Maybe<boolean>
}

/** The parts of the host that outlets use. */
export interface OutletHome {
  readonly clock: Clock
  readonly turns: Turns | undefined
  readonly pipeline: { route (stanza: Addressed): void }
  readonly router: Pick<Router, 'sessionAt' | 'takerOf' | 'room'>
  /** Logs an unexpected error. */
  defect (error: unknown): void
}

export class Outlets {
  readonly #home: OutletHome
  /** Addresses with stanzas that are not sent yet. */
  readonly #lines = new Map<string, OutletQueue>()

  constructor (home: OutletHome) { this.#home = home }

  /** The number of addresses with stanzas that are not sent yet. */
  get size (): number { return this.#lines.size }

  /** Returns the outlet of an address. All callers with the same address share one order. */
  of (from: Jid): Outlet {
    return {
      from,
      send: stanza => {
        const line = this.#lines.get(from.toString())
        if (line === undefined) this.#home.pipeline.route(stanza)
        else line.send(stanza)
      },
      sendWith: (batch, stanza) => { batch.submitting(() => { this.#line(from).sendWith(batch, stanza) }) },
      broadcast: (batch, stanza, to) => {
        const all = [...to]
        if (all.length > 0) batch.submitting(() => { this.#line(from).broadcast(batch, stanza, all) })
      },
      draw: (to, pieces) => this.#line(from).draw(to, pieces),
    }
  }

  #line (from: Jid): OutletQueue {
    const key = from.toString()
    const line = this.#lines.get(key) ?? new OutletQueue(this.#home, from, () => { this.#lines.delete(key) })
    this.#lines.set(key, line)
    return line
  }
}

/** A place in the order of an outlet. */
interface Place {
  /** Sends what has the place. */
  readonly send: () => Maybe<void>
  /** The recipients whose stanzas take the usual way. Later broadcasts to them take it, too, and keep the order. */
  readonly usual: readonly Jid[]
  state: 'waiting' | 'ready' | 'void'
}

/** The stanzas of one address that are not sent yet. */
class OutletQueue {
  readonly #home: OutletHome
  readonly #from: Jid
  readonly #idle: () => void
  /** Stanzas that wait, because one of them or one before them waits for a commit or is being sent. */
  readonly #places = new Fifo<Place>()
  /** The number of places that have a stanza in the usual way for an address. */
  readonly #usual = new Map<string, number>()
  readonly #drawings = new Map<string, Drawing>()
  #isSending = false

  /** `idle` runs when nothing waits any more. */
  constructor (home: OutletHome, from: Jid, idle: () => void) {
    this.#home = home
    this.#from = from
    this.#idle = idle
  }

  send (stanza: Addressed): void {
    if (this.#places.length === 0) this.#go(stanza)
    else this.#put({ send: () => { this.#go(stanza) }, usual: [stanza.to], state: 'ready' })
  }

  sendWith (batch: Batch, stanza: Addressed): void {
    const place: Place = { send: () => { this.#go(stanza) }, usual: [stanza.to], state: 'waiting' }
    this.#put(place)
    this.#await(batch, place)
  }

  broadcast (batch: Batch, stanza: Stanza, to: readonly Jid[]): void {
    const broadcast = new Broadcast(stanza)
    const { parts, usual } = this.#divide(broadcast, to, batch)
    const place: Place = { send: () => this.#deliver(broadcast, parts, usual), usual, state: 'waiting' }
    this.#put(place)
    batch.failed(() => { for (const part of parts) part.fail() })
    this.#await(batch, place)
  }

  draw (to: Session | Jid, pieces: Pieces): Maybe<boolean> {
    const { clock } = this.#home
    const session = to instanceof Session ? to : this.#home.router.sessionAt(to)
    const { router } = this.#home
    const isElsewhere = session === undefined && !(to instanceof Session)
    const room = isElsewhere ? router.room(this.#from.domain, to.domain) : undefined
    const send = (stanza: Addressed): void => {
      if (session === undefined) this.#home.pipeline.route(stanza)
      else session.send(stanza)
    }
    const key = to instanceof Session ? to.jid.toString() : to.toString()
    const before = this.#drawings.get(key)
    const recipient = session !== undefined ? deviceOf(session, clock) : room && serverOf(room, clock)
    const drawing = new Drawing(recipient, pieces, send, this.#home.turns)
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

  /** Lets each destination take its recipients of a broadcast. */
  #divide (
    broadcast: Broadcast, to: readonly Jid[], batch: Batch,
  ): { readonly parts: readonly BroadcastPart[], readonly usual: readonly Jid[] } {
    const usual: Jid[] = []
    const byDomain = new Map<string, Jid[]>()
    for (const jid of to) {
      const there = byDomain.get(jid.domain)
      if (this.#isUsual(jid)) usual.push(jid)
      else if (there === undefined) byDomain.set(jid.domain, [jid])
      else there.push(jid)
    }
    const parts: BroadcastPart[] = []
    for (const [domain, there] of byDomain) {
      const part = this.#home.router.takerOf(domain)?.broadcast(broadcast, there, batch)
      if (part !== undefined) parts.push(part)
      for (const jid of part?.apart ?? there) usual.push(jid)
    }
    return { parts, usual }
  }

  /** True if a stanza to this address must take the usual way, because one before it does. */
  #isUsual (to: Jid): boolean {
    if (this.#usual.size === 0 && this.#drawings.size === 0) return false
    const key = to.toString()
    return this.#usual.has(key) || this.#drawings.has(key)
  }

  #deliver (broadcast: Broadcast, parts: readonly BroadcastPart[], usual: readonly Jid[]): Maybe<void> {
    const sent = parts.reduce<Maybe<void>>((before, part) => follow(before, () => part.deliver()), undefined)
    return follow(sent, () => inTurns(this.#home.turns, usual, jid => { this.#go(broadcast.to(jid)) }))
  }

  #put (place: Place): void {
    this.#places.push(place)
    this.#count(place, 1)
  }

  /** Adds to the number of places with stanzas in the usual way. */
  #count ({ usual }: Place, by: number): void {
    for (const jid of usual) {
      const key = jid.toString()
      const count = (this.#usual.get(key) ?? 0) + by
      if (count > 0) this.#usual.set(key, count)
      else this.#usual.delete(key)
    }
  }

  #await (batch: Batch, place: Place): void {
    const settle = (state: 'ready' | 'void') => (): void => {
      place.state = state
      this.#drain()
    }
    batch.delivering(settle('ready'))
    batch.failed(settle('void'))
  }

  #drain (): void {
    if (this.#isSending) return
    for (let first = this.#places.first; first !== undefined && first.state !== 'waiting'; first = this.#places.first) {
      const sent = first.state === 'ready' ? this.#send(first) : undefined
      if (sent instanceof Promise) return
      this.#leave(first)
    }
    this.#rest()
  }

  /** Sends what has the first place, which it keeps meanwhile: all that comes later waits. */
  #send (place: Place): Maybe<void> {
    this.#isSending = true
    const sent = place.send()
    if (!(sent instanceof Promise)) {
      this.#isSending = false
      return undefined
    }
    return sent.catch((error: unknown) => { this.#home.defect(error) }).then(() => {
      this.#isSending = false
      this.#leave(place)
      this.#drain()
    })
  }

  #leave (place: Place): void {
    this.#places.shift()
    this.#count(place, -1)
  }

  #go (stanza: Addressed): void {
    const drawing = this.#drawings.get(stanza.to.toString())
    if (drawing === undefined) this.#home.pipeline.route(stanza)
    else drawing.follow(stanza)
  }

  #rest (): void { if (this.#places.length === 0 && this.#drawings.size === 0) this.#idle() }
}
