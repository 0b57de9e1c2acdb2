/**
 * What two servers know of each other's stanzas on a stream, and take along to the next one (XEP-0198).
 *
 * The rule for what was sent and not acknowledged when a stream ends: it is sent again only where the peer itself has said that it did
 * not come, by the `h` of `<resumed/>` or `<failed/>`; else it comes back to its sender as an error, for it may have arrived, and nobody
 * is to have it twice. What was acknowledged is never heard of again. A peer without stream management is asked by a ping instead, whose
 * answer says that what was sent before it has come.
 */
import type { Clock, Timer } from '../base/clock.js'
import { shortened } from '../base/text.js'
import type { ReleaseOrder } from '../host/order.js'
import { BACKLOG } from '../stream/bounds.js'
import { answer, countIn, distance, isTrue, REQUEST, tooHigh, Unacknowledged } from '../stream/stream-management.js'
import { attributeOf, localName, type ParsedElement } from '../xml/element.js'
import { flatten } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import { Inbound, type Place } from './inbound.js'
import type { Waiting } from './waiting.js'

/** The stream that carries it for now. */
export interface Bearer {
  write (octets: string): void
  /** Ends the connection without a word: it may be taken up again. */
  cut (reason: Error): void
}

export interface ManagedHome {
  readonly clock: Clock
  /**
   * Asks the other server whether it has come this far, in the name of the two domains of a stanza. `answered`: false where it has
   * said nothing in time. False where it cannot be asked.
   */
  ping (about: Waiting, bearer: Bearer, answered: (isThere: boolean) => void): boolean
  /** Room for so many bytes more, among all that is kept for other servers. */
  mayWait (bytes: number): boolean
  waits (bytes: number): void
  /** The other server has these; or nobody will ever know whether it has. */
  done (items: readonly Waiting[]): void
}

/** What may be unacknowledged: stanzas and bytes. */
const MOST_STANZAS = 5000
const MOST_BYTES = BACKLOG / 2
/** Whoever has acknowledged all but this is not made to wait for others that acknowledge nothing. */
const LEAST_BYTES = 64 * 1024
/** A peer that has not acknowledged what it was asked for is asked again, in milliseconds; and so many times without any progress. */
const AGAIN = 5000
const MOST_TIMES = 6
/** Without stream management: so long it may be before the peer is asked, in milliseconds, or so many stanzas. */
const PING_DELAY = 1000
const PING_STANZAS = 100
/** Characters of an id that a peer makes. */
const LONGEST_ID = 1024

/** A stream as it is written down when the server is stopped: its id, what the peer has acknowledged, and what of the peer's is handled. */
export interface ManagedState { readonly id: string, readonly acknowledged: number, readonly handled: number }

export class Managed {
  /** By which the stream may be resumed; '' where it cannot be. */
  id = ''
  /** 'pings': until stream management is agreed on, or for good. 'nothing': the peer cannot be asked. */
  #by: 'acks' | 'pings' | 'nothing' = 'pings'
  #isCounting = false
  readonly #home: ManagedHome
  readonly #inbound: Inbound
  /** The peer has shown that it answers pings. */
  #isAnswering: boolean
  #bearer: Bearer | undefined
  #sent = new Unacknowledged<Waiting>()
  /** Sent before there was stream management: the first answer to a request shows that it has come. */
  #before: readonly Waiting[] = []
  /** The count that the answer that is waited for has to reach. */
  #asked: number | undefined
  #times = 0
  #isAsking = false
  #timer: Timer | undefined
  /** The peer waits to hear of so many. */
  #owed: number | undefined
  /** Bytes that its home knows of. */
  #told = 0
  /** They wait until all that was sent has come. */
  #confirming: (() => void)[] = []

  /** `isAnswering`: the peer has answered a ping before. `handled`: so many stanzas of the peer's are handled. */
  constructor (home: ManagedHome, isAnswering: boolean, handled = 0) {
    this.#home = home
    this.#isAnswering = isAnswering
    this.#inbound = new Inbound(() => { this.#pay() }, handled)
  }

  /** One that was written down, with what it had sent and the peer had not acknowledged. */
  static restored (home: ManagedHome, { id, acknowledged, handled }: ManagedState, items: readonly Waiting[]): Managed {
    const managed = new Managed(home, true, handled)
    managed.id = id
    managed.#by = 'acks'
    managed.#isCounting = true
    managed.#sent = new Unacknowledged(acknowledged)
    for (const item of items) managed.#sent.push(item)
    managed.#tell()
    return managed
  }

