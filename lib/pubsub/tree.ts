/** The nodes of one service in memory, and the stores from which they are read. */
import { records, type Records, type Shape } from '../storage/store.js'
import type { ItemStore, Size } from './items.js'
import { bound } from './managed-names.js'
import {
  bytesOfNode, isStoredNode, isStoredSubscription, ROOT, restoredNode, rootOf, type Node, type StoredNode,
  type StoredSubscription, type Subscription,
} from './node.js'
import type { People } from './people.js'

/**
 * The shape of the store of nodes. If one node of a service cannot be read, no request to the service is answered: a
 * private node must not count as missing, and be made again with public access.
 */
export const nodeShape: Shape<Records<StoredNode>> = records<StoredNode>(1, undefined, { check: isStoredNode })

/** The shape of the store of subscriptions. One that cannot be read is put aside: its subscriber subscribes again. */
export const subscriptionShape: Shape<Records<StoredSubscription>> = records<StoredSubscription>(1, undefined, {
  check: isStoredSubscription, unreadable: 'moved',
})

/** Bytes of a service in memory beside its nodes. */
const TREE = 300

/** The nodes of one service. Only `Change` changes it. */
export class Tree {
  readonly nodes = new Map<string, Node>()
  /** The sizes of nodes that are known, by the key of the node. */
  readonly sizes = new Map<string, Size>()
  /** The keys of nodes that are stored with their subscriptions, as all were before. */
  readonly whole = new Set<string>()
  /** The names of the nodes of each collection but the root. */
  readonly children = new Map<string, ReadonlySet<string>>()
  /** The nodes with temporary subscriptions, by the device whose presence ends them. */
  readonly temporary = new Map<string, Set<string>>()
  /** The bytes of all nodes. */
  nodeBytes = 0

  /** Adds or replaces a node that is stored. */
  set (node: Node): void {
    this.nodeBytes += bytesOfNode(node) - this.#bytesOf(node.name)
    this.nodes.set(node.name, node)
    for (const { device } of node.subscriptions) {
      if (device === undefined) continue
      const names = this.temporary.get(device) ?? new Set()
      this.temporary.set(device, names.add(node.name))
    }
  }

  delete (name: string): void {
    this.nodeBytes -= this.#bytesOf(name)
    this.nodes.delete(name)
  }

  #bytesOf (name: string): number {
    const node = this.nodes.get(name)
    return node === undefined ? 0 : bytesOfNode(node)
  }

  get bytes (): number { return TREE + this.nodeBytes }
}

/** The stores of the services of a host. */
export interface TreeStores {
  readonly nodes: Records<StoredNode>
  readonly subscriptions: Records<StoredSubscription>
  readonly items: ItemStore
  readonly people: People
  /** True if the services have collections, and so a root (XEP-0248). */
  readonly collections?: boolean
}

/** Reads the nodes of a service. Rejects with Unreadable if one of them cannot be read. */
export async function readTree ({ nodes, subscriptions, collections }: TreeStores, owner: string): Promise<Tree> {
  const apart = new Map<string, Subscription[]>()
  for (const { node, ...subscription } of (await subscriptions.all(owner)).values()) {
    const those = apart.get(node)
    if (those === undefined) apart.set(node, [subscription])
    else those.push(subscription)
  }
  const tree = new Tree()
  const root = rootOf(owner, [])
  if (collections === true) tree.set({ ...root, subscriptions: apart.get(root.key) ?? [] })
  for (const [name, stored] of await nodes.all(owner)) {
    if (stored.subscriptions !== undefined) tree.whole.add(stored.key)
    const node = restoredNode(name, stored, stored.subscriptions ?? apart.get(stored.key) ?? [])
    tree.set(bound(owner, node, target => tree.nodes.get(target)))
  }
  const children = new Map<string, Set<string>>()
  for (const { name, config } of tree.nodes.values()) {
    for (const parent of config.collections) {
      if (parent !== ROOT) children.set(parent, (children.get(parent) ?? new Set()).add(name))
    }
  }
  for (const [name, names] of children) tree.children.set(name, names)
  return tree
}
