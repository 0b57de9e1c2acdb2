/** One element out of octets we keep: archives, offline messages, private storage. The same strict parser reads it. */
import { Parser } from './parser.js'
import { XmlError } from './xml-error.js'
import type { ParsedElement } from './element.js'
import { NS } from './namespaces.js'

const LIMITS = { bytes: 16_777_216, elements: 1_000_000, depth: 256, attributes: 1024, name: 1024 }
const HEADER = Buffer.from(`<stream:stream xmlns='${NS.CLIENT}' xmlns:stream='${NS.STREAM}'>`)

/** The element these octets are; jabber:client where it says no namespace. Throws XmlError where they are not one element. */
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

/** A stretch of text and what ends it: a plain reference, or a tag whose names have no prefix but `xml:` and whose values no reference. */
const PIECE = /[^<&\0-\x08\x0b\x0c\x0e-\x1f]*(?:&(?:amp|lt|gt|quot|apos);|<(\/?)([a-zA-Z_][\w.-]*)((?:[ \t\n\r]+(?:xml:)?[a-zA-Z_][\w.-]*=(?:"[^"<&\0-\x08\x0b\x0c\x0e-\x1f]*"|'[^'<&\0-\x08\x0b\x0c\x0e-\x1f]*'))*)[ \t\n\r]*(\/?)>)/y

/**
 * Checks that stored octets can be sent as they stand: they are one element. Plain ones are walked over, which costs a fifth of parsing
 * them; all others are parsed. Throws XmlError if they are not one element.
 */
export function checkElement (octets: string): void {
  if (!isPlainElement(octets)) parseElement(octets)
}

function isPlainElement (octets: string): boolean {
  if (!octets.startsWith('<')) return false
  const open: string[] = []
  PIECE.lastIndex = 0
  for (;;) {
    const piece = PIECE.exec(octets)
    if (piece === null) return false
    const [, end, name, attributes = '', empty] = piece
    if (name === undefined) continue
    if (end === '/') {
      if (attributes !== '' || empty === '/' || open.pop() !== name) return false
    } else if (empty !== '/') open.push(name)
    if (open.length === 0) return PIECE.lastIndex === octets.length
  }
}
