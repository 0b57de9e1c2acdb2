/** Reading items, subscriptions and affiliations (XEP-0060 §5.6, §5.7, §6.5). */
import { LARGEST_ANSWER } from '../stream/bounds.js'
import { attributeOf, children, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError } from '../xmpp/errors.js'
import { pagingElement, readPaging, type Paging } from '../xmpp/paging.js'
import { affiliationOf, refusalToRead, type Asker } from './access.js'
import { keepsItems } from './config.js'
import { pubsubError, unsupported } from './errors.js'
import { bytesOfPayload, storedPayload, type Item, type ItemPage, type ItemQuery, type ItemStore } from './items.js'
import { hasAttachments } from './managed-names.js'
import { isCurrent, ROOT, type Node } from './node.js'
import { subscriptionElement } from './subscribing.js'

/** The most items of an answer, and of a request by id. */
export const MOST_ITEMS = 1000
/** Bytes of an answer beside the payloads: those of each item, and of its id and publisher. */
const ITEM = 80

/** One who reads a node of a service. */
export interface Reading {
  readonly owner: string
  readonly node: Node
  readonly asker: Asker
  readonly items: ItemStore
}

/** Answers a request for items (§6.5). Returns the content of `<pubsub/>`. Throws StanzaError. */
export async function retrieve (reading: Reading, request: Element, pubsub: Element): Promise<readonly Element[]> {
  const { owner, node, asker, items } = reading
  const refusal = refusalToRead(node, asker)
  if (refusal !== undefined) throw refusal
  checkSubid(node, asker, attributeOf(request, 'subid'))
  if (!keepsItems(node.config)) throw unsupported('persistent-items') // §6.5.9.4
  const wanted = children(request, NS.PUBSUB, 'item').map(item => attributeOf(item, 'id'))
  const ids = wanted.filter(id => id !== undefined)
  if (ids.length < wanted.length) throw new StanzaError('bad-request', 'an item without an id')
  if (ids.length > MOST_ITEMS) throw new StanzaError('policy-violation', 'too many items in one request')
  const since = sinceOf(node, asker.now)
  if (ids.length > 0) {
    const found = await items.byId(owner, node, [...new Set(ids)], { bytes: LARGEST_ANSWER })
    return [itemsElement(node, found.items.filter(({ at }) => since === undefined || at >= since))]
  }
  return await page(reading, newestIn(request), readPaging(pubsub), since)
}

/** §6.5.9.1, §6.5.9.2: one with several subscriptions names one of them, and one who is subscribed names no other. */
function checkSubid (node: Node, { jid, now }: Asker, subid: string | undefined): void {
  const bare = jid.bare.toString()
  const own = node.subscriptions.filter(one =>
    isCurrent(one, now) && (one.jid === bare || one.jid.startsWith(`${bare}/`)))
  if (subid === undefined) {
    if (new Set(own.map(one => one.jid)).size < own.length) throw pubsubError('bad-request', 'subid-required')
  } else if (own.length > 0 && !own.some(one => one.subid === subid)) {
    throw pubsubError('not-acceptable', 'invalid-subid')
  }
}

/** The items of a leaf, as an answer has them. */
export interface LeafItems { readonly leaf: Node, readonly items: Element }

/** The most leaves of a collection whose items are read for one request. */
const MOST_LEAVES = 100

/**
 * Answers a request for the items of a collection (XEP-0248 §6.2): those of the leaves in it that the asker may read.
 * Throws feature-not-implemented if there are too many: nothing may be left out without a word.
 */
export async function retrieveLeaves (
  { owner, node, asker, items }: Reading, leaves: readonly Node[], request: Element, pubsub: Element,
): Promise<readonly LeafItems[]> {
  const refusal = refusalToRead(node, asker)
  if (refusal !== undefined) throw refusal
  checkSubid(node, asker, attributeOf(request, 'subid'))
  const newest = newestIn(request)
  const readable = leaves.filter(leaf => keepsItems(leaf.config) && refusalToRead(leaf, asker) === undefined)
  const isPart = readPaging(pubsub) !== undefined || children(request, NS.PUBSUB, 'item').length > 0
  if (isPart || readable.length > MOST_LEAVES) throw unsupported('retrieve-items')
  const found: LeafItems[] = []
  let [count, bytes] = [MOST_ITEMS, LARGEST_ANSWER]
  for (const leaf of readable) {
    const limit = Math.min(newest ?? MOST_ITEMS, count)
    const query = { limit, bytes, since: sinceOf(leaf, asker.now), newest: newest !== undefined }
    const page = limit === 0 ? NO_ITEMS : await items.some(owner, leaf, query)
    const isWhole = page.isComplete || page.items.length === newest
    count -= page.items.length
    bytes -= page.items.reduce((sum, item) => sum + bytesIn(item), 0)
    if (!isWhole || bytes < 0) throw unsupported('retrieve-items')
    if (page.items.length > 0) found.push({ leaf, items: itemsElement(leaf, page.items) })
  }
  return found
}

/** Returns the bytes of an item in an answer. */
function bytesIn ({ id, payload }: Item): number { return ITEM + 2 * Buffer.byteLength(id) + bytesOfPayload(payload) }

