/** A transport over a WebSocket (RFC 6455): each element is one text message. */
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import type { Clock, Timer } from '../base/clock.js'
import { DRAW_WATER } from '../stream/bounds.js'
import { FAREWELL, type TlsInfo, type Transport, type TransportHandlers } from '../stream/transport.js'
import { StreamError } from '../xmpp/errors.js'
import type { Caller } from './caller.js'

export interface WebSocketSettings {
  readonly clock: Clock
  readonly caller: Caller
  /** The connection that carries the WebSocket. */
  readonly wire: Duplex
  /** Returns the bytes that a message may have now. */
  readonly longest: () => number
}

const NOTHING: TransportHandlers = { data () {}, drained () {}, closed () {} }
/** Messages of this length together are written at once and not gathered further. */
const MUCH = 64 * 1024
/** The most bytes that come in one piece. Some of them may belong to the next message. */
const PIECE = 64 * 1024
/** The bytes of a ping on the wire besides what it holds (RFC 6455 §5.2). */
const CONTROL_HEAD = 6

export class WebSocketTransport implements Transport {
  readonly address: string
  readonly tls: TlsInfo | undefined
  readonly #socket: WebSocket
  readonly #wire: Duplex
  readonly #how: WebSocketSettings
  #handlers = NOTHING
  #gathered = ''
  #isWaiting = false
  #awaitsDrain = false
  #isAsked = false
  /** The data of a ping that waits for its answer. */
  #ping: Uint8Array | undefined
  /** The bytes that have come since the last message was complete, besides pings and pongs. */
  #unfinished = 0
  #state: 'open' | 'ending' | 'closed' = 'open'
  #reason: Error | undefined
  #farewell: Timer | undefined