  get isCounting (): boolean { return this.#isCounting }
  get isAcknowledged (): boolean { return this.#by === 'acks' }
  get unacknowledged (): number { return this.#sent.length + this.#before.length }
  get bytes (): number { return this.#sent.bytes }
  /** Room for one more that is not acknowledged. */
  get hasRoom (): boolean { return !this.#isFull || this.#mayForget }
  get #isFull (): boolean {
    const { length, bytes } = this.#sent
    return length >= MOST_STANZAS || bytes >= MOST_BYTES || bytes >= LEAST_BYTES && !this.#home.mayWait(0)
  }

  /** Of a peer that has never said anything about what has come, nothing is known anyway. */
  get #mayForget (): boolean { return this.#by === 'nothing' || this.#by === 'pings' && !this.#isAnswering }

  /** These were sent on the stream that it is to be carried by, before that was agreed on. */
  precede (items: readonly Waiting[]): void { this.#before = [...this.#before, ...items] }

  /** Is carried by this stream from now on. */
  attach (bearer: Bearer): void { this.#bearer = bearer }

  /** Is carried by none. */
  detach (): void {
    this.#bearer = undefined
    this.#rest()
    this.#owed = undefined
    this.#confirm()
  }

  // ---- What is agreed on ----------------------------------------------------------------------

  /** §3: what is sent from now on is counted, and acknowledged by the peer. */
  countSent (): void {
    this.#before = this.#sent.take()
    this.#sent = new Unacknowledged()
    this.#rest()
    this.#by = 'acks'
    this.#tell()
    if (this.#before.length > 0) this.#ask()
  }

  /** §3: what comes from now on is counted. */
  countReceived (): void { this.#isCounting = true }

  /** The peer does not want it after all: `<failed/>`. What was sent is asked for by pings. */
  giveUp (): void {
    this.#rest()
    this.#by = 'pings'
    if (this.unacknowledged > 0) this.#later()
  }

  // ---- What is sent --------------------------------------------------------------------------

  send (item: Waiting): void {
    if (this.#by === 'nothing') this.#home.done([item])
    else {
      if (this.#mayForget && this.#isFull) this.#home.done(this.#sent.take())
      this.#sent.push(item)
      this.#tell()
    }
    this.#bearer?.write(item.octets)
    if (this.#asked === undefined) this.#later()
  }

  /** `<a/>`. Throws the StreamError where the count cannot be. */
  acknowledged (h: number): void {
    if (this.#by !== 'acks') return
    const progress = distance(this.#sent.acknowledged, h)
    this.#take(h)
    if (progress > 0) this.#times = 0
    if (this.#asked === undefined) return
    this.#forgetBefore()
    const missing = distance(h, this.#asked)
    if (missing > 0 && missing <= this.#sent.length) return // it has not come so far: it will say when it has
    this.#rest()
    if (this.#sent.length > 0) this.#ask()
  }

  /** `h` of `<resumed/>`, or of the `<resume/>` of the peer. Throws the StreamError where it cannot be. */
  resumedAt (h: number): void { this.#take(h) }

  #take (h: number): void {
    const handled = this.#sent.acknowledge(h)
    if (handled === undefined) throw tooHigh(h, this.#sent.sent)
    this.#home.done(handled)
    this.#tell()
  }

  #forgetBefore (): void {
    this.#home.done(this.#before)
    this.#before = []
    this.#confirm()
  }

  get #isConfirmed (): boolean { return this.unacknowledged === 0 || this.#bearer === undefined || this.#by === 'nothing' }

  #confirm (): void {
    if (this.#confirming.length > 0 && this.#isConfirmed) for (const resolve of this.#confirming.splice(0)) resolve()
  }

  /** Resolves once the peer has said that all has come, where it can be asked; and after so many milliseconds at the latest. */
  confirmed (ms: number): Promise<void> {
    if (this.#by === 'pings' && this.#isAnswering && this.#asked === undefined) this.#ping()
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

  /** §5: what the peer does not have goes out again, on the stream that carries it now. */
  repeat (): void {
    for (const item of this.#sent.all()) this.#bearer?.write(item.octets)
    if (this.#sent.length > 0) this.#ask()
  }

  /**
   * It is over. `h`: how far the peer has come, where it says so: what it does not have may be sent again then. All else that is not
   * acknowledged comes back.
   */
  finish (h?: number): { readonly again: readonly Waiting[], readonly lost: readonly Waiting[] } {
    this.detach()
    const handled = h !== undefined && this.#by === 'acks' ? this.#sent.acknowledge(h) : undefined
    const isKnown = handled !== undefined
    if (isKnown) {
      this.#home.done(handled)
      this.#forgetBefore()
    }
    const before = this.#before
    this.#before = []
    const rest = this.#sent.take()
    this.#by = 'nothing'
    this.#tell()
    if (!isKnown) return { again: [], lost: [...before, ...rest] }
    return {
      again: rest.filter(({ isAgain }) => isAgain !== true).map(item => ({ ...item, isAgain: true })),
      lost: rest.filter(({ isAgain }) => isAgain === true),
    }
  }

  /**
   * It is written down, to be taken up behind the next start: what is not acknowledged waits for that. What was sent before anything was
   * counted is lost. Undefined where it cannot be taken up.
   */
  park (): { readonly state: ManagedState, readonly waiting: readonly Waiting[], readonly lost: readonly Waiting[] } | undefined {
    if (this.id === '' || this.#by !== 'acks') return undefined
    this.detach()
    const lost = this.#before
    this.#before = []
    const state = { id: this.id, acknowledged: this.#sent.acknowledged, handled: this.#inbound.handled }
    const waiting = this.#sent.take()
    this.#by = 'nothing'
    this.#tell()
    return { state, waiting, lost }
  }

  // ---- What comes ------------------------------------------------------------------------------

  /** A stanza has come; undefined where nothing is counted. */
  arrive (order: ReleaseOrder): Place | undefined { return this.#isCounting ? this.#inbound.arrive(order) : undefined }

  /** `<r/>`: answered at once with what is stored, and once more when all that had come is. */
  requested (): void {
    if (!this.#isCounting) return
    const { arrived, handled } = this.#inbound
    this.#owed = arrived === handled ? undefined : arrived
    this.#bearer?.write(answer(handled))
  }

  get handled (): number { return this.#inbound.handled }

  /** Resolves with the count once all that has come so far is stored. */
  async settled (): Promise<number> {
    await this.#inbound.settled()
    return this.#inbound.handled
  }

  /** The last that is said on a stream (§4): how far we have come. */
  farewell (): void {
    if (this.#isCounting) this.#bearer?.write(answer(this.#inbound.handled))
  }

  #pay (): void {
    const { handled } = this.#inbound
    // So far, or farther: less than half the numbers there are lie between.
    if (this.#owed === undefined || distance(this.#owed, handled) > 2 ** 31) return
    this.#owed = undefined
    this.#bearer?.write(answer(handled))
  }

  // ---- Asking ------------------------------------------------------------------------------------

  /** One question at a time, behind all that is sent in this turn of the event loop. */
  #later (): void {
    if (this.#isAsking || this.#by === 'nothing' || this.#bearer === undefined) return
    if (this.#by === 'pings') { this.#soon(); return }
    this.#isAsking = true
    queueMicrotask(() => {
      this.#isAsking = false
      if (this.#asked === undefined && this.#by === 'acks') this.#ask()
    })
  }

  #ask (): void {
    const bearer = this.#bearer
    if (bearer === undefined) return
    this.#asked = this.#sent.sent
    bearer.write(REQUEST)
    this.#timer?.cancel()
    this.#timer = this.#home.clock.after(AGAIN, () => {
      if (++this.#times < MOST_TIMES) this.#ask()
      else bearer.cut(new Error('it acknowledges nothing'))
    })
  }

  /** Stops waiting for an answer. */
  #rest (): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#asked = undefined
    this.#times = 0
  }

  #soon (): void {
    if (this.#sent.length >= PING_STANZAS) { this.#ping(); return }
    this.#timer ??= this.#home.clock.after(PING_DELAY, () => { this.#ping() })
  }

  #ping (): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const bearer = this.#bearer
    const last = this.#sent.last ?? this.#before.at(-1)
    if (bearer === undefined || last === undefined) return
    const count = this.#asked = this.#sent.sent
    const isAsked = this.#home.ping(last, bearer, isThere => {
      if (this.#asked !== count || this.#by !== 'pings' || this.#bearer !== bearer) return
      this.#asked = undefined
      if (isThere) this.#answered(count)
      else if (this.#isAnswering) bearer.cut(new Error('it does not answer any more'))
      else this.#forget()
    })
    if (!isAsked) this.#forget()
  }

  #answered (count: number): void {
    this.#isAnswering = true
    this.#forgetBefore()
    this.#home.done(this.#sent.acknowledge(count) ?? [])
    this.#tell()
    if (this.#sent.length > 0) this.#soon()
  }

  /** This peer cannot be asked: as everywhere without stream management, what is sent is gone. */
  #forget (): void {
    this.#asked = undefined
    this.#forgetBefore()
    this.#home.done(this.#sent.take())
    this.#by = 'nothing'
    this.#tell()
  }

  /** How much is kept, among all. What was sent before there was stream management is little, and soon over. */
  #tell (): void {
    const { bytes } = this.#sent
    this.#confirm()
    if (bytes === this.#told) return
    this.#home.waits(bytes - this.#told)
    this.#told = bytes
  }
}

/** What a peer says of stream management once that is agreed on, or asked for by us. Throws StreamError where it may not say so. */
export function answerTo (element: ParsedElement, managed: Managed): void {
  switch (localName(element)) {
    case 'r': managed.requested(); return
    case 'a': {
      const h = countIn(element)
      if (h === undefined) throw new StreamError('invalid-xml', 'an acknowledgement has a count')
      managed.acknowledged(h)
      return
    }
    case 'enabled':
      if (managed.isCounting || !managed.isAcknowledged) throw new StreamError('policy-violation')
      managed.countReceived()
      if (isTrue(element, 'resume')) managed.id = flatten(shortened(attributeOf(element, 'id') ?? '', LONGEST_ID))
      return
    case 'failed': managed.giveUp(); return
    default: throw new StreamError('unsupported-stanza-type')
  }
}
