/** Transport over a TCP socket, plain or under TLS (RFC 6120 §3, §5). */
import type { Socket } from 'node:net'
import { connect, TLSSocket, type SecureContext } from 'node:tls'
import type { Clock, Timer } from '../base/clock.js'
import { FAREWELL, plainAddress, type ClientTlsSettings, type TlsInfo, type TlsSettings, type Transport, type TransportHandlers } from './transport.js'

const NOTHING: TransportHandlers = { data () {}, drained () {}, closed () {} }
/** Gathered text this long is written at once: what waits stays small, however much comes in one turn. */
const MUCH = 64 * 1024

export class TcpTransport implements Transport {
  readonly address: string
  readonly #clock: Clock
  #socket: Socket
  #tls: TlsInfo | undefined
  #handlers = NOTHING
  #gathered = ''
  #isWaiting = false
  #isOpen = false
  #state: 'open' | 'ending' | 'closed' = 'open'
  #reason: Error | undefined
  #farewell: Timer | undefined
  #handshake: ((error: Error) => void) | undefined

  constructor (socket: Socket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    this.address = plainAddress(socket.remoteAddress)
    socket.setNoDelay(true) // we gather ourselves
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
    if (this.#gathered.length > MUCH) this.#flush()
    if (this.#isWaiting) return
    this.#isWaiting = true
    if (TcpTransport.#turn.push(this) === 1) setImmediate(TcpTransport.#endAll)
  }

  /** Those that have something to write: one call of the system for each, when all is read that came in this turn of the event loop. */
  static #turn: TcpTransport[] = []

  static #endAll (this: void): void {
    const turn = TcpTransport.#turn
    TcpTransport.#turn = []
    for (const transport of turn) transport.#endTurn()
  }

  /** What the system has taken at once, whatever its length, is followed by no event 'drain'. */
  #endTurn (): void {
    this.#isWaiting = false
    this.#flush()
    if (this.#socket.writableLength === 0) this.#drained()
  }

  pause (): void { if (this.#state === 'open') this.#socket.pause() }
  resume (): void { if (this.#state === 'open') this.#socket.resume() }

  async startTls (how: TlsSettings | ClientTlsSettings): Promise<TlsInfo> {
    const plain = this.#socket
    // What comes from now on stays in the socket, which hands it to TLS: never to the stream.
    plain.pause()
    plain.off('data', this.#data)
    await this.#flushed()
    return new Promise((resolve, reject) => {
      if (this.#state !== 'open') { reject(this.#reason ?? new Error('the connection is gone')); return }
      this.#handshake = reject
      const done = (info: TlsInfo): void => {
        this.#handshake = undefined
        tls.disableRenegotiation() // CVE-2021-32920: it costs us more than them
        this.#tls = info
        if (this.#isOpen) tls.on('data', this.#data)
        resolve(info)
      }
      const tls = 'contextFor' in how ? this.#wrap(plain, how, done) : this.#wrapAsClient(plain, how, done)
    })
  }

  end (): void {
    if (this.#state !== 'open') return
    this.#flush()
    this.#state = 'ending'
    this.#farewell = this.#clock.after(FAREWELL, () => { this.destroy() })
    this.#socket.end()
    // Reading on, for unread bytes would turn our farewell into a reset; nobody hears them.
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
    const first = how.contextFor(undefined)
    let shown = first
    const tls = new TLSSocket(plain, {
      isServer: true,
      secureContext: first.context,
      SNICallback: (name: string, answer: (error: Error | null, context?: SecureContext) => void) => {
        try {
          shown = how.contextFor(name)
        } catch (error) {
          answer(error instanceof Error ? error : new Error(String(error)))
          return
        }
        answer(null, shown.context)
      },
      ALPNProtocols: [how.alpn],
      requestCert: how.asksPeer,
      rejectUnauthorized: false,
    })
    this.#take(plain, tls)
    // A server socket made by hand tells its errors, a new negotiation among them, to those only who listen for this event.
    tls.on('_tlsError', this.#failed)
    tls.once('secure', () => { if (this.#state === 'open') done(infoOf(tls, shown.certificate, how.asksPeer)) })
    return tls
  }

  #wrapAsClient (plain: Socket, how: ClientTlsSettings, done: (info: TlsInfo) => void): TLSSocket {
    const tls = connect({
      socket: plain,
      secureContext: how.context,
      ALPNProtocols: [how.alpn],
      rejectUnauthorized: false, // whom we talk to is looked at by the one who asked for it
      checkServerIdentity: () => undefined,
      ...how.servername === undefined ? {} : { servername: how.servername },
    })
    this.#take(plain, tls)
    tls.once('secureConnect', () => { if (this.#state === 'open') done(clientInfoOf(tls, how.certificate)) })
    return tls
  }

  #take (plain: Socket, tls: TLSSocket): void {
    plain.off('error', this.#failed).on('error', () => { tls.destroy() })
    plain.off('close', this.#closed).off('end', this.#ended).off('drain', this.#drained)
    this.#socket = tls
    this.#hear(tls)
  }

  #hear (socket: Socket): void {
    socket.on('error', this.#failed)
    socket.on('end', this.#ended)
    socket.on('close', this.#closed)
    socket.on('drain', this.#drained)
  }

  readonly #data = (chunk: Uint8Array): void => { if (this.#state === 'open') this.#handlers.data(chunk) }
  readonly #drained = (): void => { if (this.#state === 'open') this.#handlers.drained() }
  /** There is no event 'drain' for less than a socket's high water. */
  readonly #taken = (): void => { if (this.#state === 'open' && this.#gathered === '' && this.#socket.writableLength === 0) this.#handlers.drained() }
  readonly #failed = (error: Error): void => {
    this.#reason ??= error
    this.#socket.destroy()
  }

  /** The peer has ended its side: nothing more will come, and an XMPP stream needs both. */
  readonly #ended = (): void => { this.end() }

  readonly #closed = (): void => {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#gathered = ''
    this.#farewell?.cancel()
    this.#handshake?.(this.#reason ?? new Error('the peer left during the TLS handshake'))
    this.#handlers.closed(this.#reason)
  }

  #flush (): void {
    const text = this.#gathered
    if (text === '' || this.#state !== 'open') return
    this.#gathered = ''
    this.#socket.write(text, 'latin1', this.#taken)
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
    // RFC 5929 §3.1: the client's is the first, but in a resumed session the server's.
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

function commonInfoOf (socket: TLSSocket, certificate: Uint8Array): Pick<TlsInfo, 'protocol' | 'cipher' | 'alpn' | 'certificate' | 'exporter'> {
  const alpn: unknown = socket.alpnProtocol
  return {
    protocol: socket.getProtocol(),
    cipher: socket.getCipher().standardName,
    alpn: typeof alpn === 'string' ? alpn : undefined,
    certificate,
    exporter: (label, length) => socket.exportKeyingMaterial(length, label, Buffer.alloc(0)),
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

/** Node tells a server socket that was made by hand nothing of this but through its handle; where that should change, nobody is trusted. */
function distrustOf (socket: TLSSocket): string | undefined {
  const handle: unknown = Reflect.get(socket, '_handle')
  const verifyError: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'verifyError') : undefined
  if (typeof verifyError !== 'function') return 'not known'
  const error: unknown = Reflect.apply(verifyError, handle, [])
  if (error === null) return undefined
  return error instanceof Error && 'code' in error ? String(error.code) : 'not known'
}
