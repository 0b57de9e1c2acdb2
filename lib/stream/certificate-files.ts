/** Finds certificates under the file names of certbot, lego and acme.sh, reads them, and checks them. */
import { createHash, X509Certificate, createPrivateKey, constants, type KeyObject } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, stat } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate, id_ce_subjectAltName, SubjectAlternativeName } from '@peculiar/asn1-x509'
import type { CertificateAndKey } from './self-signed.js'

/** The settings of TLS that do not depend on the certificate. */
export interface TlsSettings {
  readonly oldest: 'TLSv1.2' | 'TLSv1.3'
  /** The certificates of authorities that may certify clients, as PEM. */
  readonly authorities: readonly string[]
}

/** A certificate that TLS can use. */
export interface Usable {
  readonly context: SecureContext
  /** The first certificate of the chain, as DER. */
  readonly certificate: Uint8Array
  /** Its DNS names, in lower case. */
  readonly names: readonly string[]
  readonly notBefore: number
  readonly notAfter: number
  readonly selfSigned: boolean
  /** How the chain is out of order, and what to do; undefined if it is in order. */
  readonly disorder: string | undefined
  /** SHA-256, in the form that clients show. */
  readonly fingerprint: string
  /** The files' content, for contexts that trust other authorities. */
  readonly pair: CertificateAndKey
  /** Equal for the same files and settings. */
  readonly digest: string
}

/** The files cannot be used as a certificate and its key. The message says why. */
export class CertificateError extends Error {}

const CERTIFICATES = ['fullchain.pem', 'fullchain.cer', 'cert.pem']
const KEYS = ['privkey.pem', 'key.pem']
const PRIVATE = /\.key$|^privkey\.pem$|^key\.pem$/
const PUBLIC = /\.crt$|\.cer$|^fullchain\.pem$|^cert\.pem$/
/** The most bytes of a file. No certificate chain or key is larger. */
const MOST_BYTES = 1 << 20

export interface PairFiles { readonly certificate: string, readonly key: string }

/**
 * Returns the certificate and key files of a folder: 'none' if it has neither or does not exist, 'half' if it has only
 * one.
 */
export async function pairIn (folder: string): Promise<PairFiles | 'none' | 'half'> {
  const files = (await filesIn(folder)).filter(name => !name.endsWith('.issuer.crt'))
  const certificates = inOrder(files, CERTIFICATES, PUBLIC)
  const keys = inOrder(files, KEYS, PRIVATE)
  const [key] = keys
  // lego names both files after the domain: if there are several, those with the same name belong together.
  const isPaired = (name: string): boolean => CERTIFICATES.includes(name) || keys.some(key => stem(key) === stem(name))
  const certificate = certificates.find(isPaired) ?? certificates[0]
  if (certificate === undefined || key === undefined) return certificate === key ? 'none' : 'half'
  const own = CERTIFICATES.includes(certificate) ? key : keys.find(key => stem(key) === stem(certificate)) ?? key
  return { certificate: join(folder, certificate), key: join(folder, own) }
}

/** Returns the known names first, then the names that match the pattern. */
function inOrder (files: readonly string[], known: readonly string[], pattern: RegExp): readonly string[] {
  const others = files.filter(name => pattern.test(name) && !known.includes(name))
  return [...known.filter(name => files.includes(name)), ...others]
}

/** Returns the names in a folder, sorted; none if the folder does not exist. */
export async function filesIn (folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return []
    throw error
  }
}

/** Reads a pair. Throws CertificateError or the error of the file system. */
export async function readPair (files: PairFiles): Promise<CertificateAndKey> {
  const [certificate, key] = await Promise.all([readText(files.certificate), readText(files.key)])
  return { certificate, key }
}

/** Returns the certificates in a folder of authorities, and the files that contain none. */
export async function authoritiesIn (folder: string): Promise<{
  readonly certificates: readonly string[]
  readonly problems: readonly { readonly file: string, readonly text: string }[]
}> {
  const certificates: string[] = []
  const problems: { file: string, text: string }[] = []
  for (const name of (await filesIn(folder)).filter(name => /\.(pem|crt|cer)$/.test(name))) {
    const file = join(folder, name)
    try {
      const text = await readText(file)
      for (const [block] of text.matchAll(PEM)) {
        if (!new X509Certificate(block).ca) throw new CertificateError('it may not certify others')
        certificates.push(block)
      }
    } catch (error) {
      problems.push({ file, text: error instanceof Error ? error.message : String(error) })
    }
  }
  return { certificates, problems }
}

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** True if any user of this machine may read the file. */
export async function isOpenToAll (file: string): Promise<boolean> {
  return ((await stat(file)).mode & 0o004) !== 0
}

/** Writes a pair that only the owner can read. The key comes first, so that nobody sees a certificate without it. */
export async function writePair (folder: string, pair: CertificateAndKey): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await writeNew(join(folder, 'privkey.pem'), pair.key)
  await writeNew(join(folder, 'fullchain.pem'), pair.certificate)
}