const NO_ITEMS: ItemPage = { items: [], isComplete: false }

/** Returns a page of items, with its place in the list if it is not the whole list (§6.5.4). */
async function page (
  reading: Reading, newest: number | undefined, paging: Paging | undefined, since: number | undefined,
): Promise<readonly Element[]> {
  const { owner, node, items } = reading
  if (paging?.index !== undefined) throw new StanzaError('feature-not-implemented')
  if (paging?.max === 0) return [itemsElement(node, []), pagingElement({ count: await countOf(reading, since) })]
  const found = fitting(await items.some(owner, node, queryOf(newest, paging, since)), isFromEnd(newest, paging))
  const element = itemsElement(node, found.items)
  if (paging === undefined && (found.isComplete || found.items.length === newest)) return [element]
  const first = found.items[0]?.id
  const index = first !== undefined && isFirstPage(paging, newest) ? { index: 0 } : {}
  return [element, pagingElement({
    first, last: found.items.at(-1)?.id, count: await countOf(reading, since), ...index,
  })]
}

function queryOf (newest: number | undefined, paging: Paging | undefined, since: number | undefined): ItemQuery {
  const limit = Math.min(newest ?? paging?.max ?? MOST_ITEMS, MOST_ITEMS)
  return { limit, bytes: LARGEST_ANSWER / 2, since, paging, newest: newest !== undefined }
}

/** True if the page is the end of a list, or before one of its items. */
function isFromEnd (newest: number | undefined, paging: Paging | undefined): boolean {
  return newest !== undefined || paging?.before !== undefined
}

function isFirstPage (paging: Paging | undefined, newest: number | undefined): boolean {
  return paging?.after === undefined && paging?.before === undefined && newest === undefined
}

async function countOf ({ owner, node, items }: Reading, since: number | undefined): Promise<number> {
  return since === undefined ? (await items.size(owner, node)).items : await items.count(owner, node, since)
}

/** Leaves items out until the answer is not too long with ids and publishers; at least one item stays. */
export function fitting ({ items, isComplete }: ItemPage, fromEnd: boolean): ItemPage {
  let bytes = 0
  let kept = 0
  for (const item of fromEnd ? items.toReversed() : items) {
    bytes += bytesIn(item)
    if (kept > 0 && bytes > LARGEST_ANSWER) break
    kept++
  }
  if (kept === items.length) return { items, isComplete }
  return { items: fromEnd ? items.slice(-kept) : items.slice(0, kept), isComplete: false }
}

/** Returns when the oldest item that is still there was published; undefined if items do not expire. */
export function sinceOf ({ config: { itemExpire } }: Node, now: number): number | undefined {
  return itemExpire === 'max' ? undefined : now - itemExpire * 1000
}

/** §6.5.7: the number of the newest items that are requested. */
function newestIn (request: Element): number | undefined {
  const text = attributeOf(request, 'max_items')
  if (text === undefined) return undefined
  const number = /^\d{1,9}$/.test(text) ? Number(text) : 0
  if (number === 0) throw new StanzaError('bad-request', 'max_items is a number of items')
  return number
}

function itemsElement (node: Node, items: readonly Item[]): Element {
  return xml('items', { node: node.name }, ...items.map(item => itemElement(node, item)))
}

/** Returns `<items/>` as a notification has it: with one item, and this payload. */
export function itemsWith (node: Node, item: Item, payload: Element | undefined): Element {
  return xml('items', { node: node.name }, itemWith(node, item, payload))
}

function itemWith ({ config }: Node, { id, publisher }: Item, payload: Element | undefined): Element {
  return xml('item', { id, publisher: config.itemReply === 'publisher' ? publisher : undefined }, payload)
}

/** Returns `<item/>` with its stored payload. */
export function itemElement (node: Node, item: Item): Element {
  return itemWith(node, item, item.payload === undefined ? undefined : storedPayload(item.payload))
}

// ---- The asker's own subscriptions and affiliations -----------------------------------------------------------

/** Returns the subscriptions of the asker, to all nodes or to one (§5.6). */
export function ownSubscriptions (nodes: Iterable<Node>, { jid, now }: Asker, node: string | undefined): Element {
  const bare = jid.bare.toString()
  const wanted = [...nodes].filter(({ name }) => node === undefined || name === node)
  const found = wanted.flatMap(({ name, subscriptions }) =>
    subscriptions.filter(one => isCurrent(one, now) && (one.jid === bare || one.jid.startsWith(`${bare}/`)))
      .map(one => subscriptionElement(name, one)))
  return xml('subscriptions', { node }, ...found)
}

/** Returns the affiliations of the asker (§5.7), with nodes of attachments only if one of them is named. */
export function ownAffiliations (nodes: Iterable<Node>, asker: Asker, node: string | undefined): Element {
  const isListed = (one: Node): boolean => one.name !== ROOT && !hasAttachments(one)
  const found = [...nodes].filter(one => node === undefined ? isListed(one) : one.name === node && node !== ROOT)
    .map(one => ({ name: one.name, affiliation: affiliationOf(one, asker) }))
    .filter(({ affiliation }) => affiliation !== 'none')
  return xml('affiliations', { node }, ...found.map(({ name, affiliation }) => xml('affiliation', { node: name, affiliation })))
}
