/**
 * The contract of storage: the kinds of stores, and what each call promises. Every driver passes
 * test/storage/contract.ts. Tables are in table.ts.
 */
import type { OwnersPage } from './owner.js'
import type { TableIndexes } from './ranks.js'

/** A write that has not happened yet. A store makes it, a batch carries it. */
export interface Write {
  /** The name of the store that made the write, for logs. */
  readonly store: string
}

/**
 * The writes of one stanza or request, committed in one transaction. Delivery, and each acknowledgement that counts the
 * stanza, wait for that commit.
 */
export interface Batch {
  add (write: Write): void
  /**
   * Registers a callback that runs right before the batch is submitted, and may add to it. It does not run if the
   * stanza is refused. If it throws, nothing of the batch is stored.
   */
  submitting (run: () => void): void
  /** Registers a callback that runs when the batch is stored, before the answer to its request goes out. */
  answering (run: () => void): void
  /**
   * Registers a callback that runs when the batch is stored, before all `committed` callbacks: it delivers the stanza.
   */
  delivering (run: () => void): void
  /**
   * Registers a callback that runs when the batch is stored and the stanza is delivered or answered. If the batch has
   * no write, the callback runs as soon as that is done.
   */
  committed (run: () => void): void
  /**
   * Registers a callback that runs if the batch is not stored, because its stanza was refused or because storing
   * failed. It undoes what was changed in memory meanwhile.
   */
  failed (run: (error: Error) => void): void
}

/** A store of small values by owner and key. Values are JSON. A read sees every commit that settled before the call. */
export interface Records<V> {
  get (owner: string, key: string): Promise<V | undefined>
  /**
   * Returns the records in the order of their keys (by code point): the first `limit` after `after`, or all if no page
   * is given.
   */
  all (owner: string, page?: { readonly after?: string, readonly limit: number }): Promise<ReadonlyMap<string, V>>
  /** Returns the owners that hold anything, in order. */
  owners (page: OwnersPage): Promise<readonly string[]>
  /** Resolves when the value is stored. `undefined` removes the record. */
  put (owner: string, key: string, value: V | undefined): Promise<void>
  /**
   * Reads and writes atomically. `next` must be pure: it runs under a lock on the owner and may run again. Records that
   * its result does not name stay.
   */
  change (owner: string, next: (old: ReadonlyMap<string, V>) => ReadonlyMap<string, V | undefined>): Promise<void>
  putting (owner: string, key: string, value: V | undefined): Write
  /** Removes all records of the owner in this store. */
  clearing (owner: string): Write
  /**
   * Puts a record aside that its reader does not understand: it is logged, counted and kept in a store of its own by
   * the commit that removes it, or that replaces it with `instead`. Resolves when that commit has settled; if it
   * failed, the record stays. Without `instead`, rejects with Unreadable if the store's shape says that its records
   * must not count as missing.
   */
  setAside (owner: string, key: string, value: V, error: unknown, instead?: V): Promise<void>
}

/** `at`: milliseconds since 1970. `with`: the other party's address as text. */
export interface Entry<V> { readonly id: string, readonly at: number, readonly with: string, readonly value: V }

/** An entry to append. `alias` and `text` serve for finding it and are not returned by reads. */
export interface NewEntry<V> extends Entry<V> {
  /** Another id for the entry; it need not be unique. */
  readonly alias?: string
  /** The text in which a search finds the entry. */
  readonly text?: string
}

/** Selects entries: those that meet every condition given. */
export interface JournalFilter {
  /** A bare address matches all of its resources; a full address matches only itself. */
  readonly with?: string
  readonly ids?: readonly string[]
  readonly alias?: string
  /**
   * Words that the entry's text must contain, or whose beginnings they are (lib/storage/words.ts). A search without any
   * word finds nothing.
   */
  readonly text?: string
  /** Milliseconds since 1970, inclusive. */
  readonly since?: number
  readonly until?: number
  /** Only entries after, or before, this id, or all of these ids. An id that does not exist throws UnknownEntry. */
  readonly after?: string | readonly string[]
  readonly before?: string | readonly string[]
}

export interface JournalQuery extends JournalFilter {
  /** Returns the last `limit` matches instead of the first; the order is still ascending. */
  readonly last?: boolean
  /**
   * Skips this many matches in the direction of the query (XEP-0059 §2.6). To learn the index of an entry, count the
   * matches before it.
   */
  readonly index?: number
  readonly limit: number
  /** The most bytes that the values of a page may have together; a page with a match has at least one entry. */
  readonly bytes?: number
}

export interface JournalPage<V> {
  readonly entries: readonly Entry<V>[]
  /** True if nothing more matches in the direction of the query. */
  readonly complete: boolean
  /** Entries that could not be read and were put aside, if there were any; `entries` does not have them. */
  readonly unread?: readonly UnreadableEntry[]
}

