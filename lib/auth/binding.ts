/** Channel bindings (RFC 5056): what ties a login to the TLS connection it came through. XEP-0440 advertises their types. */
import { createHash } from 'node:crypto'
import { AsnConvert, AsnProp, AsnPropTypes, AsnType, AsnTypeTypes } from '@peculiar/asn1-schema'
import { AlgorithmIdentifier, Certificate } from '@peculiar/asn1-x509'

export type ChannelBindingType = 'tls-exporter' | 'tls-server-end-point' | 'tls-unique'

export interface ChannelBinding {
  readonly type: ChannelBindingType
  /** Whether clients are told of it. */
  readonly announced: boolean
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
  /** The first Finished message of the handshake, where it can be had. */
  readonly firstFinished?: () => Uint8Array | undefined
}

/** What this connection can be bound to, the strongest first. */
export function channelBindings (connection: BoundConnection): readonly ChannelBinding[] {
  const bindings: ChannelBinding[] = []
  // RFC 9266 §4.2: below TLS 1.3 it is unique only with an extended master secret, which Node does not tell of.
  if (connection.protocol === 'TLSv1.3') {
    bindings.push({ type: 'tls-exporter', announced: true, bytes: () => connection.exporter('EXPORTER-Channel-Binding', 32) })
  }
  const hash = knownHash(connection.certificate)
  if (hash !== undefined) {
    bindings.push({ type: 'tls-server-end-point', announced: true, bytes: () => createHash(hash).update(connection.certificate).digest() })
  }
  // COMPAT(slixmpp, 1.8): binds to nothing else, whatever is announced, and calls it so in TLS 1.3 too, where RFC 9266 §3 has no
  // name for it. It ties a login to this handshake all the same; nobody is invited to use it.
  const finished = connection.firstFinished?.()
  if (finished !== undefined) bindings.push({ type: 'tls-unique', announced: false, bytes: () => finished })
  return bindings
}

/** A server shows the same few certificates all its life, and taking one apart costs more than the rest of a login. */
const hashes = new WeakMap<Uint8Array, { readonly hash: string | undefined }>()

function knownHash (certificate: Uint8Array): string | undefined {
  let known = hashes.get(certificate)
  if (known === undefined) hashes.set(certificate, known = { hash: endPointHash(certificate) })
  return known.hash
}

/**
 * RFC 5929 §4.1: the hash of the certificate's signature, MD5 and SHA-1 replaced by SHA-256. Undefined where the signature
 * uses none or several, as Ed25519: the binding is not defined then.
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

/** Signatures with one hash, by their object identifiers (RFC 8017, RFC 5758), and the hash to bind with. */
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

/** RSASSA-PSS-params of RFC 4055 §3.1, as far as we read them. */
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
