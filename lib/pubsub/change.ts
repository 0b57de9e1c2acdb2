/** A change of the nodes and items of one service, which one batch stores. */
import type { Maybe } from '../base/maybe.js'
import type { Batch } from '../storage/store.js'
import { above, type Above } from './graph.js'
import { TO_PARSE, type Item, type Size } from './items.js'
import { bound } from './managed-names.js'
import {
  bytesOfNode, ROOT, storedNode, subscriptionChanges, subscriptionKey, type Node, type StoredSubscription,
  type Subscription,
} from './node.js'
import type { Tree, TreeStores } from './tree.js'

/** The most items that are read at a time. */
const PAGE = 500
const NONE: ReadonlySet<string> = new Set()

/** A node that a change concerns, before and after it, with the items that it loses. */
export interface Touched {
  readonly name: string
  readonly before: Node | undefined
  readonly after: Node | undefined
  readonly isEmptied: boolean
  readonly lost: readonly string[]
}

interface ChangeDeps extends TreeStores { readonly tree: Tree }

/** A change of one service. What it has done is visible to itself at once, and to others when it is stored. */
export class Change {
  readonly owner: string
  readonly batch: Batch
  readonly #parts: ChangeDeps
  /** The nodes that were changed; undefined for one that was removed. */
  readonly #nodes = new Map<string, Node | undefined>()
  readonly #sizes = new Map<string, Size>()
  /** Items that were published by this change, by the key of their node; the newest is the last. */
  readonly #published = new Map<string, Map<string, Item>>()
  /** The ids of stored items that this change removes, and the nodes that it empties, by the key of the node. */
  readonly #dropped = new Map<string, Set<string>>()
  readonly #cleared = new Set<string>()
  /** The names of nodes that lose items. */
  readonly #losing = new Set<string>()
  /** The collections whose nodes are changed, with their nodes. */
  readonly #children = new Map<string, Set<string>>()
  /** The bytes by which the nodes grow. */
  #growth = 0
  /** The addresses that nodes newly name. */
  readonly #named = new Set<string>()

  constructor (owner: string, batch: Batch, parts: ChangeDeps) {
    this.owner = owner
    this.batch = batch
    this.#parts = parts
  }

  node (name: string): Node | undefined {
    return this.#nodes.has(name) ? this.#nodes.get(name) : this.#parts.tree.nodes.get(name)
  }

