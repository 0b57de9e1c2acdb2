/**
 * Puts stored items that cannot be read aside, so that the others stay usable. Each such item is logged once, counted,
 * and moved to a store of its own. The commit that puts an item aside also removes it from its store; if that commit
 * fails, the item stays where it was.
 */
import { systemClock, type Clock } from '../base/clock.js'
import type { Logger } from '../base/logger.js'
import type { Maybe } from '../base/maybe.js'
import { shortened } from '../base/text.js'
import { journal, type Entry, type Journal, type Write } from './store.js'
import type { StoreAccess } from './store-access.js'

/** An item that could not be read. `id` is the key of a record or the id of an entry. */
export interface UnreadableItem {
  readonly store: string
  readonly owner: string
  readonly id: string
  /** The value as it is stored. */
  readonly text: string
  readonly error: unknown
  /** Only for an entry of a journal: its time in milliseconds since 1970, and the address of the other party. */
  readonly at?: number
  readonly with?: string
}

/** An unreadable item in the form in which it is put aside. */
export interface AsideItem {
  readonly store: string
  readonly id: string
  readonly text: string
  readonly reason: string
  readonly at?: number
  readonly with?: string
}

/**
 * Thrown if the requested item cannot be read but must not count as missing. The requester gets internal-server-error.
 */
export class Unreadable extends Error {}

/** Waits for `work` and ignores an Unreadable error: the next request for the same items will throw it. */
export function unlessUnreadable (work: Maybe<unknown>): Maybe<undefined> {
  if (!(work instanceof Promise)) return undefined
  return work.then(() => undefined, (error: unknown) => {
    if (!(error instanceof Unreadable)) throw error
    return undefined
  })
}

/** The name of the store that holds what was put aside. */
export const ASIDE = 'storage.unreadable'
/** The most that is kept for one owner, in items and in bytes; the newest items are kept. */
const MOST_ITEMS = 500
const MOST_BYTES = 4 * 1024 * 1024
/**
 * The number of logged items that are remembered. When it is reached, all are forgotten, and an item may be logged
 * again.
 */
const MOST_TOLD = 10_000
const LONGEST_REASON = 500
/** Owners that are looked up at a time. */
const OWNERS = 200

export class UnreadableItems {
  readonly #storage: StoreAccess
  readonly #told = new Set<string>()
  readonly #moving = new Map<string, Promise<void>>()
  #store: Promise<Journal<AsideItem>> | undefined
  #clock: Clock = systemClock
  #log: Logger | undefined
  #count = 0
  #ids = 0

  constructor (storage: StoreAccess) { this.#storage = storage }

  /** Sets the logger and the clock. Before this call nothing is logged. */
  report (to: { readonly clock: Clock, readonly log: Logger }): void {
    this.#clock = to.clock
    this.#log = to.log
  }

  /** The number of items that could not be read since the start. */
  get count (): number { return this.#count }

  /** Logs and counts an unreadable item, once for each item. */
  tell (item: Omit<UnreadableItem, 'text'>, isKept = true): void {
    const key = keyOf(item)
    if (this.#told.has(key)) return
    if (this.#told.size >= MOST_TOLD) this.#told.clear()
    this.#told.add(key)
    this.#count++
    const { store, owner, id, error } = item
    const outcome = isKept ? 'kept in place' : 'put aside'
    this.#log?.error('stored item unreadable', { store, owner, id, error: reasonOf(error), outcome })
  }

  /**
   * Puts an item aside: one commit does `removing` and stores the item in the store for unreadable items. Resolves when
   * that commit has settled. If the commit fails, the item stays where it was, and its next reader finds it again.
   */
  put (item: UnreadableItem, removing: Write): Promise<void> {
    const key = keyOf(item)
    const known = this.#moving.get(key)
    if (known !== undefined) return known
    this.tell(item, false)
    const moving = this.#put(item, removing).catch((error: unknown) => {
      this.#log?.warn('stored item not put aside', { store: item.store, owner: item.owner, id: item.id, error })
    }).finally(() => { this.#moving.delete(key) })
    this.#moving.set(key, moving)
    return moving
  }

  /**
   * Returns the write that stores an item in the store for unreadable items, for a caller that removes the item in a
   * commit of its own.
   */
  async keeping (item: UnreadableItem): Promise<Write> {
    const { store, owner, id, text, error, at, with: other } = item
    const now = this.#clock.now()
    const value: AsideItem = {
      store, id, text, reason: reasonOf(error),
      ...at === undefined ? {} : { at }, ...other === undefined ? {} : { with: other },
    }
    const entryId = `${now.toString(36)}-${process.pid}-${++this.#ids}`
    return (await this.#opened()).appending(owner, { id: entryId, at: now, with: '', value })
  }

  /** Yields at most `limit` items that were put aside, ordered by owner, and the oldest first for each owner. */
  async * items (limit: number): AsyncGenerator<Entry<AsideItem> & { readonly owner: string }> {
    const store = await this.#opened()
    let left = limit
    for (let after: string | undefined; ;) {
      const owners = await store.owners({ limit: OWNERS, ...after === undefined ? {} : { after } })
      for (const owner of owners) {
        const { entries } = await store.page(owner, { limit: Math.min(left, MOST_ITEMS) })
        for (const entry of entries) yield { ...entry, owner }
        left -= entries.length
        if (left <= 0) return
      }
      after = owners.at(-1)
      if (owners.length < OWNERS || after === undefined) return
    }
  }

  async #put (item: UnreadableItem, removing: Write): Promise<void> {
    const keeping = await this.keeping(item)
    await new Promise<void>((resolve, reject) => {
      const number = this.#storage.submit([keeping, removing])
      this.#storage.after(number, error => { if (error === undefined) resolve(); else reject(error) })
    })
    await (await this.#opened()).trim(item.owner, { newest: MOST_ITEMS, bytes: MOST_BYTES })
  }

  #opened (): Promise<Journal<AsideItem>> { return this.#store ??= this.#storage.open(ASIDE, journal<AsideItem>(1)) }
}

function keyOf ({ store, owner, id }: Pick<UnreadableItem, 'store' | 'owner' | 'id'>): string {
  return `${store}\n${owner}\n${id}`
}

/** Returns the reason without the item's text, which is private to its owner. */
function reasonOf (error: unknown): string {
  if (error instanceof SyntaxError) return 'its value is not JSON' // V8 quotes the invalid text in its message
  return shortened(error instanceof Error ? error.message : String(error), LONGEST_REASON)
}
