/** Who is publicly subscribed to a node, in a node beside it; and an account's own public subscriptions (XEP-0465). */
import { createHash } from 'node:crypto'
import { xml } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { dropFrom } from './attachments.js'
import { subscribersOf, SUBSCRIPTIONS } from './managed-names.js'
import { addTo, withManaged, withSubscriptions } from './managed-nodes.js'
import { isCurrent, subscriptionChanges, type Node } from './node.js'
import { bareOf } from './people.js'
import { checkRoom } from './publishing.js'
import type { Work } from './work.js'

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
  const payload = xml('subscriber', { xmlns: NS.PUBLIC_SUBSCRIPTIONS, jid: address })
  await addTo(work, node, { id: address, publisher: work.service.toString(), payload })
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
    const payload = xml('subscription', { xmlns: NS.PUBLIC_SUBSCRIPTIONS, node: name, jid: service })
    await addTo(work, open, { id, publisher: work.service.toString(), payload })
    await checkRoom(work)
    return
  }
  await dropFrom(work, open, [id])
  if ((await change.size(node)).items === 0) work.put({ ...node, config: { ...node.config, accessModel: 'presence' } })
}
