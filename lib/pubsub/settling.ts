/** Lets the nodes that the service manages beside others follow each change of these. */
import { forgetAllItems, forgetItems, removeNode } from './attachments.js'
import { isManaged, managedBy, summaryOf, subscribersOf } from './managed-names.js'
import type { Node } from './node.js'
import { withoutLost } from './owning.js'
import { followSubscriptions } from './public-subscribers.js'
import type { Touched } from './change.js'
import type { Work } from './work.js'

/** Lets the nodes beside changed ones follow, in the same change. Throws StanzaError if there is no room. */
export async function settle (work: Work): Promise<void> {
  for (const one of work.change.touched()) if (!isManaged(one.name)) await settleNode(work, one)
  if (work.isSilent) work.events.length = 0
}

async function settleNode (work: Work, { before, after, isEmptied, lost }: Touched): Promise<void> {
  if (before === undefined) return
  const { name } = before
  if (isEmptied) forgetAllItems(work, name)
  else if (lost.length > 0) await forgetItems(work, name, lost)
  if (after?.key !== before.key) {
    for (const beside of [summaryOf(name), subscribersOf(name)]) {
      const node = work.change.node(beside)
      if (node !== undefined) removeNode(work, node)
    }
    return
  }
  if (!work.isSilent && before.subscriptions !== after.subscriptions) await followSubscriptions(work, before, after)
  if (before.config !== after.config || before.affiliations !== after.affiliations) await endLost(work, after)
}

/** Ends the subscriptions beside a node whose subscribers may not read it any more. */
async function endLost (work: Work, target: Node): Promise<void> {
  const service = work.service.toString()
  for (const node of [...work.change.nodes()]) {
    if (node.subscriptions.length === 0 || !isManaged(node.name)) continue
    const managed = managedBy(service, node.name)
    if (managed === undefined || !('target' in managed) || managed.target !== target.name) continue
    const ruled = { ...node, target: () => target }
    const next = await withoutLost(work, ruled)
    if (next !== ruled) work.put(next)
  }
}
