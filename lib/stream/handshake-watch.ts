/**
 * Reads a TLS handshake as it passes, to see the peer's certificates before OpenSSL does (see peer-chain.ts). Reads TLS
 * 1.2 records (RFC 5246), and decrypts those of TLS 1.3 (RFC 8446) with the secret from Node's key log.
 */
import { createDecipheriv, createHmac } from 'node:crypto'
import { objectionToChain } from './peer-chain.js'

/** The peer's handshake is refused. The message is for the operator. */
export class HandshakeRefused extends Error {}

/**
 * 'pass': give the record to OpenSSL. 'certificates': the same, but that will take a while. 'hold': judge it again
 * later.
 */
export type Verdict = 'pass' | 'certificates' | 'hold'

export const RECORD_HEADER = 5
const LARGEST_RECORD = 16_384 + 256
/**
 * The bounds of a peer's handshake: its bytes (also those of one message) and its records. A list of authorities may be
 * long.
 */
const MOST_BYTES = 64 * 1024
const MOST_RECORDS = 256
/** The most bytes of our output in which our hello is looked for. */
const LONGEST_HELLO = 4096

const CHANGE = 20
const ALERT = 21
const HANDSHAKE = 22
const APPLICATION = 23

const SERVER_HELLO = 2
const CERTIFICATE = 11
const FINISHED = 20
/** RFC 8879; we never ask for it. */
const COMPRESSED_CERTIFICATE = 25

const SUPPORTED_VERSIONS = 43
const TLS_1_3 = 0x0304

interface Suite {
  readonly cipher: 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305'
  readonly hash: string
  /** The bytes of a key. */
  readonly key: number
}

/** The cipher suites of TLS 1.3 that we use (see certificate-files.ts). */
const SUITES: ReadonlyMap<number, Suite> = new Map([
  [0x1301, { cipher: 'aes-128-gcm', hash: 'sha256', key: 16 }],
  [0x1302, { cipher: 'aes-256-gcm', hash: 'sha384', key: 32 }],
  [0x1303, { cipher: 'chacha20-poly1305', hash: 'sha256', key: 32 }],
])
const TAG = 16
const IV = 12

interface Protection { readonly suite: Suite, readonly key: Buffer, readonly iv: Buffer }

export class HandshakeWatch {
  /** The name of the peer's secret in the key log. */
  readonly #label: string
  readonly #isServer: boolean
  /** The output of our side, until its hello is known. */
  #written = Buffer.alloc(0)
  #version: 'unknown' | 'older' | '1.3' = 'unknown'
  #suite: Suite | undefined
  #secret: Buffer | undefined
  #protection: Protection | undefined
  /** The number of the peer's next encrypted record. */
  #number = 0
  /** The beginnings of messages that are not complete: `#plain` from plain records, `#hidden` from encrypted ones. */
  #plain = Buffer.alloc(0)
  #hidden = Buffer.alloc(0)
  #bytes = 0
  #records = 0
  #hasChanged = false
  #isDone = false

  /** `isServer`: true if we are the server of this handshake. */
  constructor (isServer: boolean) {
    this.#isServer = isServer
    this.#label = isServer ? 'CLIENT_HANDSHAKE_TRAFFIC_SECRET' : 'SERVER_HANDSHAKE_TRAFFIC_SECRET'
  }

