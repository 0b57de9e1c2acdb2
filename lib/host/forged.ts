/** The border removes from stanzas what only a server may say, and what clients have believed from anybody (CVE-2017-5589 and its kind). */
import { attributeOf, localName, namespaceOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { JidError, parseJid } from '../xmpp/jid.js'
import type { Stanza, Kind } from '../xmpp/stanza.js'

/** What it asks of the server. */
export interface Borders {
  /** Whether this domain is served here. */
  serves (domain: string): boolean
}

/** How many addresses of one stanza are parsed. An honest stanza has a few; what claims to be from more addresses is removed unread. */
const MOST_ADDRESSES = 16

/**
 * The stanza without the direct children that its sender has no right to:
 * - stanza ids by addresses of this server (XEP-0359 §5), and delays in their name (XEP-0203 §4, XEP-0091);
 * - in messages: copies (XEP-0280 §11) and pages of archives (XEP-0313 §4.2, whose old form had `<fin/>`), but for a `<result/>` that
 *   `isAwaited`.
 * What stands deeper, in `<forwarded/>` or in another payload, is nobody's business here. An iq is not touched.
 */
export function withoutForged<K extends Kind> (stanza: Stanza<K>, borders: Borders, isAwaited: () => boolean): Stanza<K> {
  if (stanza.kind === 'iq' || !stanza.element.children.some(isWatched)) return stanza
  const isMessage = stanza.kind === 'message'
  let left = MOST_ADDRESSES
  const isForged = (child: Element): boolean => {
    const name = localName(child)
    switch (namespaceOf(child)) {
      case NS.CARBONS: return isMessage && (name === 'sent' || name === 'received')
      case NS.MAM: return isMessage && (name === 'fin' || name === 'result' && !isAwaited())
      case NS.STANZA_ID: return name === 'stanza-id' && (left-- <= 0 || isOurs(attributeOf(child, 'by'), borders))
      case NS.DELAY: return name === 'delay' && (left-- <= 0 || isOurs(attributeOf(child, 'from'), borders))
      case NS.DELAY_LEGACY: return name === 'x' && (left-- <= 0 || isOurs(attributeOf(child, 'from'), borders))
      default: return false
    }
  }
  return stanza.with({ without: isForged })
}

const WATCHED: ReadonlySet<string | undefined> = new Set([NS.CARBONS, NS.MAM, NS.STANZA_ID, NS.DELAY, NS.DELAY_LEGACY])

function isWatched (node: Element | string): boolean {
  return typeof node !== 'string' && WATCHED.has(namespaceOf(node))
}

/** A host of this server, or a bare address at one: who stamps for its users. */
function isOurs (address: string | undefined, borders: Borders): boolean {
  if (address === undefined) return false
  try {
    const jid = parseJid(address)
    return jid.resource === '' && borders.serves(jid.domain)
  } catch (error) {
    if (error instanceof JidError) return false
    throw error
  }
}
