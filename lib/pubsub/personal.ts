/** The nodes of accounts (XEP-0163), as other modules use them. */
import { hook } from '../base/hook.js'
import type { Maybe } from '../base/maybe.js'
import { service } from '../base/slot.js'
import type { Batch } from '../storage/store.js'
import type { Jid } from '../xmpp/jid.js'
import type { NodeConfig } from './config.js'
import type { Item } from './items.js'
import type { Node } from './node.js'
import { publish, type NewItem } from './publishing.js'
import type { Work } from './work.js'

export interface PersonalEventing {
  /** Returns the nodes of an account as they are stored. */
  nodes (account: Jid): Maybe<ReadonlyMap<string, Node>>
  /** True if somebody may read the items of a node. */
  mayRead (account: Jid, node: Node, asker: Jid): Promise<boolean>
  /** Yields the items of a node, the oldest first: in pages that can be parsed within a turn of the event loop. */
  pages (account: Jid, node: Node): AsyncIterable<readonly Item[]>
  /** Returns the newest item of a node; undefined if there is none, or if it has expired. */
  newest (account: Jid, node: Node): Promise<Item | undefined>
  /** Returns the item with this id; undefined if there is none. */
  item (account: Jid, node: Node, id: string): Promise<Item | undefined>
  /**
   * Changes the nodes of an account in its name, after all changes before. The batch stores the change, and others are
   * told after that. One batch has at most one change of an account. Rejects with what `run` throws; then the caller
   * must let the batch fail.
   */
  change<T> (account: Jid, batch: Batch, run: (work: Work) => Promise<T>): Promise<T>
}
export const personalEventing = service<PersonalEventing>('personalEventing')

/**
 * Fired within each change of the nodes of an account, before it is stored. `work.events` says what happens. A handler
 * may change more with the same work, and add to its batch: so other forms of the same data are stored with it.
 */
export const pepChanging = hook<{ readonly account: Jid, readonly work: Work }>('pepChanging')

/** Publishes items to a node in the account's name. A node that does not exist is made with this configuration. */
export async function put (
  work: Work, name: string, items: readonly NewItem[], config: Partial<NodeConfig>,
): Promise<void> {
  if (work.change.node(name) === undefined) work.create(name, { ...work.place.defaultsOf(name), ...config })
  if (items.length > 0) await publish(work, { node: name, items })
}
