/**
 * Which domains a certificate is valid for (RFC 6120 §13.7.1.2, RFC 9525): DNS-ID, SRV-ID and XmppAddr, never the
 * common name.
 */
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate, id_ce_subjectAltName, SubjectAlternativeName } from '@peculiar/asn1-x509'
import { xmppAddresses } from '../../auth/external.js'
import type { TlsInfo } from '../../stream/transport.js'
import { JidError, parseJid } from '../../xmpp/jid.js'
import { domainOf, addressOf, asciiOf } from '../ground/domain.js'

/** The names in a certificate that may name an XMPP server. */
export interface CertificateNames {
  /** DNS-ID, in lower case. */
  readonly dns: readonly string[]
  /** SRV-ID: the domains after `_xmpp-server.`, in lower case. */
  readonly srv: readonly string[]
  /** XmppAddr, unchanged. */
  readonly xmpp: readonly string[]
}

/** RFC 4985 §2 */
const SRV_NAME = '1.3.6.1.5.5.7.8.7'
/** The most names in a certificate. No certificate of one server has more, and each name costs time. */
const MOST_NAMES = 1000
const NOBODY: CertificateNames = { dns: [], srv: [], xmpp: [] }

/** The errors of OpenSSL, in words for an operator. */
const WORDS: ReadonlyMap<string, string> = new Map([
  ['CERT_HAS_EXPIRED', 'it has expired'],
  ['CERT_NOT_YET_VALID', 'it is not valid yet'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'it is self-signed'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'its authority is not trusted'],
  ['UNABLE_TO_GET_ISSUER_CERT', 'a certificate is missing between it and an authority'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'its authority is not trusted, or an intermediate certificate is missing'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'its authority is not trusted, or an intermediate certificate is missing'],
  ['INVALID_PURPOSE', 'it was not issued for this purpose'],
])

function inWords (code: string): string { return WORDS.get(code) ?? code }

/** Returns the names in a certificate; none if it cannot be read. */
export function namesOf (certificate: Uint8Array): CertificateNames {
  try {
    const { extensions } = AsnConvert.parse(certificate, Certificate).tbsCertificate
    const [extension, second] = extensions?.filter(({ extnID }) => extnID === id_ce_subjectAltName) ?? []
    // RFC 5280 §4.2: no extension occurs twice.
    if (extension === undefined || second !== undefined) return NOBODY
    const names = AsnConvert.parse(extension.extnValue, SubjectAlternativeName)
    if (names.length > MOST_NAMES) return NOBODY
    return {
      dns: names.flatMap(({ dNSName }) => dNSName === undefined ? [] : [dNSName.toLowerCase()]),
      srv: names.flatMap(({ otherName }) =>
        otherName?.typeId === SRV_NAME ? serverIn(new Uint8Array(otherName.value)) : []),
      xmpp: xmppAddresses(certificate),
    }
  } catch {
    return NOBODY // not DER that we understand: it names nobody
  }
}

/** True if the names are valid for a domain. */
export function isFor (names: CertificateNames, domain: string): boolean {
  if (addressOf(domain) !== undefined) return false // RFC 9525 §6.1: no name is an IP address
  const ascii = asciiOf(domain).toLowerCase()
  return names.dns.some(name => covers(name, ascii)) || names.srv.some(name => covers(name, ascii)) ||
    names.xmpp.some(text => isDomain(text, domain))
}

/** Returns why the peer of a connection cannot be trusted to be a domain's server; undefined if it can. */
export function distrust (tls: TlsInfo | undefined, domain: string): string | undefined {
  const certificate = tls?.peerCertificates[0]
  if (tls === undefined) return 'the connection is not encrypted'
  if (certificate === undefined) return 'it shows no certificate'
  if (!tls.authorized) return `its certificate is not trusted: ${inWords(tls.distrust ?? 'the reason is not known')}`
  return isFor(namesOf(certificate), domain) ? undefined : `its certificate is not valid for ${domain}`
}

/** RFC 9525 §6.3: a wildcard is the whole leftmost label and matches exactly one label. */
function covers (presented: string, ascii: string): boolean {
  const name = presented.replace(/\.$/, '')
  if (!name.includes('*')) return asciiOf(name).toLowerCase() === ascii
  const dot = ascii.indexOf('.')
  const rest = name.slice(2)
  // `*.` in front, no other asterisk, and more than a top-level domain after it.
  const isWildcard = name.startsWith('*.') && !rest.includes('*') && rest.includes('.')
  return isWildcard && dot > 0 && ascii.slice(dot + 1) === asciiOf(rest).toLowerCase()
}

function isDomain (text: string, domain: string): boolean {
  try {
    const jid = parseJid(text)
    return jid.local === '' && jid.resource === '' && jid.domain === domain
  } catch (error) {
    if (error instanceof JidError) return false
    throw error
  }
}

/** Reads an SRVName, an IA5String `_service.name`. */
function serverIn (bytes: Uint8Array): readonly string[] {
  const [tag, length = 0] = bytes
  if (tag !== 0x16 || length >= 0x80 || bytes.length !== 2 + length) return []
  const text = Buffer.from(bytes.subarray(2)).toString('latin1').toLowerCase()
  return /^_xmpp-server\.[a-z0-9.*-]+$/.test(text) ? [text.slice('_xmpp-server.'.length)] : []
}

/**
 * Decodes the authorization identity (XEP-0178 §3 step 11): base64; '' for "=" or an empty text. Undefined if it is no
 * domain.
 */
export function identityIn (text: string): string | undefined {
  if (text === '' || text === '=') return ''
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined
  return domainOf(Buffer.from(text, 'base64').toString('utf8'))
}
