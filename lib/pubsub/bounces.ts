/** Notifications that come back as errors (XEP-0060 §12.4). */
import { child, childElements, attributeOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { stanzaErrorOf, type StanzaCondition } from '../xmpp/errors.js'
import type { Jid } from '../xmpp/jid.js'
import type { Work } from './work.js'

/**
 * The conditions that say that an address is gone. Others of type cancel do not end a subscription: servers answer
 * service-unavailable for users who are away, and remote-server-not-found while DNS fails.
 */
const GONE: ReadonlySet<StanzaCondition> = new Set(['gone', 'item-not-found'])

/** True if a message of type error says that its sender's address is gone. */
export function isGone (message: Element): boolean { return GONE.has(stanzaErrorOf(message).condition) }

/**
 * Ends the subscriptions of exactly this address, because a notification came back: those to the node that the error
 * names, or all of the service if it names none. The address is not told.
 */
export function endBounced (work: Work, from: Jid, message: Element): void {
  const event = child(message, NS.PUBSUB_EVENT, 'event')
  const [what] = event === undefined ? [] : childElements(event)
  const name = what === undefined ? undefined : attributeOf(what, 'node')
  const jid = from.toString()
  for (const node of [...work.change.nodes()]) {
    if (name !== undefined && node.name !== name) continue
    const ended = node.subscriptions.filter(one => one.jid === jid)
    if (ended.length === 0) continue
    work.put({ ...node, subscriptions: node.subscriptions.filter(one => one.jid !== jid) })
    for (const { subid } of ended) work.tell(node, { jid, subid, state: 'none' }, true)
  }
}
