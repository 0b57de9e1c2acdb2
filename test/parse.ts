/** Parses XML in tests. Whitespace around the XML is ignored. */
import { Parser } from '../lib/xml/parser.js'
import type { ParsedElement } from '../lib/xml/element.js'

const LIMITS = { bytes: 1_000_000, elements: 10_000, depth: 64, attributes: 64, name: 256 }
const HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"

/**
 * Returns the one element in this text; its default namespace is jabber:client. Throws XmlError, and Error unless it is
 * exactly one.
 */
export function parseElement (xml: string): ParsedElement {
  const elements: ParsedElement[] = []
  const parser = new Parser({ limits: LIMITS, contentNamespace: 'jabber:client' }, {
    opened () {},
    element (element) { elements.push(element) },
    closed () {},
  })
  parser.write(Buffer.from(HEADER + xml.trim()))
  const [element] = elements
  if (element === undefined || elements.length > 1) throw new Error(`not one element: ${xml}`)
  return element
}
