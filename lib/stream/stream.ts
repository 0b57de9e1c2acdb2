/** One stream over one transport (RFC 6120 §4): opens, restarts, closes it; hands over its elements one at a time. */
import type { Timer } from '../base/clock.js'
import { follow, type Maybe } from '../base/maybe.js'
import { Queue } from '../base/queue.js'
import type { TokenBucket } from '../base/rate.js'
import { localName, weightOf, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { XmlError, type Limits } from '../xml/parser.js'
import { octets } from '../xml/writer.js'
import { StreamError } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import { BACKLOG, HIGH_WATER, QUEUE_BYTES } from './bounds.js'
import { XML_STREAM, type Framing, type Reader } from './framing.js'
import type { OwnHeader, StreamHeader } from './header.js'
import { peerError } from './peer-error.js'
import type { StreamEnd, StreamHandlers, StreamSettings, StreamState } from './stream-settings.js'
import { KEEPALIVE, Meter, Tally, type TrafficKind } from './traffic.js'
import { OWNER, Reading, SLOW_READER, WORK } from './reading.js'
import type { ClientTlsSettings, TlsInfo, TlsSettings, Transport } from './transport.js'
import { Watch, type WatchTimes } from './silence.js'

export { PeerStreamError } from './peer-error.js'
export type { StreamEnd, StreamHandlers, StreamSettings, StreamState } from './stream-settings.js'

/** How long a peer may take to close its stream after we have closed ours (RFC 6120 §4.4), in milliseconds. */
export const CLOSE_TIMEOUT = 5000
const QUEUE = 32

export class Stream<T = unknown> {
  readonly transport: Transport
  /** When the peer was last heard, in milliseconds since 1970. */
  lastRead: number
  readonly #how: StreamSettings
  readonly #handlers: StreamHandlers
  readonly #framing: Framing
  readonly #reader: Reader
  readonly #reading: Reading
  readonly #queue: Queue
  readonly #tally: Tally
  #state: StreamState<T> = { at: 'opening' }
  #header: StreamHeader | undefined
  #headerSent = false
  #id: string | undefined
  /** The bytes of the elements that wait for their turn. */
  #queued = 0
  #isOver = false
  #isShaking = false
  #watch: Watch | undefined
  #deadline: Timer | undefined
  #closeTimer: Timer | undefined
  /** Callbacks that wait until the system has taken all that was written. */
  #draining: (() => void)[] = []

  constructor (transport: Transport, how: StreamSettings, handlers: StreamHandlers) {
    this.transport = transport
    this.#how = how
    this.#handlers = handlers
    this.lastRead = how.clock.now()
    this.#tally = new Tally(how.traffic ?? new Meter())
    const rested = (): void => { this.#reading.release(WORK) }
    this.#queue = new Queue(how.queue ?? QUEUE, error => { this.fail(error) }, rested, how.turns)
    this.#framing = how.framing ?? XML_STREAM
    this.#reader = this.#framing.reader({ limits: how.limits, contentNamespace: how.namespace }, {
      opened: root => { this.#opened(root) },
      element: (element, source) => { this.#element(element, source) },
      closed: () => { this.#inTurn(() => this.#closedByPeer()) },
    })
    this.#reading = new Reading(transport, how, this.#reader, error => { this.#inTurn(() => { this.#broken(error) }) })
  }

  get state (): StreamState<T> { return this.#state }
  /** True if nothing is read or sent any more. */
  get isOver (): boolean { return this.#isOver }
  /** True while an element is being handled; later elements wait. */
  get isBusy (): boolean { return this.#queue.busy }
  /** The peer's header; undefined until it has come. */
  get header (): StreamHeader | undefined { return this.#header }
  /** The id of the stream. The receiving side makes it (RFC 6120 §4.7.3). */
  get id (): string | undefined { return this.#id }
  get limits (): Limits { return this.#reader.limits }
  set limits (limits: Limits) { this.#reader.limits = limits }

  /** Begins to read. */
  start (): void {
    this.transport.open({
      data: chunk => { this.#data(chunk) },
      drained: () => { this.#drained() },
      heard: bytes => { this.#heard(bytes) },
      failed: error => { this.#inTurn(() => { this.#broken(error) }) },
      closed: reason => { this.#lost(reason) },
    })
  }

  /** Sends our header, as the initiating side (RFC 6120 §4.2). */
  open (addresses: { readonly from?: string, readonly to: string }): void {
    this.#sendHeader({ namespace: this.#how.namespace, from: addresses.from, to: addresses.to })
  }

  /** Answers the peer's header with ours, as the receiving side, in the name of a local domain. */
  reply (domain: string | undefined): void {
    this.#id = this.#how.ids.next()
    // RFC 6120 §4.7.1, §4.7.2: our header names the domain, and the peer if it has named itself.
    this.#sendHeader({ namespace: this.#how.namespace, id: this.#id, from: domain, to: this.#header?.from?.toString() })
  }

  /** Sets the state to negotiating: both headers were sent. */
  negotiate (secure: boolean, identity: Jid | undefined): void {
    if (!this.#isOver) this.#state = { at: 'negotiating', secure, identity }
  }

  /** Sets the state to established: stanzas may be exchanged. */
  establish (by: T): void {
    if (!this.#isOver) this.#state = { at: 'established', by }
  }

  /** Expects a new header (RFC 6120 §4.3.3). What the peer has sent already belongs to the new stream. */
  restart (): void {
    if (this.#state.at === 'opening') return // already so after startTls
    this.#reader.reset({ keepRest: true })
    this.#reopen()
  }

  /** Encrypts, and expects a new header. Drops earlier input: anybody may have sent it (RFC 6120 §5.4.3.3). */
  async startTls (how: TlsSettings | ClientTlsSettings): Promise<TlsInfo> {
    this.#reader.reset({ keepRest: false })
    this.#isShaking = true
    try {
      const tls = await this.transport.startTls(how)
      this.#reader.reset({ keepRest: false })
      this.#reopen()
      return tls
    } finally {
      this.#isShaking = false
    }
  }

  /** Sends UTF-8, one character per byte. A peer that reads too slowly is not read, and in the end given up. */
  send (octets: string, kind?: TrafficKind): void {
    if (this.#isOver) return
    const { transport } = this
    this.#tally.sent(octets, this.#state.at === 'established', kind)
    transport.write(this.#framing.element(octets))
    const { backlog } = transport
    if (backlog <= (this.#how.highWater ?? HIGH_WATER)) return
    const bound = this.#how.backlogBound ?? BACKLOG
    if (backlog > bound) this.close(new StreamError('policy-violation', 'reading too slowly'))
    else {
      this.#reading.hold(SLOW_READER)
      transport.awaitDrain()
    }
  }

  /**
   * Runs `then` once the system has taken all that was written; never if the stream ends before. Call it if data waits.
   */
  drained (then: () => void): void {
    if (this.#isOver) return
    this.#draining.push(then)
    this.transport.awaitDrain()
  }

  /** Charges the peer this many units of a budget. Over the budget, it is read more slowly. */
  charge (units: number, budget: TokenBucket): void {
    const wait = budget.take(units)
    if (wait > 0) this.#reading.rest(wait)
  }

  pause (): void { this.#reading.hold(OWNER) }
  resume (): void { this.#reading.release(OWNER) }

  /** Ends the stream with connection-timeout after `ms` milliseconds. Undefined cancels that. */
  expire (ms: number | undefined): void {
    this.#deadline?.cancel()
    this.#deadline = ms === undefined || this.#isOver ? undefined : this.#how.clock.after(ms, () => {
      this.close(new StreamError('connection-timeout', 'the negotiation took too long'))
    })
  }

  /** Watches for silence from now on. Nothing is sent while `isAsked`: something else asks if the peer is there. */
  watch (times: WatchTimes, isAsked: () => boolean = () => false): void {
    this.#watch?.stop()
    if (this.#isOver) return
    this.#watch = new Watch(this.#how.clock, times, () => { if (!isAsked()) this.#keepAlive() }, () => {
      this.close(new StreamError('connection-timeout', 'silent for too long'))
    })
  }

  /** Ends the stream with an error. An unknown error is a defect: it is logged, and the peer learns nothing of it. */
  fail (error: unknown): void {
    const known = error instanceof XmlError ? new StreamError(error.condition, error.message, { cause: error }) : error
    if (known instanceof StreamError) { this.close(known); return }
    this.#how.log.error('defect', { address: this.transport.address, error })
    this.close(new StreamError('internal-server-error', undefined, { cause: error }))
  }

  /** Closes the stream, with an error if one is given. Calling it again does nothing. */
  close (error?: StreamError): void {
    if (this.#isOver) return
    if (this.#isShaking) { this.cut(error ?? new Error('closed during the TLS handshake')); return }
    // RFC 6120 §4.9.1.2: an error in the peer's header is answered after our own header.
    if (!this.#headerSent) this.reply(this.#how.domain)
    if (error !== undefined) this.#frame(this.#framing.element(octets(error.element())))
    this.#frame(this.#framing.end)
    const hasPeer = this.#header !== undefined
    this.#finish({ at: 'closing', side: 'ours' }, { by: 'us', reason: error })
    // RFC 6120 §4.4: the peer may still close its side; after an error (§4.9.1.1) there is nothing to wait for.
    if (error !== undefined || !hasPeer) this.transport.end()
    else this.#closeTimer = this.#how.clock.after(CLOSE_TIMEOUT, () => { this.transport.end() })
  }

  /** Ends the connection, but leaves the stream open to be resumed (XEP-0198 §7). Written data still goes out. */
  leave (): void {
    if (this.#isOver) return
    this.#finish({ at: 'closing', side: 'ours' }, { by: 'us', reason: undefined })
    this.transport.end()
  }

  /** Cuts the connection at once, for example after a failed handshake. */
  cut (reason: Error): void {
    this.transport.destroy(reason)
    if (!this.#isOver) this.#finish({ at: 'closing', side: 'ours' }, { by: 'loss', reason })
  }

  // ---- From the transport -----------------------------------------------------------

  #data (chunk: Uint8Array): void {
    this.lastRead = this.#how.clock.now()
    this.#watch?.hear()
    this.#tally.chunk(chunk)
    this.#reading.begin(chunk.length)
    try {
      this.#reader.write(chunk)
    } catch (error) {
      this.#inTurn(() => { this.#broken(error) })
    }
    this.#pay(chunk.length)
  }

  /** The peer is there, and has sent something that is no part of the stream. */
  #heard (bytes: number): void {
    this.lastRead = this.#how.clock.now()
    this.#watch?.hear()
    this.#pay(bytes)
  }

  #pay (bytes: number): void {
    const wait = this.#how.rate?.bytes?.take(bytes) ?? 0
    if (wait > 0) this.#reading.rest(wait)
  }

  #drained (): void {
    this.#reading.release(SLOW_READER)
    if (this.#draining.length === 0 || this.#isOver) return
    for (const then of this.#draining.splice(0)) then()
  }

  #lost (reason: Error | undefined): void {
    if (this.#isOver) this.#state = { at: 'closed', reason }
    else this.#finish({ at: 'closed', reason }, { by: 'loss', reason })
    this.#closeTimer?.cancel()
    this.#handlers.closed()
  }

  // ---- From the parser ----------------------------------------------------------------

  #opened (root: ParsedElement): void {
    if (this.#isOver) return
    this.#reading.hold(WORK)
    try {
      const header = this.#framing.readHeader(root)
      this.#header = header
      if (this.#how.role === 'initiating') this.#id = header.id
      this.#handlers.opened(header, root)
    } catch (error) {
      this.fail(error)
    }
    this.#reading.release(WORK)
  }

  #element (element: ParsedElement, source: Source): void {
    if (this.#isOver) return
    this.#tally.element(element, source, this.#state.at === 'established')
    if (element.ns === NS.STREAM && localName(element) === 'error') {
      this.#inTurn(() => { this.#endedByPeer(peerError(element)) })
      return
    }
    const wait = this.#how.rate?.elements?.take(1) ?? 0
    if (wait > 0) this.#reading.rest(wait)
    // During negotiation, bytes after an element may belong to another stream, so they are not even parsed.
    if (this.#state.at !== 'established') this.#reading.hold(WORK)
    else if (this.#queue.busy) this.#handlers.waits?.()
    const bytes = weightOf(source)
    this.#queued += bytes
    this.#queue.run(() => {
      this.#queued -= bytes
      return this.#handle(element, source)
    })
    if (this.#queue.full || this.#queued > QUEUE_BYTES) this.#reading.hold(WORK)
    this.#reading.yield()
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

  /** Runs a task after the elements that wait. */
  #inTurn (task: () => Maybe<void>): void {
    if (this.#isOver || !this.#queue.run(task)) void task()
  }

  #broken (error: unknown): void {
    if (this.#isOver) this.transport.end()
    else this.fail(error)
  }

  /** RFC 6120 §4.4. */
  #closedByPeer (): Maybe<void> {
    if (this.#isOver) { this.#closeTimer?.cancel(); this.transport.end(); return undefined }
    return follow(this.#handlers.ending?.(), () => { this.#endedByPeer(undefined) })
  }

  #endedByPeer (reason: Error | undefined): void {
    if (this.#isOver) return
    this.#frame(this.#framing.end)
    this.#finish({ at: 'closing', side: 'theirs' }, { by: 'peer', reason })
    this.transport.end()
  }

  // ---- Internal -----------------------------------------------------------------------

  #sendHeader (header: OwnHeader): void {
    this.#headerSent = true
    this.#frame(this.#framing.header(header))
  }

  #keepAlive (): void {
    const { keepalive } = this.#framing
    if (keepalive === undefined) this.transport.ping?.()
    else this.send(keepalive, KEEPALIVE)
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
    this.#reading.end() // reads on to find the end of the stream, and ignores the rest
    this.#handlers.over(end)
  }
}
