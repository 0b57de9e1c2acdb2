/** The storage of SQLite, as its stores see it. */
import type Database from 'better-sqlite3'
import type { UnreadableItems } from '../aside.js'
import type { FollowedStores } from '../followers.js'
import type { OwnersPage } from '../owner.js'
import type { Write } from '../store.js'
import type { LongReads } from './long-reads.js'
import type { MainThreadReads } from './main-thread-reads.js'

export interface SqliteHome {
  /** Reads that may take long, in the reader's thread. */
  readonly long: LongReads
  /** The reads of this turn on the main thread. */
  readonly reads: MainThreadReads
  readonly aside: UnreadableItems
  /** Those who follow journals. */
  readonly followed: FollowedStores
  /** Commits one write by itself; resolves with the number of rows that it changed when it is stored. */
  put (write: Write): Promise<number>
  /**
   * Commits writes by themselves; resolves with the number of rows that the last of them changed when they are stored.
   */
  stored (writes: readonly Write[]): Promise<number>
  /**
   * Runs `then` when no submitted write to the owner's rows in this store is left to settle; resolves with its result.
   */
  atRest<T> (store: number, owner: string, then: () => Promise<T> | undefined): Promise<T | undefined>
  /** Returns the prepared statement for `sql`; prepares each statement once. */
  prepared (sql: string): Database.Statement
  /**
   * Returns the owners with rows in a store, in order. Takes one step of an index for each owner, however many rows
   * the owner has.
   */
  ownersIn (table: 'records' | 'journal', store: number, page: OwnersPage): Promise<readonly string[]>
}
