/** Octets: UTF-8 as a string with one character for each byte, the form in which stanzas pass through the server. */
export { shortened } from '../base/text.js'

const NOT_ASCII = /[^\0-\x7f]/
const NOT_LATIN1 = /[^\0-\xff]/
/** V8 copies a shorter slice; a longer one refers to the string from which it was cut. */
const SHORTEST_SLICE = 13

/**
 * Encodes a text as UTF-8, one character for each byte. A lone surrogate becomes U+FFFD; the writer rejects those
 * earlier.
 */
export function toOctets (text: string): string {
  return NOT_ASCII.test(text) ? Buffer.from(text, 'utf8').toString('latin1') : text
}

/** Decodes UTF-8 given as one character for each byte. */
export function fromOctets (octets: string): string {
  return NOT_ASCII.test(octets) ? Buffer.from(octets, 'latin1').toString('utf8') : octets
}

/**
 * Returns the same text in memory of its own. Texts and attributes of a parsed element refer to the network chunk from
 * which they were cut and keep all of it in memory (measured: 62 KB for an address). Whoever keeps such a text longer
 * than its stanza must keep this copy.
 */
export function flatten (text: string): string {
  if (text.length < SHORTEST_SLICE) return text
  const encoding = NOT_LATIN1.test(text) ? 'utf16le' : 'latin1'
  return Buffer.from(text, encoding).toString(encoding)
}
