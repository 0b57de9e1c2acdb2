/** Marks a message that comes late with the time when it came (XEP-0203). */
import { attributeOf, namespaceOf, xml } from '../../xml/element.js'
import { NS } from '../../xml/namespaces.js'
import { formatDateTime } from '../../xmpp/datetime.js'
import { addressed, type Message } from '../../xmpp/stanza.js'

/**
 * Adds the time when the message first came, in milliseconds since 1970 (XEP-0198 §4, XEP-0203). A delay that this
 * server has already added says that.
 */
export function withDelay (message: Message, at: number, domain: string): Message {
  for (const child of message.children()) {
    if (namespaceOf(child) === NS.DELAY && attributeOf(child, 'from') === domain) return message
  }
  const delay = xml('delay', { xmlns: NS.DELAY, from: domain, stamp: formatDateTime(at) })
  return addressed(message.with({ plus: [delay] }), message.to)
}
