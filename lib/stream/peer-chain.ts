/**
 * Decides which certificates of a peer OpenSSL may see. OpenSSL verifies anything that a peer shows, up to 100
 * certificates with keys of any kind, in one call on the main thread. Node can neither bound that nor turn it off. A
 * chain that would cost too much is refused before OpenSSL sees it.
 */

/** The most certificates in a chain. Public authorities need two to four. */
const MOST_CERTIFICATES = 10
/** The most bytes of all certificates of a chain. */
const MOST_BYTES = 16 * 1024
/** The most bytes of a chain in which an issuer limits the names below it: each name is compared with each limit. */
const MOST_BYTES_LIMITED = 8 * 1024
/** The most bytes of an RSA key: 8192 bits and a leading zero. */
const LARGEST_MODULUS = 1025
/**
 * The most bytes of an RSA key's public exponent, which is usually 65537. If it is as long as its key, a signature
 * costs 6 ms and more.
 */
const LARGEST_EXPONENT = 5

const SEQUENCE = 0x30
const INTEGER = 0x02
const BIT_STRING = 0x03
const OBJECT = 0x06
const VERSION = 0xa0

const RSA = ['2a864886f70d010101', '2a864886f70d01010a']
const EC = '2a8648ce3d0201'
/** P-256, P-384 and P-521. Other curves, and explicit parameters, cost far more for each signature. */
const CURVES = ['2a8648ce3d030107', '2b81040022', '2b81040023']
/** Ed25519 and Ed448. */
const EDWARDS = ['2b6570', '2b6571']
/** The encoded id of the extension in which an authority limits names (RFC 5280 §4.2.1.10). */
const NAME_CONSTRAINTS = Buffer.from('0603551d1e', 'hex')

class Unreadable extends Error {}

/** Returns why OpenSSL must not see a chain; undefined if it may. The certificates are DER, as the peer sent them. */
export function objectionToChain (certificates: readonly Buffer[]): string | undefined {
  const { length: count } = certificates
  if (count > MOST_CERTIFICATES) return `the peer shows ${count} certificates; ${MOST_CERTIFICATES} are allowed`
  const bytes = certificates.reduce((sum, { length }) => sum + length, 0)
  const isLimited = certificates.some(certificate => certificate.includes(NAME_CONSTRAINTS))
  const most = isLimited ? MOST_BYTES_LIMITED : MOST_BYTES
  if (bytes > most) return `the peer's certificates have ${bytes} bytes; ${most} are allowed`
  for (const certificate of certificates) {
    const objection = objectionToKey(certificate)
    if (objection !== undefined) return objection
  }
  return undefined
}

function objectionToKey (certificate: Buffer): string | undefined {
  try {
    const [algorithm, parameters, key] = keyOf(certificate)
    if (RSA.includes(algorithm)) {
      const numbers = new Reader(new Reader(key).take(SEQUENCE))
      const modulus = numbers.take(INTEGER)
      if (modulus.length > LARGEST_MODULUS) return 'a certificate of the peer has an RSA key that is too long'
      if (numbers.take(INTEGER).length <= LARGEST_EXPONENT) return undefined
      return 'a certificate of the peer has an RSA key with an exponent that is too long'
    }
    if (algorithm === EC) {
      return CURVES.includes(parameters) ? undefined : 'a certificate of the peer uses an unusual curve'
    }
    return EDWARDS.includes(algorithm) ? undefined : 'a certificate of the peer has a key of an unusual kind'
  } catch (error) {
    if (error instanceof Unreadable) return 'a certificate of the peer cannot be read'
    throw error
  }
}

/**
 * Returns the algorithm of a certificate's key, the object in its parameters (or ''), both as hexadecimal text, and the
 * key (RFC 5280 §4.1).
 */
function keyOf (certificate: Buffer): readonly [algorithm: string, parameters: string, key: Buffer] {
  const fields = new Reader(new Reader(new Reader(certificate).take(SEQUENCE)).take(SEQUENCE))
  if (fields.next === VERSION) fields.take(VERSION)
  fields.take(INTEGER) // the serial number
  for (let skipped = 0; skipped < 4; skipped++) fields.take(SEQUENCE) // signature, issuer, validity, subject
  const info = new Reader(fields.take(SEQUENCE))
  const kind = new Reader(info.take(SEQUENCE))
  const algorithm = kind.take(OBJECT).toString('hex')
  const parameters = kind.next === OBJECT ? kind.take(OBJECT).toString('hex') : ''
  return [algorithm, parameters, info.take(BIT_STRING).subarray(1)]
}

/** Reads DER strictly: anything that OpenSSL might read in another way is unreadable here. */
class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor (bytes: Buffer) { this.#bytes = bytes }

  /** The tag of the next value; undefined at the end. */
  get next (): number | undefined { return this.#bytes[this.#at] }

  /** Returns the content of the next value. Throws Unreadable if it has another tag. */
  take (tag: number): Buffer {
    if (this.next !== tag) throw new Unreadable()
    this.#at++
    const length = this.#length()
    const content = this.#bytes.subarray(this.#at, this.#at + length)
    if (content.length < length) throw new Unreadable()
    this.#at += length
    return content
  }

  #length (): number {
    const first = this.#bytes[this.#at++] ?? 0
    if (first < 0x80) return first
    const count = first - 0x80
    const least = [0, 0x80, 0x100, 0x10000][count]
    if (least === undefined || count === 0 || this.#at + count > this.#bytes.length) throw new Unreadable()
    const length = this.#bytes.readUIntBE(this.#at, count)
    this.#at += count
    if (length < least) throw new Unreadable()
    return length
  }
}
