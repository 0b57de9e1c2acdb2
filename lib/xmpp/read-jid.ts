/** Reads addresses in what clients and imports send: a wrong address is their error. */
import { attributeOf, type Element } from '../xml/element.js'
import { StanzaError } from './errors.js'
import { JidError, parseJid, type Jid } from './jid.js'

/** Parses an address. Throws StanzaError jid-malformed. */
export function readJid (text: string): Jid {
  try {
    return parseJid(text)
  } catch (error) {
    if (!(error instanceof JidError)) throw error
    throw new StanzaError('jid-malformed', undefined, { cause: error })
  }
}

/** Parses the address in an attribute; undefined if the attribute is missing. Throws StanzaError jid-malformed. */
export function jidAt (element: Element, attribute: string): Jid | undefined {
  const text = attributeOf(element, attribute)
  return text === undefined ? undefined : readJid(text)
}
