/**
 * Escapes text and attribute values for XML (XML 1.0 §2.2, §2.4, §3.3.3). Throws for characters that XML cannot carry
 * in any form.
 */

/** Characters that need a closer check: those to escape, those that are forbidden, and all beyond ASCII. */
const SPECIAL_TEXT = /[^\t\n\x20-\x25\x27-\x3b\x3d\x3f-\x7f]/
const SPECIAL_VALUE = /[^\x20\x21\x23-\x25\x28-\x3b\x3d\x3f-\x7f]/
const FORBIDDEN = /[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]/u
const ALL_FORBIDDEN = new RegExp(FORBIDDEN, 'gu')
const IN_TEXT = /[&<>\r]/g
const IN_VALUE = /[&<>"'\t\n\r]/g

/**
 * Escapes text between tags. Escapes `>` so that `]]>` cannot appear, and `\r` so that it is not read as a line end.
 * Throws TypeError.
 */
export function escapeText (text: string): string {
  if (!SPECIAL_TEXT.test(text)) return text
  refuse(text)
  return text.replace(IN_TEXT, reference)
}

/** Escapes an attribute value, for either kind of quotes. Throws TypeError. */
export function escapeAttribute (text: string): string {
  if (!SPECIAL_VALUE.test(text)) return text
  refuse(text)
  return text.replace(IN_VALUE, reference)
}

/** Replaces characters that XML cannot carry with U+FFFD, for texts that an older version has stored. */
export function writable (text: string): string {
  return FORBIDDEN.test(text) ? text.replace(ALL_FORBIDDEN, '\ufffd') : text
}

function refuse (text: string): void {
  if (FORBIDDEN.test(text)) throw new TypeError('a character that XML cannot carry')
}

function reference (character: string): string {
  switch (character) {
    case '&': return '&amp;'
    case '<': return '&lt;'
    case '>': return '&gt;'
    case '"': return '&quot;'
    case "'": return '&apos;'
    default: return `&#${character.charCodeAt(0)};`
  }
}
