/**
 * Stored items that cannot be read: told to the operator once, counted, and put aside in a store of their own, so that the others go on.
 * One is removed from its store in the commit that puts it aside, and stays where it is if that commit fails.
 */
import { systemClock, type Clock } from '../base/clock.js'
import type { Logger } from '../base/logger.js'
import type { Maybe } from '../base/maybe.js'
import { shortened } from '../base/text.js'
import { journal, type Entry, type Journal, type Storage, type Write } from './store.js'

/** An item that could not be read. `id`: its key, or the id of its entry. */
export interface UnreadableItem {
  readonly store: string
  readonly owner: string
  readonly id: string
  /** Its value as it is stored. */
  readonly text: string
  readonly error: unknown
  /** Of an entry of a journal: when it came, in milliseconds since 1970, and with whom. */
  readonly at?: number
  readonly with?: string
}

/** The same as it is put aside. */
export interface AsideItem {
  readonly store: string
  readonly id: string
  readonly text: string
  readonly reason: string
  readonly at?: number
  readonly with?: string
}

/** What is asked for cannot be read, and must not be taken for missing. Whoever asked hears internal-server-error. */
export class Unreadable extends Error {}

/** Waits for something whose items may be unreadable: whoever asks for it later hears of that. */
export function unlessUnreadable (work: Maybe<unknown>): Maybe<undefined> {
  if (!(work instanceof Promise)) return undefined
  return work.then(() => undefined, (error: unknown) => {
    if (!(error instanceof Unreadable)) throw error
    return undefined
  })
}

/** The name of the store that holds what was put aside. */
export const ASIDE = 'storage.unreadable'
/** What is kept of one owner: the newest items, and bytes of them. */
const MOST_ITEMS = 500
const MOST_BYTES = 4 * 1024 * 1024
/** Items that are remembered as told; after more of them the oldest may be told again. */
const MOST_TOLD = 10_000
const LONGEST_REASON = 500

export class Aside {
  readonly #storage: Pick<Storage, 'open' | 'submit' | 'after'>
  readonly #told = new Set<string>()
  readonly #moving = new Map<string, Promise<void>>()
  #store: Promise<Journal<AsideItem>> | undefined
  #clock: Clock = systemClock
  #log: Logger | undefined
  #count = 0
  #ids = 0

  constructor (storage: Pick<Storage, 'open' | 'submit' | 'after'>) { this.#storage = storage }

  /** Whoever is told. Before that nobody is. */
  report (to: { readonly clock: Clock, readonly log: Logger }): void {
    this.#clock = to.clock
    this.#log = to.log
  }

  /** Items that could not be read since the start. */
  get count (): number { return this.#count }

  /** Tells of an item, once. */
  tell (item: Omit<UnreadableItem, 'text'>, isKept = true): void {
    const key = keyOf(item)
    if (this.#told.has(key)) return
    if (this.#told.size >= MOST_TOLD) this.#told.clear()
    this.#told.add(key)
    this.#count++
    const { store, owner, id, error } = item
    this.#log?.error('stored item not readable', { store, owner, id, error: reasonOf(error), becomes: isKept ? 'stays where it is' : 'put aside' })
  }

  /**
   * Puts an item aside: one commit does `removing` and keeps the item. Resolves when that has settled; if it has failed, the item is where
   * it was, and is found again by the next who reads.
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

  /** The write that keeps an item, for whoever removes it in a commit of its own. */
  async keeping (item: UnreadableItem): Promise<Write> {
    const { store, owner, id, text, error, at, with: other } = item
    const now = this.#clock.now()
    const value: AsideItem = {
      store, id, text, reason: reasonOf(error), ...at === undefined ? {} : { at }, ...other === undefined ? {} : { with: other },
    }
    return (await this.#opened()).appending(owner, { id: `${now.toString(36)}-${process.pid}-${++this.#ids}`, at: now, with: '', value })
  }

  /** What was put aside, oldest first by owner, at most `limit` items. */
  async * items (limit: number): AsyncGenerator<Entry<AsideItem> & { readonly owner: string }> {
    const store = await this.#opened()
    let left = limit
    for (const owner of await store.owners({ limit })) {
      const { entries } = await store.page(owner, { limit: left })
      for (const entry of entries) yield { ...entry, owner }
      left -= entries.length
      if (left <= 0) return
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

function keyOf ({ store, owner, id }: Pick<UnreadableItem, 'store' | 'owner' | 'id'>): string { return `${store}\n${owner}\n${id}` }

/** What went wrong, without the item's text: that is nobody's but its owner's. */
function reasonOf (error: unknown): string {
  if (error instanceof SyntaxError) return 'its value is not JSON' // V8 quotes what it stumbles over
  return shortened(error instanceof Error ? error.message : String(error), LONGEST_REASON)
}
