/** Resolves character references and the five predefined entities of XML (XML 1.0 §4.1, §4.6). */
import { QUALIFIED_NAME } from './names.js'
import { malformed, XmlError } from './xml-error.js'

/**
 * Returns the text with its references resolved, in linear time. Throws XmlError if a reference is malformed or an
 * entity is not predefined.
 */
export function decodeReferences (text: string): string {
  let decoded = ''
  let done = 0
  for (let at = text.indexOf('&'); at !== -1; at = text.indexOf('&', done)) {
    const end = text.indexOf(';', at + 1)
    if (end === -1) malformed('a reference without a semicolon')
    decoded += text.slice(done, at) + resolve(text.slice(at + 1, end))
    done = end + 1
  }
  return done === 0 ? text : decoded + text.slice(done)
}

function resolve (name: string): string {
  switch (name) {
    case 'amp': return '&'
    case 'lt': return '<'
    case 'gt': return '>'
    case 'quot': return '"'
    case 'apos': return "'"
  }
  if (name.startsWith('#')) return character(name)
  // RFC 6120 §11.1: no entity references except the predefined ones
  if (QUALIFIED_NAME.test(name)) throw new XmlError('restricted-xml', 'an entity that is not predefined')
  return malformed('an ampersand without a reference')
}

/** The code point of a character reference without `&` and `;`; -1 if it is malformed. */
function codeOf (name: string): number {
  if (/^#[0-9]+$/.test(name)) return parseInt(name.slice(1), 10)
  return /^#x[0-9a-fA-F]+$/.test(name) ? parseInt(name.slice(2), 16) : -1
}

function character (name: string): string {
  const code = codeOf(name)
  const isAllowed = code === 9 || code === 10 || code === 13 || code >= 0x20 && code <= 0xd7ff ||
    code >= 0xe000 && code <= 0xfffd || code >= 0x10000 && code <= 0x10ffff
  if (!isAllowed) malformed('a reference to a character that XML does not allow')
  return String.fromCodePoint(code)
}
