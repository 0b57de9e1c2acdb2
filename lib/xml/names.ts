/** Character classes, names and the tables that share them (XML 1.0 §2.3, Namespaces in XML §3). */
import { flatten, fromOctets } from './octets.js'
import { malformed } from './xml-error.js'

export const SPACE = 1
export const NAME_START = 2
export const NAME = 4
/** What each ASCII character may be. A colon may stand in a name, and begins none (Namespaces in XML §4). */
export const CLASS = new Uint8Array(128)
for (let code = 0; code < 128; code++) {
  const character = String.fromCharCode(code)
  if (/[ \t\r\n]/.test(character)) CLASS[code] = SPACE
  if (/[A-Za-z_]/.test(character)) CLASS[code] = NAME_START | NAME
  if (/[-.0-9:]/.test(character)) CLASS[code] = NAME
}

const START = 'A-Z_a-z\\xC0-\\xD6\\xD8-\\xF6\\xF8-\\u02FF\\u0370-\\u037D\\u037F-\\u1FFF\\u200C-\\u200D\\u2070-\\u218F\\u2C00-\\u2FEF' +
  '\\u3001-\\uD7FF\\uF900-\\uFDCF\\uFDF0-\\uFFFD\\u{10000}-\\u{EFFFF}'
const PART = `[${START}][-.0-9\\xB7\\u0300-\\u036F\\u203F-\\u2040${START}]*`
/** A qualified name: at most one colon, and a name on either side of it. */
export const QUALIFIED_NAME = new RegExp(`^${PART}(?::${PART})?$`, 'u')

/** A name with characters beyond ASCII, decoded. Throws where one of them may not stand in a name. */
export function wideName (octets: string): string {
  const name = fromOctets(octets)
  if (!QUALIFIED_NAME.test(name)) malformed('a character that may not stand in a name')
  return name
}

/** The tables are shared by all streams and never grow: a new name takes the place of one that hashes alike. */
const SLOTS = 4096
const LONGEST_KEPT = 128
const names: string[] = new Array<string>(SLOTS).fill('')
const namespaces: string[] = new Array<string>(SLOTS).fill('')

/** The name at this place, one string for each name, cut from no chunk. */
export function internName (data: string, from: number, to: number, hash: number): string {
  return intern(names, data, from, to, hash)
}

/** The namespace at this place, one string for each, cut from no chunk. */
export function internNamespace (data: string, from: number, to: number): string {
  // The last characters tell namespaces apart
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
  // A property's name is a string of its own, and quick to find as a property again
  return table[slot] = Object.keys({ [text]: 1 })[0] as string
}
