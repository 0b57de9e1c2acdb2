/** Subscribers who are gone: notifications come back as errors (XEP-0060 §12.4), or a presence ends (§12.5). */
import { attributeOf, child, childElements, children, textOf, type Element } from '../xml/element.js'
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
  // A notification by a collection names that in a header (XEP-0248 §5.3.1).
  const headers = child(message, NS.SHIM, 'headers')
  const collections = headers === undefined ? [] : children(headers, NS.SHIM, 'header')
    .filter(header => attributeOf(header, 'name') === 'Collection').map(textOf)
  const names = new Set([...name === undefined ? [] : [name], ...collections])
  const jid = from.toString()
  for (const node of [...work.change.nodes()]) {
    if (names.size > 0 && !names.has(node.name)) continue
    const ended = node.subscriptions.filter(one => one.jid === jid)
    if (ended.length === 0) continue
    work.put({ ...node, subscriptions: node.subscriptions.filter(one => one.jid !== jid) })
    for (const { subid } of ended) work.tell(node, { jid, subid, state: 'none' }, true)
  }
}

/** Ends the temporary subscriptions of a device whose presence has ended (XEP-0060 §12.5). It is not told. */
export function endTemporary (work: Work, nodes: Iterable<string>, device: string): void {
  for (const name of nodes) {
    const node = work.change.node(name)
    const ended = node?.subscriptions.filter(one => one.device === device) ?? []
    if (node === undefined || ended.length === 0) continue
    work.put({ ...node, subscriptions: node.subscriptions.filter(one => one.device !== device) })
    for (const { jid, subid } of ended) work.tell(node, { jid, subid, state: 'none' }, true)
  }
}
