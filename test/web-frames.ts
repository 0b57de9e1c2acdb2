/** A pair of transports in memory that keep the borders of messages, for the framing of RFC 7395. */
import type { Clock, Timer } from '../lib/base/clock.js'
import { FAREWELL, type TlsInfo, type Transport, type TransportHandlers } from '../lib/stream/transport.js'

/**
 * Makes the two ends of a connection that keeps the borders of messages. `certificate`: of the server, as if inside of
 * TLS; undefined: there is no TLS.
 */
export function framePair (clock: Clock, certificate?: Uint8Array): readonly [FrameTransport, FrameTransport] {
  const a = new FrameTransport(clock, certificate)
  const b = new FrameTransport(clock, certificate)
  a.peer = b
  b.peer = a
  return [a, b]
}

export class FrameTransport implements Transport {
  readonly address = '192.0.2.2'
  readonly tls: TlsInfo | undefined
  peer: FrameTransport | undefined
  /** How often the peer was asked whether it is there. */
  pings = 0
  readonly #clock: Clock
  #handlers: TransportHandlers | undefined
  /** The messages that the other end has not read. */
  #sent: string[] = []
  #isPaused = false
  #awaitsDrain = false
  #isEnding = false
  #isClosed = false
  #farewell: Timer | undefined

  constructor (clock: Clock, certificate: Uint8Array | undefined) {
    this.#clock = clock
    this.tls = certificate === undefined ? undefined : {
      protocol: 'TLSv1.3', cipher: 'TLS_AES_128_GCM_SHA256', alpn: undefined, certificate,
      peerCertificates: [], authorized: false, exporter: () => new Uint8Array(32),
    }
  }

  get backlog (): number { return this.#sent.reduce((bytes, { length }) => bytes + length, 0) }
  get isClosed (): boolean { return this.#isClosed }

  open (handlers: TransportHandlers): void {
    this.#handlers = handlers
    process.nextTick(() => { this.peer?.push() })
  }

  write (octets: string): void {
    if (this.#isEnding || this.#isClosed) return
    this.#sent.push(octets)
    process.nextTick(() => { this.push() })
  }

  awaitDrain (): void { this.#awaitsDrain = true }

  ping (): void { this.pings++ }
  pause (): void { this.#isPaused = true }
  resume (): void {
    this.#isPaused = false
    process.nextTick(() => { this.peer?.push() })
  }

  startTls (): Promise<TlsInfo> { return Promise.reject(new Error('there is no STARTTLS here')) }

  end (): void {
    if (this.#isEnding || this.#isClosed) return
    this.#isEnding = true
    this.#farewell = this.#clock.after(FAREWELL, () => { this.destroy() })
    process.nextTick(() => { this.push() })
  }

  destroy (reason?: Error): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#farewell?.cancel()
    process.nextTick(() => {
      this.#handlers?.closed(reason)
      this.peer?.destroy()
    })
  }

  /** Hands the messages over, one by one, as long as the other end reads. */
  push (): void {
    const handlers = this.peer?.handlers
    if (handlers === undefined) return
    const hadAny = this.#sent.length > 0
    while (this.#sent.length > 0) {
      if (this.peer?.reads !== true) return
      const message = this.#sent.shift() ?? ''
      handlers.data(Buffer.from(message, 'latin1'))
    }
    if (this.#isClosed || this.#isEnding) this.peer?.end()
    else if (hadAny && this.#awaitsDrain) {
      this.#awaitsDrain = false
      this.#handlers?.drained()
    }
    if (this.#isEnding && this.peer?.isEnding === true) this.destroy()
  }

  get handlers (): TransportHandlers | undefined { return this.#handlers }
  get isEnding (): boolean { return this.#isEnding }
  get reads (): boolean { return !this.#isPaused || this.#isEnding }
}
