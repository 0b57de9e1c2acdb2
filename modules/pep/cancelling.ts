/** Ends explicit subscriptions whose subscribers have lost access to the nodes (XEP-0163 §7.1). */
import { apart, cancelLost } from '../../lib/api.js'
import type { Jid, ModuleHost, Node, PubSubEngine } from '../../lib/api.js'

/** Ends the subscriptions of a contact to nodes of an account that it may not see any more. */
export async function cancelFor (
  host: ModuleHost, engine: PubSubEngine, account: Jid, contact: Jid, nodes: ReadonlyMap<string, Node>,
): Promise<void> {
  const bare = contact.bare.toString()
  const isSubscribed = [...nodes.values()].some(node =>
    node.subscriptions.some(({ jid }) => jid === bare || jid.startsWith(`${bare}/`)))
  if (!isSubscribed) return
  await apart(host, async batch => {
    const asker = await engine.asker(account, account)
    await engine.change({ service: account, asker, batch }, work => cancelLost(work, contact))
  })
}
