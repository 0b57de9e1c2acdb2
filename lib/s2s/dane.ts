/**
 * DANE: the certificate that a server has to show, as its domain says in DNS and DNSSEC has checked (RFC 6698, RFC 7671, for SRV RFC 7673).
 * Where a domain has said it, nothing else counts: no authority can stand for another certificate.
 */
import { createHash, X509Certificate } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate } from '@peculiar/asn1-x509'
import type { TlsaData } from 'dns-packet'
import type { TlsInfo } from '../stream/transport.js'
import type { Target } from './resolve.js'
import { distrust, isFor, namesOf } from './trust.js'

/** What a TLSA record says (RFC 6698 §2.1). */
export type Tlsa = TlsaData

/** RFC 6698 §2.1.1: whose certificate it is that the record shows, and whether authorities have a say beside it. */
const PKIX_TA = 0
const PKIX_EE = 1
const DANE_TA = 2
const DANE_EE = 3
/** RFC 6698 §2.1.3: how the record shows it, and how long that is in bytes; as it is, it has any length. */
const HASHES = [undefined, { name: 'sha256', bytes: 32 }, { name: 'sha512', bytes: 64 }] as const
/** Records of one name that are looked at. */
const MOST = 16

/** Those that we understand. RFC 7671 §4.1: where there are none, it is as if the domain had said nothing. */
export function usable (records: readonly Tlsa[]): readonly Tlsa[] {
  return records.slice(0, MOST).filter(({ usage, selector, matchingType, certificate }) => {
    if (usage > DANE_EE || selector > 1 || matchingType >= HASHES.length) return false
    const hash = HASHES[matchingType]
    return hash === undefined ? certificate.length > 0 : certificate.length === hash.bytes
  })
}

/** What is wrong with a certificate that does not match any TLSA record. */
export const NOT_NAMED = 'its certificate is not the one that its domain names in DNS (TLSA)'

/** Why the peer at this target is not the server of its domain; undefined where it is. `now`: milliseconds since 1970. */
export function doubtOf (
  { tlsa, host }: Pick<Target, 'tlsa' | 'host'>, tls: TlsInfo | undefined, domain: string, now: number,
): string | undefined {
  if (tlsa === undefined || tls === undefined || tls.peerCertificates.length === 0) return distrust(tls, domain)
  try {
    if (tlsa.some(record => stands(record, { tls, domain, host, now }))) return undefined
  } catch {
    // Not DER that we understand: it is nobody's.
  }
  return NOT_NAMED
}

/** `host`: the name in its SRV record. RFC 7673 §4.1: a certificate may be for that instead, for DNSSEC has checked it as well. */
interface Shown { readonly tls: TlsInfo, readonly domain: string, readonly host: string, readonly now: number }

function stands (record: Tlsa, shown: Shown): boolean {
  const { tls } = shown
  const chain = tls.peerCertificates
  const [own = new Uint8Array(), ...above] = chain
  switch (record.usage) {
    case DANE_EE: return matches(record, own) // RFC 7671 §5.1: its names and dates are of no concern
    case DANE_TA: {
      if (!isNamed(own, shown)) return false
      return above.some((one, at) => matches(record, one) && isCertified(chain.slice(0, at + 2), shown.now))
    }
    case PKIX_EE: return tls.authorized && isNamed(own, shown) && matches(record, own)
    case PKIX_TA: return tls.authorized && isNamed(own, shown) && above.some(one => matches(record, one))
    default: return false
  }
}

function isNamed (own: Uint8Array, { domain, host }: Shown): boolean {
  const names = namesOf(own)
  return isFor(names, domain) || isFor(names, host)
}

function matches ({ selector, matchingType, certificate }: Tlsa, der: Uint8Array): boolean {
  const selected = selector === 0 ? der : keyOf(der)
  const hash = HASHES[matchingType]
  return certificate.equals(hash === undefined ? selected : createHash(hash.name).update(selected).digest())
}

/** Its SubjectPublicKeyInfo, as DER. */
function keyOf (der: Uint8Array): Uint8Array {
  return new Uint8Array(AsnConvert.serialize(AsnConvert.parse(der, Certificate).tbsCertificate.subjectPublicKeyInfo))
}

/** RFC 7671 §5.2: from the server's own up to the last, each is certified by the next, and valid now. */
function isCertified (chain: readonly Uint8Array[], now: number): boolean {
  const certificates = chain.map(der => new X509Certificate(der))
  return certificates.every((certificate, index) => {
    const issuer = certificates[index + 1]
    const isCurrent = Date.parse(certificate.validFrom) <= now && now <= Date.parse(certificate.validTo)
    const isIssued = issuer === undefined || certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
    return isCurrent && isIssued && (index === 0 || certificate.ca)
  })
}
