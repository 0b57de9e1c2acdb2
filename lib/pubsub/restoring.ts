/** Nodes and items of an export, as they were. */
import { StanzaError } from '../xmpp/errors.js'
import { canBeIn } from './collections.js'
import { bytesOfPayload, type Item } from './items.js'
import type { NodeLine } from './lines.js'
import { ROOT, type Subscription } from './node.js'
import { checkRoom, dropOldest, mostItems } from './publishing.js'
import { scopeOf } from './subscribing.js'
import { checkedId, type Work } from './work.js'

/**
 * A node after an import. `newest`: when the newest item was published that an earlier, interrupted import has stored,
 * in milliseconds since 1970; undefined if the node was made now. `lost`: the collections that it cannot be in.
 */
interface Restored { readonly newest: number | undefined, readonly lost: readonly string[] }

/**
 * Makes a node with its configuration, affiliations and subscriptions. Throws StanzaError if another node has the name,
 * or if there is no room.
 */
export async function restore (work: Work, { name, config, ...others }: NodeLine): Promise<Restored> {
  const { change, place: { limits } } = work
  const known = change.node(name)
  if (known !== undefined) {
    const isOther = known.created !== others.created || known.creator !== others.creator
    if (isOther) throw new StanzaError('conflict', 'there is another node of this name')
    return { newest: (await change.newest(known))?.at ?? 0, lost: [] }
  }
  const { affiliations, subscriptions } = others
  if (affiliations.size > limits.affiliations || subscriptions.length > limits.subscriptions) {
    throw new StanzaError('resource-constraint', 'too many affiliations or subscriptions', { type: 'cancel' })
  }
  const lost = config.collections.filter(parent => !canBeIn(change, parent))
  const collections = config.collections.filter(parent => !lost.includes(parent))
  work.put({ ...work.create(name, { ...config, collections }), ...others })
  return { newest: undefined, lost }
}

/**
 * Adds subscriptions to the root. An address that has one of the same type keeps that alone (XEP-0248 §6.1). Throws
 * StanzaError if there is no root, or no room.
 */
export function restoreRoot (work: Work, subscriptions: readonly Subscription[]): void {
  const root = work.node(ROOT)
  const keyOf = (one: Subscription): string => `${one.jid} ${scopeOf(one).kind}`
  const known = new Set(root.subscriptions.map(keyOf))
  const fresh = subscriptions.filter(one => !known.has(keyOf(one)))
  const all = [...root.subscriptions, ...fresh]
  if (all.length > work.place.limits.subscriptions) throw new StanzaError('resource-constraint', 'too many subscriptions')
  work.put({ ...root, subscriptions: all })
}

/**
 * Stores items after those that are there, with their publishers and times, except those whose ids are there. Returns
 * the number of stored ones, and the ids of those that are too large. Throws StanzaError if there is no room.
 */
export async function restoreItems (
  work: Work, name: string, items: readonly Item[],
): Promise<{ readonly added: number, readonly refused: readonly string[] }> {
  const { change } = work
  const node = work.node(name)
  const refused: string[] = []
  let added = 0
  if (!node.config.persistItems) return { added, refused }
  for (const item of items) {
    const id = checkedId(item.id)
    if (bytesOfPayload(item.payload) > node.config.maxPayloadSize) refused.push(id)
    else if (await change.item(node, id) === undefined) {
      await change.append(node, { ...item, id })
      added++
    }
  }
  await dropOldest(work, node, mostItems(work, node.config))
  await checkRoom(work)
  return { added, refused }
}
