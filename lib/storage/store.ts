/** The contract of storage: two shapes, and what each call promises. Every driver passes test/storage/contract.ts. */
import type { Aside } from './aside.js'

/** A write that has not happened yet: made by a store, carried by a batch. */
export interface Write {
  /** Which store made it, for logs. */
  readonly store: string
}

/** Everything that one stanza or request commits: one transaction. Delivery, and every ack that counts it, wait for it. */
export interface Batch {
  add (write: Write): void
  /**
   * Runs right before the batch is handed over, and may add to it. A stanza that is refused on its way never comes so far. If this throws,
   * nothing of the batch is stored.
   */
  submitting (run: () => void): void
  /** Runs once the batch is stored, before the answer to the request that it belongs to goes out. */
  answering (run: () => void): void
  /** Runs once the batch is stored, before all that `committed` has: here the stanza is delivered. */
  delivering (run: () => void): void
  /** Runs once the batch is stored and the stanza delivered or answered; where it holds no write, as soon as that is done. */
  committed (run: () => void): void
  /**
   * Runs if the batch is not stored, because its stanza was refused or because storing fails: what was changed in memory meanwhile is
   * forgotten here.
   */
  failed (run: (error: Error) => void): void
}

/** Small values by owner and key. A value is what JSON can carry. Reads see every commit that settled before the call. */
export interface Records<V> {
  get (owner: string, key: string): Promise<V | undefined>
  /** In the order of keys (by code point), the first `limit` after `after`; all of them without a page. */
  all (owner: string, page?: { readonly after?: string, readonly limit: number }): Promise<ReadonlyMap<string, V>>
  /** Owners that hold anything, in order. */
  owners (page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]>
  /** Resolves once it is stored. `undefined` removes. */
  put (owner: string, key: string, value: V | undefined): Promise<void>
  /**
   * Reads and writes atomically. `next` is pure, runs under a lock on the owner, and may run again; what it leaves out of its
   * answer stays.
   */
  change (owner: string, next: (old: ReadonlyMap<string, V>) => ReadonlyMap<string, V | undefined>): Promise<void>
  putting (owner: string, key: string, value: V | undefined): Write
  /** Removes all that the owner has here. */
  clearing (owner: string): Write
  /**
   * Puts a record aside that its reader can make nothing of: logged, counted, and kept in a store of its own by the commit that removes it,
   * or that puts `instead` in its place. Resolves when that has settled; if it has failed, the record stays. Rejects with Unreadable if
   * the store's shape says that its records must not be taken for missing.
   */
  setAside (owner: string, key: string, value: V, error: unknown, instead?: V): Promise<void>
}

/** `at`: milliseconds since 1970. `with`: the other party's address, as text. */
export interface Entry<V> { readonly id: string, readonly at: number, readonly with: string, readonly value: V }

/** An entry as it is appended. What it is found by beside its id does not come back. */
export interface NewEntry<V> extends Entry<V> {
  /** Another name, which others may have as well. */
  readonly alias?: string
  /** What a search finds it by. */
  readonly text?: string
}

/** Which entries are meant: those that are all of this. */
export interface JournalFilter {
  /** A bare address matches every resource of it; a full one itself alone. */
  readonly with?: string
  readonly ids?: readonly string[]
  readonly alias?: string
  /** Words that are all in its text, or begin words of it (lib/storage/words.ts). A search for no word at all finds nothing. */
  readonly text?: string
  /** Milliseconds since 1970, inclusive. */
  readonly since?: number
  readonly until?: number
  /** Entries behind, or before, this id, or each of these. An id that is not there throws UnknownEntry. */
  readonly after?: string | readonly string[]
  readonly before?: string | readonly string[]
}

export interface JournalQuery extends JournalFilter {
  /** The last `limit` of the matches instead of the first; still in ascending order. */
  readonly last?: boolean
  readonly limit: number
  /** The most bytes that the values of a page may have together; one entry there is in any case. */
  readonly bytes?: number
}

export interface JournalPage<V> {
  readonly entries: readonly Entry<V>[]
  /** Nothing more matches in the direction of the query. */
  readonly complete: boolean
  /** Entries that could not be read and were put aside, if there were any; they are not among the others. */
  readonly unread?: readonly Unread[]
}

/** An entry that could not be read. */
export interface Unread { readonly id: string, readonly with: string }

/** An `after` or `before` that names no entry (XEP-0059 §2.2: item-not-found). */
export class UnknownEntry extends Error {}

/** Storage cannot be reached for now, or too much waits for it. Whoever asks may ask again later. */
export class StorageUnavailable extends Error {}

/** What stays where a journal is trimmed. */
export interface Keeping { readonly newest?: number, readonly bytes?: number, readonly since?: number }

/** A growing list by owner, in the order of commit. Ids are given by the caller and unique by owner; the order is the store's own. */
export interface Journal<V> {
  appending (owner: string, entry: NewEntry<V>): Write
  removing (owner: string, ids: readonly string[]): Write
  /** Puts another value in its place. No search finds it any more. */
  replacing (owner: string, id: string, value: V): Write
  clearing (owner: string): Write
  page (owner: string, query: JournalQuery): Promise<JournalPage<V>>
  /** How many entries match. */
  count (owner: string, filter: JournalFilter): Promise<number>
  /** How much an owner holds: entries, and the bytes of their values as stored. */
  size (owner: string): Promise<{ readonly entries: number, readonly bytes: number }>
  owners (page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]>
  /** Removes all but the newest `newest`, all but the newest that have `bytes` together, and all before `since`; answers how many. */
  trim (owner: string, keep: Keeping): Promise<number>
  /** Removes what is older than `since` from every owner, at most `limit` entries a call; answers how many. */
  expire (since: number, limit: number): Promise<number>
  /** Puts an entry aside that its reader can make nothing of, as `Records.setAside`. */
  setAside (owner: string, entry: Entry<V>, error: unknown): Promise<void>
}

