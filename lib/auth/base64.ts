/** Base64 in SASL (RFC 6120 §6.4.2, RFC 4648 §4): only characters of the alphabet, with full padding. */

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/** Returns the bytes; undefined if the text is not canonical base64. The caller bounds its length. */
export function strictBase64 (text: string): Buffer | undefined {
  if (!BASE64.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64')
  // Bits beyond the last byte must be zero: otherwise two texts would have the same value.
  return bytes.toString('base64') === text ? bytes : undefined
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Returns the text that the bytes encode; undefined if they are not UTF-8. */
export function strictText (bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes)
  } catch {
    return undefined
  }
}
