/**
 * Stream management between two servers (XEP-0198): the counts that a stream hands on to the next one when it is
 * resumed. Acknowledged stanzas are forgotten.
 *
 * When a stream ends, an unacknowledged stanza is sent again only if the peer itself says that it did not come, by the
 * `h` of `<resumed/>` or `<failed/>`. Otherwise it returns to its sender as an error, because it may have arrived and
 * must not come twice. A peer without stream management is pinged instead; its answer confirms what was sent before.
 */
import type { Clock, Timer } from '../../base/clock.js'
import type { ReleaseOrder } from '../../host/order.js'
import { BACKLOG } from '../../stream/bounds.js'
import { counted } from '../../stream/acks/counters.js'
import { Inbound } from '../../stream/acks/inbound.js'
import { Outbound } from '../../stream/acks/outbound.js'
import { RequestLoop } from '../../stream/acks/request-loop.js'
import { Arrived, type CountedArrival } from './arrived.js'
import { repeated, type QueuedStanza } from '../ground/queued-stanza.js'

/** The stream that carries the stanzas now. */
export interface AckedStream {
  write (octets: string): void
  /** Ends the connection without closing the stream, so that it may be resumed. */
  cut (reason: Error): void
}

export interface ManagedHome {
  readonly clock: Clock
  /**
   * Asks by a ping whether the server has come this far, in the name of the domains of a stanza. Returns false if it
   * cannot ask. `answered`: false if no answer came in time.
   */
  ping (about: QueuedStanza, bearer: AckedStream, answered: (isThere: boolean) => void): boolean
  /** True if this number of bytes may be kept in addition, counted over all other servers. */
  mayWait (bytes: number): boolean
  waits (bytes: number): void
  /** Takes note of stanzas that the other server has, or whose fate will never be known. */
  done (items: readonly QueuedStanza[]): void
}

/** The most stanzas and bytes that may be unacknowledged. */
const MOST_STANZAS = 5000
const MOST_BYTES = BACKLOG / 2
/** A peer with less than this unacknowledged does not wait because others acknowledge nothing. */
const LEAST_BYTES = 64 * 1024
/** The milliseconds after which a missing acknowledgement is requested again, and how often without progress. */
const AGAIN = 5000
const MOST_TIMES = 6
/** Without stream management: the milliseconds or stanzas after which the peer is pinged. */
const PING_DELAY = 1000
const PING_STANZAS = 100

/** The stored state of a stream: its id, the count that the peer acknowledged, and the count that was handled here. */
export interface ManagedState { readonly id: string, readonly acknowledged: number, readonly handled: number }

export class S2sAcks {
  /** The id by which the stream may be resumed; '' if it cannot be. */
  id = ''
  /** 'pings': until stream management is agreed on, or for good. 'nothing': the peer cannot be asked. */
  #by: 'acks' | 'pings' | 'nothing' = 'pings'
  #isCounting = false
  readonly #home: ManagedHome
  readonly #arrived: Arrived
  readonly #inbound: Inbound
  /** The peer has answered a ping before. */
  #isAnswering: boolean
  #bearer: AckedStream | undefined
  readonly #sent: Outbound<QueuedStanza>
  readonly #requests: RequestLoop
  /** Sent before stream management was enabled. The first acknowledgement shows that these came, too. */
  #before: readonly QueuedStanza[] = []
  /** A request goes out at the end of this turn of the event loop. */
  #isAsking = false
  /** The count that the answer to the open ping confirms. */
  #pinged: number | undefined
  #pingTimer: Timer | undefined
  /** The number of bytes that the owner was told. */
  #told = 0
  /** Callers of `confirmed`, which wait until all that was sent has come. */
  #confirming: (() => void)[] = []

  /**
   * `isAnswering`: the peer has answered a ping before. `acknowledged` and `handled`: the counts of a stream that is
   * resumed after a restart.
   */
  constructor (home: ManagedHome, isAnswering: boolean, { acknowledged, handled } = { acknowledged: 0, handled: 0 }) {
    this.#home = home
    this.#isAnswering = isAnswering
    const { clock } = home
    const write = (octets: string): void => { this.#bearer?.write(octets) }
    this.#arrived = new Arrived(count => { this.#inbound.store(count) }, handled)
    // §4: a server is answered at once with what is stored, and once more when all that had come is stored.
    this.#inbound = new Inbound({
      whenCounted: then => { then(this.#arrived.arrived) },
      tell: write,
      after: (ms, run) => clock.after(ms, run),
    }, 0, handled)
    // Whatever waits for the peer to read is bounded by what may be unacknowledged.
    this.#sent = new Outbound({ write, hasRoom: () => this.#bearer !== undefined, drained: () => false }, acknowledged)
    this.#requests = new RequestLoop({ now: () => clock.now(), write }, {
      again: AGAIN, times: MOST_TIMES, after: (ms, run) => clock.after(ms, run),
      gaveUp: () => { this.#bearer?.cut(new Error('it acknowledges nothing')) },
    })
  }

