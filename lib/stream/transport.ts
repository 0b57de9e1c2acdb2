/** Transport: octets between us and one peer. Over a socket (tcp-transport.ts), or a pair in memory (memory-transport.ts). */
import type { SecureContext } from 'node:tls'

/** What is known of an encrypted connection once its handshake is over. */
export interface TlsInfo {
  /** 'TLSv1.2' or 'TLSv1.3'. */
  readonly protocol: string | null
  readonly cipher: string
  /** The protocol agreed on by ALPN (RFC 7301); undefined where the peer named none. */
  readonly alpn: string | undefined
  /** The certificate that we have shown, as DER. */
  readonly certificate: Uint8Array
  /** The peer's certificate, then those of its issuers, as DER. Empty where it showed none. */
  readonly peerCertificates: readonly Uint8Array[]
  /** The peer's certificate leads to an authority that we trust. */
  readonly authorized: boolean
  /** Why it does not, in OpenSSL's words. */
  readonly distrust?: string | undefined
  /** Keying material of this connection (RFC 5705). */
  exporter (label: string, length: number): Uint8Array
  /** The first Finished message of the handshake (RFC 5929 §3.1), where it can be had. */
  readonly firstFinished?: () => Uint8Array | undefined
}

/** How the server's side of a handshake is done. */
export interface TlsSettings {
  /** The certificate for the name that the peer asks for (SNI); undefined: it asked for none. */
  contextFor (servername: string | undefined): { readonly context: SecureContext, readonly certificate: Uint8Array }
  /** What we speak, where the peer uses ALPN: 'xmpp-client' or 'xmpp-server' (XEP-0368 §2). */
  readonly alpn: string
  /** Whether the peer is asked for a certificate. */
  readonly asksPeer: boolean
}

/** How the side that opened the connection does it. */
export interface ClientTlsSettings {
  /** The name that the peer is asked for (SNI); undefined: none, for an IP address has no name (RFC 6066 §3). */
  readonly servername: string | undefined
  /** What we show where we are asked, and whom we trust. */
  readonly context: SecureContext
  readonly certificate: Uint8Array
  readonly alpn: string
}

/** What a transport tells its owner. None is called within `write`, `end` or `destroy`. */
export interface TransportHandlers {
  data (chunk: Uint8Array): void
  /** All that was written has been taken. Told where `backlog` had grown. */
  drained (): void
  /** The last there is, and once. `reason` is undefined where the peer or we have ended the connection as it should be. */
  closed (reason: Error | undefined): void
}

export interface Transport {
  /** The peer's IP address as text. IPv4 never wears the clothes of IPv6. */
  readonly address: string
  /** Undefined while it is not encrypted. */
  readonly tls: TlsInfo | undefined
  /** Bytes that were written and not yet taken by the system. */
  readonly backlog: number
  readonly isClosed: boolean
  /** Begins to read. To be called once, before anything else. */
  open (handlers: TransportHandlers): void
  /** UTF-8, one character a byte. Gathered, and written once a turn of the event loop. Nothing happens after `end`. */
  write (octets: string): void
  /** Stops reading. A chunk that is on its way within this turn may still come. */
  pause (): void
  resume (): void
  /** Sends what was written, then encrypts. What came before is handed to TLS, or to nobody. Rejects where the handshake fails. */
  startTls (how: TlsSettings | ClientTlsSettings): Promise<TlsInfo>
  /** Sends what was written and says goodbye; hands over nothing more. A peer that does not answer in time is cut off. */
  end (): void
  /** Cuts it off at once. */
  destroy (reason?: Error): void
}

/** How long a peer may take to end a connection that we have ended, in milliseconds. */
export const FAREWELL = 5000

/** An IP address as text: without a zone, and IPv4 as such. */
export function plainAddress (address: string | undefined): string {
  if (address === undefined) return ''
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  return mapped?.[1] ?? address.split('%', 1)[0] ?? ''
}
