/** The server's side of TLS on a socket, with the certificate for the name in SNI (RFC 6066 §3). */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket, type SecureContext } from 'node:tls'
import type { TlsInfo, TlsSettings } from './transport.js'

/** A socket whose handshake has begun. */
export interface ServerTls {
  readonly tls: TLSSocket
  /** Returns the certificate that the peer was shown, as DER. */
  readonly certificate: () => Uint8Array
}

/**
 * Begins TLS as the server. The socket says 'secure' after the handshake, and '_tlsError' for its errors, because it is
 * made by hand.
 */
export function serverTls (
  under: Duplex | Socket, how: Pick<TlsSettings, 'contextFor' | 'alpn' | 'asksPeer'>,
): ServerTls {
  const first = how.contextFor(undefined)
  let shown = first
  const tls = new TLSSocket(under, {
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
  return { tls, certificate: () => shown.certificate }
}

/** Returns the facts about a socket after its handshake, for either side. `certificate`: the one that we showed. */
export function commonInfoOf (
  socket: TLSSocket, certificate: Uint8Array,
): Pick<TlsInfo, 'protocol' | 'cipher' | 'alpn' | 'certificate' | 'exporter'> {
  const alpn: unknown = socket.alpnProtocol
  return {
    protocol: socket.getProtocol(),
    cipher: socket.getCipher().standardName,
    alpn: typeof alpn === 'string' ? alpn : undefined,
    certificate,
    exporter: (label, length) => socket.exportKeyingMaterial(length, label, Buffer.alloc(0)),
  }
}