/** Prepares a pair for use. Throws CertificateError if it cannot be used. */
export function usable (pair: CertificateAndKey, settings: TlsSettings): Usable {
  try {
    const [leaf = new X509Certificate(pair.certificate), ...above] = chainIn(pair.certificate)
    const key = keyIn(pair.key)
    if (!leaf.checkPrivateKey(key)) {
      const isBelow = above.some(certificate => certificate.checkPrivateKey(key))
      throw new CertificateError(isBelow
        ? 'the chain is in the wrong order: the certificate of the domain has to come first, then its issuer, ' +
          'then the issuer of that'
        : 'the key belongs to another certificate: put the key beside it for which it was issued')
    }
    return {
      context: contextOf(pair, settings, leaf.fingerprint256),
      certificate: new Uint8Array(leaf.raw),
      names: dnsNames(leaf.raw),
      notBefore: Date.parse(leaf.validFrom),
      notAfter: Date.parse(leaf.validTo),
      selfSigned: leaf.issuer === leaf.subject && leaf.verify(leaf.publicKey),
      disorder: disorderOf([leaf, ...above]),
      fingerprint: leaf.fingerprint256,
      pair,
      digest: digestOf(pair, settings),
    }
  } catch (error) {
    if (error instanceof CertificateError) throw error
    throw new CertificateError(error instanceof Error ? error.message : 'it cannot be read', { cause: error })
  }
}

/** Returns the certificates of a chain, in the order of the file. */
function chainIn (text: string): readonly X509Certificate[] {
  return [...text.matchAll(PEM)].map(([block]) => new X509Certificate(block))
}

/**
 * RFC 8446 §4.4.2: each certificate is issued by the next one. TLS 1.3 clients may accept others; many of TLS 1.2 do
 * not.
 */
function disorderOf (chain: readonly X509Certificate[]): string | undefined {
  const isWrong = chain.some((certificate, index) => {
    const next = chain[index + 1]
    return next !== undefined && !certificate.checkIssued(next)
  })
  return isWrong ? 'its chain in the wrong order: after each certificate has to come that of its issuer' : undefined
}

/** Reads a key. Throws CertificateError if it needs a passphrase (RFC 7468 §11, RFC 1421 §4.6.1.1). */
function keyIn (text: string): KeyObject {
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(text)) {
    throw new CertificateError('its key has a passphrase, which a server has nobody to ask for: ' +
      'write it without one (openssl pkey -in OLD -out privkey.pem)')
  }
  return createPrivateKey(text)
}

/** Returns a digest of a pair and its settings, so that a pair that did not change is not loaded again. */
export function digestOf (pair: CertificateAndKey, settings: TlsSettings): string {
  const parts = [pair.certificate, pair.key, settings.oldest, ...settings.authorities]
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64')
}

/**
 * The ciphers of TLS 1.2 with forward secrecy and authenticated encryption, and those of TLS 1.3, which all have both.
 */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')

/** Returns the options of TLS with a certificate, for any kind of peer. */
export function contextOptions (pair: CertificateAndKey, oldest: TlsSettings['oldest']): SecureContextOptions {
  return {
    cert: pair.certificate,
    key: pair.key,
    minVersion: oldest,
    ciphers: CIPHERS,
    honorCipherOrder: true,
    // With renegotiation, a peer could make us do public-key work at will, and channel bindings would change during a
    // login.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
  }
}

function contextOf (pair: CertificateAndKey, settings: TlsSettings, fingerprint: string): SecureContext {
  return createSecureContext({
    ...contextOptions(pair, settings.oldest),
    // Without it, OpenSSL refuses to resume a session in which client certificates were asked for.
    sessionIdContext: createHash('sha256').update(fingerprint).digest('hex').slice(0, 32),
    ...settings.authorities.length > 0 ? { ca: [...settings.authorities] } : {},
  })
}

/** RFC 9525 §6.3: returns the DNS names of subjectAltName only, never the common name. */
function dnsNames (certificate: Uint8Array): readonly string[] {
  const { extensions } = AsnConvert.parse(certificate, Certificate).tbsCertificate
  const extension = extensions?.find(({ extnID }) => extnID === id_ce_subjectAltName)
  if (extension === undefined) return []
  return AsnConvert.parse(extension.extnValue, SubjectAlternativeName)
    .flatMap(({ dNSName }) => dNSName === undefined ? [] : [dNSName.toLowerCase()])
}

async function readText (file: string): Promise<string> {
  if ((await stat(file)).size > MOST_BYTES) throw new CertificateError(`${basename(file)} is too large`)
  return await readFile(file, 'utf8')
}

/** Writes a file whole or not at all, by renaming a temporary file. */
async function writeNew (file: string, text: string): Promise<void> {
  const handle = await open(`${file}.new`, 'w', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(`${file}.new`, file)
}

function stem (name: string): string { return basename(name, extname(name)) }

function hasCode (error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