  /** True if the peer's part of the handshake is complete: no certificate can follow. */
  get isDone (): boolean { return this.#isDone }

  /** Takes output of our side. */
  wrote (chunk: Uint8Array): void {
    if (!this.#isServer || this.#version !== 'unknown' || this.#written.length > LONGEST_HELLO) return
    this.#written = Buffer.concat([this.#written, chunk])
    const { length } = this.#written
    if (length < RECORD_HEADER || this.#written[0] !== HANDSHAKE) return
    const end = RECORD_HEADER + this.#written.readUInt16BE(3)
    if (length < end) return
    messages(this.#written.subarray(RECORD_HEADER, end), (type, body) => {
      if (type === SERVER_HELLO) this.#hello(body)
    })
  }

  /** Takes a line of the key log, as in Node's event 'keylog'. */
  learn (line: Uint8Array): void {
    const [label, , secret = ''] = Buffer.from(line).toString('latin1').trim().split(' ')
    if (label !== this.#label) return
    this.#secret = Buffer.from(secret, 'hex')
  }

  /** Judges one whole record of the peer. A held record is counted when it is judged again. Throws HandshakeRefused. */
  judge (record: Buffer): Verdict {
    const type = record[0]
    if (type === HANDSHAKE && this.#version === '1.3' && this.#secret !== undefined) {
      throw new HandshakeRefused('an unencrypted record after the hello')
    }
    if (type === APPLICATION && this.#keys() === undefined) return this.#isLate()
    if (type === CHANGE && this.#version === 'unknown') return 'hold'
    this.#count(record.length)
    switch (type) {
      case ALERT: return 'pass'
      case CHANGE: this.#hasChanged = true; return 'pass'
      case HANDSHAKE: return this.#clear(record)
      case APPLICATION: return this.#encrypted(record)
      default: throw new HandshakeRefused('not a TLS record')
    }
  }

  /**
   * Returns the length of the first record; undefined if too little of it has come. Throws HandshakeRefused if it is no
   * record.
   */
  static lengthOf (bytes: Buffer): number | undefined {
    const [type] = bytes
    if (type !== undefined && (type < CHANGE || type > APPLICATION)) throw new HandshakeRefused('not a TLS record')
    if (bytes.length < RECORD_HEADER) return undefined
    const length = bytes.readUInt16BE(3)
    if (length > LARGEST_RECORD) throw new HandshakeRefused('a record is too long')
    return RECORD_HEADER + length
  }

  #count (length: number): void {
    this.#bytes += length
    if (++this.#records > MOST_RECORDS || this.#bytes > MOST_BYTES) {
      throw new HandshakeRefused('the handshake is too long')
    }
  }

  #isLate (): Verdict {
    if (this.#version === 'older') throw new HandshakeRefused('application data during the handshake')
    return 'hold'
  }

  #clear (record: Buffer): Verdict {
    if (this.#version === 'older' && this.#hasChanged) {
      this.#isDone = true // RFC 5246 §7.4.9: the one message after the change is Finished, and it is encrypted
      return 'pass'
    }
    this.#plain = Buffer.concat([this.#plain, record.subarray(RECORD_HEADER)])
    let verdict: Verdict = 'pass'
    this.#plain = messages(this.#plain, (type, body) => {
      if (type === SERVER_HELLO && !this.#isServer) this.#hello(body)
      if (type === CERTIFICATE) verdict = look(listed(body, 0, false))
    })
    return verdict
  }

  #encrypted (record: Buffer): Verdict {
    const keys = this.#keys()
    if (keys === undefined) return 'hold'
    const inner = opened(keys, this.#number++, record)
    const [content, type] = inner
    if (type === ALERT) return 'pass'
    if (type !== HANDSHAKE) throw new HandshakeRefused('application data during the handshake')
    let verdict: Verdict = 'pass'
    this.#hidden = messages(Buffer.concat([this.#hidden, content]), (type, body) => {
      // RFC 8446 §4.4.2: a context comes first, and each certificate is followed by extensions.
      if (type === CERTIFICATE) verdict = look(listed(body, 1 + (body[0] ?? 0), true))
      if (type === COMPRESSED_CERTIFICATE) throw new HandshakeRefused('the certificates are compressed')
      if (type === FINISHED) this.#isDone = true
    })
    return verdict
  }

