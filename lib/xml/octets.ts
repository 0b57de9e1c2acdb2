/** Octets: UTF-8 as a string of one character a byte, as it travels through the server (design: the way of a stanza is short). */
export { shortened } from '../base/text.js'

const NOT_ASCII = /[^\0-\x7f]/
const NOT_LATIN1 = /[^\0-\xff]/
/** V8 copies what is shorter, and makes the rest a window on the string it was cut from. */
const SHORTEST_SLICE = 13

/** The UTF-8 bytes of a text, one character a byte. A lone surrogate becomes U+FFFD: the writer refuses those before. */
export function toOctets (text: string): string {
  return NOT_ASCII.test(text) ? Buffer.from(text, 'utf8').toString('latin1') : text
}

/** The text of UTF-8 bytes given as one character a byte. */
export function fromOctets (octets: string): string {
  return NOT_ASCII.test(octets) ? Buffer.from(octets, 'latin1').toString('utf8') : octets
}

/**
 * The same text in memory of its own. Texts and attributes of a parsed element are windows on the network chunk they came in and keep
 * all of it alive (measured: 62 KB an address), so whoever keeps one for longer than its stanza keeps this copy.
 */
export function flatten (text: string): string {
  if (text.length < SHORTEST_SLICE) return text
  return NOT_LATIN1.test(text) ? Buffer.from(text, 'utf16le').toString('utf16le') : Buffer.from(text, 'latin1').toString('latin1')
}
