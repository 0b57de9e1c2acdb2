/** Channel bindings (RFC 5056): what ties a login to the TLS connection it came through. XEP-0440 advertises their types. */
import { createHash } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate } from '@peculiar/asn1-x509'

export type ChannelBindingType = 'tls-exporter' | 'tls-server-end-point'

export interface ChannelBinding {
  readonly type: ChannelBindingType
  /** The data to compare; made only when a client asks for this type. */
  bytes (): Uint8Array
}

/** A TLS connection, as far as bindings go. */
export interface BoundConnection {
  /** `TLSSocket.getProtocol()`. */
  readonly protocol: string | null
  /** The certificate that the server showed, as DER. */
  readonly certificate: Uint8Array
  exporter (label: string, length: number): Uint8Array
}