  /** Restores a stream that was stored, with the stanzas that it had sent and the peer had not acknowledged. */
  static restored (home: ManagedHome, state: ManagedState, items: readonly QueuedStanza[]): S2sAcks {
    const managed = new S2sAcks(home, true, state)
    managed.id = state.id
    managed.#by = 'acks'
    managed.#isCounting = true
    for (const item of items) managed.#sent.push(item)
    managed.#tell()
    return managed
  }

  get isCounting (): boolean { return this.#isCounting }
  get isAcknowledged (): boolean { return this.#by === 'acks' }
  get unacknowledged (): number { return this.#sent.length + this.#before.length }
  get bytes (): number { return this.#sent.bytes }
  /** True if one more unacknowledged stanza may be kept. */
  get hasRoom (): boolean { return !this.#isFull || this.#mayForget }
  get #isFull (): boolean {
    const { length, bytes } = this.#sent
    return length >= MOST_STANZAS || bytes >= MOST_BYTES || bytes >= LEAST_BYTES && !this.#home.mayWait(0)
  }

  /** A peer that has never confirmed anything may have stanzas forgotten: their fate is unknown anyway. */
  get #mayForget (): boolean { return this.#by === 'nothing' || this.#by === 'pings' && !this.#isAnswering }

  /** Adds stanzas that were sent on the new stream before this state was moved to it. */
  precede (items: readonly QueuedStanza[]): void { this.#before = [...this.#before, ...items] }

  /** Sends on this stream from now on. */
  attach (bearer: AckedStream): void { this.#bearer = bearer }

  /** Sends nothing from now on, until another stream is attached. */
  detach (): void {
    this.#bearer = undefined
    this.#rest()
    this.#inbound.forget()
    this.#confirm()
  }

  // ---- Negotiation ----------------------------------------------------------------------------

  /** §3: counts what is sent from now on; the peer acknowledges it. */
  countSent (): void {
    this.#before = this.#sent.restart()
    this.#rest()
    this.#by = 'acks'
    this.#tell()
    if (this.#before.length > 0) this.#requests.ask(this.#sent.sent)
  }

  /** §3: counts what comes from now on. */
  countReceived (): void { this.#isCounting = true }

  /** Handles `<failed/>`: the peer does not enable stream management after all. What was sent is confirmed by pings. */
  giveUp (): void {
    this.#rest()
    this.#by = 'pings'
    if (this.unacknowledged > 0) this.#later()
  }

  // ---- Outgoing stanzas ----------------------------------------------------------------------

  send (item: QueuedStanza): void {
    if (this.#by === 'nothing') {
      this.#home.done([item])
      this.#bearer?.write(item.octets)
      return
    }
    if (this.#mayForget && this.#isFull) this.#home.done(this.#sent.take())
    this.#sent.push(item)
    this.#tell()
    this.#sent.flush()
    this.#later()
  }

  /** Handles `<a/>`. Throws StreamError if the count is impossible. */
  acknowledged (h: number): void {
    if (this.#by !== 'acks') return
    const { acknowledged } = this.#sent
    this.#take(h)
    if (this.#requests.askedAt === undefined) return
    this.#forgetBefore()
    this.#requests.answered(h, acknowledged, this.#sent.sent)
    if (this.#sent.length > 0) this.#requests.ask(this.#sent.sent)
  }

  /** Handles `h` of `<resumed/>` or of the peer's `<resume/>`. Throws StreamError if the count is impossible. */
  resumedAt (h: number): void { this.#take(h) }

  #take (h: number): void {
    this.#home.done(this.#sent.acknowledge(h))
    this.#tell()
  }

  #forgetBefore (): void {
    this.#home.done(this.#before)
    this.#before = []
    this.#confirm()
  }

  get #isConfirmed (): boolean {
    return this.unacknowledged === 0 || this.#bearer === undefined || this.#by === 'nothing'
  }

  #confirm (): void {
    if (this.#confirming.length > 0 && this.#isConfirmed) for (const resolve of this.#confirming.splice(0)) resolve()
  }

  /** Resolves once the peer has confirmed all that was sent, if it can be asked, or after `ms` milliseconds. */
  confirmed (ms: number): Promise<void> {
    if (this.#by === 'pings' && this.#isAnswering && this.#pinged === undefined) this.#ping()
    if (this.#isConfirmed || this.#by === 'pings' && !this.#isAnswering) return Promise.resolve()
    return new Promise(resolve => {
      const timer = this.#home.clock.after(ms, () => {
        this.#confirming.splice(this.#confirming.indexOf(done), 1)
        resolve()
      })
      const done = (): void => {
        timer.cancel()
        resolve()
      }
      this.#confirming.push(done)
    })
  }

  /** §5: sends again what the peer does not have, on the stream that is attached now. */
  repeat (): void {
    this.#sent.repeat()
    if (this.#sent.length > 0) this.#requests.ask(this.#sent.sent)
  }

  /**
   * Ends this state. `h`: the peer's last count, if it gave one. Returns what may be sent `again` because the peer does
   * not have it, and what is `lost`: the other unacknowledged stanzas.
   */
  finish (h?: number): { readonly again: readonly QueuedStanza[], readonly lost: readonly QueuedStanza[] } {
    this.detach()
    const isKnown = h !== undefined && this.#by === 'acks' && this.#sent.covers(h)
    if (isKnown) {
      this.#home.done(this.#sent.acknowledge(h))
      this.#forgetBefore()
    }
    const before = this.#before
    this.#before = []
    const rest = this.#sent.take()
    this.#by = 'nothing'
    this.#tell()
    if (!isKnown) return { again: [], lost: [...before, ...rest] }
    return {
      again: rest.filter(({ isAgain }) => isAgain !== true).map(repeated),
      lost: rest.filter(({ isAgain }) => isAgain === true),
    }
  }

  /**
   * Saves this state for the next start. Unacknowledged stanzas wait for the resumption; those sent before counting
   * began are lost. Returns undefined if the stream cannot be resumed.
   */
  saveForRestart (): {
    readonly state: ManagedState
    readonly waiting: readonly QueuedStanza[]
    readonly lost: readonly QueuedStanza[]
  } | undefined {
    if (this.id === '' || this.#by !== 'acks') return undefined
    this.detach()
    const lost = this.#before
    this.#before = []
    const state = { id: this.id, acknowledged: this.#sent.acknowledged, handled: counted(this.#arrived.handled, 0) }
    const waiting = this.#sent.take()
    this.#by = 'nothing'
    this.#tell()
    return { state, waiting, lost }
  }

  // ---- Incoming stanzas ------------------------------------------------------------------------

  /** Counts a stanza that came; undefined if nothing is counted. */
  arrive (order: ReleaseOrder): CountedArrival | undefined {
    return this.#isCounting ? this.#arrived.arrive(order) : undefined
  }

  /** Handles `<r/>`. */
  requested (): void { if (this.#isCounting) this.#inbound.asked() }

  /** The number of the peer's stanzas that are stored. */
  get handled (): number { return this.#arrived.handled }

  /** Resolves with the count once all that has come so far is stored. */
  async settled (): Promise<number> {
    await this.#arrived.settled()
    return this.#arrived.handled
  }

  /** Sends the last `<a/>` on a stream (§4). */
  sendFinalAck (): void { if (this.#isCounting) this.#inbound.tell() }

  // ---- Requests for acknowledgement --------------------------------------------------------------

  /** Requests one acknowledgement at a time, after all that is sent in this turn of the event loop. */
  #later (): void {
    if (this.#bearer === undefined) return
    if (this.#by === 'pings') { if (this.#pinged === undefined) this.#soon(); return }
    if (this.#isAsking || this.#requests.askedAt !== undefined) return
    this.#isAsking = true
    queueMicrotask(() => {
      this.#isAsking = false
      if (this.#by === 'acks' && this.#bearer !== undefined) this.#requests.ask(this.#sent.sent)
    })
  }

  /** Stops waiting for an answer. */
  #rest (): void {
    this.#requests.rest()
    this.#pingTimer?.cancel()
    this.#pingTimer = undefined
    this.#pinged = undefined
  }

  #soon (): void {
    if (this.#sent.length >= PING_STANZAS) { this.#ping(); return }
    this.#pingTimer ??= this.#home.clock.after(PING_DELAY, () => { this.#ping() })
  }

  #ping (): void {
    this.#pingTimer?.cancel()
    this.#pingTimer = undefined
    const bearer = this.#bearer
    const last = this.#sent.last ?? this.#before.at(-1)
    if (bearer === undefined || last === undefined) return
    const count = this.#pinged = this.#sent.sent
    const isAsked = this.#home.ping(last, bearer, isThere => {
      if (this.#pinged !== count || this.#by !== 'pings' || this.#bearer !== bearer) return
      this.#pinged = undefined
      if (isThere) this.#answered(count)
      else if (this.#isAnswering) bearer.cut(new Error('it no longer answers'))
      else this.#forget()
    })
    if (!isAsked) this.#forget()
  }

  #answered (count: number): void {
    this.#isAnswering = true
    this.#forgetBefore()
    this.#home.done(this.#sent.covers(count) ? this.#sent.acknowledge(count) : [])
    this.#tell()
    if (this.#sent.length > 0) this.#soon()
  }

  /** Forgets what was sent, because this peer cannot be asked. */
  #forget (): void {
    this.#pinged = undefined
    this.#forgetBefore()
    this.#home.done(this.#sent.take())
    this.#by = 'nothing'
    this.#tell()
  }

  /** Tells the owner how many bytes are kept. `#before` is not counted: it is small and soon gone. */
  #tell (): void {
    const { bytes } = this.#sent
    this.#confirm()
    if (bytes === this.#told) return
    this.#home.waits(bytes - this.#told)
    this.#told = bytes
  }
}