/** An entry that could not be read. */
export interface UnreadableEntry { readonly id: string, readonly with: string }

/** Thrown if an `after` or `before` names no entry (XEP-0059 §2.2: item-not-found). */
export class UnknownEntry extends Error {}

/** Thrown if storage cannot be reached now, or if too much waits for it. The caller may try again later. */
export class StorageUnavailable extends Error {}

/** The entries that `trim` keeps. */
export interface TrimLimits { readonly newest?: number, readonly bytes?: number, readonly since?: number }

/**
 * A growing list for each owner, in the order of commit. The caller gives the ids, which are unique for an owner; the
 * store decides the order.
 */
export interface Journal<V> {
  appending (owner: string, entry: NewEntry<V>): Write
  removing (owner: string, ids: readonly string[]): Write
  /** Replaces the value of an entry. After that no search by text finds the entry. */
  replacing (owner: string, id: string, value: V): Write
  clearing (owner: string): Write
  page (owner: string, query: JournalQuery): Promise<JournalPage<V>>
  /** Returns the number of entries that match. */
  count (owner: string, filter: JournalFilter): Promise<number>
  /** Returns what an owner holds: the number of entries, and the bytes of their values as stored. */
  size (owner: string): Promise<{ readonly entries: number, readonly bytes: number }>
  owners (page: OwnersPage): Promise<readonly string[]>
  /**
   * Removes all entries but the newest `newest`, all but the newest that have `bytes` together, and all before `since`;
   * returns the number of removed entries.
   */
  trim (owner: string, keep: TrimLimits): Promise<number>
  /**
   * Removes entries older than `since` of all owners, at most `limit` for each call; returns the number of removed
   * entries.
   */
  expire (since: number, limit: number): Promise<number>
  /**
   * Calls `grew` after commits that append entries of the owner have settled, once for each turn of the event loop,
   * until the returned function is called. Throws StorageUnavailable if there are too many followers.
   */
  follow (owner: string, grew: () => void): () => void
  /** Puts an entry aside that its reader does not understand, as `Records.setAside` does. */
  setAside (owner: string, entry: Entry<V>, error: unknown): Promise<void>
}

/**
 * The rule for items of a store that cannot be read. A page of a journal, or a list of records, leaves the item out.
 */
export interface Reading {
  /** True if a parsed JSON value is of the store's type; without a check every value is accepted. */
  readonly check?: (value: unknown) => boolean
  /**
   * 'moved': the item is put aside and counts as missing. 'kept': it stays, and a request for it throws Unreadable.
   * 'refused': it stays, and all that its owner has in this store counts as unreadable.
   */
  readonly unreadable?: 'moved' | 'kept' | 'refused'
}

/** How a store lists its owners. */
export interface Listing {
  /**
   * Lets `owners` list those of one host. The store then keeps a row for each owner until somebody lists the host of an
   * owner that holds nothing any more, so it is for stores whose owners are few: accounts and entities, not strangers.
   */
  readonly byHost?: boolean
}

/** A store as a module declares it. `upgrade` converts a value of version `from` to this version. */
export interface Shape<S> {
  readonly kind: 'records' | 'journal' | 'table' | 'log'
  readonly version: number
  readonly upgrade: ((old: unknown, from: number) => unknown) | undefined
  readonly check?: ((value: unknown) => boolean) | undefined
  readonly unreadable: 'moved' | 'kept' | 'refused'
  readonly byHost?: boolean | undefined
  /** Only of a table. */
  readonly indexes?: TableIndexes<unknown>
  readonly store?: S
}

/**
 * Declares a store of records. A record that cannot be read makes all that its owner has in this store unreadable,
 * unless `reading` says otherwise.
 */
export function records<V> (
  version: number, upgrade?: (old: unknown, from: number) => unknown, reading: Reading & Listing = {},
): Shape<Records<V>> {
  const { check, unreadable = 'refused', byHost } = reading
  return { kind: 'records', version, upgrade, check, unreadable, byHost }
}

/** Declares a journal. An entry that cannot be read is always put aside. */
export function journal<V> (
  version: number, upgrade?: (old: unknown, from: number) => unknown, reading: Pick<Reading, 'check'> & Listing = {},
): Shape<Journal<V>> {
  return { kind: 'journal', version, upgrade, check: reading.check, unreadable: 'moved', byHost: reading.byHost }
}

/**
 * Returns the page that `look` finds, with the entries for which `check` does not throw. The others are put aside and
 * the page is read again, so that it is as long as if they had never been stored. If they cannot be put aside, the page
 * is returned without them.
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

/**
 * Runs `read` for each entry; an entry for which it throws is put aside. Returns the results for the others, in order.
 */
export function readEntries<V, T> (
  store: Journal<V>, owner: string, entries: readonly Entry<V>[], read: (entry: Entry<V>) => T,
): T[] {
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
