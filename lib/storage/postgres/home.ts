/** The storage of PostgreSQL, as its stores see it. */
import type { UnreadableItems } from '../aside.js'
import type { FollowedStores } from '../followers.js'
import type { OwnersPage } from '../owner.js'
import type { Write } from '../store.js'

export interface PostgresHome {
  readonly aside: UnreadableItems
  /** Those who follow journals. */
  readonly followed: FollowedStores
  /** Commits writes by themselves; resolves with the number of rows that they changed when they are stored. */
  stored (writes: readonly Write[]): Promise<number>
  /** Returns the rows of a statement that reads. */
  rows<R> (text: string, values: readonly unknown[]): Promise<readonly R[]>
  /**
   * Returns the owners with rows in a store, in order. Takes one step of an index for each owner, however many rows
   * the owner has.
   */
  ownersIn (table: 'records' | 'journal', store: number, page: OwnersPage): Promise<readonly string[]>
  /** Runs `work` after all earlier work with the same key has ended. */
  locked<T> (key: string, work: () => Promise<T>): Promise<T>
  /**
   * Calls `look` when all writes under way to the owner's rows in a store have settled. Resolves with its result, or
   * with undefined if such a write was submitted while it read.
   */
  undisturbed<T> (store: number, owner: string, look: () => Promise<T>): Promise<T | undefined>
}
