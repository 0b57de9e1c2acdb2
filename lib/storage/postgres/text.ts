/** Texts in PostgreSQL, whose type `text` holds every character but U+0000. */

/** A text as the database keeps it. Two texts keep their order by code point, and stay different. */
export function kept (text: string): string {
  return BELOW.test(text) ? text.replace(BELOWS, character => character === '\0' ? '\u0001\u0001' : '\u0001\u0002') : text
}

/** A text from the database as it was. */
export function read (text: string): string {
  return text.includes('\u0001') ? text.replace(PAIRS, pair => pair === '\u0001\u0001' ? '\0' : '\u0001') : text
}

const BELOW = /[\0\u0001]/
const BELOWS = /[\0\u0001]/g
const PAIRS = /\u0001[\u0001\u0002]/g
