/**
 * Verifies whether a certificate that was issued for servers leads to a trusted authority (RFC 5280 §6.1).
 *
 * TLS checks the certificate of a connecting peer for the purpose *client*. But public authorities now issue
 * certificates for servers only, and a connecting server shows such a one. OpenSSL reports one error only, and the
 * error about the purpose hides all others. So its result does not count, and the whole chain is verified here again
 * for the purpose *server*. Anything that is not understood counts as wrong. A peer that is refused here can still use
 * dialback.
 */
import { X509Certificate, type KeyObject } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  BasicConstraints, Certificate, ExtendedKeyUsage, id_ce_basicConstraints, id_ce_certificatePolicies,
  id_ce_extKeyUsage, id_ce_keyUsage,
  id_ce_nameConstraints, id_ce_subjectAltName, id_kp_serverAuth, KeyUsage, KeyUsageFlags, Version,
} from '@peculiar/asn1-x509'
import type { TlsInfo } from '../../stream/transport.js'
import { allows, constrainedNamesOf } from './name-constraints.js'

/** The most certificates of a peer that are looked at, and the most bytes of one. */
const MOST_SENT = 10
const MOST_BYTES = 8192
/** The most certificates in a chain, including the server's own and the authority. */
const LONGEST = 6
/** The most signatures that are verified for one peer, and the most paths to a root that are checked in full. */
const MOST_SIGNATURES = 12
const MOST_WAYS = 3

/** SHA-2 with RSA (RFC 4055) and ECDSA (RFC 5758), and Ed25519 and Ed448 (RFC 8410). Not MD5, not SHA-1. */
const SIGNATURES: ReadonlySet<string> = new Set([
  '1.2.840.113549.1.1.11', '1.2.840.113549.1.1.12', '1.2.840.113549.1.1.13',
  '1.2.840.10045.4.3.2', '1.2.840.10045.4.3.3', '1.2.840.10045.4.3.4',
  '1.3.101.112', '1.3.101.113',
])
/** The bits of an RSA key. A longer key costs too much time. */
const RSA = { least: 2048, most: 8192 }
/**
 * The largest public exponent of an RSA key. With one as long as the key, each signature of a stranger would cost up to
 * 25 ms.
 */
const LARGEST_EXPONENT = 0xffffffffn
const CURVES: readonly (string | undefined)[] = ['prime256v1', 'secp384r1', 'secp521r1']
/**
 * The critical extensions that are obeyed here. RFC 5280 §4.2: an unknown critical extension makes the certificate
 * useless.
 */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  id_ce_basicConstraints, id_ce_keyUsage, id_ce_extKeyUsage, id_ce_nameConstraints, id_ce_subjectAltName,
  id_ce_certificatePolicies,
])
const NETSCAPE_TYPE = '2.16.840.1.113730.1.1'

/** The parts of a certificate that matter in a chain. */
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

/** A reason to refuse a chain. The message says what is wrong. */
class ChainError extends Error {}
const TOO_LONG = 'its chain is too long'
const UNREADABLE = 'a certificate cannot be read'

/** The trusted authorities, as PEM. They are parsed when the first chain is verified. */
export class Anchors {
  readonly #pems: readonly string[]
  #bySubject: Map<string, X509Certificate[]> | undefined

  constructor (pems: readonly string[]) { this.#pems = pems }

  /**
   * Returns why a chain does not lead to a trusted authority; undefined if it does. The server's certificate comes
   * first, then the others that the peer sent, in any order. `now`: milliseconds since 1970.
   */
  doubt (chain: readonly Uint8Array[], now: number): string | undefined {
    try {
      const [own, ...sent] = chain.slice(0, MOST_SENT)
        .flatMap((der, index) => index === 0 ? [opened(der)] : readable(der))
      if (own === undefined) return 'there is no certificate'
      return new Search(subject => this.#of(subject), sent, now).up([own])
    } catch (error) {
      return error instanceof ChainError ? error.message : UNREADABLE
    }
  }

  /** Returns the self-issued authorities with this name. A chain ends at one of them. */
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
        continue // an authority that cannot be read is left out
      }
    }
    return bySubject
  }
}

/**
 * Returns what is known of a connecting peer, with its certificate judged as one for servers. Changes nothing unless
 * TLS objects only to the purpose and the chain is right for servers.
 */
export function asServer (tls: TlsInfo, anchors: Anchors, now: number): TlsInfo {
  if (tls.authorized || tls.distrust !== 'INVALID_PURPOSE') return tls
  const isRight = anchors.doubt(tls.peerCertificates, now) === undefined
  return isRight ? { ...tls, authorized: true, distrust: undefined } : tls
}

/**
 * Searches a path from a server's certificate up to an authority, by names and signatures alone. Only certificates on a
 * path that was found are parsed in full: an authority signed all of them, so no stranger can have made them costly to
 * parse.
 */
class Search {
  readonly #anchors: (subject: string) => readonly X509Certificate[]
  readonly #sent: readonly X509Certificate[]
  readonly #now: number
  #signatures = 0
  #ways = 0

  constructor (
    anchors: (subject: string) => readonly X509Certificate[], sent: readonly X509Certificate[], now: number,
  ) {
    this.#anchors = anchors
    this.#sent = sent
    this.#now = now
  }