  /**
   * Reads the version and the suite in a server hello (RFC 8446 §4.1.3). A hello retry request has the same form and
   * content.
   */
  #hello (body: Buffer): void {
    let at = 34 // the version and a random number
    at += 1 + (body[at] ?? 0)
    if (at + 3 > body.length) throw new HandshakeRefused('the hello cannot be read')
    this.#suite = SUITES.get(body.readUInt16BE(at))
    at += 5 // the suite, the compression, and the length of the extensions
    let version: 'older' | '1.3' = 'older'
    while (at + 4 <= body.length) {
      const length = body.readUInt16BE(at + 2)
      const isVersion = body.readUInt16BE(at) === SUPPORTED_VERSIONS && length === 2 && at + 6 <= body.length
      if (isVersion && body.readUInt16BE(at + 4) === TLS_1_3) version = '1.3'
      at += 4 + length
    }
    this.#version = version
  }

  #keys (): Protection | undefined {
    if (this.#protection !== undefined) return this.#protection
    const [secret, suite] = [this.#secret, this.#suite]
    if (this.#version !== '1.3' || secret === undefined || suite === undefined) return undefined
    const { hash } = suite
    this.#protection = { suite, key: expand(secret, 'key', suite.key, hash), iv: expand(secret, 'iv', IV, hash) }
    return this.#protection
  }
}

/** Calls `tell` for each whole message (RFC 8446 §4). Returns the beginning of the next one. */
function messages (bytes: Buffer, tell: (type: number, body: Buffer) => void): Buffer<ArrayBuffer> {
  let at = 0
  while (bytes.length - at >= 4) {
    const length = bytes.readUIntBE(at + 1, 3)
    if (length > MOST_BYTES) throw new HandshakeRefused('a message is too long')
    if (bytes.length - at - 4 < length) break
    tell(bytes[at] ?? 0, bytes.subarray(at + 4, at + 4 + length))
    at += 4 + length
  }
  return Buffer.from(bytes.subarray(at))
}

/** Returns the certificates of the list at `from` (RFC 5246 §7.4.2, RFC 8446 §4.4.2). Throws HandshakeRefused. */
function listed (body: Buffer, from: number, hasExtensions: boolean): Buffer[] {
  const certificates: Buffer[] = []
  const part = (at: number, size: number): Buffer => {
    const end = at + size + (at + size <= body.length ? body.readUIntBE(at, size) : 0)
    if (at + size > body.length || end > body.length) throw new HandshakeRefused('the certificates cannot be read')
    return body.subarray(at + size, end)
  }
  const all = part(from, 3)
  for (let at = from + 3; at < from + 3 + all.length;) {
    const certificate = part(at, 3)
    certificates.push(certificate)
    at += 3 + certificate.length
    if (hasExtensions) at += 2 + part(at, 2).length
  }
  return certificates
}

function look (certificates: readonly Buffer[]): Verdict {
  const objection = objectionToChain(certificates)
  if (objection !== undefined) throw new HandshakeRefused(objection)
  return certificates.length > 0 ? 'certificates' : 'pass'
}

/** Decrypts a record (RFC 8446 §5.2). Returns its content and its true type. Throws HandshakeRefused. */
function opened (
  { suite, key, iv }: Protection, number: number, record: Buffer,
): readonly [content: Buffer, type: number] {
  const nonce = Buffer.from(iv)
  nonce.writeUInt32BE((nonce.readUInt32BE(IV - 4) ^ number) >>> 0, IV - 4)
  const end = record.length - TAG
  if (end < RECORD_HEADER) throw new HandshakeRefused('a record cannot be read')
  try {
    const { cipher } = suite
    const how = { authTagLength: TAG }
    const decipher = cipher === 'chacha20-poly1305'
      ? createDecipheriv(cipher, key, nonce, how)
      : createDecipheriv(cipher, key, nonce, how)
    decipher.setAAD(record.subarray(0, RECORD_HEADER), { plaintextLength: end - RECORD_HEADER })
    decipher.setAuthTag(record.subarray(end))
    const inner = Buffer.concat([decipher.update(record.subarray(RECORD_HEADER, end)), decipher.final()])
    let last = inner.length - 1
    while (last >= 0 && inner[last] === 0) last--
    return [inner.subarray(0, Math.max(last, 0)), inner[last] ?? 0]
  } catch (error) {
    throw new HandshakeRefused('a record cannot be read', { cause: error })
  }
}

/** HKDF-Expand-Label (RFC 8446 §7.1), for at most as many bytes as the hash has. */
function expand (secret: Buffer, label: string, length: number, hash: string): Buffer {
  const name = `tls13 ${label}`
  const info = Buffer.concat([Buffer.from([0, length, name.length]), Buffer.from(name, 'latin1'), Buffer.from([0, 1])])
  return createHmac(hash, secret).update(info).digest().subarray(0, length)
}
