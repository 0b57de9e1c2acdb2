/** Chains of authorities, valid and invalid, and the server certificates that they issue. */
import 'reflect-metadata'
import { createPrivateKey, sign, webcrypto } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  AlgorithmIdentifier, Certificate, GeneralName, GeneralSubtree, GeneralSubtrees, NameConstraints,
  SubjectAlternativeName,
} from '@peculiar/asn1-x509'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto)
const EC = { name: 'ECDSA', namedCurve: 'P-256' }
const ECDSA = { name: 'ECDSA', hash: 'SHA-256' }
const DAY = 86_400_000
export const SERVER = '1.3.6.1.5.5.7.3.1'
export const CLIENT = '1.3.6.1.5.5.7.3.2'
export const { keyCertSign, cRLSign, digitalSignature, keyEncipherment } = x509.KeyUsageFlags

export interface Asked {
  readonly subject?: string
  /** 'none': no basic constraints at all. */
  readonly ca?: boolean | 'none'
  readonly pathLength?: number
  /** If undefined, the extension is left out. */
  readonly keyUsage?: x509.KeyUsageFlags | undefined
  /** The extended key usages; if empty, the extension is left out. */
  readonly usages?: readonly string[]
  /** The first and the last day on which the certificate is valid, in days from now. */
  readonly days?: readonly [number, number]
  /** The subject alternative names; if undefined, there are none. */
  readonly names?: readonly GeneralName[]
  readonly permitted?: readonly GeneralName[]
  readonly excluded?: readonly GeneralName[]
  readonly more?: readonly x509.Extension[]
  /** The kind of its key; ECDSA P-256 by default. */
  readonly key?: 'P-192' | 'RSA-1024' | 'RSA-2048' | 'Ed25519' | 'P-384'
}

/** One certificate with its key. It can issue others, whether its extensions allow that or not. */
export class Issuer {
  readonly certificate: x509.X509Certificate
  readonly keys: webcrypto.CryptoKeyPair

  constructor (certificate: x509.X509Certificate, keys: webcrypto.CryptoKeyPair) {
    this.certificate = certificate
    this.keys = keys
  }

  get der (): Uint8Array { return new Uint8Array(this.certificate.rawData) }
  get pem (): string { return this.certificate.toString('pem') }

  /** Returns the private key, as PEM. */
  async key (): Promise<string> {
    const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', this.keys.privateKey)).toString('base64')
    return `-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n`
  }

  /** Issues an authority below this one. */
  async authority (subject: string, asked: Asked = {}): Promise<Issuer> {
    return await this.issue({ subject: `CN=${subject}`, ca: true, keyUsage: keyCertSign | cRLSign, ...asked })
  }

  /** Issues the kind of certificate that public authorities issue nowadays: for servers only. */
  async server (domain: string, asked: Asked = {}): Promise<Issuer> {
    return await this.issue({ subject: '', names: [dns(domain)], usages: [SERVER], keyUsage: digitalSignature, ca: false, ...asked })
  }

  async issue (asked: Asked): Promise<Issuer> {
    return await made(asked, this)
  }

  /** Signs another certificate anew with this key, by another algorithm. */
  resigned (other: Issuer, oid: string, hash: string | null, key: string): Issuer {
    const certificate = AsnConvert.parse(other.certificate.rawData, Certificate)
    const algorithm = new AlgorithmIdentifier({ algorithm: oid, parameters: Uint8Array.from([5, 0]).buffer })
    certificate.tbsCertificate.signature = certificate.signatureAlgorithm = algorithm
    delete certificate.tbsCertificateRaw
    const signature = sign(hash, Buffer.from(AsnConvert.serialize(certificate.tbsCertificate)), createPrivateKey(key))
    certificate.signatureValue = Uint8Array.from(signature).buffer
    return new Issuer(new x509.X509Certificate(AsnConvert.serialize(certificate)), other.keys)
  }
}

/** Makes an authority that signed itself. */
export async function root (name: string, asked: Asked = {}): Promise<Issuer> {
  return await made({ subject: `CN=${name}`, ca: true, keyUsage: keyCertSign | cRLSign, ...asked }, undefined)
}

/** Makes a server's certificate that signed itself. */
export async function selfSignedServer (domain: string): Promise<Issuer> {
  return await made({ subject: `CN=${domain}`, names: [dns(domain)], usages: [SERVER], keyUsage: digitalSignature }, undefined)
}

export function dns (name: string): GeneralName { return new GeneralName({ dNSName: name }) }

async function made (asked: Asked, by: Issuer | undefined): Promise<Issuer> {
  const { subject = '', days: [from, until] = [-1, 1] } = asked
  const keys = await keysOf(asked.key)
  const signer = by?.keys ?? keys
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: `01${Buffer.from(webcrypto.getRandomValues(new Uint8Array(8))).toString('hex')}`,
    subject,
    issuer: by?.certificate.subject ?? subject,
    publicKey: keys.publicKey,
    signingKey: signer.privateKey,
    signingAlgorithm: signer.privateKey.algorithm.name === 'ECDSA' ? ECDSA : { ...signer.privateKey.algorithm },
    notBefore: new Date(Date.now() + from * DAY),
    notAfter: new Date(Date.now() + until * DAY),
    extensions: extensionsOf(asked),
  })
  return new Issuer(certificate, keys)
}

async function keysOf (kind: Asked['key']): Promise<webcrypto.CryptoKeyPair> {
  const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]) }
  const algorithm = kind === undefined ? EC
    : kind.startsWith('RSA') ? { ...rsa, modulusLength: Number(kind.slice(4)) } : kind === 'Ed25519' ? { name: kind } : { ...EC, namedCurve: kind }
  const keys = await webcrypto.subtle.generateKey({ ...algorithm }, true, ['sign', 'verify'])
  if (!('privateKey' in keys)) throw new Error('not a pair of keys')
  return keys
}

function extensionsOf (asked: Asked): x509.Extension[] {
  const { ca = false, pathLength, keyUsage, usages = [], names = [], permitted = [], excluded = [], more = [] } = asked
  const constraints = new NameConstraints({
    ...permitted.length > 0 && { permittedSubtrees: subtrees(permitted) },
    ...excluded.length > 0 && { excludedSubtrees: subtrees(excluded) },
  })
  return [
    ...ca === 'none' ? [] : [new x509.BasicConstraintsExtension(ca, pathLength, true)],
    ...keyUsage === undefined ? [] : [new x509.KeyUsagesExtension(keyUsage, true)],
    ...usages.length === 0 ? [] : [new x509.ExtendedKeyUsageExtension([...usages])],
    ...names.length === 0 ? [] : [new x509.Extension('2.5.29.17', false, AsnConvert.serialize(new SubjectAlternativeName([...names])))],
    ...permitted.length + excluded.length === 0 ? [] : [new x509.Extension('2.5.29.30', true, AsnConvert.serialize(constraints))],
    ...more,
  ]
}

function subtrees (names: readonly GeneralName[]): GeneralSubtrees {
  return new GeneralSubtrees(names.map(base => new GeneralSubtree({ base })))
}
