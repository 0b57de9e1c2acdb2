/**
 * Whether a certificate that was issued for servers leads to an authority that we trust (RFC 5280 §6.1).
 *
 * TLS looks at the certificate of who calls for the purpose *client*; but public authorities issue certificates for servers alone now, and
 * a server that calls shows that. OpenSSL tells of one error only, and that of the purpose hides the others: nothing that it has found
 * counts, and the whole chain is verified here anew for the purpose *server*. Whatever is not understood counts as wrong. Who is refused
 * here is not lost: dialback remains.
 */
import { X509Certificate, type KeyObject } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  BasicConstraints, Certificate, ExtendedKeyUsage, id_ce_basicConstraints, id_ce_certificatePolicies, id_ce_extKeyUsage, id_ce_keyUsage,
  id_ce_nameConstraints, id_ce_subjectAltName, id_kp_serverAuth, KeyUsage, KeyUsageFlags, Version,
} from '@peculiar/asn1-x509'
import type { TlsInfo } from '../stream/transport.js'
import { allows, constrainedNamesOf } from './name-constraints.js'

/** Of those that the peer has sent so many are looked at; and none that is longer, in bytes. */
const MOST_SENT = 10
const MOST_BYTES = 8192
/** Certificates from the server's own to the authority, both included. */
const LONGEST = 6
/** Signatures that are verified for one peer, and ways to a root that are looked at closely. */
const MOST_SIGNATURES = 24
const MOST_WAYS = 3

/** SHA-2 with RSA (RFC 4055) and ECDSA (RFC 5758), and Ed25519 and Ed448 (RFC 8410). Not MD5, not SHA-1. */
const SIGNATURES: ReadonlySet<string> = new Set([
  '1.2.840.113549.1.1.11', '1.2.840.113549.1.1.12', '1.2.840.113549.1.1.13', '1.2.840.10045.4.3.2', '1.2.840.10045.4.3.3', '1.2.840.10045.4.3.4',
  '1.3.101.112', '1.3.101.113',
])
/** Bits of an RSA key. A longer one costs more time than it is worth. */
const RSA = { least: 2048, most: 8192 }
/** The largest public exponent of an RSA key. With one as long as the key, each signature of a stranger would cost up to 25 ms. */
const LARGEST_EXPONENT = 0xffffffffn
const CURVES: readonly (string | undefined)[] = ['prime256v1', 'secp384r1', 'secp521r1']
/** Critical extensions that are obeyed here. RFC 5280 §4.2: one that is not understood makes the certificate useless. */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  id_ce_basicConstraints, id_ce_keyUsage, id_ce_extKeyUsage, id_ce_nameConstraints, id_ce_subjectAltName, id_ce_certificatePolicies,
])
const NETSCAPE_TYPE = '2.16.840.1.113730.1.1'

/** A certificate as far as a chain is concerned. */
interface Read {
  readonly x509: X509Certificate
  readonly key: KeyObject
  readonly der: Uint8Array
  readonly isSelfIssued: boolean
  readonly signedWith: string | undefined
  readonly basic: BasicConstraints | undefined
  readonly keyUsage: number | undefined
  readonly purposes: readonly string[] | undefined
  readonly constraints: ArrayBuffer | undefined
}

/** What was found wrong. */
class Doubt extends Error {}
const TOO_LONG = 'its chain is too long'
const UNREADABLE = 'a certificate cannot be read'

/** The authorities that we trust, as PEM. They are read when the first chain is verified. */
export class Anchors {
  readonly #pems: readonly string[]
  #bySubject: Map<string, X509Certificate[]> | undefined

