/**
 * The nodes of each service in memory while they are used, and their changes: one at a time for each service, each
 * stored by the commit of its batch, and visible to others only after it.
 */
import { follow, type Maybe } from '../base/maybe.js'
import { PinnedCache } from '../base/pinned-cache.js'
import { Semaphore } from '../base/semaphore.js'
import { records, type Batch, type Records, type Shape } from '../storage/store.js'
import { StanzaError } from '../xmpp/errors.js'
import { TO_PARSE, type Item, type ItemStore, type Size } from './items.js'
import {
  bytesOfNode, isStoredNode, isStoredSubscription, restoredNode, storedNode, subscriptionChanges, subscriptionKey,
  type Node, type StoredNode, type StoredSubscription, type Subscription,
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

/** The services whose nodes stay in memory without a use, and the bytes of those. */
const IDLE = 20_000
const IDLE_BYTES = 16 * 1024 * 1024
/** Bytes of a service in memory beside its nodes. */
const TREE = 300
/** The most items that are read at a time. */
const PAGE = 500
/** The most changes of one service that wait for those before them. */
const MOST_WAITING = 100

/** The nodes of one service. Only `Change` changes it. */
export class Tree {
  readonly nodes = new Map<string, Node>()
  /** The sizes of nodes that are known, by the key of the node. */
  readonly sizes = new Map<string, Size>()
  /** The keys of nodes that are stored with their subscriptions, as all were before. */
  readonly whole = new Set<string>()

  get bytes (): number {
    let bytes = TREE
    for (const node of this.nodes.values()) bytes += bytesOfNode(node)
    return bytes
  }
}

/** The answer to a change of a service that does not exist any more. */
export class ServiceEnded extends StanzaError {
  constructor () { super('service-unavailable') }
}

/** The stores of the services of a host. */
export interface TreeStores {
  readonly nodes: Records<StoredNode>
  readonly subscriptions: Records<StoredSubscription>
  readonly items: ItemStore
  readonly people: People
}

/** The nodes of all services of a host. A service is named by its address as text, its `owner`. */
export class Trees {
  readonly items: ItemStore
  readonly people: People
  readonly #stores: TreeStores
  readonly #trees: PinnedCache<Tree>
  readonly #locks = new Map<string, Semaphore>()
  /** The locks of services that were removed: what waits for one of them must not be stored any more. */
  readonly #ended = new WeakSet<Semaphore>()
  /** The changes that are not stored yet, and their ends. */
  readonly #open = new Map<Change, Promise<void>>()

  constructor (stores: TreeStores) {
    this.items = stores.items
    this.people = stores.people
    this.#stores = stores
    const read = (owner: string): Promise<Tree> => readTree(stores, owner)
    this.#trees = new PinnedCache(read, IDLE, { bytes: IDLE_BYTES, sizeOf: tree => tree.bytes })
  }

  /** Returns the nodes as they are stored. Rejects with Unreadable if one of them cannot be read. */
  of (owner: string): Maybe<ReadonlyMap<string, Node>> { return follow(this.#trees.of(owner), tree => tree.nodes) }

  /**
   * Begins a change, after those before it are stored. It ends when the batch is stored or has failed, so the caller
   * must not begin a second one with the same batch. Rejects with resource-constraint if too many changes wait, unless
   * it is `urgent`; and with ServiceEnded.
   */
  async change (owner: string, batch: Batch, urgent = false): Promise<Change> {
    const lock = this.#locks.get(owner) ?? new Semaphore(1, MOST_WAITING)
    this.#locks.set(owner, lock)
    const release = await acquired(lock, urgent)
    if (this.#ended.has(lock)) {
      release()
      throw new ServiceEnded()
    }
    let change: Change | undefined
    let ended = (): void => {}
    const end = (): void => {
      if (change !== undefined) this.#open.delete(change)
      ended()
      release()
      this.#trees.release(owner)
      queueMicrotask(() => { if (lock.isIdle && this.#locks.get(owner) === lock) this.#locks.delete(owner) })
    }
    try {
      const tree = await this.#trees.hold(owner)
      const made = new Change(owner, batch, { tree, ...this.#stores })
      change = made
      this.#open.set(made, new Promise(resolve => { ended = resolve }))
      batch.answering(() => { made.apply() })
      batch.committed(end)
      batch.failed(end)
      return made
    } catch (error) {
      end()
      throw error
    }
  }

  /** Resolves when the changes that newly name this address, and have begun, are stored or have failed. */
  async naming (address: string): Promise<void> {
    await Promise.all([...this.#open].filter(([change]) => change.names(address)).map(([, end]) => end))
  }

  /**
   * Removes the items of a service whose account is removed with the batch, which removes the nodes. The changes before
   * it are stored first, however many wait, and those that wait for it fail: an account that is made later with the
   * same name must find nothing of this one. Rejects with Unreadable if a node cannot be read.
   */
  async erase (owner: string, batch: Batch): Promise<void> {
    const change = await this.change(owner, batch, true)
    const lock = this.#locks.get(owner)
    for (const node of change.nodes()) {
      batch.add(this.items.clearing(owner, node))
      batch.add(this.people.clearing(owner, node))
    }
    batch.committed(() => {
      this.#trees.forget(owner)
      if (lock === undefined) return
      this.#ended.add(lock)
      if (this.#locks.get(owner) === lock) this.#locks.delete(owner)
    })
  }
}

/** Resolves with the function that releases the lock, in turn. */
function acquired (lock: Semaphore, isUrgent: boolean): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const run = lock.run(() => new Promise<void>(release => { resolve(release) }), { isUrgent })
    if (run === undefined) reject(new StanzaError('resource-constraint', 'too many changes at once', { type: 'wait' }))
  })
}

async function readTree ({ nodes, subscriptions }: TreeStores, owner: string): Promise<Tree> {
  const apart = new Map<string, Subscription[]>()
  for (const { node, ...subscription } of (await subscriptions.all(owner)).values()) {
    const those = apart.get(node)
    if (those === undefined) apart.set(node, [subscription])
    else those.push(subscription)
  }
  const tree = new Tree()
  for (const [name, stored] of await nodes.all(owner)) {
    if (stored.subscriptions !== undefined) tree.whole.add(stored.key)
    tree.nodes.set(name, restoredNode(name, stored, stored.subscriptions ?? apart.get(stored.key) ?? []))
  }
  return tree
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
    if (stored === undefined || !isSameBut(stored, node)) {
      this.batch.add(nodes.putting(this.owner, node.name, storedNode(node)))
    }
    this.#putSubscriptions(node.key, stored?.subscriptions ?? [], node.subscriptions)
    this.#nodes.set(node.name, node)
  }

  /** Stores the subscriptions that are new or changed, and removes those that are gone. */
  #putSubscriptions (node: string, old: readonly Subscription[], now: readonly Subscription[]): void {
    const { gone, come } = subscriptionChanges(old, now)
    const put = (jid: string, value: StoredSubscription | undefined): void => {
      this.batch.add(this.#parts.subscriptions.putting(this.owner, subscriptionKey(node, jid), value))
    }
    for (const { jid } of gone) put(jid, undefined)
    for (const one of come) put(one.jid, { ...one, node })
  }

  /** Removes a node and its items. */
  remove (node: Node): void {
    this.#nodes.set(node.name, undefined)
    this.batch.add(this.#parts.nodes.putting(this.owner, node.name, undefined))
    this.#putSubscriptions(node.key, node.subscriptions, [])
    this.batch.add(this.#parts.people.clearing(this.owner, node))
    this.clear(node)
  }

  /** Returns what a node holds. */
  async size (node: Node): Promise<Size> {
    const { tree, items } = this.#parts
    const known = this.#sizes.get(node.key) ?? tree.sizes.get(node.key)
    if (known !== undefined) return known
    const size = await items.size(this.owner, node)
    tree.sizes.set(node.key, size)
    return size
  }

  /** Returns what all nodes together hold. */
  async total (): Promise<Size> {
    let items = 0
    let bytes = 0
    for (const node of this.nodes()) {
      const size = await this.size(node)
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
    const { nodes, sizes, whole } = this.#parts.tree
    for (const [key, size] of this.#sizes) sizes.set(key, size)
    for (const [name, node] of this.#nodes) {
      const old = nodes.get(name)
      if (old !== undefined) whole.delete(old.key)
      if (old !== undefined && old.key !== node?.key) sizes.delete(old.key)
      if (node === undefined) nodes.delete(name)
      else nodes.set(name, node)
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
