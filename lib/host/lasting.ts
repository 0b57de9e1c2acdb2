/** Which stanzas outlive a crash. */
import { namespaceOf } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import type { Stanza } from '../xmpp/stanza.js'

/** What is not to go with a crash: messages, but for those that mean nothing later (XEP-0085, XEP-0334). */
export function isLasting (stanza: Stanza): boolean {
  if (stanza.kind !== 'message' || stanza.has(NS.HINTS, 'no-store')) return false
  for (const child of stanza.children()) {
    const namespace = namespaceOf(child)
    if (namespace !== NS.CHAT_STATES && namespace !== NS.HINTS && namespace !== NS.STANZA_ID && child.getName() !== 'thread') return true
  }
  return false
}