  constructor (pems: readonly string[]) { this.#pems = pems }

  /**
   * Why a chain does not lead to one of them; undefined if it does. First stands the certificate of the server, after it what the peer has
   * sent besides, in any order. `now`: milliseconds since 1970.
   */
  doubt (chain: readonly Uint8Array[], now: number): string | undefined {
    try {
      const [own, ...sent] = chain.slice(0, MOST_SENT).flatMap((der, index) => index === 0 ? [opened(der)] : readable(der))
      if (own === undefined) return 'there is no certificate'
      return new Search(subject => this.#of(subject), sent, now).up([own])
    } catch (error) {
      return error instanceof Doubt ? error.message : UNREADABLE
    }
  }

  /** Those of this name that have issued themselves: where a chain ends. */
  #of (subject: string): readonly X509Certificate[] {
    this.#bySubject ??= this.#index()
    return (this.#bySubject.get(subject) ?? []).filter(({ issuer }) => issuer === subject)
  }

  #index (): Map<string, X509Certificate[]> {
    const bySubject = new Map<string, X509Certificate[]>()
    for (const pem of this.#pems) {
      try {
        const certificate = new X509Certificate(pem)
        const same = bySubject.get(certificate.subject)
        if (same === undefined) bySubject.set(certificate.subject, [certificate])
        else same.push(certificate)
      } catch {
        continue // an authority that cannot be read vouches for nobody
      }
    }
    return bySubject
  }
}

/**
 * What is known of a peer that has called, with its certificate taken for what it is: one for servers. Changes nothing unless the purpose
 * is what TLS objects to, and the chain is right for servers.
 */
export function asServer (tls: TlsInfo, anchors: Anchors, now: number): TlsInfo {
  if (tls.authorized || tls.distrust !== 'INVALID_PURPOSE') return tls
  return anchors.doubt(tls.peerCertificates, now) === undefined ? { ...tls, authorized: true, distrust: undefined } : tls
}

/**
 * Looks for a way from a server's certificate up to an authority, by names and signatures alone. Only certificates on a way that is found
 * are read in full: an authority has signed all of those, and no stranger can have made them costly to read.
 */
class Search {
  readonly #anchors: (subject: string) => readonly X509Certificate[]
  readonly #sent: readonly X509Certificate[]
  readonly #now: number
  #signatures = 0
  #ways = 0

  constructor (anchors: (subject: string) => readonly X509Certificate[], sent: readonly X509Certificate[], now: number) {
    this.#anchors = anchors
    this.#sent = sent
    this.#now = now
  }

  /** Why there is no way up from the last of these; undefined if there is one. */
  up (path: readonly X509Certificate[]): string | undefined {
    const issuer = path.at(-1)?.issuer ?? ''
    let doubt: string | undefined = 'its authority is not trusted'
    for (const root of this.#anchors(issuer)) {
      doubt = this.#step(path, root) ?? this.#judge([...path, root])
      if (doubt === undefined) return undefined
    }
    for (const other of this.#sent) {
      if (other.subject !== issuer || path.some(({ raw }) => raw.equals(other.raw))) continue
      if (path.length + 1 >= LONGEST) return TOO_LONG
      doubt = this.#step(path, other) ?? this.up([...path, other])
      if (doubt === undefined) return undefined
    }
    return doubt
  }

  /** Why the last of the path is not issued by this; undefined if it is. */
  #step (path: readonly X509Certificate[], issuer: X509Certificate): string | undefined {
    const last = path.at(-1)
    if (last === undefined || ++this.#signatures > MOST_SIGNATURES) return TOO_LONG
    try {
      checkKey(issuer.publicKey)
      if (!last.checkIssued(issuer)) return 'a certificate is not issued by the next'
      return last.verify(issuer.publicKey) ? undefined : 'a signature is wrong'
    } catch (error) {
      return error instanceof Doubt ? error.message : UNREADABLE
    }
  }

