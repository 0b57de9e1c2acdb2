/** One accepted connection of the web: TLS, then HTTP/1.1. Node parses HTTP; the patience with a peer is here. */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock } from '../base/clock.js'
import type { Turns } from '../base/turns.js'
import type { AcceptedHome, AcceptedStream } from '../stream/acceptor.js'
import { commonInfoOf, serverTls } from '../stream/server-tls.js'
import { plainAddress, type TlsInfo, type TlsSettings } from '../stream/transport.js'
import { PacedWire } from './paced-wire.js'

/** The needs of a connection, met by its listener. */
export interface ConnectionDeps {
  readonly clock: Clock
  /** Shares the event loop among connections. */
  readonly turns: Turns
  /** Parses HTTP on the connections that it is given. */
  readonly http: Server
  /** Undefined for a listener without TLS. */
  readonly tls: Pick<TlsSettings, 'contextFor'> | undefined
  /** How long a peer may take for the handshake and the headers of its first request, in milliseconds. */
  readonly patience: () => number
  /** Called with the socket that carries HTTP, before the first request. */
  readonly opened: (connection: HttpConnection, socket: Duplex) => void
}

/** How long a connection may wait for its next request, in milliseconds. Longer than proxies usually keep one. */
const KEPT_OPEN = 75_000
/** In this time, in milliseconds, a peer has to move this number of bytes as long as it is its turn. */
const PACE_TIME = 30_000
const PACE_BYTES = 32 * 1024

/**
 * The requests that a client may send before an answer is complete (RFC 9112 §9.3.2). No browser and no proxy sends
 * more than one; all that come in one packet are answered in one turn of the event loop.
 */
const MOST_AT_ONCE = 20

/** Whose turn it is, and until when. */
type Turn =
  | { readonly at: 'waiting', readonly until: number }
  /** Requests are under way. `read`, `sent`, `unsent`: the bytes at the last check. */
  | {
    readonly at: 'request'
    readonly until: number
    readonly read: number
    readonly sent: number
    readonly unsent: number
  }
  /** The connection belongs to another protocol now. */
  | { readonly at: 'upgraded' }

export class HttpConnection implements AcceptedStream {
  /** The address that has connected: the client, or a proxy. */
  readonly address: string
  readonly #plain: Socket
  readonly #deps: ConnectionDeps
  readonly #home: AcceptedHome<HttpConnection>
  #socket: Socket
  /** Carries HTTP; undefined until the handshake is over. */
  #wire: PacedWire | undefined
  #tls: TlsInfo | undefined
  #turn: Turn
  #requests = 0
  #isReceiving = false

  constructor (plain: Socket, deps: ConnectionDeps, home: AcceptedHome<HttpConnection>) {
    this.address = plainAddress(plain.remoteAddress)
    this.#plain = this.#socket = plain
    this.#deps = deps
    this.#home = home
    this.#turn = { at: 'waiting', until: deps.clock.now() + deps.patience() }
    plain.setNoDelay(true)
    plain.on('error', () => { plain.destroy() })
    plain.once('close', () => {
      this.#socket.destroy()
      home.gone(this)
    })
  }

  /** The facts about the TLS of this connection; undefined if it has none. */
  get tls (): TlsInfo | undefined { return this.#tls }
  /** True if no request is under way. */
  get isIdle (): boolean { return this.#turn.at === 'waiting' }

  async begin (): Promise<void> {
    const { tls } = this.#deps
    if (tls === undefined) { this.#open(this.#plain); return }
    this.#plain.pause()
    try {
      await this.#home.handshake(ms => this.#wait(ms))
    } catch (error) {
      this.cut(error instanceof Error ? error : new Error(String(error)))
      return
    }
    if (!this.#plain.destroyed) this.#shake(tls)
  }

  cut (reason: Error): void { this.#plain.destroy(reason) }

  /** Ends the connection after what was written. */
  end (): void { this.#wire?.end() }

  /** Takes note that the client has proved who it is, so the connection is not cut to make room. */
  prove (): void { this.#home.established(this) }

  // ---- The course of requests -------------------------------------------------------------

  /**
   * The headers of a request are complete. `hasBody`: more of it may follow. Returns false if the request must not be
   * answered: its client has sent too many without an answer, and is cut.
   */
  begins (hasBody: boolean): boolean {
    this.#requests++
    this.#isReceiving = hasBody
    this.#pace()
    if (this.#requests > MOST_AT_ONCE) this.cut(new Error('too many requests at once'))
    return !this.#plain.destroyed
  }

  /** The body of the request is complete. */
  received (): void { this.#isReceiving = false }

  /** The answer to a request is complete. */
  answered (): void {
    if (--this.#requests > 0 || this.#turn.at !== 'request') return
    this.#turn = { at: 'waiting', until: this.#deps.clock.now() + KEPT_OPEN }
  }

  /** Another protocol takes over, with bounds of its own. */
  upgraded (): void { this.#turn = { at: 'upgraded' } }

  /** Cuts the connection if its peer has kept us waiting for too long. Called again and again. */
  check (): void {
    const turn = this.#turn
    if (turn.at === 'upgraded' || this.#deps.clock.now() < turn.until) return
    if (turn.at === 'waiting') { this.cut(new Error('no request came in time')); return }
    const isSlow = this.#isReceiving && this.#socket.bytesRead - turn.read < PACE_BYTES
    const isStuck = turn.unsent > 0 && this.#unsent > 0 && this.#sent - turn.sent < PACE_BYTES
    if (isSlow || isStuck) this.cut(new Error('the peer is too slow'))
    else this.#pace()
  }

  #pace (): void {
    this.#turn = {
      at: 'request', until: this.#deps.clock.now() + PACE_TIME,
      read: this.#socket.bytesRead, sent: this.#sent, unsent: this.#unsent,
    }
  }

  /** The bytes that wait until the system takes them. */
  get #unsent (): number { return this.#wire?.writableLength ?? 0 }

  /** The bytes that the system has taken. */
  get #sent (): number { return this.#socket.bytesWritten - this.#socket.writableLength }

  // ---- The beginning ----------------------------------------------------------------------

  #shake (how: Pick<TlsSettings, 'contextFor'>): void {
    const { tls, certificate } = serverTls(this.#plain, { ...how, alpn: 'http/1.1', asksPeer: false })
    this.#socket = tls
    tls.on('_tlsError', () => { this.#plain.destroy() })
    tls.on('error', () => { this.#plain.destroy() })
    tls.once('close', () => { this.#plain.destroy() })
    tls.once('secure', () => {
      tls.disableRenegotiation() // CVE-2021-32920: it costs us more than the peer
      this.#tls = { ...commonInfoOf(tls, certificate()), peerCertificates: [], authorized: false, isUnbound: true }
      this.#open(tls)
    })
  }

  #open (socket: Socket): void {
    if (socket.destroyed) return
    this.#wire = new PacedWire(socket, this.#deps.turns)
    this.#deps.opened(this, this.#wire)
    this.#deps.http.emit('connection', this.#wire)
  }

  #wait (ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const gone = (): void => {
        timer.cancel()
        reject(new Error('the peer is gone'))
      }
      const timer = this.#deps.clock.after(ms, () => {
        this.#plain.off('close', gone)
        resolve()
      })
      this.#plain.once('close', gone)
    })
  }
}