  /** Returns all nodes. */
  * nodes (): Iterable<Node> {
    for (const [name, node] of this.#parts.tree.nodes) if (!this.#nodes.has(name)) yield node
    for (const node of this.#nodes.values()) if (node !== undefined) yield node
  }

  /** Returns the nodes of a collection by their names; of the root none, which has no list of them. */
  childrenOf (collection: string): ReadonlySet<string> {
    return this.#children.get(collection) ?? this.#parts.tree.children.get(collection) ?? NONE
  }

  /** Returns the collections above a node, as the change leaves them. */
  above (node: Node): readonly Above[] { return above(name => this.node(name), node) }

  /** The bytes of all nodes. */
  get nodeBytes (): number { return this.#parts.tree.nodeBytes + this.#growth }

  /** Notes that a node has another value. */
  #replace (name: string, node: Node | undefined): void {
    const old = this.node(name)
    this.#growth += (node === undefined ? 0 : bytesOfNode(node)) - (old === undefined ? 0 : bytesOfNode(old))
    const [before, after] = [old?.config.collections ?? [], node?.config.collections ?? []]
    if (before !== after) {
      for (const parent of before) if (!after.includes(parent)) this.#ownChildren(parent)?.delete(name)
      for (const parent of after) if (!before.includes(parent)) this.#ownChildren(parent)?.add(name)
    }
    this.#nodes.set(name, node)
  }

  #ownChildren (collection: string): Set<string> | undefined {
    if (collection === ROOT) return undefined
    const own = this.#children.get(collection) ?? new Set(this.#parts.tree.children.get(collection))
    this.#children.set(collection, own)
    return own
  }

  /** True if a node newly names this bare address by an affiliation or a subscription. */
  names (address: string): boolean { return this.#named.has(address) }

  /** Adds or replaces a node. Throws StanzaError if it newly names an account that is being removed. */
  put (node: Node): void {
    const { nodes, people, tree } = this.#parts
    const old = this.node(node.name)
    const { added, writes } = people.changing(this.owner, old, node)
    for (const address of added) this.#named.add(address)
    for (const write of writes) this.batch.add(write)
    // A node that was stored with its subscriptions is stored without them now, and all of them apart.
    const stored = tree.whole.has(node.key) && !this.#nodes.has(node.name) ? undefined : old
    const isStored = node.name === ROOT || stored !== undefined && isSameBut(stored, node)
    if (!isStored) {
      this.batch.add(nodes.putting(this.owner, node.name, storedNode(node)))
    }
    this.#putSubscriptions(node.key, stored?.subscriptions ?? [], node.subscriptions)
    this.#replace(node.name, bound(this.owner, node, name => tree.nodes.get(name)))
  }

  /** Returns the nodes that this change concerns so far. */
  touched (): readonly Touched[] {
    return [...new Set([...this.#nodes.keys(), ...this.#losing])].map(name => {
      const before = this.#parts.tree.nodes.get(name)
      const key = before?.key ?? ''
      const lost = [...this.#dropped.get(key) ?? []].filter(id => this.#published.get(key)?.has(id) !== true)
      return { name, before, after: this.node(name), isEmptied: this.#cleared.has(key), lost }
    })
  }

  /** Stores the subscriptions that are new or changed, and removes those that are gone. */
  #putSubscriptions (node: string, old: readonly Subscription[], now: readonly Subscription[]): void {
    const { gone, come } = subscriptionChanges(old, now)
    const put = (key: string, value: StoredSubscription | undefined): void => {
      this.batch.add(this.#parts.subscriptions.putting(this.owner, key, value))
    }
    for (const one of gone) put(subscriptionKey(node, one), undefined)
    for (const one of come) put(subscriptionKey(node, one), { ...one, node })
  }

  /** Removes a node and its items. */
  remove (node: Node): void {
    this.#replace(node.name, undefined)
    this.batch.add(this.#parts.nodes.putting(this.owner, node.name, undefined))
    this.#putSubscriptions(node.key, node.subscriptions, [])
    this.batch.add(this.#parts.people.clearing(this.owner, node))
    this.clear(node)
  }

  /** Returns what a node holds; no promise if that is known. */
  size (node: Node): Maybe<Size> {
    return this.#sizes.get(node.key) ?? this.#parts.tree.sizes.get(node.key) ?? this.#readSize(node)
  }

  async #readSize (node: Node): Promise<Size> {
    const { tree, items } = this.#parts
    const size = await items.size(this.owner, node)
    tree.sizes.set(node.key, size)
    return size
  }

  /** Returns what all nodes together hold, or those that are counted. There are thousands: most are not waited for. */
  async total (counts: (node: Node) => boolean = ({ config }) => config.nodeType === 'leaf'): Promise<Size> {
    let items = 0
    let bytes = 0
    for (const node of this.nodes()) {
      if (!counts(node)) continue
      const known = this.size(node)
      const size = known instanceof Promise ? await known : known
      items += size.items
      bytes += size.bytes
    }
    return { items, bytes }
  }

  /** Returns the item with this id; undefined if there is none. */
  async item (node: Node, id: string): Promise<Item | undefined> {
    const fresh = this.#published.get(node.key)?.get(id)
    if (fresh !== undefined) return fresh
    if (this.#cleared.has(node.key) || this.#dropped.get(node.key)?.has(id) === true) return undefined
    const { items: [found] } = await this.#parts.items.byId(this.owner, node, [id])
    return found
  }

  /** Stores an item as the newest one, in place of an older one with its id (§12.1). */
  async append (node: Node, item: Item): Promise<void> {
    const { items } = this.#parts
    const old = await this.item(node, item.id)
    const size = await this.size(node)
    if (old !== undefined) this.batch.add(items.removing(this.owner, node, [item.id]))
    this.batch.add(items.appending(this.owner, node, item))
    const published = this.#published.get(node.key) ?? new Map<string, Item>()
    published.delete(item.id)
    this.#published.set(node.key, published.set(item.id, item))
    this.#sizes.set(node.key, {
      items: size.items + (old === undefined ? 1 : 0),
      bytes: size.bytes + bytesOfItem(item) - (old === undefined ? 0 : bytesOfItem(old)),
    })
  }

  /** Removes items that exist. */
  async drop (node: Node, dropped: readonly Item[]): Promise<void> {
    if (dropped.length === 0) return
    const size = await this.size(node)
    this.batch.add(this.#parts.items.removing(this.owner, node, dropped.map(({ id }) => id)))
    const ids = this.#dropped.get(node.key) ?? new Set()
    this.#dropped.set(node.key, ids)
    this.#losing.add(node.name)
    for (const { id } of dropped) {
      this.#published.get(node.key)?.delete(id)
      ids.add(id)
    }
    const bytes = dropped.reduce((sum, item) => sum + bytesOfItem(item), 0)
    this.#sizes.set(node.key, { items: size.items - dropped.length, bytes: size.bytes - bytes })
  }

  /** Removes all items of a node. */
  clear (node: Node): void {
    this.batch.add(this.#parts.items.clearing(this.owner, node))
    this.#sizes.set(node.key, { items: 0, bytes: 0 })
    this.#published.delete(node.key)
    this.#cleared.add(node.key)
    this.#losing.add(node.name)
  }

  /** Yields all items, the oldest first, in pages that can be parsed within a turn of the event loop. */
  async * pages (node: Node): AsyncGenerator<readonly Item[]> {
    const fresh = this.#published.get(node.key) ?? new Map<string, Item>()
    const dropped = this.#dropped.get(node.key)
    for (let after: string | undefined; !this.#cleared.has(node.key);) {
      const paging = { max: PAGE, after, before: undefined, index: undefined }
      const query = { limit: PAGE, bytes: TO_PARSE, since: undefined, paging }
      const { items, isComplete } = await this.#parts.items.some(this.owner, node, query)
      yield items.filter(({ id }) => !fresh.has(id) && dropped?.has(id) !== true)
      after = items.at(-1)?.id
      if (isComplete || after === undefined) break
    }
    yield [...fresh.values()]
  }

  /** Returns the newest item; undefined if there is none. */
  async newest (node: Node): Promise<Item | undefined> {
    const fresh = [...this.#published.get(node.key)?.values() ?? []].at(-1)
    if (fresh !== undefined || this.#cleared.has(node.key)) return fresh
    const dropped = this.#dropped.get(node.key)
    const query = { limit: 1 + (dropped?.size ?? 0), bytes: Infinity, newest: true, since: undefined }
    const { items } = await this.#parts.items.some(this.owner, node, query)
    return items.findLast(({ id }) => dropped?.has(id) !== true)
  }

  /** Returns the oldest items that this change has not published; at most `limit`. */
  async oldest (node: Node, limit: number): Promise<readonly Item[]> {
    if (this.#cleared.has(node.key)) return []
    const fresh = this.#published.get(node.key)
    const dropped = this.#dropped.get(node.key)
    const query = { limit: limit + (fresh?.size ?? 0) + (dropped?.size ?? 0), bytes: Infinity, since: undefined }
    const { items } = await this.#parts.items.some(this.owner, node, query)
    return items.filter(({ id }) => fresh?.has(id) !== true && dropped?.has(id) !== true).slice(0, limit)
  }

  /**
   * Returns stored items that were published before, in milliseconds since 1970, without those that this change has
   * removed or replaced; at most `limit`.
   */
  async expired (node: Node, before: number, limit: number): Promise<readonly Item[]> {
    if (this.#cleared.has(node.key)) return []
    const fresh = this.#published.get(node.key)
    const dropped = this.#dropped.get(node.key)
    const most = limit + (fresh?.size ?? 0) + (dropped?.size ?? 0)
    const found = await this.#parts.items.before(this.owner, node, before, most)
    return found.filter(({ id }) => fresh?.has(id) !== true && dropped?.has(id) !== true).slice(0, limit)
  }

  /** Makes the change visible. Called when it is stored. */
  apply (): void {
    const { tree } = this.#parts
    const { nodes, sizes, whole, children } = tree
    for (const [key, size] of this.#sizes) sizes.set(key, size)
    for (const [name, node] of this.#nodes) {
      const old = nodes.get(name)
      if (old !== undefined) whole.delete(old.key)
      if (old !== undefined && old.key !== node?.key) sizes.delete(old.key)
      if (old !== undefined) this.#forgetDevices(old, node)
      if (node === undefined) tree.delete(name)
      else tree.set(node)
    }
    for (const [name, names] of this.#children) {
      if (names.size > 0) children.set(name, names)
      else children.delete(name)
    }
  }

  /** Forgets that devices have temporary subscriptions to a node; those that still have some are noted again. */
  #forgetDevices (old: Node, now: Node | undefined): void {
    const { temporary } = this.#parts.tree
    for (const { device } of subscriptionChanges(old.subscriptions, now?.subscriptions ?? []).gone) {
      const names = device === undefined ? undefined : temporary.get(device)
      if (device === undefined || names === undefined) continue
      names.delete(old.name)
      if (names.size === 0) temporary.delete(device)
    }
  }
}

/** True if two values of a node differ in nothing but their subscriptions. */
function isSameBut (one: Node, other: Node): boolean {
  return one.key === other.key && one.config === other.config && one.affiliations === other.affiliations &&
    one.creator === other.creator && one.created === other.created
}

/** Returns the bytes that an item counts for, as the store counts them. */
function bytesOfItem ({ at: _, ...stored }: Item): number { return Buffer.byteLength(JSON.stringify(stored)) }