  constructor (socket: WebSocket, how: WebSocketSettings) {
    this.#socket = socket
    this.#how = how
    this.#wire = how.wire
    this.address = how.caller.address
    this.tls = how.caller.tls
    socket.on('error', error => { this.#broken(error) })
    socket.on('close', () => { this.#closed() })
  }

  get isClosed (): boolean { return this.#state === 'closed' }
  get backlog (): number { return this.#gathered.length + this.#wire.writableLength }

  open (handlers: TransportHandlers): void {
    this.#handlers = handlers
    if (this.#state === 'closed') { process.nextTick(() => { handlers.closed(this.#reason) }); return }
    this.#wire.prependListener('data', (piece: Uint8Array) => { this.#came(piece.length) })
    this.#socket.on('message', (message: Uint8Array, isBinary) => { this.#message(message, isBinary) })
    this.#socket.on('ping', data => { this.#pinged(data) })
    this.#socket.on('pong', data => { this.#heard(data) })
  }

  write (octets: string): void {
    if (this.#state !== 'open') return
    this.#gathered += headOf(octets.length) + octets
    if (this.#gathered.length > MUCH) this.#flush()
    this.#waitForEnd()
  }

  #waitForEnd (): void {
    if (this.#isWaiting) return
    this.#isWaiting = true
    setImmediate(this.#endTurn)
  }

  awaitDrain (): void {
    if (this.#state !== 'open') return
    this.#awaitsDrain = true
    if (this.#gathered === '' && this.#wire.writableLength > 0) this.#ask()
  }

  ping (): void { if (this.#isOpen) this.#socket.ping() }
  pause (): void { if (this.#state === 'open') this.#socket.pause() }
  resume (): void { if (this.#state === 'open') this.#socket.resume() }

  /** RFC 7395 §3.9: TLS is only below the WebSocket. */
  startTls (): Promise<TlsInfo> { return Promise.reject(new Error('a WebSocket has no STARTTLS')) }

  /** RFC 7395 §3.6: after the stream, the WebSocket is closed as well. */
  end (): void {
    if (this.#state !== 'open') return
    this.#flush()
    this.#state = 'ending'
    this.#farewell = this.#how.clock.after(FAREWELL, () => { this.destroy() })
    this.#socket.close(NORMAL)
    // Reads on and ignores the input until the peer's close.
    this.#socket.resume()
  }

  destroy (reason?: Error): void {
    if (this.#state === 'closed') return
    this.#state = 'ending'
    this.#reason ??= reason
    this.#gathered = ''
    this.#socket.terminate()
  }

  // ---- From the peer ------------------------------------------------------------------------

  /** Bounds a message that is not complete: one from a client that has not logged in is far shorter. */
  #came (bytes: number): void {
    this.#unfinished += bytes
    if (this.#unfinished <= this.#how.longest() + PIECE || this.#state !== 'open') return
    this.#socket.pause()
    this.#handlers.failed?.(new StreamError('policy-violation', 'a message is too long'))
  }

  #message (message: Uint8Array, isBinary: boolean): void {
    this.#unfinished = 0
    if (this.#state !== 'open') return
    // RFC 7395 §3.2
    if (isBinary) this.#handlers.failed?.(new StreamError('bad-format', 'a binary message'))
    else this.#handlers.data(message)
  }

  /** RFC 6455 §5.5.2, §5.5.3: of pings that come together, the last one is answered. */
  #pinged (data: Uint8Array): void {
    this.#ping = data
    this.#waitForEnd()
    this.#heard(data)
  }

  #heard (data: Uint8Array): void {
    const bytes = CONTROL_HEAD + data.length
    this.#unfinished = Math.max(0, this.#unfinished - bytes)
    if (this.#state === 'open') this.#handlers.heard?.(bytes)
  }

  /** A peer that does not read its answers gets none. */
  #answerPing (): void {
    const ping = this.#ping
    this.#ping = undefined
    if (ping !== undefined && this.#isOpen && this.backlog < DRAW_WATER) this.#socket.pong(ping)
  }

  /** The peer has broken RFC 6455; the library has answered with the code of the error. */
  #broken (error: Error): void {
    this.#reason ??= error
    if (this.#state === 'open') this.#handlers.failed?.(new StreamError('policy-violation', undefined, { cause: error }))
  }

  #closed (): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#gathered = ''
    this.#farewell?.cancel()
    this.#handlers.closed(this.#reason)
  }

  // ---- To the peer --------------------------------------------------------------------------

  get #isOpen (): boolean { return this.#state === 'open' && this.#socket.readyState === this.#socket.OPEN }

  readonly #endTurn = (): void => {
    this.#isWaiting = false
    this.#flush()
    this.#answerPing()
    this.#report()
  }

  #flush (): void {
    const text = this.#gathered
    if (text === '') return
    this.#gathered = ''
    // RFC 6455 §5.5.1: nothing follows our close
    if (this.#isOpen) this.#wire.write(text, 'latin1')
  }

  #report (): void {
    if (!this.#awaitsDrain || this.#gathered !== '' || this.#state !== 'open') return
    if (this.#wire.writableLength > 0) { this.#ask(); return }
    this.#awaitsDrain = false
    this.#handlers.drained()
  }

  /** Lets the connection say when the system has taken everything. */
  #ask (): void {
    if (this.#isAsked) return
    this.#isAsked = true
    this.#wire.write('', 'latin1', () => {
      this.#isAsked = false
      this.#report()
    })
  }
}

/** The code of a WebSocket that is closed in order (RFC 6455 §7.4.1). */
const NORMAL = 1000
/** The first byte of a text message in one frame, and the marks of longer lengths (RFC 6455 §5.2). */
const WHOLE_TEXT = '\x81', LENGTH_16 = 126, LENGTH_64 = 127

/** Returns the head of a frame that holds one whole text message, one character per byte. A server does not mask. */
function headOf (bytes: number): string {
  if (bytes < LENGTH_16) return WHOLE_TEXT + String.fromCharCode(bytes)
  if (bytes < 0x10000) return WHOLE_TEXT + String.fromCharCode(LENGTH_16, bytes >>> 8, bytes & 0xff)
  return WHOLE_TEXT + String.fromCharCode(
    LENGTH_64, 0, 0, 0, 0, bytes >>> 24 & 0xff, bytes >>> 16 & 0xff, bytes >>> 8 & 0xff, bytes & 0xff,
  )
}
