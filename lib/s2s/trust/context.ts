/** How this server and other servers prove who they are. */
import type { SecureContext } from 'node:tls'
import type { ConnectContext } from '../connect/context.js'
import type { Anchors } from './chain.js'
import type { DialbackKeys } from './dialback.js'

/** The certificate of a local domain, ready for TLS. */
export interface OwnCertificate { readonly context: SecureContext, readonly certificate: Uint8Array }

/** The outside world as proofs see it. */
export interface TrustContext extends ConnectContext {
  readonly keys: DialbackKeys
  /** The authorities that certify other servers. */
  anchors (): Anchors
  /** Returns what to show in TLS: the certificate for `servername`, the name in SNI, or else for `domain`. */
  shows (servername: string | undefined, domain: string): OwnCertificate
}
