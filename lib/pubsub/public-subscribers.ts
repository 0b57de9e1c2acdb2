/** Who is publicly subscribed to a node, in a node beside it; and an account's own public subscriptions (XEP-0465). */
import { createHash } from 'node:crypto'
import { attributeOf, has, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { dropFrom } from './attachments.js'
import { payloadOf, type Item } from './items.js'
import { isManaged, subscribersOf, SUBSCRIPTIONS } from './managed-names.js'
import { withManaged, withSubscriptions } from './managed-nodes.js'
import { isCurrent, ROOT, subscriptionChanges, type Node } from './node.js'
import { bareOf } from './people.js'
import type { Work } from './work.js'

/**
 * Notes whether a subscription that was just requested is public: it is so only as long as the last request said so
 * (§4.1, §4.3). The root has no list of subscribers. Returns the reply as it is. Throws StanzaError if there is no
 * room.
 */
export function notePublic (work: Work, name: string, request: Element, reply: readonly Element[]): readonly Element[] {
  const node = work.node(name)
  const [made] = reply
  const hasList = name !== ROOT && !isManaged(name)
  const isPublic = hasList && has(request, NS.PUBLIC_SUBSCRIPTIONS, 'public')
  const known = node.subscriptions.find(one =>
    one.jid === (made && attributeOf(made, 'jid')) && one.subid === (made && attributeOf(made, 'subid')))
  if (known === undefined || (known.isPublic ?? false) === isPublic) return reply
  const { isPublic: _, ...others } = known
  const next = isPublic ? { ...others, isPublic } : others
  work.put({ ...node, subscriptions: node.subscriptions.map(one => one === known ? next : one) })
  return reply
}

/** Returns the bare addresses of the public subscribers. */
function publicIn ({ subscriptions }: Node, now: number): ReadonlySet<string> {
  const found = subscriptions.filter(one => one.isPublic === true && one.state === 'subscribed' && isCurrent(one, now))
  return new Set(found.map(({ jid }) => bareOf(jid)))
}

/** Lets the public subscribers of a node follow a change of its subscriptions. */
export async function followSubscriptions (work: Work, before: Node, after: Node): Promise<void> {
  const { gone, come } = subscriptionChanges(before.subscriptions, after.subscriptions)
  const concerned = [...gone, ...come].filter(one => one.isPublic === true)
  if (concerned.length === 0) return
  const listed = publicIn(after, work.asker.now)
  for (const address of new Set(concerned.map(({ jid }) => bareOf(jid)))) {
    if (listed.has(address)) await list(work, after, address)
    else {
      const node = work.change.node(subscribersOf(after.name))
      if (node !== undefined) await dropFrom(work, node, [address])
    }
  }
}

async function list (work: Work, target: Node, address: string): Promise<void> {
  const node = withManaged(work, subscribersOf(target.name), target)
  if (await work.change.item(node, address) !== undefined) return
  await add(work, node, address, xml('subscriber', { xmlns: NS.PUBLIC_SUBSCRIPTIONS, jid: address }))
}

async function add ({ change, service, asker, events }: Work, node: Node, id: string, payload: Element): Promise<void> {
  const item: Item = { id, publisher: service.toString(), at: asker.now, payload: payloadOf(payload) }
  await change.append(node, item)
  events.push({ what: 'item', node, item, payload })
}

/** True if a public subscription to the node has ended by time, and may be listed still. */
export function hasEnded ({ subscriptions }: Node, now: number): boolean {
  return subscriptions.some(one => one.isPublic === true && !isCurrent(one, now))
}

/** Removes the subscriptions to a node that have ended by time. */
export function dropEnded (work: Work, name: string): void {
  const node = work.change.node(name)
  if (node === undefined) return
  work.put({ ...node, subscriptions: node.subscriptions.filter(one => isCurrent(one, work.asker.now)) })
}

/** A subscription of an account to a node of a service. */
interface OwnSubscription { readonly service: string, readonly node: string }

/**
 * Shows a subscription of the account among its public ones, or hides it. The list is open while there is something in
 * it; otherwise a stranger gets the answer of a missing account (§7). Throws StanzaError if there is no room.
 */
export async function showSubscription (
  work: Work, { service, node: name }: OwnSubscription, isPublic: boolean,
): Promise<void> {
  const { change } = work
  const id = createHash('sha256').update(`${service}\n${name}`).digest('base64url').slice(0, 24)
  const known = change.node(SUBSCRIPTIONS)
  if (known === undefined && !isPublic) return
  const node = known ?? withSubscriptions(work)
  if (isPublic === (await change.item(node, id) !== undefined)) return
  const open = { ...node, config: { ...node.config, accessModel: 'open' as const } }
  if (isPublic) {
    if (node.config.accessModel !== 'open') work.put(open)
    await add(work, open, id, xml('subscription', { xmlns: NS.PUBLIC_SUBSCRIPTIONS, node: name, jid: service }))
    return
  }
  await dropFrom(work, open, [id])
  if ((await change.size(node)).items === 0) work.put({ ...node, config: { ...node.config, accessModel: 'presence' } })
}