/** What happens when an item of a store cannot be read. A page of a journal, or a list of records, leaves it out. */
export interface Reading {
  /** Whether a value as JSON carries it is of the store's type; without it every value is. */
  readonly check?: (value: unknown) => boolean
  /**
   * 'moved': it is put aside, and counts as missing. 'kept': it stays, and whoever asks for it gets Unreadable. 'refused': it stays, and
   * all that its owner has in this store counts as unreadable.
   */
  readonly unreadable?: 'moved' | 'kept' | 'refused'
}

/** A store as a module declares it. `upgrade` takes a value of the version before this one to this one's form. */
export interface Shape<S> {
  readonly kind: 'records' | 'journal'
  readonly version: number
  readonly upgrade: ((old: unknown, from: number) => unknown) | undefined
  readonly check?: ((value: unknown) => boolean) | undefined
  readonly unreadable: 'moved' | 'kept' | 'refused'
  readonly store?: S
}

/** A record that cannot be read makes all that its owner has in this store unreadable, unless `reading` says otherwise. */
export function records<V> (version: number, upgrade?: (old: unknown, from: number) => unknown, reading: Reading = {}): Shape<Records<V>> {
  return { kind: 'records', version, upgrade, check: reading.check, unreadable: reading.unreadable ?? 'refused' }
}

/** An entry that cannot be read is put aside, always. */
export function journal<V> (
  version: number, upgrade?: (old: unknown, from: number) => unknown, reading: Pick<Reading, 'check'> = {},
): Shape<Journal<V>> {
  return { kind: 'journal', version, upgrade, check: reading.check, unreadable: 'moved' }
}

/**
 * The page that `look` finds, of entries that `check` does not throw on. The others are put aside and the page is looked for again, so
 * that it is as long as if they had never been there; if they cannot be put aside, the page goes without them.
 */
export async function checkedPage<V, P extends { readonly entries: readonly Entry<V>[] }> (
  store: Pick<Journal<V>, 'setAside'>, owner: string, look: () => Promise<P>, check: (entry: Entry<V>) => void,
): Promise<P> {
  const known = new Set<string>()
  for (;;) {
    const page = await look()
    const broken: (readonly [Entry<V>, unknown])[] = []
    for (const entry of page.entries) {
      try {
        check(entry)
      } catch (error) {
        broken.push([entry, error])
      }
    }
    if (broken.length === 0) return page
    if (broken.every(([{ id }]) => known.has(id))) {
      const ids = new Set(broken.map(([{ id }]) => id))
      return { ...page, entries: page.entries.filter(({ id }) => !ids.has(id)) }
    }
    for (const [entry, error] of broken) {
      known.add(entry.id)
      await store.setAside(owner, entry, error)
    }
  }
}

/** Reads entries one by one; one that `read` throws on is put aside. Answers with what was made of the others, in their order. */
export function readEntries<V, T> (store: Journal<V>, owner: string, entries: readonly Entry<V>[], read: (entry: Entry<V>) => T): T[] {
  return entries.flatMap(entry => {
    try {
      return [read(entry)]
    } catch (error) {
      void store.setAside(owner, entry, error)
      return []
    }
  })
}

export type Shapes = Readonly<Record<string, Shape<unknown>>>
export type Stores<R extends Shapes> = { readonly [K in keyof R]: R[K] extends Shape<infer S> ? S : never }

/** The storage of one process: one data folder, or one database. */
export interface Storage {
  /**
   * The store of this name (`module.store`), opened, and upgraded where its version on disk is older.
   * Throws where the version on disk is newer than the shape's.
   */
  open<S> (name: string, shape: Shape<S>): Promise<S>
  /**
   * Hands writes to the writer as one transaction, together with the others of this turn of the event loop; answers with
   * their commit number, which is one more than the last. All or nothing of them is stored.
   */
  submit (writes: readonly Write[]): number
  /** The number of the last commit that was submitted; 0 before the first. */
  readonly submitted: number
  /** The highest commit number at and below which everything has settled, stored or failed. */
  readonly settled: number
  /**
   * Calls `then` once commit `number` and all before it have settled, at once where they have; with the error where `number`
   * failed. In the order of numbers, and for one number in the order of asking.
   */
  after (number: number, then: (error: Error | undefined) => void): void
  /** Resolves once all that was submitted has settled. */
  flush (): Promise<void>
  /** A write that removes an owner's rows from every store, those no module has opened included. */
  erasing (owner: string): Write
  /** Items that could not be read. */
  readonly aside: Aside
  /** undefined: writes succeed. Else why the last commit failed; a later success takes it back. */
  readonly trouble: Error | undefined
  /** Writes a consistent copy while running. Throws where the driver has a better tool of its own, naming it. */
  backup (file: string): Promise<void>
  close (): Promise<void>
}
