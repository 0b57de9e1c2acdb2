/** Channel bindings (RFC 5056): they tie a login to its TLS connection. XEP-0440 announces their types. */
import { createHash } from 'node:crypto'
import { AsnConvert, AsnProp, AsnPropTypes, AsnType, AsnTypeTypes } from '@peculiar/asn1-schema'
import { AlgorithmIdentifier, Certificate } from '@peculiar/asn1-x509'

export type ChannelBindingType = 'tls-exporter' | 'tls-server-end-point' | 'tls-unique'

export interface ChannelBinding {
  readonly type: ChannelBindingType
  /** True if the type is announced to clients. */
  readonly announced: boolean
  /** The data to compare. Made only when a client uses this type. */
  bytes (): Uint8Array
}

/** The parts of a TLS connection that channel bindings need. */
export interface BoundConnection {
  /** `TLSSocket.getProtocol()`. */
  readonly protocol: string | null
  /** The server's certificate, as DER. */
  readonly certificate: Uint8Array
  exporter (label: string, length: number): Uint8Array
  /** The first Finished message of the handshake, if it is available. */
  readonly firstFinished?: () => Uint8Array | undefined
}

/** Returns the channel bindings that this connection supports, the strongest first. */
export function channelBindings (connection: BoundConnection): readonly ChannelBinding[] {
  const bindings: ChannelBinding[] = []
  // RFC 9266 §4.2: below TLS 1.3 tls-exporter is unique only with an extended master secret, which Node does not
  // report.
  if (connection.protocol === 'TLSv1.3') {
    const bytes = (): Uint8Array => connection.exporter('EXPORTER-Channel-Binding', 32)
    bindings.push({ type: 'tls-exporter', announced: true, bytes })
  }
  const hash = knownHash(connection.certificate)
  if (hash !== undefined) {
    const bytes = (): Uint8Array => createHash(hash).update(connection.certificate).digest()
    bindings.push({ type: 'tls-server-end-point', announced: true, bytes })
  }
  // COMPAT(slixmpp, 1.8): supports only this type, whatever is announced, and calls it tls-unique in TLS 1.3 too, for
  // which RFC 9266 §3 defines no name. It still ties a login to this handshake, so it is accepted but not announced.
  const finished = connection.firstFinished?.()
  if (finished !== undefined) bindings.push({ type: 'tls-unique', announced: false, bytes: () => finished })
  return bindings
}

/**
 * The hash of each certificate. A server uses few certificates, and parsing one costs more than the rest of a login.
 */
const hashes = new WeakMap<Uint8Array, { readonly hash: string | undefined }>()

function knownHash (certificate: Uint8Array): string | undefined {
  let known = hashes.get(certificate)
  if (known === undefined) hashes.set(certificate, known = { hash: endPointHash(certificate) })
  return known.hash
}

/**
 * Returns the hash of the certificate's signature, with MD5 and SHA-1 replaced by SHA-256 (RFC 5929 §4.1). Undefined if
 * the signature uses none or several hashes, as Ed25519 does: the binding is not defined then.
 */
export function endPointHash (certificate: Uint8Array): string | undefined {
  const { algorithm, parameters } = AsnConvert.parse(certificate, Certificate).signatureAlgorithm
  if (algorithm !== RSASSA_PSS) return SIGNATURES[algorithm]
  // RFC 4055 §3.1: without parameters the hash is SHA-1.
  if (parameters === undefined || parameters === null) return 'sha256'
  return DIGESTS[AsnConvert.parse(parameters, PssParameters).hashAlgorithm?.algorithm ?? SHA1]
}

const RSASSA_PSS = '1.2.840.113549.1.1.10'
const SHA1 = '1.3.14.3.2.26'

/** Signature algorithms with one hash, by object identifier (RFC 8017, RFC 5758), and the hash for the binding. */
const SIGNATURES: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.4': 'sha256', // MD5 with RSA
  '1.2.840.113549.1.1.5': 'sha256', // SHA-1 with RSA
  '1.2.840.113549.1.1.14': 'sha224',
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.10045.4.1': 'sha256', // ECDSA with SHA-1
  '1.2.840.10045.4.3.1': 'sha224',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
}

const DIGESTS: Readonly<Record<string, string>> = {
  '1.2.840.113549.2.5': 'sha256', // MD5
  [SHA1]: 'sha256',
  '2.16.840.1.101.3.4.2.4': 'sha224',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
}

/** The fields of RSASSA-PSS-params (RFC 4055 §3.1). Only the hash algorithm is used. */
class PssParameters {
  hashAlgorithm?: AlgorithmIdentifier
  maskGenAlgorithm?: AlgorithmIdentifier
  saltLength?: number
  trailerField?: number
}
AsnType({ type: AsnTypeTypes.Sequence })(PssParameters)
AsnProp({ type: AlgorithmIdentifier, context: 0, optional: true })(PssParameters.prototype, 'hashAlgorithm')
AsnProp({ type: AlgorithmIdentifier, context: 1, optional: true })(PssParameters.prototype, 'maskGenAlgorithm')
AsnProp({ type: AsnPropTypes.Integer, context: 2, optional: true })(PssParameters.prototype, 'saltLength')
AsnProp({ type: AsnPropTypes.Integer, context: 3, optional: true })(PssParameters.prototype, 'trailerField')
