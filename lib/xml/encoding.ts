/** Turns network chunks into octets. Accepts only UTF-8 (RFC 6120 §11.6) and the characters that XML allows. */
import { isAscii, isUtf8 } from 'node:buffer'
import { XmlError } from './xml-error.js'

const FORBIDDEN = /[\0-\x08\x0b\x0c\x0e-\x1f]/
/** U+FFFE and U+FFFF in UTF-8. Surrogates are not valid UTF-8 anyway. */
const FORBIDDEN_WIDE = /\xef\xbf[\xbe\xbf]/
const BYTE_ORDER_MARK = '\xef\xbb\xbf'

/**
 * Decodes one chunk after another. If a chunk has an error, `decode` returns all before it, and `fault` is the error
 * that comes next. So the result does not depend on how the bytes are divided into chunks.
 */
export class Decoder {
  fault: XmlError | undefined = undefined
  /** `high`: the last chunk had bytes above 0x7F. `low`: it had bytes below 0x20. */
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

  /** Forgets an incomplete character. */
  drop (): void {
    this.#cut = undefined
    this.fault = undefined
  }

  /** Returns the part of the bytes that is UTF-8. Keeps back an incomplete character at the end. */
  #complete (bytes: Buffer): Buffer {
    const end = bytes.length - cutOff(bytes)
    if (end < bytes.length) {
      this.#cut = Buffer.from(bytes.subarray(end))
      bytes = bytes.subarray(0, end)
    }
    if (isUtf8(bytes)) return bytes
    this.fault = new XmlError('unsupported-encoding', 'invalid UTF-8') // RFC 6120 §4.9.3.22
    return bytes.subarray(0, validLength(bytes))
  }

  #upTo (octets: string, forbidden: RegExp): string {
    const at = octets.search(forbidden)
    if (at < 0) return octets
    this.fault = new XmlError('not-well-formed', 'a character that XML does not allow')
    return octets.slice(0, at)
  }

  /**
   * Removes a byte order mark at the beginning of the connection, because some clients send one. Anywhere else U+FEFF
   * is an ordinary character.
   */
  #first (octets: string): string {
    if (octets === '') return octets
    this.#begun = true
    return octets.startsWith(BYTE_ORDER_MARK) ? octets.slice(BYTE_ORDER_MARK.length) : octets
  }
}

/** Returns the number of bytes at the end that begin an incomplete character. */
function cutOff (bytes: Buffer): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const size = sizeOf(bytes[bytes.length - back] as number)
    if (size === 0) continue
    return back < size ? back : 0
  }
  return 0
}

/** Returns the length in bytes of a character with this first byte; 0 if no character begins with it. */
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

/** True if any byte is below 0x20. Checks four bytes at a time, because this runs over all input. */
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
