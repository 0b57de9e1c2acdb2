/** Attachments to items (XEP-0470): one item for each publisher in a node beside the item, and a summary of all. */
import { attributeOf, childElements, children, localName, namespaceOf, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'
import { affiliationOf, mayPublish, mayRead, rulesOf, type Asker } from './access.js'
import { pubsubError } from './errors.js'
import { bytesOfPayload, payloadOf, type Item } from './items.js'
import { attachmentsOf, hasAttachments, isManaged, summaryOf, type Managed } from './managed-names.js'
import { addTo, LARGEST_ATTACHMENT, noRoom, withManaged } from './managed-nodes.js'
import type { Node } from './node.js'
import { checkRoom, mostItems } from './publishing.js'
import { sinceOf } from './retrieving.js'
import { adjusted, checkedTally, NOTHING, summaryElement, tallyOfItem, tallyOfSummary, type Tally } from './tally.js'
import type { Work } from './work.js'

/** The item that attachments belong to. */
type Attached = Extract<Managed, { readonly kind: 'attachments' }>

/**
 * Publishes the attachment of the asker to an item, in place of an older one, and returns its id. The node and its
 * summary are made if they are not there (§4.3, §4.6). Throws StanzaError.
 */
export async function attach (
  work: Work, name: string, { target: of, item: to }: Attached, request: Element,
): Promise<string> {
  const { change, asker } = work
  const target = work.node(of)
  // One who may publish, but not read, must not learn which items there are.
  if (!mayPublish(target, asker) || !mayRead(target, asker)) throw new StanzaError('forbidden')
  const id = asker.jid.bare.toString()
  const payload = attachmentIn(request, id)
  const now = checkedTally(payload)
  if (!await hasItem(work, target, to)) throw new StanzaError('item-not-found')
  const node = withManaged(work, name, target)
  const old = await change.item(node, id)
  if (old === undefined && (await change.size(node)).items >= mostItems(work, node.config)) {
    throw pubsubError('conflict', 'node-full')
  }
  await addTo(work, node, { id, publisher: id, payload })
  await summarise(work, target, to, { old: tallyOfItem(old), now })
  await checkRoom(work)
  await checkShare(work)
  return id
}

/** Returns the attachments of a request. Throws StanzaError unless they are one item of the publisher (§4.5). */
function attachmentIn (request: Element, publisher: string): Element {
  const [item, second] = children(request, NS.PUBSUB, 'item')
  if (item === undefined) throw pubsubError('bad-request', 'item-required')
  if (second !== undefined || attributeOf(item, 'id') !== publisher) {
    throw new StanzaError('bad-request', 'the id of an attachment is the bare address of its publisher')
  }
  const [payload, more] = childElements(item)
  const isOne = payload !== undefined && more === undefined
  if (!isOne || localName(payload) !== 'attachments' || namespaceOf(payload) !== NS.ATTACHMENTS) {
    throw pubsubError('bad-request', 'invalid-payload')
  }
  if (bytesOfPayload(payloadOf(payload)) > LARGEST_ATTACHMENT) throw pubsubError('not-acceptable', 'payload-too-big')
  return payload
}

async function hasItem ({ change, asker: { now } }: Work, target: Node, id: string): Promise<boolean> {
  const item = target.config.persistItems ? await change.item(target, id) : undefined
  return item !== undefined && item.at >= (sinceOf(target, now) ?? -Infinity)
}

/** Throws StanzaError if attachments would take more than half of the room: it is for what owners publish. */
async function checkShare ({ change, place: { limits } }: Work): Promise<void> {
  if (limits.items === Infinity && limits.bytes === Infinity) return
  const { items, bytes } = await change.total(node => isManaged(node.name))
  if (2 * items > limits.items || 2 * bytes > limits.bytes) throw noRoom()
}

/**
 * Removes attachments: owners of the target those of anybody, others their own, also when they may not publish any
 * more. Throws StanzaError.
 */
export async function detach (
  work: Work, name: string, { target: of, item: to }: Attached, ids: readonly string[],
): Promise<void> {
  const { change, asker, events } = work
  if (ids.length === 0 || ids.includes('')) throw pubsubError('bad-request', 'item-required')
  const node = work.node(name)
  const dropped: Item[] = []
  for (const id of new Set(ids)) {
    if (!mayDetach(node, asker, id)) throw new StanzaError('forbidden')
    const item = await change.item(node, id)
    if (item === undefined) throw new StanzaError('item-not-found')
    dropped.push(item)
  }
  await change.drop(node, dropped)
  for (const { id } of dropped) events.push({ what: 'retract', node, id, isQuiet: false })
  const target = change.node(of)
  for (const item of target === undefined ? [] : dropped) {
    await summarise(work, target, to, { old: tallyOfItem(item), now: NOTHING })
  }
  // The room is for others.
  if ((await change.size(node)).items === 0 && node.subscriptions.length === 0) change.remove(node)
}

function mayDetach (node: Node, asker: Asker, id: string): boolean {
  const affiliation = affiliationOf(node, asker)
  return affiliation === 'owner' || affiliation !== 'outcast' && id === asker.jid.bare.toString()
}

/** Adjusts the summary of an item by one attachment that has changed: no other is read. */
async function summarise (
  work: Work, target: Node | undefined, id: string, { old, now }: { readonly old: Tally, readonly now: Tally },
): Promise<void> {
  if (target === undefined) return
  const { change, service } = work
  const node = withManaged(work, summaryOf(target.name), target)
  const before = await change.item(node, id)
  const known = summaryElement(tallyOfSummary(before))
  const payload = summaryElement(adjusted(tallyOfSummary(before), old, now))
  if (payload?.toString() === known?.toString()) return
  if (payload === undefined) await dropFrom(work, node, [id])
  else await addTo(work, node, { id, publisher: service.toString(), payload })
}

/** Removes those of these items that exist. */
export async function dropFrom ({ change, events }: Work, node: Node, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const item = await change.item(node, id)
    if (item === undefined) continue
    await change.drop(node, [item])
    events.push({ what: 'retract', node, id, isQuiet: false })
  }
}

