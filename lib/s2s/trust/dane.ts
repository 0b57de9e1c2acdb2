/**
 * DANE: the domain names in DNS, checked by DNSSEC, which certificate its server has to show (RFC 6698, RFC 7671; for
 * SRV RFC 7673). If a domain does so, nothing else counts: no authority can certify another certificate.
 */
import { createHash, X509Certificate } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate } from '@peculiar/asn1-x509'
import type { TlsInfo } from '../../stream/transport.js'
import type { Target } from '../ground/target.js'
import { distrust, isFor, namesOf } from './certificate-names.js'
import { DANE_EE, HASHES, type Tlsa } from '../ground/tlsa.js'

/**
 * RFC 6698 §2.1.1, certificate usages: whose certificate the record names, and whether an authority has to confirm it.
 */
const PKIX_TA = 0
const PKIX_EE = 1
const DANE_TA = 2

/** The reason to refuse a certificate that matches no TLSA record. */
export const NOT_NAMED = 'its certificate is not the one that its domain names in DNS (TLSA)'

/** Returns why the peer at a target is not its domain's server; undefined if it is. `now`: milliseconds since 1970. */
export function doubtOf (
  { tlsa, host }: Pick<Target, 'tlsa' | 'host'>, tls: TlsInfo | undefined, domain: string, now: number,
): string | undefined {
  if (tlsa === undefined || tls === undefined || tls.peerCertificates.length === 0) return distrust(tls, domain)
  try {
    if (tlsa.some(record => matchesRecord(record, { tls, domain, host, now }))) return undefined
  } catch {
    // The certificate is not DER that we understand: it matches nothing.
  }
  return NOT_NAMED
}

/**
 * `host`: the name in the SRV record. RFC 7673 §4.1: a certificate may name it instead, because DNSSEC has checked it
 * as well.
 */
interface Presented { readonly tls: TlsInfo, readonly domain: string, readonly host: string, readonly now: number }

function matchesRecord (record: Tlsa, shown: Presented): boolean {
  const { tls } = shown
  const chain = tls.peerCertificates
  const [own = new Uint8Array(), ...above] = chain
  switch (record.usage) {
    case DANE_EE: return matches(record, own) // RFC 7671 §5.1: names and dates do not count
    case DANE_TA: {
      if (!isNamed(own, shown)) return false
      return above.some((one, at) => matches(record, one) && isCertified(chain.slice(0, at + 2), shown.now))
    }
    case PKIX_EE: return tls.authorized && isNamed(own, shown) && matches(record, own)
    case PKIX_TA: return tls.authorized && isNamed(own, shown) && above.some(one => matches(record, one))
    default: return false
  }
}

function isNamed (own: Uint8Array, { domain, host }: Presented): boolean {
  const names = namesOf(own)
  return isFor(names, domain) || isFor(names, host)
}

function matches ({ selector, matchingType, certificate }: Tlsa, der: Uint8Array): boolean {
  const selected = selector === 0 ? der : keyOf(der)
  const hash = HASHES[matchingType]
  return certificate.equals(hash === undefined ? selected : createHash(hash.name).update(selected).digest())
}

/** Returns the SubjectPublicKeyInfo of a certificate, as DER. */
function keyOf (der: Uint8Array): Uint8Array {
  return new Uint8Array(AsnConvert.serialize(AsnConvert.parse(der, Certificate).tbsCertificate.subjectPublicKeyInfo))
}

/** RFC 7671 §5.2: true if each certificate, from the server's own to the last, is issued by the next and valid now. */
function isCertified (chain: readonly Uint8Array[], now: number): boolean {
  const certificates = chain.map(der => new X509Certificate(der))
  return certificates.every((certificate, index) => {
    const issuer = certificates[index + 1]
    const isCurrent = Date.parse(certificate.validFrom) <= now && now <= Date.parse(certificate.validTo)
    const isIssued = issuer === undefined || certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
    return isCurrent && isIssued && (index === 0 || certificate.ca)
  })
}
