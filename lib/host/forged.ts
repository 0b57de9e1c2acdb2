/**
 * The border check for forged elements: removes from stanzas what only a server may say (CVE-2017-5589 and similar).
 */
import { attributeOf, localName, namespaceOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { JidError, parseJid } from '../xmpp/jid.js'
import type { Stanza, Kind } from '../xmpp/stanza.js'

/** The part of the router that the check uses. */
export interface ServedDomains {
  /** True if this domain is served here. */
  serves (domain: string): boolean
}

/**
 * The most addresses that are parsed in one stanza. An honest stanza has few; after that, elements are removed
 * unparsed.
 */
const MOST_ADDRESSES = 16

/**
 * Returns the stanza without the direct children that its sender may not send:
 * - stanza ids by addresses of this server (XEP-0359 §5), and delays from them (XEP-0203 §4, XEP-0091);
 * - in messages: carbons (XEP-0280 §11) and archive results (XEP-0313 §4.2, whose old form had `<fin/>`), except a
 *   `<result/>` if `isAwaited`.
 * Deeper elements, in `<forwarded/>` or in another payload, are not checked. An iq is not changed.
 */
export function withoutForged<K extends Kind> (
  stanza: Stanza<K>, borders: ServedDomains, isAwaited: () => boolean,
): Stanza<K> {
  if (stanza.kind === 'iq' || !stanza.element.children.some(isWatched)) return stanza
  const isMessage = stanza.kind === 'message'
  let left = MOST_ADDRESSES
  const isOwnStamp = (address: string | undefined): boolean => left-- <= 0 || isOurs(address, borders)
  const isForged = (child: Element): boolean => {
    const name = localName(child)
    switch (namespaceOf(child)) {
      case NS.CARBONS: return isMessage && (name === 'sent' || name === 'received')
      case NS.MAM: return isMessage && (name === 'fin' || name === 'result' && !isAwaited())
      case NS.STANZA_ID: return name === 'stanza-id' && isOwnStamp(attributeOf(child, 'by'))
      case NS.DELAY: return name === 'delay' && isOwnStamp(attributeOf(child, 'from'))
      case NS.DELAY_LEGACY: return name === 'x' && isOwnStamp(attributeOf(child, 'from'))
      default: return false
    }
  }
  return stanza.with({ without: isForged })
}

const WATCHED: ReadonlySet<string | undefined> = new Set([NS.CARBONS, NS.MAM, NS.STANZA_ID, NS.DELAY, NS.DELAY_LEGACY])

function isWatched (node: Element | string): boolean {
  return typeof node !== 'string' && WATCHED.has(namespaceOf(node))
}

/** True for a domain of this server, or a bare address at one: servers stamp with these for their users. */
function isOurs (address: string | undefined, borders: ServedDomains): boolean {
  if (address === undefined) return false
  try {
    const jid = parseJid(address)
    return jid.resource === '' && borders.serves(jid.domain)
  } catch (error) {
    if (error instanceof JidError) return false
    throw error
  }
}
