/**
 * Two transports in memory: what one end writes, the other reads. For tests and scenes; with back-pressure as of a
 * socket.
 */
import {
  FAREWELL, type ClientTlsSettings, type TlsInfo, type TlsSettings, type Transport, type TransportHandlers,
} from './transport.js'
import type { Clock, Timer } from '../base/clock.js'

export interface MemoryPairSettings {
  readonly clock: Clock
  /** The address of the other end, as each end sees it; 192.0.2.1 by default. */
  readonly address?: string
  /** True if the connection pretends to be encrypted from the start. */
  readonly secure?: boolean
  /** The certificate that the pretended TLS shows. */
  readonly certificate?: Uint8Array
}

/** Makes the two ends of a connection. Nothing is encrypted; with pretended TLS, both ends export the same bytes. */
export function memoryPair (how: MemoryPairSettings): readonly [MemoryTransport, MemoryTransport] {
  const a = new MemoryTransport(how)
  const b = new MemoryTransport(how)
  a.join(b)
  b.join(a)
  return [a, b]
}

export class MemoryTransport implements Transport {
  readonly address: string
  readonly #how: MemoryPairSettings
  #peer: MemoryTransport | undefined
  #handlers: TransportHandlers | undefined
  #tls: TlsInfo | undefined
  #paused = false
  #gathered = ''
  /** The output that the other end has not read. */
  #written = ''
  #flushing = false
  #awaitsDrain = false
  #state: 'open' | 'ending' | 'closed' = 'open'
  #peerEnded = false
  #farewell: Timer | undefined
  #handshake: { readonly resolve: (info: TlsInfo) => void, readonly reject: (error: Error) => void } | undefined

  constructor (how: MemoryPairSettings) {
    this.#how = how
    this.address = how.address ?? '192.0.2.1'
    if (how.secure === true) this.#tls = this.#pretended('')
  }

  /** Makes `peer` the other end. For `memoryPair` only. */
  join (peer: MemoryTransport): void { this.#peer = peer }

  get tls (): TlsInfo | undefined { return this.#tls }
  get isClosed (): boolean { return this.#state === 'closed' }
  get backlog (): number { return this.#gathered.length + this.#written.length }

  open (handlers: TransportHandlers): void {
    this.#handlers = handlers
    this.#peer?.push()
  }

  write (octets: string): void {
    if (this.#state !== 'open') return
    this.#gathered += octets
    if (this.#flushing) return
    this.#flushing = true
    process.nextTick(() => { this.#flush() })
  }

  awaitDrain (): void { this.#awaitsDrain = true }

  pause (): void { this.#paused = true }
  resume (): void {
    if (!this.#paused) return
    this.#paused = false
    process.nextTick(() => { this.#peer?.push() })
  }

  startTls (how: TlsSettings | ClientTlsSettings): Promise<TlsInfo> {
    this.#flush()
    return new Promise((resolve, reject) => {
      if (this.#state !== 'open') { reject(new Error('the connection was lost')); return }
      this.#tls = this.#pretended(how.alpn)
      this.#handshake = { resolve, reject }
      const { tls } = this
      process.nextTick(() => {
        this.#handshake = undefined
        if (tls !== undefined && this.#state === 'open') resolve(tls)
        else reject(new Error('the peer left during the TLS handshake'))
      })
    })
  }

  end (): void {
    if (this.#state !== 'open') return
    this.#flush()
    this.#state = 'ending'
    this.#farewell = this.#how.clock.after(FAREWELL, () => { this.destroy() })
    if (this.#peerEnded) this.destroy()
    else this.push()
  }

  destroy (reason?: Error): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#farewell?.cancel()
    this.#handshake?.reject(reason ?? new Error('the connection was lost'))
    process.nextTick(() => {
      this.#handlers?.closed(reason)
      this.#peer?.hearEnd(true)
    })
  }

  /** Hands what was written to the other end, if it reads. */
  push (): void {
    const peer = this.#peer
    if (peer?.reads !== true) return
    const text = this.#written
    this.#written = ''
    if (text !== '') {
      peer.#hear(text)
      this.#report()
    }
    if (this.#state !== 'open') peer.hearEnd(false)
  }

  get reads (): boolean { return this.#handlers !== undefined && (!this.#paused || this.#state !== 'open') }

  /** Takes note that the other end has ended the connection, or was cut. */
  hearEnd (cut: boolean): void {
    this.#peerEnded = true
    if (this.#state === 'open' && !cut) this.end()
    else this.destroy()
  }

  #report (): void {
    if (!this.#awaitsDrain || this.backlog > 0) return
    this.#awaitsDrain = false
    if (this.#state === 'open') this.#handlers?.drained()
  }

  #hear (text: string): void {
    if (this.#state === 'open') this.#handlers?.data(Buffer.from(text, 'latin1'))
  }

  #flush (): void {
    this.#flushing = false
    if (this.#state !== 'open') return
    this.#written += this.#gathered
    this.#gathered = ''
    this.push()
  }

  #pretended (alpn: string): TlsInfo {
    return {
      protocol: 'TLSv1.3',
      cipher: 'NONE',
      alpn: alpn === '' ? undefined : alpn,
      certificate: this.#how.certificate ?? new Uint8Array(),
      peerCertificates: [],
      authorized: false,
      exporter: (label, length) => Buffer.alloc(length, label),
    }
  }
}
