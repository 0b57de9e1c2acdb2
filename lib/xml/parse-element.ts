/**
 * Parses a single element from stored octets, such as archives, offline messages or private storage, with the same
 * strict parser.
 */
import { Parser } from './parser.js'
import { XmlError } from './xml-error.js'
import type { ParsedElement } from './element.js'
import { NS } from './namespaces.js'
import { toOctets } from './octets.js'

const LIMITS = { bytes: 16_777_216, elements: 1_000_000, depth: 256, attributes: 1024, name: 1024 }
const HEADER = Buffer.from(`<stream:stream xmlns='${NS.CLIENT}' xmlns:stream='${NS.STREAM}'>`)

/**
 * Parses the octets of one element; without a declaration its namespace is jabber:client. Throws XmlError if the octets
 * are not exactly one element.
 */
export function parseElement (octets: string): ParsedElement {
  let found: ParsedElement | undefined
  let count = 0
  const parser = new Parser({ limits: LIMITS, contentNamespace: NS.CLIENT }, {
    opened () {},
    element (element) {
      found = element
      count++
    },
    closed () { count = 0 },
  })
  parser.write(HEADER)
  parser.write(Buffer.from(octets, 'latin1'))
  if (found === undefined || count !== 1 || !parser.isIdle) throw new XmlError('not-well-formed', 'not one element')
  return found
}

/**
 * A run of text and what ends it: a predefined entity; or a tag without prefixes except `xml:`, and without references
 * in its attribute values.
 */
const PIECE = new RegExp(
  '[^<&\\0-\\x08\\x0b\\x0c\\x0e-\\x1f]*(?:&(?:amp|lt|gt|quot|apos);|</[a-zA-Z_][\\w.-]*[ \\t\\n\\r]*>|<[a-zA-Z_][\\w.-]*' +
  '(?:[ \\t\\n\\r]+(?:xml:)?[a-zA-Z_][\\w.-]*=(?:"[^"<&\\0-\\x08\\x0b\\x0c\\x0e-\\x1f]*"|\'[^\'<&\\0-\\x08\\x0b\\x0c\\x0e-\\x1f]*\'))*' +
  '[ \\t\\n\\r]*/?>)', 'y')
const SLASH = 47
const GREATER = 62

/**
 * Checks that a stored text, decoded from UTF-8, is exactly one element, so that it can be sent unchanged. Plain
 * elements are only scanned, which costs a tenth of parsing; all others are parsed. Throws XmlError if the text is not
 * exactly one element.
 */
export function checkElementText (text: string): void {
  if (!isPlainElement(text)) parseElement(toOctets(text))
}

/** True if the value is a text, decoded from UTF-8, that is exactly one element. */
export function isElementText (value: unknown): value is string {
  if (typeof value !== 'string') return false
  try {
    checkElementText(value)
    return true
  } catch {
    return false
  }
}

function isPlainElement (text: string): boolean {
  if (!text.startsWith('<')) return false
  /** Where the names of the open elements begin. */
  const open: number[] = []
  PIECE.lastIndex = 0
  for (let begin = 0, end = 0; PIECE.test(text); begin = end) {
    end = PIECE.lastIndex
    if (text.charCodeAt(end - 1) !== GREATER) continue // a reference
    const start = text.indexOf('<', begin) + 1
    if (text.charCodeAt(start) === SLASH) {
      const begun = open.pop()
      if (begun === undefined || !hasSameName(text, begun, start + 1)) return false
    } else if (text.charCodeAt(end - 2) !== SLASH) open.push(start)
    if (open.length === 0) return end === text.length
  }
  return false
}

/** True if the names that begin at these places of a text, each in a tag, are the same. */
function hasSameName (text: string, one: number, other: number): boolean {
  for (let i = 0; ; i++) {
    const char = text.charCodeAt(one + i)
    const isEnd = endsName(char)
    if (isEnd || char !== text.charCodeAt(other + i)) return isEnd && endsName(text.charCodeAt(other + i))
  }
}

/** True for white space, `/` and `>`. */
function endsName (char: number): boolean { return char <= 32 || char === SLASH || char === GREATER }
