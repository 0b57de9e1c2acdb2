/** Disco of nodes (XEP-0060 §5.2 to §5.5, XEP-0248 §5.2), and of the headers of notifications (XEP-0131). */
import { LARGEST_ANSWER } from '../stream/bounds.js'
import { NS } from '../xml/namespaces.js'
import { formatDateTime } from '../xmpp/datetime.js'
import { DataForm, field, type FilledField } from '../xmpp/form.js'
import type { Jid } from '../xmpp/jid.js'
import type { DiscoInfo, DiscoItem, DiscoNode } from '../host/disco.js'
import { refusalToRead } from './access.js'
import { CACHING_FIELDS, cachingHints } from './caching.js'
import { keepsItems } from './config.js'
import { isCurrent, type Node } from './node.js'
import { MOST_ITEMS, sinceOf, type Reading } from './retrieving.js'
import { ownersOf } from './work.js'

/** Returns a node as a list of nodes has it. */
export function discoItem (jid: Jid, { name, config: { title } }: Node): DiscoItem {
  return { jid, node: name, ...title === '' ? {} : { name: title } }
}

/** Returns the headers that notifications may have (XEP-0131 §2.2). */
export function shimInfo (hasCollections: boolean): DiscoNode {
  const headers = [...hasCollections ? ['Collection'] : [], 'SubID']
  return { info: { identities: [], features: headers.map(name => `${NS.SHIM}#${name}`) }, items: [] }
}

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
  const { config, affiliations } = node
  const publishers = [...affiliations].filter(([, one]) => one === 'publisher' || one === 'owner').map(([jid]) => jid)
  return infoOf('leaf', node, [
    ...commonMeta(node, now), META.publish.is(config.publishModel),
    // XEP-0460 §6: the limit, if it is known.
    META.most.is(String(config.maxItems === 'max' && most !== Infinity ? most : config.maxItems)),
    META.expire.is(String(config.itemExpire)), META.items.is(String(items)), META.publishers.is(publishers),
    ...cachingHints(config),
  ])
}

/** Returns the disco#info of a collection with its metadata. */
export function collectionInfo (node: Node, now: number): DiscoInfo {
  return infoOf('collection', node, commonMeta(node, now))
}

function commonMeta (node: Node, now: number): readonly FilledField[] {
  const { config, subscriptions } = node
  return [
    META.type.is(config.type), META.creator.is(node.creator), META.created.is(formatDateTime(node.created)),
    META.title.is(config.title), META.description.is(config.description), META.language.is(config.language),
    META.contacts.is(config.contacts), META.access.is(config.accessModel), META.owners.is(ownersOf(node)),
    META.subscribers.is(String(subscriptions.filter(one => one.state === 'subscribed' && isCurrent(one, now)).length)),
  ]
}

function infoOf (type: 'leaf' | 'collection', { config: { title } }: Node, filled: readonly FilledField[]): DiscoInfo {
  const name = title === '' ? {} : { name: title }
  return {
    identities: [{ category: 'pubsub', type, ...name }],
    features: [NS.PUBSUB],
    forms: [META_FORM.result(filled)],
  }
}

/** Returns the disco#items of a node: its items, each named by its id (§5.5). */
export async function nodeItems (
  { owner, node, asker, items }: Reading, service: Jid,
): Promise<readonly { jid: Jid, name: string }[]> {
  if (refusalToRead(node, asker) !== undefined || !keepsItems(node.config)) return []
  const found = await items.some(owner, node, {
    limit: MOST_ITEMS, bytes: LARGEST_ANSWER, newest: true, since: sinceOf(node, asker.now),
  })
  return found.items.map(({ id }) => ({ jid: service, name: id }))
}
