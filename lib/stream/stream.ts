/** Stream: one XML stream over one transport (RFC 6120 §4): opened, restarted, closed; its elements handed over one at a time. */
import type { Timer } from '../base/clock.js'
import { follow, type Maybe } from '../base/maybe.js'
import { Queue } from '../base/queue.js'
import type { TokenBucket } from '../base/rate.js'
import { localName, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { Parser, XmlError, type Limits } from '../xml/parser.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { BACKLOG, HIGH_WATER, QUEUE_BYTES } from './bounds.js'
import { headerOctets, readHeader, type StreamHeader } from './header.js'
import { peerError } from './peer-error.js'
import type { StreamEnd, StreamHandlers, StreamSettings } from './stream-settings.js'
import { Meter, Tally, type TrafficKind } from './traffic.js'
import type { ClientTlsSettings, TlsInfo, TlsSettings, Transport } from './transport.js'
import { Watch, type WatchTimes } from './whitespace.js'

export type StreamState<T = unknown> =
  | { readonly at: 'opening' }
  | { readonly at: 'negotiating', readonly secure: boolean, readonly identity: Jid | undefined }
  | { readonly at: 'established', readonly by: T }
  | { readonly at: 'closing', readonly side: 'ours' | 'theirs' }
  | { readonly at: 'closed', readonly reason: Error | undefined }

export { PeerStreamError } from './peer-error.js'
export type { StreamEnd, StreamHandlers, StreamSettings } from './stream-settings.js'

/** How long a peer may take to close its stream after we have closed ours (RFC 6120 §4.4), in milliseconds. */
export const CLOSING = 5000
const QUEUE = 32

/** Why reading is paused; each is lifted by itself. */
const WORK = 1, SLOW_READER = 2, RATE = 4, OWNER = 8, TURN = 16
const TAG = '</stream:stream>'

export class Stream<T = unknown> {
  readonly transport: Transport
  /** When the peer was last heard, in milliseconds since 1970. */
  lastRead: number
  readonly #how: StreamSettings
  readonly #handlers: StreamHandlers
  readonly #parser: Parser
  readonly #queue: Queue
  readonly #tally: Tally
  #state: StreamState<T> = { at: 'opening' }
  #header: StreamHeader | undefined
  #headerSent = false
  #id: string | undefined
  #holds = 0
  /** Bytes of the elements that wait for their turn. */
  #queued = 0
  #isOver = false
  #isShaking = false
  #watch: Watch | undefined
  #deadline: Timer | undefined
  #resting: Timer | undefined
  /** Until when it reads nothing, in milliseconds since 1970. */
  #restsUntil = 0
  #patience: Timer | undefined
  /** They wait until the system has taken what was written. */
  #draining: (() => void)[] = []

  constructor (transport: Transport, how: StreamSettings, handlers: StreamHandlers) {
    this.transport = transport
    this.#how = how
    this.#handlers = handlers
    this.lastRead = how.clock.now()
    this.#tally = new Tally(how.traffic ?? new Meter())
    this.#queue = new Queue(how.queue ?? QUEUE, error => { this.fail(error) }, () => { this.#release(WORK) }, how.turns)
    this.#parser = new Parser({ limits: how.limits, contentNamespace: how.namespace }, {
      opened: root => { this.#opened(root) },
      element: (element, source) => { this.#element(element, source) },
      closed: () => { this.#inTurn(() => this.#closedByPeer()) },
    })
  }

  get state (): StreamState<T> { return this.#state }
  /** Nothing is read or sent any more. */
  get isOver (): boolean { return this.#isOver }
  /** An element is being handled; those that come now wait. */
  get isBusy (): boolean { return this.#queue.busy }
  /** The peer's header; undefined until it has come. */
  get header (): StreamHeader | undefined { return this.#header }
  /** Of the stream: made by whom it was opened to (RFC 6120 §4.7.3). */
  get id (): string | undefined { return this.#id }
  get limits (): Limits { return this.#parser.limits }
  set limits (limits: Limits) { this.#parser.limits = limits }

  /** Begins to read. */
  start (): void {
    this.transport.open({
      data: chunk => { this.#data(chunk) },
      drained: () => { this.#drained() },
      closed: reason => { this.#lost(reason) },
    })
  }

  /** Initiating: sends our header (RFC 6120 §4.2). */
  open (addresses: { readonly from?: string, readonly to: string }): void {
    this.#sendHeader({ namespace: this.#how.namespace, from: addresses.from, to: addresses.to })
  }

  /** Receiving: answers the peer's header with ours, in the name of a domain that we serve. */
  reply (domain: string | undefined): void {
    this.#id = this.#how.ids.next()
    // RFC 6120 §4.7.1, §4.7.2: ours names the domain, and the peer if it has named itself
    this.#sendHeader({ namespace: this.#how.namespace, id: this.#id, from: domain, to: this.#header?.from?.toString() })
  }

  /** The stream is open in both directions, and stands where negotiation is. */
  negotiate (secure: boolean, identity: Jid | undefined): void {
    if (!this.#isOver) this.#state = { at: 'negotiating', secure, identity }
  }

  /** Stanzas flow from now on. */
  establish (by: T): void {
    if (!this.#isOver) this.#state = { at: 'established', by }
  }

  /** Expects a new header (RFC 6120 §4.3.3). What the peer has sent already belongs to the new stream. */
  restart (): void {
    if (this.#state.at === 'opening') return // as it is after startTls
    this.#parser.reset({ keepRest: true })
    this.#reopen()
  }

  /** Encrypts, and expects a new header. What the peer has sent already is dropped: anybody may have (RFC 6120 §5.4.3.3). */
  async startTls (how: TlsSettings | ClientTlsSettings): Promise<TlsInfo> {
    this.#parser.reset({ keepRest: false })
    this.#isShaking = true
    try {
      const tls = await this.transport.startTls(how)
      this.#parser.reset({ keepRest: false })
      this.#reopen()
      return tls
    } finally {
      this.#isShaking = false
    }
  }

  /** UTF-8, one character a byte; `kind`: where it is known. A peer that reads too slowly is not read itself, and given up at last. */
  send (octets: string, kind?: TrafficKind): void {
    if (this.#isOver) return
    const { transport } = this
    this.#tally.sent(octets, this.#state.at === 'established', kind)
    transport.write(octets)
    const { backlog } = transport
    if (backlog <= (this.#how.highWater ?? HIGH_WATER)) return
    if (backlog > (this.#how.backlogBound ?? BACKLOG)) this.close(new StreamError('policy-violation', 'reading too slowly'))
    else this.#hold(SLOW_READER)
  }

  /** Runs `then` once the system has taken all that was written; never, if the stream ends before. To be called while something waits. */
  drained (then: () => void): void { if (!this.#isOver) this.#draining.push(then) }

  /** The peer has cost this many units of a budget: over that it is read more slowly. */
  charge (units: number, budget: TokenBucket): void {
    const wait = budget.take(units)
    if (wait > 0) this.#rest(wait)
  }

  pause (): void { this.#hold(OWNER) }
  resume (): void { this.#release(OWNER) }

  /** Ends the stream with connection-timeout in so many milliseconds; undefined: never mind. */
  expire (ms: number | undefined): void {
    this.#deadline?.cancel()
    this.#deadline = ms === undefined || this.#isOver ? undefined : this.#how.clock.after(ms, () => {
      this.close(new StreamError('connection-timeout', 'the negotiation took too long'))
    })
  }

  /** Watches over its silence from now on. `isAsked`: somebody else asks the peer whether it is there, and no space is sent. */
  watch (times: WatchTimes, isAsked: () => boolean = () => false): void {
    this.#watch?.stop()
    if (this.#isOver) return
    this.#watch = new Watch(this.#how.clock, times, () => { if (!isAsked()) this.send(' ') }, () => {
      this.close(new StreamError('connection-timeout', 'silent for too long'))
    })
  }

  /** Ends the stream with whatever went wrong: a StreamError as it is; anything else is a defect, which the peer hears nothing of. */
  fail (error: unknown): void {
    if (error instanceof StreamError) { this.close(error); return }
    if (error instanceof XmlError) { this.close(new StreamError(error.condition, error.message, { cause: error })); return }
    this.#how.log.error('defect', { address: this.transport.address, error })
    this.close(new StreamError('internal-server-error', undefined, { cause: error }))
  }

  /** Closes the stream, with an error if one is given. Calling it again does nothing. */
  close (error?: StreamError): void {
    if (this.#isOver) return
    if (this.#isShaking) { this.cut(error ?? new Error('closed during the TLS handshake')); return }
    // RFC 6120 §4.9.1.2: an error in the peer's header follows a header of ours all the same.
    if (!this.#headerSent) this.reply(this.#how.domain)
    this.#frame(error === undefined ? TAG : octets(error.element()) + TAG)
    const hasPeer = this.#header !== undefined
    this.#finish({ at: 'closing', side: 'ours' }, { by: 'us', reason: error })
    // RFC 6120 §4.4: the peer may close its side in peace; after an error (§4.9.1.1) there is nothing to wait for.
    if (error !== undefined || !hasPeer) this.transport.end()
    else this.#patience = this.#how.clock.after(CLOSING, () => { this.transport.end() })
  }

  /** Ends the connection, and leaves the stream unfinished, to be resumed (XEP-0198 §7). What was written still goes out. */
  leave (): void {
    if (this.#isOver) return
    this.#finish({ at: 'closing', side: 'ours' }, { by: 'us', reason: undefined })
    this.transport.end()
  }

  /** Cuts the connection without a word: what a handshake that failed deserves. */
  cut (reason: Error): void {
    this.transport.destroy(reason)
    if (!this.#isOver) this.#finish({ at: 'closing', side: 'ours' }, { by: 'loss', reason })
  }

  // ---- From the transport -----------------------------------------------------------

  #data (chunk: Uint8Array): void {
    this.lastRead = this.#how.clock.now()
    this.#watch?.hear()
    this.#tally.chunk(chunk)
    if (this.#how.turns?.isSpent === true) this.#yield()
    try {
      this.#parser.write(chunk)
    } catch (error) {
      this.#inTurn(() => { this.#broken(error) })
    }
    const wait = this.#how.rate?.bytes?.take(chunk.length) ?? 0
    if (wait > 0) this.#rest(wait)
  }

  #drained (): void {
    this.#release(SLOW_READER)
    if (this.#draining.length === 0 || this.#isOver) return
    for (const then of this.#draining.splice(0)) then()
  }

  #lost (reason: Error | undefined): void {
    if (this.#isOver) this.#state = { at: 'closed', reason }
    else this.#finish({ at: 'closed', reason }, { by: 'loss', reason })
    this.#patience?.cancel()
    this.#handlers.closed()
  }

  // ---- From the parser ----------------------------------------------------------------

  #opened (root: ParsedElement): void {
    if (this.#isOver) return
    this.#hold(WORK)
    try {
      const header = readHeader(root)
      this.#header = header
      if (this.#how.role === 'initiating') this.#id = header.id
      this.#handlers.opened(header, root)
    } catch (error) {
      this.fail(error)
    }
    this.#release(WORK)
  }

  #element (element: ParsedElement, source: Source): void {
    if (this.#isOver) return
    this.#tally.element(element, source, this.#state.at === 'established')
    if (element.ns === NS.STREAM && localName(element) === 'error') {
      this.#inTurn(() => { this.#endedByPeer(peerError(element)) })
      return
    }
    const wait = this.#how.rate?.elements?.take(1) ?? 0
    if (wait > 0) this.#rest(wait)
    // While it is negotiated, what comes behind an element may belong to another stream: it is not even parsed.
    if (this.#state.at !== 'established') this.#hold(WORK)
    else if (this.#queue.busy) this.#handlers.waits?.()
    const bytes = source.octets.length
    this.#queued += bytes
    this.#queue.run(() => {
      this.#queued -= bytes
      return this.#handle(element, source)
    })
    if (this.#queue.full || this.#queued > QUEUE_BYTES) this.#hold(WORK)
    if (this.#how.turns?.isSpent === true) this.#yield()
  }

  #handle (element: ParsedElement, source: Source): Maybe<void> {
    if (this.#isOver) return undefined
    try {
      const wait = this.#handlers.element(element, source)
      return wait instanceof Promise ? wait.catch((error: unknown) => { this.fail(error) }) : undefined
    } catch (error) {
      this.fail(error)
      return undefined
    }
  }

  /** Does it behind the elements that wait. */
  #inTurn (task: () => Maybe<void>): void {
    if (this.#isOver || !this.#queue.run(task)) void task()
  }

  #broken (error: unknown): void {
    if (this.#isOver) this.transport.end()
    else this.fail(error)
  }

  /** RFC 6120 §4.4. */
  #closedByPeer (): Maybe<void> {
    if (this.#isOver) { this.#patience?.cancel(); this.transport.end(); return undefined }
    return follow(this.#handlers.ending?.(), () => { this.#endedByPeer(undefined) })
  }

  #endedByPeer (reason: Error | undefined): void {
    if (this.#isOver) return
    this.#frame(TAG)
    this.#finish({ at: 'closing', side: 'theirs' }, { by: 'peer', reason })
    this.transport.end()
  }

  // ---- Its own ------------------------------------------------------------------------

  #sendHeader (header: Parameters<typeof headerOctets>[0]): void {
    this.#headerSent = true
    this.#frame(headerOctets(header))
  }

  #frame (octets: string): void {
    this.#tally.framed(octets)
    this.transport.write(octets)
  }

  #reopen (): void {
    if (this.#isOver) return
    this.#state = { at: 'opening' }
    this.#header = undefined
    this.#headerSent = false
  }

  #finish (state: StreamState<T>, end: StreamEnd): void {
    this.#isOver = true
    this.#state = state
    this.#tally.end()
    this.#queue.clear()
    this.#draining = []
    this.#watch?.stop()
    this.#deadline?.cancel()
    this.#resting?.cancel()
    if (this.#holds !== 0) this.#proceed() // what is left is read, to find the end of it, and not looked at
    this.#handlers.over(end)
  }

  /** Reads nothing for this number of milliseconds. Calls do not add up: the longest holds. */
  #rest (ms: number): void {
    if (this.#isOver) return
    const until = this.#how.clock.now() + ms
    if (this.#resting !== undefined && this.#restsUntil >= until) return
    this.#resting?.cancel()
    this.#restsUntil = until
    this.#hold(RATE)
    this.#resting = this.#how.clock.after(ms, () => {
      this.#resting = undefined
      this.#release(RATE)
    })
  }

  /** What this turn of the event loop has no time for is read in a later one. */
  #yield (): void {
    if (this.#isOver || (this.#holds & TURN) !== 0) return
    this.#hold(TURN)
    this.#how.turns?.later(() => { this.#release(TURN) })
  }

  #hold (why: number): void {
    if (this.#isOver) return
    if (this.#holds === 0) this.transport.pause()
    this.#holds |= why
    this.#parser.stop()
  }

  #release (why: number): void {
    if ((this.#holds & why) === 0 || this.#isOver) return
    this.#holds &= ~why
    if (this.#holds === 0) this.#proceed()
  }

  #proceed (): void {
    this.#holds = 0
    try {
      this.#parser.resume()
    } catch (error) {
      this.#inTurn(() => { this.#broken(error) })
    }
    if (this.#holds === 0) this.transport.resume()
  }
}
