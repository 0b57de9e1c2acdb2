/** Encodes texts for PostgreSQL, whose type `text` holds every character except U+0000. */

/** Encodes a text for the database. Different texts stay different and keep their order by code point. */
export function encodeText (text: string): string {
  if (!BELOW.test(text)) return text
  return text.replace(BELOWS, character => character === '\0' ? '\u0001\u0001' : '\u0001\u0002')
}

/** Decodes a text from the database. */
export function decodeText (text: string): string {
  return text.includes('\u0001') ? text.replace(PAIRS, pair => pair === '\u0001\u0001' ? '\0' : '\u0001') : text
}

const BELOW = /[\0\u0001]/
const BELOWS = /[\0\u0001]/g
const PAIRS = /\u0001[\u0001\u0002]/g
