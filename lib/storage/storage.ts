/** The storage of one process, as drivers implement it. */
import type { UnreadableItems } from './aside.js'
import type { Write } from './store.js'
import type { StoreAccess } from './store-access.js'

/** The storage of one process: one data folder, or one database. */
export interface Storage extends StoreAccess {
  /** The number of the commit that was submitted last; 0 before the first. */
  readonly submitted: number
  /** The highest number for which this commit and all before it have settled, whether stored or failed. */
  readonly settled: number
  /** Resolves when all that was submitted has settled. */
  flush (): Promise<void>
  /** Returns a write that removes an owner's rows from every store, including those that no module has opened. */
  erasing (owner: string): Write
  /** The unreadable items of this storage. */
  readonly aside: UnreadableItems
  /** Why the last commit failed; undefined if it succeeded. The next commit that succeeds clears this. */
  readonly trouble: Error | undefined
  /**
   * Writes a consistent copy while the server runs. A driver whose database has a better tool throws an error that
   * names it.
   */
  backup (file: string): Promise<void>
  close (): Promise<void>
}
