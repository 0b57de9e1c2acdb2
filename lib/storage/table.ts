/** The contract of tables: records that are found by what their values hold. Every driver passes the same tests. */
import type { Rank, TableIndexes } from './ranks.js'
import type { Reading, Shape, Write } from './store.js'

/** The rows of one owner, or those of all owners at one host (see splitOwner). */
export type Scope = { readonly owner: string } | { readonly host: string }

export interface RowName { readonly owner: string, readonly key: string }

export interface TableRow<V> extends RowName {
  readonly value: V
  /** The row's place in the order of its page. It stays valid if the row is changed or removed. Not for strangers. */
  readonly place: string
}

/** Selects rows, in the order of an index: by rank, and rows of one rank in the order in which they were made. */
export interface TableRange {
  /** The name of the index. Without it, rows are in the order of their owners' local parts, then of their keys. */
  readonly by?: string
  /** The lowest and the highest rank, both inclusive. Without `by`, bounds of the key, for one owner only. */
  readonly from?: Rank
  readonly to?: Rank
  /**
   * Only rows after, or before, a place of the same order, or a row. A row that does not exist, or is not in the index,
   * throws UnknownEntry.
   */
  readonly after?: string | RowName
  readonly before?: string | RowName
}

export interface TableQuery extends TableRange {
  /** Returns the last `limit` matches instead of the first; the order is still ascending. */
  readonly last?: boolean
  readonly limit: number
  /** The most bytes that the values of a page may have together; a page with a match has at least one row. */
  readonly bytes?: number
}

export interface TablePage<V> {
  readonly rows: readonly TableRow<V>[]
  /** True if nothing more matches in the direction of the query. */
  readonly complete: boolean
  /** Rows that could not be read, if there were any; `rows` does not have them. */
  readonly unread?: readonly RowName[]
}

/**
 * A store of small values by owner and key, with indexes. Values are JSON. A read sees every commit that settled before
 * the call. What cannot be read is treated as in records; a page over a host leaves it out and names it in `unread`.
 */
export interface Table<V> {
  get (owner: string, key: string): Promise<V | undefined>
  page (scope: Scope, query: TableQuery): Promise<TablePage<V>>
  /** Returns the number of rows that match. */
  count (scope: Scope, range?: TableRange): Promise<number>
  /** Returns the sum of what the rows add to the sum of this name. */
  sum (scope: Scope, name: string): Promise<number>
  putting (owner: string, key: string, value: V): Write
  /** Removes a row; with `unchanged` only if its value still is this one, as it was read or put. */
  removing (owner: string, key: string, unchanged?: V): Write
  /** Removes all rows of the owner in this table. */
  clearing (owner: string): Write
  /**
   * Removes the rows of all owners whose rank in the index is at most `now`, the lowest first at each host, and at most
   * `limit` of them for each call; returns the number of removed rows.
   */
  expire (index: string, now: Rank, limit: number): Promise<number>
  /** Puts a row aside that its reader does not understand, as `Records.setAside` does. */
  setAside (owner: string, key: string, value: V, error: unknown, instead?: V): Promise<void>
}

/**
 * Declares a table. A row that cannot be read makes all that its owner has in this store unreadable, unless `reading`
 * says otherwise.
 */
export function table<V> (
  version: number, indexes: TableIndexes<V>, upgrade?: (old: unknown, from: number) => unknown, reading: Reading = {},
): Shape<Table<V>> {
  return {
    kind: 'table', version, upgrade, check: reading.check, unreadable: reading.unreadable ?? 'refused',
    indexes: indexes as TableIndexes<unknown>,
  }
}
