/**
 * The nodes of each service in memory while they are used, and their changes: one at a time for each service, each
 * stored by the commit of its batch, and visible to others only after it.
 */
import { follow, type Maybe } from '../base/maybe.js'
import { PinnedCache } from '../base/pinned-cache.js'
import { Semaphore } from '../base/semaphore.js'
import type { Batch } from '../storage/store.js'
import { StanzaError } from '../xmpp/errors.js'
import { Change } from './change.js'
import type { ItemStore } from './items.js'
import type { Node } from './node.js'
import type { People } from './people.js'
import { readTree, type Tree, type TreeStores } from './tree.js'

/** The services whose nodes stay in memory without a use, and the bytes of those. */
const IDLE = 20_000
const IDLE_BYTES = 16 * 1024 * 1024
/** The most changes of one service that wait for those before them. */
const MOST_WAITING = 100

const NONE: ReadonlySet<string> = new Set()

/** The answer to a change of a service that does not exist any more. */
export class ServiceEnded extends StanzaError {
  constructor () { super('service-unavailable') }
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

  /** Returns the nodes of a collection, by their names. */
  childrenOf (owner: string, collection: string): Maybe<ReadonlySet<string>> {
    return follow(this.#trees.of(owner), tree => tree.children.get(collection) ?? NONE)
  }

  /** Returns the nodes that may have temporary subscriptions of this device, by their names (§12.5). */
  temporary (owner: string, device: string): Maybe<ReadonlySet<string>> {
    return follow(this.#trees.of(owner), tree => tree.temporary.get(device) ?? NONE)
  }

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