/** Removes all attachments to an item, at an owner's wish. */
export async function clearAttachments (
  work: Work, name: string, { target: of, item: to }: Attached, what: 'purge' | 'delete',
): Promise<void> {
  const { change, events } = work
  const node = work.node(name)
  const summary = change.node(summaryOf(of))
  if (summary !== undefined) await dropFrom(work, summary, [to])
  if (what === 'delete') {
    removeNode(work, node)
    return
  }
  change.clear(node)
  events.push({ what: 'purge', node })
}

/** Removes a node that the service manages. Those who might read it so far are told. */
export function removeNode ({ change, events }: Work, node: Node): void {
  const rules = rulesOf(node)
  change.remove(node)
  events.push({ what: 'delete', node: { ...node, target: () => rules }, redirect: undefined })
}

/** Removes the attachments to items that do not exist any more. */
export async function forgetItems (work: Work, target: string, ids: readonly string[]): Promise<void> {
  const { change, service } = work
  const summary = change.node(summaryOf(target))
  if (summary === undefined) return // there is no attachment to any item
  await dropFrom(work, summary, ids)
  for (const id of ids) {
    const node = change.node(attachmentsOf(service.toString(), target, id))
    if (node !== undefined) removeNode(work, node)
  }
}

/** Removes the attachments to all items of a node. */
export function forgetAllItems (work: Work, target: string): void {
  const { change, events, service } = work
  const summary = change.node(summaryOf(target))
  if (summary === undefined) return
  const prefix = attachmentsOf(service.toString(), target, '')
  for (const node of [...change.nodes()]) {
    if (hasAttachments(node) && node.name.startsWith(prefix)) removeNode(work, node)
  }
  change.clear(summary)
  events.push({ what: 'purge', node: summary })
}
