/** Makes the nodes that the service manages. Each has the rules of its target, so its own let nobody in. */
import type { Element } from '../xml/element.js'
import { flatten } from '../xml/writer.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'
import { PEP_DEFAULTS, type NodeConfig } from './config.js'
import { payloadOf, type Item } from './items.js'
import { isManaged, managedBy, SUBSCRIPTIONS } from './managed-names.js'
import type { Node } from './node.js'
import { LONGEST, type Work } from './work.js'

/** The most bytes of one attachment item. */
export const LARGEST_ATTACHMENT = 16 * 1024

const CLOSED: NodeConfig = {
  ...PEP_DEFAULTS,
  accessModel: 'whitelist', maxItems: 'max', publishNodeFull: 'reject', sendLast: 'never',
}
const TYPES = {
  attachments: NS.ATTACHMENTS, summary: NS.ATTACHMENTS_SUMMARY,
  subscribers: NS.PUBLIC_SUBSCRIPTIONS, subscriptions: NS.PUBLIC_SUBSCRIPTIONS, wrong: '',
}

/** `publisher`: the address that has published the item. */
interface NewManagedItem { readonly id: string, readonly publisher: string, readonly payload: Element }

/**
 * Returns the node of this name beside its target, which is made if it is not there. Throws StanzaError if there is no
 * room.
 */
export function withManaged (work: Work, name: string, target: Node): Node {
  const { change, ids, asker: { now }, place: { limits }, service } = work
  const known = change.node(name)
  if (known !== undefined) return known
  if (name.length > LONGEST) throw new StanzaError('not-acceptable', 'the names of the node and of the item are too long')
  let [count, own] = [0, 0]
  for (const node of change.nodes()) {
    if (!isManaged(node.name)) continue
    count++
    if (node.creator === target.creator) own++
  }
  if (count >= limits.managedNodes || own >= (limits.managedOf?.(target.creator) ?? Infinity)) throw noRoom()
  const type = TYPES[managedBy(service.toString(), name)?.kind ?? 'wrong']
  work.put({
    name: flatten(name), key: ids.next(), config: { ...CLOSED, type, maxPayloadSize: LARGEST_ATTACHMENT },
    creator: target.creator, created: now, affiliations: new Map(), subscriptions: [], target: () => target,
  })
  return work.node(name)
}

/** Adds an item to a node that the service manages, in place of an older one with its id, and notes the event. */
export async function addTo (
  { change, asker: { now }, events }: Work, node: Node, { id, publisher, payload }: NewManagedItem,
): Promise<void> {
  const item: Item = { id, publisher, at: now, payload: payloadOf(payload) }
  await change.append(node, item)
  events.push({ what: 'item', node, item, payload })
}

/** Returns the error for what would take the room of others. */
export function noRoom (): StanzaError {
  return new StanzaError('resource-constraint', 'there is no room for this', { type: 'cancel' })
}

/** Returns the node with the public subscriptions of an account. While it is empty, strangers cannot see it. */
export function withSubscriptions (work: Work): Node {
  return work.change.node(SUBSCRIPTIONS) ??
    work.create(SUBSCRIPTIONS, { ...CLOSED, accessModel: 'presence', type: NS.PUBLIC_SUBSCRIPTIONS })
}
