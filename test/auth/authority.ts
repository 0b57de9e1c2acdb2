/**
 * A certificate authority for tests, and the client certificates that it issues: valid ones, and some that an attacker
 * would want.
 */
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import { GeneralName, id_ce_subjectAltName, OtherName } from '@peculiar/asn1-x509'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto)
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' }
const HASH = { name: 'ECDSA', hash: 'SHA-256' }
const DAY = 86_400_000
export const XMPP_ADDRESS = '1.3.6.1.5.5.7.8.5'

export interface Issued { readonly certificate: string, readonly key: string, readonly der: Uint8Array }
export interface Wanted {
  readonly subject?: string
  /** XmppAddr names, or the DER that replaces one. */
  readonly addresses?: readonly (string | Uint8Array)[]
  readonly names?: readonly GeneralName[]
  /** How often the certificate has the subjectAltName extension. */
  readonly times?: number
  /** The start and end of its validity, in days from now. */
  readonly days?: readonly [number, number]
  /** Extended key usages, by OID. */
  readonly usages?: readonly string[]
}
export interface Authority { readonly certificate: string, issue (wanted: Wanted): Promise<Issued> }

export async function makeAuthority (name: string): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const own = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01', name: `CN=${name}`, keys, signingAlgorithm: HASH, ...lifetime(),
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  })
  return {
    certificate: own.toString('pem'),
    async issue ({ subject = 'CN=client', addresses = [], names = [], times = 1, days = [-1, 1], usages = [] }) {
      const { publicKey, privateKey } = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
      const all = [
        ...names.map(name => new Uint8Array(AsnConvert.serialize(name))),
        ...addresses.map(address => addressName(typeof address === 'string' ? utf8(address) : address)),
      ]
      const extension = new x509.Extension(id_ce_subjectAltName, false, tagged(0x30, ...all))
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: '02', subject, issuer: own.subject, publicKey, signingKey: keys.privateKey, signingAlgorithm: HASH, ...lifetime(days),
        extensions: [
          ...all.length === 0 ? [] : Array.from({ length: times }, () => extension),
          ...usages.length === 0 ? [] : [new x509.ExtendedKeyUsageExtension([...usages])],
        ],
      })
      const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', privateKey)).toString('base64')
      return {
        certificate: certificate.toString('pem'),
        key: `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n`,
        der: new Uint8Array(certificate.rawData),
      }
    },
  }
}

export function otherName (typeId: string, value: Uint8Array): GeneralName {
  return new GeneralName({ otherName: new OtherName({ typeId, value: Uint8Array.from(value).buffer }) })
}

/** Returns a DER UTF8String; another tag makes another type. */
export function utf8 (text: string | Uint8Array, tag = 0x0c): Uint8Array {
  return tagged(tag, Buffer.from(text))
}

/** Returns the GeneralName of an XmppAddr. Built by hand, because its value need not be DER. */
function addressName (value: Uint8Array): Uint8Array {
  return tagged(0xa0, Buffer.from('06082b06010505070805', 'hex'), tagged(0xa0, value))
}

function tagged (tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts)
  const { length } = content
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...head]), content])
}

interface Lifetime { readonly notBefore: Date, readonly notAfter: Date }

function lifetime ([from, until]: readonly [number, number] = [-1, 1]): Lifetime {
  return { notBefore: new Date(Date.now() + from * DAY), notAfter: new Date(Date.now() + until * DAY) }
}

/** Returns a self-signed certificate for each signature algorithm, by the name of the algorithm. */
export async function signedEveryWay (): Promise<ReadonlyMap<string, Uint8Array>> {
  const made = new Map<string, Uint8Array>()
  const add = async (
    name: string, keys: webcrypto.CryptoKeyPair,
    signingAlgorithm: { readonly name: string, readonly hash?: string, readonly saltLength?: number },
  ): Promise<void> => {
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: '03', name: 'CN=x', keys, signingAlgorithm, ...lifetime(),
    })
    made.set(name, new Uint8Array(certificate.rawData))
  }
  const generate = (algorithm: object): Promise<webcrypto.CryptoKeyPair> =>
    webcrypto.subtle.generateKey({ name: '', ...algorithm }, true, ['sign', 'verify']).then(pair)
  const rsa = { modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]) }
  for (const hash of ['SHA-1', 'SHA-256', 'SHA-384', 'SHA-512']) {
    await add(`RSA with ${hash}`, await generate({ name: 'RSASSA-PKCS1-v1_5', hash, ...rsa }), { name: 'RSASSA-PKCS1-v1_5', hash })
    if (hash !== 'SHA-512') await add(`RSASSA-PSS with ${hash}`, await generate({ name: 'RSA-PSS', hash, ...rsa }),
      { name: 'RSA-PSS', hash, saltLength: 20 })
    await add(`ECDSA with ${hash}`, await generate(ALGORITHM), { name: 'ECDSA', hash })
  }
  await add('Ed25519', await generate({ name: 'Ed25519' }), { name: 'Ed25519' })
  return made
}

function pair (keys: webcrypto.CryptoKey | webcrypto.CryptoKeyPair): webcrypto.CryptoKeyPair {
  if ('privateKey' in keys) return keys
  throw new Error('not a pair of keys')
}
