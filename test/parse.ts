/** XML in a test, as an element: whitespace around it does not count. */
import { Parser } from '../lib/xml/parser.js'
import type { ParsedElement } from '../lib/xml/element.js'

const LIMITS = { bytes: 1_000_000, elements: 10_000, depth: 64, attributes: 64, name: 256 }
const HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"

/** The one element in this text, its namespace jabber:client where it says none. Throws XmlError. */
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
