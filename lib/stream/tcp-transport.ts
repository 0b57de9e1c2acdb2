/** A transport over a TCP socket, plain or with TLS (RFC 6120 §3, §5). */
import type { Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import type { Clock, Timer } from '../base/clock.js'
import { TokenBucket } from '../base/rate.js'
import { HandshakeGate } from './handshake-gate.js'
import { commonInfoOf, serverTls } from './server-tls.js'
import {
  FAREWELL, plainAddress, type ClientTlsSettings, type TlsInfo, type TlsSettings, type Transport,
  type TransportHandlers,
} from './transport.js'

const NOTHING: TransportHandlers = { data () {}, drained () {}, closed () {} }
/** Text of this length is written at once and not gathered further, so that what waits stays small. */
const MUCH = 64 * 1024
/**
 * The bytes of one write to a quiet TLS connection. After a longer record than about 1 KiB, Node keeps a buffer of
 * 16 KiB for a connection until its end.
 */
const SLICE = 900
/** A connection is quiet until it has written more than this: bytes at once, and per second in the long run. */
const QUIET_BURST = 128 * 1024
const QUIET_RATE = 1024

export class TcpTransport implements Transport {
  readonly address: string
  readonly #clock: Clock
  #socket: Socket
  #tls: TlsInfo | undefined
  #handlers = NOTHING
  #gathered = ''
  #isWaiting = false
  /** True if a drain is to be reported. A callback for each write would cost more than the write itself. */
  #awaitsDrain = false
  /** True while the socket has an empty write whose callback tells that all before it was taken. */
  #isAsked = false
  /** The rest of what is gathered follows when the system has taken the slice before. */
  #isSlicing = false
  /** The budget of a quiet TLS connection; undefined on any other. */
  #quiet: TokenBucket | undefined
  #isOpen = false
  #state: 'open' | 'ending' | 'closed' = 'open'
  #reason: Error | undefined
  #farewell: Timer | undefined
  #handshake: ((error: Error) => void) | undefined

  constructor (socket: Socket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    this.address = plainAddress(socket.remoteAddress)
    socket.setNoDelay(true) // writes are gathered here already
    this.#hear(socket)
  }

  get tls (): TlsInfo | undefined { return this.#tls }
  get isClosed (): boolean { return this.#state === 'closed' }
  get backlog (): number { return this.#gathered.length + this.#socket.writableLength }

  open (handlers: TransportHandlers): void {
    this.#handlers = handlers
    this.#isOpen = true
    if (this.#state === 'closed') process.nextTick(() => { handlers.closed(this.#reason) })
    else this.#socket.on('data', this.#data)
  }

  write (octets: string): void {
    if (this.#state !== 'open') return
    this.#gathered += octets
    if (this.#gathered.length > MUCH) this.#flushAll()
    if (this.#isWaiting) return
    this.#isWaiting = true
    if (TcpTransport.#turn.push(this) === 1) setImmediate(TcpTransport.#endAll)
  }

  awaitDrain (): void {
    if (this.#state !== 'open') return
    this.#awaitsDrain = true
    if (this.#gathered === '' && this.#socket.writableLength > 0) this.#askSocket()
  }

  /** The transports that have something to write. Each makes one system call, after all input of this turn is read. */
  static #turn: TcpTransport[] = []

  static #endAll (this: void): void {
    const turn = TcpTransport.#turn
    TcpTransport.#turn = []
    for (const transport of turn) transport.#endTurn()
  }

  #endTurn (): void {
    this.#isWaiting = false
    this.#flush()
    this.#report()
  }

  /** Reports a drain if one is awaited and the system has taken everything. */
  #report (): void {
    if (!this.#awaitsDrain || this.#gathered !== '' || this.#isSlicing || this.#state !== 'open') return
    if (this.#socket.writableLength === 0) this.#drained()
    else this.#askSocket()
  }

  /** Lets the socket say when it has taken everything. Below its high water mark there is no 'drain' event. */
  #askSocket (): void {
    if (this.#isAsked) return
    this.#isAsked = true
    this.#socket.write('', 'latin1', this.#taken)
  }

  pause (): void { if (this.#state === 'open') this.#socket.pause() }
  resume (): void { if (this.#state === 'open') this.#socket.resume() }

  async startTls (how: TlsSettings | ClientTlsSettings): Promise<TlsInfo> {
    const plain = this.#socket
    // Later input stays in the socket for TLS, and never reaches the stream.
    plain.pause()
    plain.off('data', this.#data)
    await this.#flushed()
    return new Promise((resolve, reject) => {
      if (this.#state !== 'open') { reject(this.#reason ?? new Error('the connection was lost')); return }
      this.#handshake = reject
      const done = (info: TlsInfo): void => {
        this.#handshake = undefined
        tls.disableRenegotiation() // CVE-2021-32920: it costs us more than the peer
        this.#tls = info
        this.#quiet = new TokenBucket(this.#clock, QUIET_RATE, QUIET_BURST)
        if (this.#isOpen) tls.on('data', this.#data)
        resolve(info)
      }
      const tls = 'contextFor' in how ? this.#wrap(plain, how, done) : this.#wrapAsClient(plain, how, done)
    })
  }

  end (): void {
    if (this.#state !== 'open') return
    this.#flushAll()
    this.#state = 'ending'
    this.#farewell = this.#clock.after(FAREWELL, () => { this.destroy() })
    this.#socket.end()
    // Reads on and ignores the input: unread bytes would turn the end of the connection into a reset.
    this.#socket.resume()
  }

  destroy (reason?: Error): void {
    if (this.#state === 'closed') return
    this.#state = 'ending'
    this.#reason ??= reason
    this.#gathered = ''
    this.#socket.destroy()
  }

  #wrap (plain: Socket, how: TlsSettings, done: (info: TlsInfo) => void): TLSSocket {
    const gate = how.asksPeer ? this.#gate(plain, true, how.spent) : undefined
    const { tls, certificate } = serverTls(gate ?? plain, how)
    this.#take(plain, tls, gate)
    // A server socket made by hand reports its errors, such as renegotiation, only with this event.
    tls.on('_tlsError', this.#failed)
    tls.once('secure', () => { if (this.#state === 'open') done(infoOf(tls, certificate(), how.asksPeer)) })
    return tls
  }

  #wrapAsClient (plain: Socket, how: ClientTlsSettings, done: (info: TlsInfo) => void): TLSSocket {
    const gate = this.#gate(plain, false)
    const tls = connect({
      socket: gate,
      secureContext: how.context,
      ALPNProtocols: [how.alpn],
      rejectUnauthorized: false, // the caller checks the peer
      checkServerIdentity: () => undefined,
      ...how.servername === undefined ? {} : { servername: how.servername },
    })
    this.#take(plain, tls, gate)
    tls.once('secureConnect', () => { if (this.#state === 'open') done(clientInfoOf(tls, how.certificate)) })
    return tls
  }

  /** Puts a gate before TLS if the peer shows certificates: without it, OpenSSL would verify anything. */
  #gate (plain: Socket, isServer: boolean, spent?: (ms: number) => void): HandshakeGate {
    return new HandshakeGate(plain, isServer, error => { this.destroy(error) }, spent)
  }

  #take (plain: Socket, tls: TLSSocket, gate: HandshakeGate | undefined): void {
    if (gate !== undefined) {
      tls.on('keylog', (line: Buffer) => { gate.learn(line) })
      gate.on('error', () => { tls.destroy() })
    }
    plain.off('error', this.#failed).on('error', () => { tls.destroy() })
    plain.off('close', this.#closed).off('end', this.#ended)
    this.#socket = tls
    this.#hear(tls)
  }

  #hear (socket: Socket): void {
    socket.on('error', this.#failed)
    socket.on('end', this.#ended)
    socket.on('close', this.#closed)
  }

  readonly #data = (chunk: Uint8Array): void => { if (this.#state === 'open') this.#handlers.data(chunk) }
  readonly #taken = (): void => {
    this.#isAsked = false
    this.#report()
  }
  readonly #failed = (error: Error): void => {
    this.#reason ??= error
    this.#socket.destroy()
  }

  /** The peer has ended its side. An XMPP stream needs both sides, so this side ends as well. */
  readonly #ended = (): void => { this.end() }

  readonly #closed = (): void => {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#gathered = ''
    this.#farewell?.cancel()
    this.#handshake?.(this.#reason ?? new Error('the peer left during the TLS handshake'))
    this.#handlers.closed(this.#reason)
  }

  #drained (): void {
    this.#awaitsDrain = false
    if (this.#state === 'open') this.#handlers.drained()
  }

  #flush (): void {
    const text = this.#gathered
    if (text === '' || this.#isSlicing || this.#state !== 'open') return
    const bytes = Math.min(text.length, SLICE)
    if (this.#quiet === undefined || this.#quiet.take(bytes) > 0) { this.#flushAll(); return }
    this.#gathered = text.slice(bytes)
    this.#isSlicing = true
    this.#socket.write(text.slice(0, bytes), 'latin1', this.#sliced)
  }

  readonly #sliced = (): void => {
    this.#isSlicing = false
    this.#flush()
    this.#report()
  }

  /** Writes all that is gathered at once. A quiet connection is none any more. */
  #flushAll (): void {
    const text = this.#gathered
    this.#quiet = undefined
    this.#isSlicing = false
    if (text === '' || this.#state !== 'open') return
    this.#gathered = ''
    this.#socket.write(text, 'latin1')
  }

  #flushed (): Promise<void> {
    this.#flush()
    return new Promise(resolve => {
      if (this.#socket.writableLength === 0) resolve()
      else this.#socket.write('', 'latin1', () => { resolve() })
    })
  }
}

function infoOf (socket: TLSSocket, certificate: Uint8Array, asked: boolean): TlsInfo {
  const peerCertificates = asked ? chainOf(socket) : []
  const distrust = peerCertificates.length === 0 ? 'no certificate' : distrustOf(socket)
  return {
    ...commonInfoOf(socket, certificate),
    peerCertificates,
    authorized: distrust === undefined,
    distrust,
    // RFC 5929 §3.1: the client's is the first, but in a resumed session it is the server's.
    firstFinished: () => socket.isSessionReused() ? socket.getFinished() : socket.getPeerFinished(),
  }
}

function clientInfoOf (socket: TLSSocket, certificate: Uint8Array): TlsInfo {
  const peerCertificates = chainOf(socket)
  const authorized = socket.authorized && peerCertificates.length > 0
  return {
    ...commonInfoOf(socket, certificate),
    peerCertificates,
    authorized,
    distrust: authorized ? undefined : String(socket.authorizationError),
  }
}

const LONGEST_CHAIN = 16

function chainOf (socket: TLSSocket): Uint8Array[] {
  const chain: Buffer[] = []
  let next = socket.getPeerX509Certificate()
  while (next !== undefined && chain.length < LONGEST_CHAIN) {
    const { raw } = next
    if (chain.some(known => known.equals(raw))) break // a root is its own issuer
    chain.push(raw)
    next = next.issuerCertificate
  }
  return chain
}

/**
 * Returns OpenSSL's error for the peer's certificate; undefined if there is none. Node gives it for a server socket
 * made by hand only through its handle; if that ever changes, no peer is trusted.
 */
function distrustOf (socket: TLSSocket): string | undefined {
  const handle: unknown = Reflect.get(socket, '_handle')
  const isObject = typeof handle === 'object' && handle !== null
  const verifyError: unknown = isObject ? Reflect.get(handle, 'verifyError') : undefined
  if (typeof verifyError !== 'function') return 'not known'
  const error: unknown = Reflect.apply(verifyError, handle, [])
  if (error === null) return undefined
  return error instanceof Error && 'code' in error ? String(error.code) : 'not known'
}
