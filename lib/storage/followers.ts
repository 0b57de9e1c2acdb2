/** Tells those who follow an owner's journal that it has grown, once for each turn of the event loop. */
import { StorageUnavailable } from './store.js'

/** The most followers of one owner, and of all owners of one journal. */
const MOST_OF_OWNER = 1000
const MOST = 100_000

/** The followers of one journal. */
export class Followers {
  readonly #owners = new Map<string, Set<() => void>>()
  readonly #grown = new Set<string>()
  #count = 0

  /**
   * Calls `grew` after commits that append for the owner, until the returned function is called. Throws
   * StorageUnavailable if there are too many followers.
   */
  follow (owner: string, grew: () => void): () => void {
    const followers = this.#owners.get(owner) ?? new Set()
    if (followers.size >= MOST_OF_OWNER || this.#count >= MOST) throw new StorageUnavailable('too many followers of a journal')
    const follower = (): void => { grew() }
    followers.add(follower)
    this.#owners.set(owner, followers)
    this.#count++
    return () => {
      if (!followers.delete(follower)) return
      this.#count--
      if (followers.size === 0) this.#owners.delete(owner)
    }
  }

  /** Tells the owner's followers in a later turn of the event loop that a commit which appends has settled. */
  grew (owner: string): void {
    if (!this.#owners.has(owner)) return
    this.#grown.add(owner)
    if (this.#grown.size === 1) setImmediate(() => { this.#tell() })
  }

  #tell (): void {
    const grown = [...this.#grown]
    this.#grown.clear()
    for (const owner of grown) {
      for (const follower of [...this.#owners.get(owner) ?? []]) {
        // An error of one follower must not affect the others: it becomes an uncaught exception of the process.
        try { follower() } catch (error) { queueMicrotask(() => { throw error }) }
      }
    }
  }
}

/** The followers of all journals of a driver, by the number of the store. */
export class FollowedStores {
  readonly #stores = new Map<number, Followers>()

  /** True if no journal has ever been followed, so that no commit needs to be looked at. */
  get isEmpty (): boolean { return this.#stores.size === 0 }

  follow (store: number, owner: string, grew: () => void): () => void {
    const followers = this.#stores.get(store) ?? new Followers()
    this.#stores.set(store, followers)
    return followers.follow(owner, grew)
  }

  grew (store: number, owner: string): void { this.#stores.get(store)?.grew(owner) }
}
