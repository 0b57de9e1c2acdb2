/** Reading items, subscriptions and affiliations (XEP-0060 §5.6, §5.7, §6.5), and disco of nodes (§5.2 to §5.5). */
import { LARGEST_ANSWER } from '../stream/bounds.js'
import { attributeOf, children, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { formatDateTime } from '../xmpp/datetime.js'
import { StanzaError } from '../xmpp/errors.js'
import { DataForm, field } from '../xmpp/form.js'
import type { Jid } from '../xmpp/jid.js'
import { pagingElement, readPaging, type Paging } from '../xmpp/paging.js'
import type { DiscoInfo } from '../host/disco.js'
import { affiliationOf, refusalToRead, type Asker } from './access.js'
import { CACHING_FIELDS, cachingHints } from './caching.js'
import { pubsubError, unsupported } from './errors.js'
import { bytesOfPayload, storedPayload, type Item, type ItemPage, type ItemQuery, type ItemStore } from './items.js'
import { isCurrent, type Node } from './node.js'
import { ownersOf } from './work.js'
import { subscriptionElement } from './subscribing.js'

/** The most items of an answer, and of a request by id. */
const MOST_ITEMS = 1000
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
  const subid = attributeOf(request, 'subid')
  if (subid !== undefined && !hasSubid(node, asker, subid)) throw pubsubError('not-acceptable', 'invalid-subid')
  const { persistItems } = node.config
  if (!persistItems) throw unsupported('persistent-items') // §6.5.9.4
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

/** §6.5.9.2: false if the asker is subscribed, and not with this id. */
function hasSubid (node: Node, { jid, now }: Asker, subid: string): boolean {
  const bare = jid.bare.toString()
  const own = node.subscriptions.filter(one =>
    isCurrent(one, now) && (one.jid === bare || one.jid.startsWith(`${bare}/`)))
  return own.length === 0 || own.some(one => one.subid === subid)
}

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
  for (const { id, payload } of fromEnd ? items.toReversed() : items) {
    bytes += ITEM + 2 * Buffer.byteLength(id) + bytesOfPayload(payload)
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

/** Returns the affiliations of the asker (§5.7). */
export function ownAffiliations (nodes: Iterable<Node>, asker: Asker, node: string | undefined): Element {
  const found = [...nodes].filter(({ name }) => node === undefined || name === node)
    .map(one => ({ name: one.name, affiliation: affiliationOf(one, asker) }))
    .filter(({ affiliation }) => affiliation !== 'none')
  return xml('affiliations', { node }, ...found.map(({ name, affiliation }) => xml('affiliation', { node: name, affiliation })))
}

// ---- Disco ----------------------------------------------------------------------------------------------------

const META = {
  type: field.text('pubsub#type', { label: 'The type of the payloads' }),
  creator: field.text('pubsub#creator', { label: 'Who made the node' }),
  created: field.text('pubsub#creation_date', { label: 'When the node was made' }),
  title: field.text('pubsub#title', { label: 'The name of the node' }),
  description: field.text('pubsub#description', { label: 'A description of the node' }),
  language: field.text('pubsub#language', { label: 'The language of the node' }),
  contacts: field.texts('pubsub#contact', { label: 'Addresses for questions' }),
  access: field.text('pubsub#access_model', { label: 'Who may subscribe and read items' }),
  publish: field.text('pubsub#publish_model', { label: 'Who may publish' }),
  most: field.text('pubsub#max_items', { label: 'The most items that are stored, or max' }),
  expire: field.text('pubsub#item_expire', { label: 'The age at which items are removed, in seconds, or max' }),
  items: field.text('pubsub#num_items', { label: 'The number of items' }),
  owners: field.texts('pubsub#owner', { label: 'The owners' }),
  publishers: field.texts('pubsub#publisher', { label: 'The publishers' }),
  subscribers: field.text('pubsub#num_subscribers', { label: 'The number of subscribers' }),
}
const META_FORM = new DataForm(NS.PUBSUB_META_DATA, [...Object.values(META), ...CACHING_FIELDS])

/** The number of items of a node, and the most that any node of the service has. */
interface Stock { readonly items: number, readonly most: number }

/** Returns the disco#info of a node with its metadata (§5.3, §5.4). */
export function nodeInfo (node: Node, { items, most }: Stock, now: number): DiscoInfo {
  const { config, affiliations, subscriptions } = node
  const publishers = [...affiliations].filter(([, one]) => one === 'publisher' || one === 'owner').map(([jid]) => jid)
  const filled = [
    META.type.is(config.type), META.creator.is(node.creator), META.created.is(formatDateTime(node.created)),
    META.title.is(config.title), META.description.is(config.description), META.language.is(config.language),
    META.contacts.is(config.contacts), META.access.is(config.accessModel), META.publish.is(config.publishModel),
    // XEP-0460 §6: the limit, if it is known.
    META.most.is(String(config.maxItems === 'max' && most !== Infinity ? most : config.maxItems)),
    META.expire.is(String(config.itemExpire)), META.items.is(String(items)), META.owners.is(ownersOf(node)),
    META.publishers.is(publishers),
    META.subscribers.is(String(subscriptions.filter(one => one.state === 'subscribed' && isCurrent(one, now)).length)),
    ...cachingHints(config),
  ]
  const name = config.title === '' ? {} : { name: config.title }
  return {
    identities: [{ category: 'pubsub', type: 'leaf', ...name }],
    features: [NS.PUBSUB],
    forms: [META_FORM.result(filled)],
  }
}

/** Returns the disco#items of a node: its items, each named by its id (§5.5). */
export async function nodeItems (
  { owner, node, asker, items }: Reading, service: Jid,
): Promise<readonly { jid: Jid, name: string }[]> {
  if (refusalToRead(node, asker) !== undefined || !node.config.persistItems) return []
  const found = await items.some(owner, node, {
    limit: MOST_ITEMS, bytes: LARGEST_ANSWER, newest: true, since: sinceOf(node, asker.now),
  })
  return found.items.map(({ id }) => ({ jid: service, name: id }))
}
