/** Certificates that are costly to verify. Their signatures are invalid; OpenSSL finds that out only after the work. */
import { generateKeyPairSync } from 'node:crypto'

const SEQUENCE = 0x30
const INTEGER = 0x02
const OBJECT = 0x06

function tlv (tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

const seq = (...parts: readonly Uint8Array[]): Buffer => tlv(SEQUENCE, ...parts)
const object = (hex: string): Buffer => tlv(OBJECT, Buffer.from(hex, 'hex'))
const integer = (value: Uint8Array): Buffer => tlv(INTEGER, Buffer.from([0]), value)
const bits = (content: Uint8Array): Buffer => tlv(0x03, Buffer.from([0]), content)
const nameOf = (text: string): Buffer => seq(tlv(0x31, seq(object('550403'), tlv(0x0c, Buffer.from(text)))))
const time = (text: string): Buffer => tlv(0x17, Buffer.from(text))
/** Returns an odd number of this length. */
const odd = (bytes: number): Buffer => Buffer.alloc(bytes, 0xab)

const IS_AUTHORITY = seq(object('551d13'), tlv(0x01, Buffer.from([0xff])), tlv(0x04, seq(tlv(0x01, Buffer.from([0xff])))))
const LIMIT = Buffer.from('551d1e', 'hex')
const NAMES = Buffer.from('551d11', 'hex')

interface Kind {
  /** The key of each certificate, as a SubjectPublicKeyInfo. */
  readonly key: Buffer
  readonly algorithm: Buffer
  readonly signature: Buffer
}

function rsa (modulus: number, exponent: Buffer): Kind {
  return {
    key: seq(seq(object('2a864886f70d010101'), tlv(0x05)), bits(seq(integer(odd(modulus)), integer(exponent)))),
    algorithm: seq(object('2a864886f70d01010b'), tlv(0x05)),
    signature: Buffer.alloc(modulus, 0x77),
  }
}

function ec (namedCurve: string, paramEncoding: 'named' | 'explicit' = 'named'): Kind {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve, paramEncoding })
  const number = Buffer.alloc(30, 0x55)
  const algorithm = seq(object('2a8648ce3d040302'))
  return { key: publicKey.export({ type: 'spki', format: 'der' }), algorithm, signature: seq(integer(number), integer(number)) }
}

/** Keys whose signatures are costly to verify, each for another reason. */
export const KINDS: Readonly<Record<string, () => Kind>> = {
  'RSA, 2048 bits': () => rsa(256, Buffer.from([1, 0, 1])),
  'RSA, 3072 bits, and an exponent of nearly the same length': () => rsa(384, odd(383)),
  'RSA, 16384 bits, and an exponent of 64 bits': () => rsa(2048, odd(8)),
  'P-521': () => ec('secp521r1'),
  'a binary curve': () => ec('sect571r1'),
  'brainpoolP512r1': () => ec('brainpoolP512r1'),
  'P-521 with explicit parameters': () => ec('secp521r1', 'explicit'),
}

/** Returns a certificate. Without `extensions`, it is the certificate of an authority. */
export function certificate (
  issuer: string, subject: string, kind: Kind, extensions: readonly Buffer[] = [IS_AUTHORITY],
): Buffer {
  const { key, algorithm, signature } = kind
  const body = seq(
    tlv(0xa0, tlv(INTEGER, Buffer.from([2]))), tlv(INTEGER, Buffer.from([1])), algorithm, nameOf(issuer),
    seq(time('200101000000Z'), time('400101000000Z')), nameOf(subject), key, tlv(0xa3, seq(...extensions)),
  )
  return seq(body, algorithm, bits(signature))
}

export interface Chain { readonly pem: string, readonly key: string, readonly count: number }

const pemOf = (der: Buffer): string => `-----BEGIN CERTIFICATE-----\n${der.toString('base64')}\n-----END CERTIFICATE-----\n`

/**
 * Returns a chain of at most `most` certificates and about `bytes` bytes. The first certificate has the returned key,
 * so that a client can present the chain.
 */
export function costlyChain (kind: Kind, most: number, bytes: number): Chain {
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const chain = [certificate('n0', 'n0', kind)]
  let size = 600
  while (chain.length < most - 1) {
    const next = certificate(`n${chain.length - 1}`, `n${chain.length}`, kind)
    size += next.length
    if (size > bytes) break
    chain.unshift(next)
  }
  chain.unshift(certificate(`n${chain.length - 1}`, 'own', { ...kind, key: own.publicKey.export({ type: 'spki', format: 'der' }) }))
  return { pem: chain.map(pemOf).join(''), key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), count: chain.length }
}

/** Returns a chain with name constraints. Each constraint is compared with each name of the first certificate. */
export function limitedChain (many: number, authorities: number): Chain {
  const kind = rsa(256, Buffer.from([1, 0, 1]))
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const names = (form: (name: Buffer) => Buffer): Buffer[] => Array.from({ length: many }, (_, n) => form(tlv(0x81, Buffer.from(`a@b${n.toString(36)}`))))
  const limits = seq(tlv(OBJECT, LIMIT), tlv(0x04, seq(tlv(0xa1, ...names(name => seq(name))))))
  const alternative = seq(tlv(OBJECT, NAMES), tlv(0x04, seq(...names(name => name))))
  const chain = [certificate('n0', 'n0', kind)]
  for (let n = 1; n <= authorities; n++) chain.unshift(certificate(`n${n - 1}`, `n${n}`, kind, [IS_AUTHORITY, limits]))
  chain.unshift(certificate(`n${authorities}`, 'own', { ...kind, key: own.publicKey.export({ type: 'spki', format: 'der' }) }, [alternative]))
  return { pem: chain.map(pemOf).join(''), key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), count: chain.length }
}
