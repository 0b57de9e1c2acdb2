/** From network chunks to octets: nothing but UTF-8 (RFC 6120 §11.6), and only the characters that XML allows. */
import { isAscii, isUtf8 } from 'node:buffer'
import { XmlError } from './xml-error.js'

const FORBIDDEN = /[\0-\x08\x0b\x0c\x0e-\x1f]/
/** U+FFFE and U+FFFF in UTF-8. Surrogates are no UTF-8 to begin with. */
const FORBIDDEN_WIDE = /\xef\xbf[\xbe\xbf]/
const BYTE_ORDER_MARK = '\xef\xbb\xbf'

/**
 * Decodes chunk after chunk. Where a chunk goes wrong, what stands before is still given out and `fault` says what comes after it:
 * so each way of cutting the same bytes has the same result.
 */
export class Decoder {
  fault: XmlError | undefined = undefined
  /** Whether the last chunk held bytes above 0x7F; below 0x20. */
  high = false
  low = false
  #begun = false
  #cut: Buffer | undefined = undefined

  decode (chunk: Uint8Array): string {
    let bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    if (this.#cut !== undefined) {
      bytes = Buffer.concat([this.#cut, bytes])
      this.#cut = undefined
    }
    this.high = !isAscii(bytes)
    if (this.high) bytes = this.#complete(bytes)
    this.low = hasControls(bytes)
    let octets = bytes.toString('latin1')
    if (this.low) octets = this.#upTo(octets, FORBIDDEN)
    if (this.high) octets = this.#upTo(octets, FORBIDDEN_WIDE)
    return this.#begun ? octets : this.#first(octets)
  }

  get isIdle (): boolean { return this.#cut === undefined }

  /** Forgets a character that was cut off. */
  drop (): void {
    this.#cut = undefined
    this.fault = undefined
  }

  /** What is UTF-8 of these bytes. Keeps back a character whose end has not come. */
  #complete (bytes: Buffer): Buffer {
    const end = bytes.length - cutOff(bytes)
    if (end < bytes.length) {
      this.#cut = Buffer.from(bytes.subarray(end))
      bytes = bytes.subarray(0, end)
    }
    if (isUtf8(bytes)) return bytes
    this.fault = new XmlError('unsupported-encoding', 'this is not UTF-8') // RFC 6120 §4.9.3.22
    return bytes.subarray(0, validLength(bytes))
  }

  #upTo (octets: string, forbidden: RegExp): string {
    const at = octets.search(forbidden)
    if (at < 0) return octets
    this.fault = new XmlError('not-well-formed', 'a character that XML does not allow')
    return octets.slice(0, at)
  }

  /** A byte order mark may begin the connection, for some do send it; anywhere else U+FEFF is a character like others. */
  #first (octets: string): string {
    if (octets === '') return octets
    this.#begun = true
    return octets.startsWith(BYTE_ORDER_MARK) ? octets.slice(BYTE_ORDER_MARK.length) : octets
  }
}

/** How many bytes at the end begin a character that is not complete. */
function cutOff (bytes: Buffer): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const size = sizeOf(bytes[bytes.length - back] as number)
    if (size === 0) continue
    return back < size ? back : 0
  }
  return 0
}

/** How many bytes a character takes that begins with this one; 0 where none does. */
function sizeOf (byte: number): number {
  if (byte < 0x80) return 1
  if (byte < 0xc2 || byte > 0xf4) return 0
  return byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4
}

function validLength (bytes: Buffer): number {
  let at = 0
  while (at < bytes.length) {
    const size = sizeOf(bytes[at] as number)
    if (size === 0 || size > 1 && !isUtf8(bytes.subarray(at, at + size))) break
    at += size
  }
  return at
}

/** Whether any byte is below 0x20: four at a time, for this runs over all that comes. */
function hasControls (bytes: Buffer): boolean {
  const { length } = bytes
  let at = 0
  if (length >= 32) {
    for (const aligned = -bytes.byteOffset & 3; at < aligned; at++) if ((bytes[at] as number) < 0x20) return true
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, (length - at) >> 2)
    for (let i = 0; i < words.length; i++) {
      const word = words[i] as number
      if (((word - 0x20202020) & ~word & 0x80808080) !== 0) return true
    }
    at += words.length << 2
  }
  for (; at < length; at++) if ((bytes[at] as number) < 0x20) return true
  return false
}
