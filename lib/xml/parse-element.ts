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