  /** Returns why no path leads up from the last certificate of `path`; undefined if one does. */
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

  /** Returns why `issuer` did not issue the last certificate of `path`; undefined if it did. */
  #step (path: readonly X509Certificate[], issuer: X509Certificate): string | undefined {
    const last = path.at(-1)
    if (last === undefined || ++this.#signatures > MOST_SIGNATURES) return TOO_LONG
    try {
      checkKey(issuer.publicKey)
      if (!last.checkIssued(issuer)) return 'a certificate is not issued by the next'
      return last.verify(issuer.publicKey) ? undefined : 'a signature is wrong'
    } catch (error) {
      return error instanceof ChainError ? error.message : UNREADABLE
    }
  }

  /** Returns why a path from the server to a root is not valid; undefined if it is. */
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
      return error instanceof ChainError ? error.message : UNREADABLE
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
  if (der.length > MOST_BYTES) throw new ChainError('a certificate is too large')
  return new X509Certificate(der)
}

/** Parses a certificate. Throws if it cannot be read or has an unknown critical extension. */
function read (x509: X509Certificate): Read {
  const der = x509.raw
  const { tbsCertificate: tbs, signatureAlgorithm: { algorithm } } = AsnConvert.parse(der, Certificate)
  const { algorithm: declared } = tbs.signature
  const found = new Map<string, ArrayBuffer>()
  if (tbs.version !== Version.v3) throw new ChainError('a certificate is of an old version')
  for (const { extnID, critical, extnValue } of tbs.extensions === undefined ? [] : [...tbs.extensions]) {
    if (found.has(extnID)) throw new ChainError('an extension occurs twice')
    if (critical && !UNDERSTOOD.has(extnID)) throw new ChainError('a critical extension is not understood')
    found.set(extnID, extnValue.buffer)
  }
  if (found.has(NETSCAPE_TYPE)) throw new ChainError('a certificate has a Netscape purpose')
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

/** Checks the server's own certificate. Throws Doubt. */
function checkServer (leaf: Read, now: number): void {
  const { basic, keyUsage, purposes } = leaf
  checkDates(leaf, now)
  checkStrength(leaf)
  if (basic?.cA === true) throw new ChainError('it is an authority, not a server')
  if (purposes?.includes(id_kp_serverAuth) !== true) throw new ChainError('it was not issued for servers')
  // Its key signed the handshake (RFC 5246 §7.4.8, RFC 8446 §4.4.2.2).
  if (lacks(keyUsage, KeyUsageFlags.digitalSignature)) throw new ChainError('its key is not for signatures')
}

/** Checks the certificate that issued the last one of `path`. Throws Doubt. */
function checkAuthority (issuer: Read, path: readonly Read[], now: number): void {
  const { basic, keyUsage, purposes, constraints } = issuer
  const [last] = path.slice(-1)
  checkDates(issuer, now)
  if (path.length > 1 && last !== undefined) checkStrength(last)
  if (lacks(keyUsage, KeyUsageFlags.keyCertSign)) throw new ChainError('an issuer may not sign certificates')
  if (basic?.cA !== true || !issuer.x509.ca) throw new ChainError('an issuer is not an authority') // OpenSSL has to agree
  if (purposes !== undefined && !purposes.includes(id_kp_serverAuth)) {
    throw new ChainError('an issuer may not certify servers')
  }
  // RFC 5280 §4.2.1.9: counts the certificates between it and the server, except self-issued ones.
  const between = path.slice(1).filter(({ isSelfIssued }) => !isSelfIssued).length
  if (basic.pathLenConstraint !== undefined && between > basic.pathLenConstraint) {
    throw new ChainError('the chain is longer than an issuer allows')
  }
  // RFC 5280 §6.1.3 (b), (c): covers all certificates below it, except self-issued ones in between.
  if (constraints === undefined) return
  const constrained = path.filter(({ isSelfIssued }, index) => index === 0 || !isSelfIssued)
  if (!constrained.every(({ der }) => allows(constraints, constrainedNamesOf(der)))) {
    throw new ChainError('an issuer may not certify this name')
  }
}

function checkDates ({ x509 }: Read, now: number): void {
  if (!(Date.parse(x509.validFrom) <= now)) throw new ChainError('a certificate is not valid yet')
  if (!(now <= Date.parse(x509.validTo))) throw new ChainError('a certificate has expired')
}

/** True if a certificate has a key usage extension without this usage. */
function lacks (keyUsage: number | undefined, flag: number): boolean {
  return keyUsage !== undefined && (keyUsage & flag) === 0
}

/** Checks a certificate's own key and the algorithm of its signature. */
function checkStrength ({ key, signedWith }: Read): void {
  checkKey(key)
  if (signedWith === undefined || !SIGNATURES.has(signedWith)) throw new ChainError('a signature algorithm is weak')
}

function checkKey ({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): void {
  const { modulusLength: bits = 0, publicExponent = LARGEST_EXPONENT + 1n, namedCurve } = details ?? {}
  const isStrong = type === 'ed25519' || type === 'ed448' || type === 'ec' && CURVES.includes(namedCurve) ||
    type === 'rsa' && bits >= RSA.least && bits <= RSA.most && publicExponent <= LARGEST_EXPONENT
  if (!isStrong) throw new ChainError('a key is weak')
}
