/** Publishing and removing items (XEP-0060 §7, §8.5). */
import { attributeOf, childElements, type Element } from '../xml/element.js'
import { StanzaError } from '../xmpp/errors.js'
import { mayPublish, mayRetract, mustOwn } from './access.js'
import { keepsItems, type NodeConfig } from './config.js'
import { pubsubError, unsupported } from './errors.js'
import { bytesOfPayload, payloadOf, type Item } from './items.js'
import type { Node } from './node.js'
import { checkedId, type NodeEvent, type Work } from './work.js'

/** An item that is to be published. Without an id it gets one. */
export interface NewItem { readonly id: string | undefined, readonly payload: Element | undefined }

/** A publication. `options`: the form of publish-options. */
export interface Publication {
  readonly node: string
  readonly items: readonly NewItem[]
  readonly options?: Element | undefined
}

/** The most expired items that one publication removes. */
const EXPIRED = 100

/** Reads an item of a request. Throws bad-request if it has more than one payload (§7.1.3.6). */
export function newItem (element: Element): NewItem {
  const [payload, second] = childElements(element)
  if (second !== undefined) throw pubsubError('bad-request', 'invalid-payload')
  return { id: attributeOf(element, 'id'), payload }
}

/**
 * Publishes items, all or none (§12.11), and returns their ids. Throws StanzaError, after which nothing of the change
 * is stored.
 */
export async function publish (work: Work, { node: name, items, options }: Publication): Promise<readonly string[]> {
  const node = nodeFor(work, name, options)
  const { config } = node
  checkRequest(config, items)
  if (items.length === 0) {
    work.events.push({ what: 'signal', node })
    return []
  }
  const limit = mostItems(work, config)
  if (config.persistItems && items.length > limit) throw pubsubError('not-allowed', 'max-items-exceeded')
  const published: NodeEvent[] = []
  const ids: string[] = []
  if (config.persistItems) await dropExpired(work, node)
  for (const { id, payload } of items) {
    const item = itemOf(work, id, payload)
    ids.push(item.id)
    if (config.persistItems) await store(work, node, item, limit)
    published.push({ what: 'item', node, item, payload })
  }
  if (config.persistItems) {
    await dropOldest(work, node, limit)
    await checkRoom(work)
  }
  for (const event of published) work.events.push(event)
  return ids
}

/** Returns the node, which is made if the service does that. Throws StanzaError if the asker may not publish there. */
function nodeFor (work: Work, name: string, options: Element | undefined): Node {
  const { place, asker, change } = work
  if (change.node(name) !== undefined) {
    const node = work.node(name)
    if (!mayPublish(node, asker)) throw new StanzaError('forbidden')
    if (node.config.nodeType === 'collection') throw unsupported('publish') // §7.1.3.2
    if (options !== undefined) place.form.check(node.config, options)
    return node
  }
  if (!place.creates || !place.mayCreate(asker)) throw new StanzaError('item-not-found')
  const defaults = place.defaultsOf(name)
  return work.create(name, options === undefined ? defaults : place.form.fromOptions(defaults, options))
}

/** §7.1.3.7: the request must fit the configuration of the node. */
function checkRequest ({ persistItems, deliverPayloads, maxPayloadSize }: NodeConfig, items: readonly NewItem[]): void {
  const isSignal = !persistItems && !deliverPayloads
  if (isSignal && items.length > 0) throw pubsubError('bad-request', 'item-forbidden')
  if (!isSignal && items.length === 0) throw pubsubError('bad-request', 'item-required')
  for (const { payload } of items) {
    if (payload === undefined && deliverPayloads) throw pubsubError('bad-request', 'payload-required')
    if (payload !== undefined && bytesOfPayload(payloadOf(payload)) > maxPayloadSize) {
      throw pubsubError('not-acceptable', 'payload-too-big')
    }
  }
}

function itemOf ({ ids, asker: { jid, now } }: Work, id: string | undefined, payload: Element | undefined): Item {
  const stored = { id: id === undefined ? ids.next() : checkedId(id), publisher: jid.bare.toString(), at: now }
  return payload === undefined ? stored : { ...stored, payload: payloadOf(payload) }
}

/** Returns the most items that a node of this configuration holds. */
export function mostItems ({ place: { limits } }: Work, { maxItems }: NodeConfig): number {
  return maxItems === 'max' ? limits.itemsPerNode : Math.min(maxItems, limits.itemsPerNode)
}

async function dropExpired ({ change, asker: { now } }: Work, node: Node): Promise<void> {
  const { itemExpire } = node.config
  if (itemExpire !== 'max') await change.drop(node, await change.expired(node, now - itemExpire * 1000, EXPIRED))
}

/** Stores an item. Throws StanzaError if the node is full and keeps what it has. */
async function store ({ change }: Work, node: Node, item: Item, limit: number): Promise<void> {
  if (node.config.publishNodeFull === 'reject') {
    const isNew = await change.item(node, item.id) === undefined
    if (isNew && (await change.size(node)).items >= limit) throw pubsubError('conflict', 'node-full')
  }
  await change.append(node, item)
}

/** Removes the items for which there is no room (§7.1.2.5), once for all that are published together. */
export async function dropOldest ({ change, events }: Work, node: Node, limit: number): Promise<void> {
  const { publishNodeFull, notifyRetract } = node.config
  const over = (await change.size(node)).items - limit
  if (over <= 0) return
  const oldest = await change.oldest(node, over)
  await change.drop(node, oldest)
  const isQuiet = publishNodeFull !== 'retract-oldest' || !notifyRetract
  for (const { id } of oldest) events.push({ what: 'retract', node, id, isQuiet })
}

/** Throws StanzaError if the service has no room for its items. */
export async function checkRoom ({ change, place: { limits } }: Work): Promise<void> {
  if (limits.items === Infinity && limits.bytes === Infinity) return
  const { items, bytes } = await change.total()
  if (items > limits.items || bytes > limits.bytes) {
    throw new StanzaError('resource-constraint', 'there is no room for more items', { type: 'cancel' })
  }
}

/** A request to remove items. `notify`: whether others are told; undefined leaves it to the configuration. */
export interface Retraction {
  readonly node: string
  readonly ids: readonly string[]
  readonly notify: boolean | undefined
}

/** Removes items, all or none (§7.2, §12.11). Throws StanzaError. */
export async function retract (work: Work, { node: name, ids, notify }: Retraction): Promise<void> {
  const { change, asker, events } = work
  const node = work.node(name)
  if (!mayPublish(node, asker)) throw new StanzaError('forbidden')
  if (!keepsItems(node.config)) throw unsupported('persistent-items')
  const dropped: Item[] = []
  for (const id of new Set(ids)) {
    const item = await change.item(node, id)
    if (item === undefined) throw new StanzaError('item-not-found')
    if (!mayRetract(node, asker, item.publisher)) throw new StanzaError('forbidden')
    dropped.push(item)
  }
  await change.drop(node, dropped)
  // §7.2.2.1: whoever retracts may ask for notifications; and the owner may want them always.
  const isQuiet = notify !== true && !node.config.notifyRetract
  for (const { id } of dropped) events.push({ what: 'retract', node, id, isQuiet })
}

/** Removes all items of a node (§8.5). Throws StanzaError. */
export function purge (work: Work, name: string): void {
  const node = work.node(name)
  mustOwn(node, work.asker)
  if (!keepsItems(node.config)) throw unsupported('persistent-items')
  work.change.clear(node)
  work.events.push({ what: 'purge', node })
}
