/** Octets between us and one peer: over a socket (tcp-transport.ts), or over a pair in memory (memory-transport.ts). */
import type { SecureContext } from 'node:tls'
import type { StreamError } from '../xmpp/errors.js'

/** The facts about an encrypted connection after its handshake. */
export interface TlsInfo {
  /** 'TLSv1.2' or 'TLSv1.3'. */
  readonly protocol: string | null
  readonly cipher: string
  /** The protocol negotiated by ALPN (RFC 7301); undefined if the peer named none. */
  readonly alpn: string | undefined
  /** The certificate that we showed, as DER. */
  readonly certificate: Uint8Array
  /** The peer's certificate, then those of its issuers, as DER. Empty if it showed none. */
  readonly peerCertificates: readonly Uint8Array[]
  /** True if the peer's certificate leads to a trusted authority. */
  readonly authorized: boolean
  /** OpenSSL's code for the reason if it does not. */
  readonly distrust?: string | undefined
  /** Returns keying material of this connection (RFC 5705). */
  exporter (label: string, length: number): Uint8Array
  /** True if no login can be bound to this connection (RFC 5056): the client does not see it, as in a browser. */
  readonly isUnbound?: true
  /** Returns the first Finished message of the handshake (RFC 5929 §3.1), if it is known. */
  readonly firstFinished?: () => Uint8Array | undefined
}

/** The settings of a handshake as the server. */
export interface TlsSettings {
  /** Returns the certificate for the name in SNI; `servername` is undefined if the peer sent none. */
  contextFor (servername: string | undefined): { readonly context: SecureContext, readonly certificate: Uint8Array }
  /** The protocol that we offer if the peer uses ALPN: 'xmpp-client', 'xmpp-server' (XEP-0368 §2) or 'http/1.1'. */
  readonly alpn: string
  /** True if the peer is asked for a certificate. */
  readonly asksPeer: boolean
  /**
   * If the peer is asked for a certificate, told the CPU time of the main thread that each part of the handshake used,
   * in milliseconds.
   */
  readonly spent?: (ms: number) => void
}

/** The settings of a handshake as the side that opened the connection. */
export interface ClientTlsSettings {
  /** The name to send in SNI; undefined for an IP address, which has no name (RFC 6066 §3). */
  readonly servername: string | undefined
  /** The certificate that we show if asked, and the authorities that we trust. */
  readonly context: SecureContext
  readonly certificate: Uint8Array
  readonly alpn: string
}

/** The handlers of a transport. None of them is called during `write`, `end` or `destroy`. */
export interface TransportHandlers {
  /** Data has come: from a transport of frames, one whole frame. The receiver may keep `chunk`. */
  data (chunk: Uint8Array): void
  /** The system has taken all that was written. Called once after each `awaitDrain`. */
  drained (): void
  /** The peer has shown that it is there, without data, in this number of bytes. */
  heard? (bytes: number): void
  /** The peer has broken a rule or a bound of the transport. No data follows. */
  failed? (error: StreamError): void
  /** The connection is gone. The last call, made once. `reason`: undefined if it was ended in order. */
  closed (reason: Error | undefined): void
}

export interface Transport {
  /** The peer's IP address as text. IPv4 is never written as IPv6. */
  readonly address: string
  /** Undefined while the connection is not encrypted. */
  readonly tls: TlsInfo | undefined
  /** The bytes that were written and that the system has not taken yet. */
  readonly backlog: number
  readonly isClosed: boolean
  /** Begins to read. Must be called once, before anything else. */
  open (handlers: TransportHandlers): void
  /**
   * Writes one element, or the header or end of a stream, as UTF-8, one character per byte. A transport of frames sends
   * it as one; others gather what is written in one turn of the event loop. After `end`, does nothing.
   */
  write (octets: string): void
  /**
   * Lets `drained` be called once, in a later turn, when the system has taken all that was written. If nothing waits,
   * it is called after the next write.
   */
  awaitDrain (): void
  /** Asks the peer below the stream whether it is there; absent if the transport cannot do that. */
  ping? (): void
  /** Stops reading. A chunk that is on its way in this turn of the event loop may still come. */
  pause (): void
  resume (): void
  /** Sends what was written, then encrypts. Earlier input goes to TLS or is dropped. Rejects if the handshake fails. */
  startTls (how: TlsSettings | ClientTlsSettings): Promise<TlsInfo>
  /**
   * Sends what was written and ends the connection; reads nothing more. A peer that does not end it in time is cut off.
   */
  end (): void
  /** Cuts the connection at once. */
  destroy (reason?: Error): void
}

/** How long a peer may take to end a connection that we have ended, in milliseconds. */
export const FAREWELL = 5000

/** Returns an IP address as text, without a zone; IPv4 mapped to IPv6 becomes plain IPv4. */
export function plainAddress (address: string | undefined): string {
  if (address === undefined) return ''
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  return mapped?.[1] ?? address.split('%', 1)[0] ?? ''
}
