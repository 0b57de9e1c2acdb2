/** Character classes and names (XML 1.0 §2.3, Namespaces in XML §3), and the tables that share their strings. */
import { flatten, fromOctets } from './octets.js'
import { malformed } from './xml-error.js'

export const SPACE = 1
export const NAME_START = 2
export const NAME = 4
/** The classes of each ASCII character. A colon may occur in a name, but begins none (Namespaces in XML §4). */
export const CLASS = new Uint8Array(128)
for (let code = 0; code < 128; code++) {
  const character = String.fromCharCode(code)
  if (/[ \t\r\n]/.test(character)) CLASS[code] = SPACE
  if (/[A-Za-z_]/.test(character)) CLASS[code] = NAME_START | NAME
  if (/[-.0-9:]/.test(character)) CLASS[code] = NAME
}

const START = 'A-Z_a-z\\xC0-\\xD6\\xD8-\\xF6\\xF8-\\u02FF\\u0370-\\u037D\\u037F-\\u1FFF\\u200C-\\u200D' +
  '\\u2070-\\u218F\\u2C00-\\u2FEF\\u3001-\\uD7FF\\uF900-\\uFDCF\\uFDF0-\\uFFFD\\u{10000}-\\u{EFFFF}'
const PART = `[${START}][-.0-9\\xB7\\u0300-\\u036F\\u203F-\\u2040${START}]*`
/** A qualified name: at most one colon, with a name on each side of it. */
export const QUALIFIED_NAME = new RegExp(`^${PART}(?::${PART})?$`, 'u')

/** Decodes a name with characters beyond ASCII. Throws XmlError if a character is not allowed in names. */
export function wideName (octets: string): string {
  const name = fromOctets(octets)
  if (!QUALIFIED_NAME.test(name)) malformed('a character that is not allowed in names')
  return name
}

/** All streams share the tables, which never grow: a new name replaces one with the same hash. */
const SLOTS = 4096
const LONGEST_KEPT = 128
const names: string[] = new Array<string>(SLOTS).fill('')
const namespaces: string[] = new Array<string>(SLOTS).fill('')

/** Returns the name at this place: always the same string for the same name, and never a slice of a chunk. */
export function internName (data: string, from: number, to: number, hash: number): string {
  return intern(names, data, from, to, hash)
}

/** Returns the namespace at this place: always the same string for the same namespace, and never a slice of a chunk. */
export function internNamespace (data: string, from: number, to: number): string {
  // Namespaces differ mostly in their last characters.
  const hash = data.charCodeAt(to - 1) * 31 ^ data.charCodeAt(to - 3) * 1021 ^ data.charCodeAt(to - 6) * 7
  return intern(namespaces, data, from, to, hash)
}

function intern (table: string[], data: string, from: number, to: number, hash: number): string {
  const length = to - from
  const slot = (hash ^ length * 131) & (SLOTS - 1)
  const known = table[slot] as string
  if (known.length === length && data.startsWith(known, from)) return known
  const text = data.slice(from, to)
  if (length > LONGEST_KEPT) return flatten(text)
  // A property name is a string of its own, and fast to look up as a property again.
  return table[slot] = Object.keys({ [text]: 1 })[0] as string
}
