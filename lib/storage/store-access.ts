/** The part of a storage that opens stores and commits writes. */
import type { Shape, Write } from './store.js'

export interface StoreAccess {
  /**
   * Opens the store with this name (`module.store`), and upgrades it if its stored version is older. Throws if the
   * stored version is newer than the shape's.
   */
  open<S> (name: string, shape: Shape<S>): Promise<S>
  /**
   * Hands the writes to the writer as one transaction, which it may group with the others of this turn of the event
   * loop. Returns their commit number, which is one more than the last. Either all of them are stored or none.
   */
  submit (writes: readonly Write[]): number
  /**
   * Calls `then` when commit `number` and all before it have settled, at once if they already have, with the error if
   * `number` failed. Calls are made in the order of numbers, and for one number in the order of registration.
   */
  after (number: number, then: (error: Error | undefined) => void): void
}