  /** Why this way, from the server to a root, is not right; undefined if it is. */
  #judge (way: readonly X509Certificate[]): string | undefined {
    if (++this.#ways > MOST_WAYS) return TOO_LONG
    try {
      const path = way.map(read)
      path.forEach((one, index) => {
        if (index === 0) checkServer(one, this.#now)
        else checkAuthority(one, path.slice(0, index), this.#now)
      })
      return undefined
    } catch (error) {
      return error instanceof Doubt ? error.message : UNREADABLE
    }
  }
}

function readable (der: Uint8Array): readonly X509Certificate[] {
  try {
    return [opened(der)]
  } catch {
    return []
  }
}

function opened (der: Uint8Array): X509Certificate {
  if (der.length > MOST_BYTES) throw new Doubt('a certificate is too large')
  return new X509Certificate(der)
}

/** Throws if it cannot be read, or holds what is not understood. */
function read (x509: X509Certificate): Read {
  const der = x509.raw
  const { tbsCertificate: tbs, signatureAlgorithm: { algorithm } } = AsnConvert.parse(der, Certificate)
  const { algorithm: declared } = tbs.signature
  const found = new Map<string, ArrayBuffer>()
  if (tbs.version !== Version.v3) throw new Doubt('a certificate is of an old version')
  for (const { extnID, critical, extnValue } of tbs.extensions === undefined ? [] : [...tbs.extensions]) {
    if (found.has(extnID)) throw new Doubt('an extension stands twice')
    if (critical && !UNDERSTOOD.has(extnID)) throw new Doubt('a critical extension is not understood')
    found.set(extnID, extnValue.buffer)
  }
  if (found.has(NETSCAPE_TYPE)) throw new Doubt('a certificate has an old purpose')
  const of = <T>(id: string, type: new () => T): T | undefined => {
    const value = found.get(id)
    return value === undefined ? undefined : AsnConvert.parse(value, type)
  }
  const purposes = of(id_ce_extKeyUsage, ExtendedKeyUsage)
  return {
    x509,
    der,
    key: x509.publicKey,
    isSelfIssued: x509.subject === x509.issuer,
    signedWith: declared === algorithm ? algorithm : undefined,
    basic: of(id_ce_basicConstraints, BasicConstraints),
    keyUsage: of(id_ce_keyUsage, KeyUsage)?.toNumber(),
    purposes: purposes === undefined ? undefined : [...purposes],
    constraints: found.get(id_ce_nameConstraints),
  }
}

/** The server's own certificate. Throws Doubt. */
function checkServer (leaf: Read, now: number): void {
  const { basic, keyUsage, purposes } = leaf
  checkDates(leaf, now)
  checkStrength(leaf)
  if (basic?.cA === true) throw new Doubt('it is an authority and no server')
  if (purposes?.includes(id_kp_serverAuth) !== true) throw new Doubt('it was not issued for servers')
  // Its key has signed the handshake (RFC 5246 §7.4.8, RFC 8446 §4.4.2.2).
  if (keyUsage !== undefined && (keyUsage & KeyUsageFlags.digitalSignature) === 0) throw new Doubt('its key is not for signatures')
}

/** One that has issued the last of the path. Throws Doubt. */
function checkAuthority (issuer: Read, path: readonly Read[], now: number): void {
  const { basic, keyUsage, purposes, constraints } = issuer
  const [last] = path.slice(-1)
  checkDates(issuer, now)
  if (path.length > 1 && last !== undefined) checkStrength(last)
  if (keyUsage !== undefined && (keyUsage & KeyUsageFlags.keyCertSign) === 0) throw new Doubt('an issuer may not sign certificates')
  if (basic?.cA !== true || !issuer.x509.ca) throw new Doubt('an issuer is no authority') // OpenSSL's word as well as ours
  if (purposes !== undefined && !purposes.includes(id_kp_serverAuth)) throw new Doubt('an issuer is not for servers')
  // RFC 5280 §4.2.1.9: of those between it and the server, but for the self-issued.
  const between = path.slice(1).filter(({ isSelfIssued }) => !isSelfIssued).length
  if (basic.pathLenConstraint !== undefined && between > basic.pathLenConstraint) throw new Doubt('an issuer allows no chain of this length')
  // RFC 5280 §6.1.3 (b), (c): of all below it, but for the self-issued between.
  const constrained = constraints === undefined ? [] : path.filter(({ isSelfIssued }, index) => index === 0 || !isSelfIssued)
  if (constraints !== undefined && !constrained.every(({ der }) => allows(constraints, constrainedNamesOf(der)))) throw new Doubt('an issuer is not for this name')
}

function checkDates ({ x509 }: Read, now: number): void {
  if (!(Date.parse(x509.validFrom) <= now)) throw new Doubt('a certificate is not valid yet')
  if (!(now <= Date.parse(x509.validTo))) throw new Doubt('a certificate has expired')
}

/** Its own key, and how it was signed. */
function checkStrength ({ key, signedWith }: Read): void {
  checkKey(key)
  if (signedWith === undefined || !SIGNATURES.has(signedWith)) throw new Doubt('a signature is weak')
}

function checkKey ({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): void {
  const { modulusLength: bits = 0, publicExponent = LARGEST_EXPONENT + 1n, namedCurve } = details ?? {}
  const isStrong = type === 'ed25519' || type === 'ed448' || type === 'ec' && CURVES.includes(namedCurve) ||
    type === 'rsa' && bits >= RSA.least && bits <= RSA.most && publicExponent <= LARGEST_EXPONENT
  if (!isStrong) throw new Doubt('a key is weak')
}
