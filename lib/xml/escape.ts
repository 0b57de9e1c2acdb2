/** Text and attribute values as XML (XML 1.0 §2.2, §2.4, §3.3.3). Refuses the characters XML cannot carry in any form. */

/** Anything that may need a look: what is escaped, what is forbidden, and all beyond ASCII. */
const SPECIAL_TEXT = /[^\t\n\x20-\x25\x27-\x3b\x3d\x3f-\x7f]/
const SPECIAL_VALUE = /[^\x20\x21\x23-\x25\x28-\x3b\x3d\x3f-\x7f]/
const FORBIDDEN = /[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]/u
const ALL_FORBIDDEN = new RegExp(FORBIDDEN, 'gu')
const IN_TEXT = /[&<>\r]/g
const IN_VALUE = /[&<>"'\t\n\r]/g

/** Text between tags. `>` is escaped so that `]]>` cannot appear, and `\r` so that it is not read as a line's end. Throws TypeError. */
export function escapeText (text: string): string {
  if (!SPECIAL_TEXT.test(text)) return text
  refuse(text)
  return text.replace(IN_TEXT, reference)
}

/** An attribute's value, for either kind of quotes. Throws TypeError. */
export function escapeAttribute (text: string): string {
  if (!SPECIAL_VALUE.test(text)) return text
  refuse(text)
  return text.replace(IN_VALUE, reference)
}

/** The text with U+FFFD in place of what XML cannot carry: for what an older version has stored. */
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
