/** The contract of logs: entries that are written often, live for a short time, and are read after a restart. */
import type { Reading, Shape, Write } from './store.js'

/** An entry. `number` names it in its log. */
export interface LogEntry<V> { readonly owner: string, readonly number: number, readonly value: V }

/** The bytes that a log holds, with its dead entries, and the number of its segments. */
export interface LogSize { readonly bytes: number, readonly segments: number }

/**
 * A log. All entries of one turn of the event loop are one row of the database, so that an entry costs little to write
 * and to remove. A log holds at most twice the bytes of its live entries, and 256 KiB; after very
 * many entries were removed together, it shrinks to that with the next writes. Values are JSON.
 */
export interface Log<V> {
  /** Returns a number for a new entry: higher than those of all entries that were there at the start, or came since. */
  next (): number
  /**
   * Appends an entry. One with a key takes the place of the earlier one of the same owner and key; of several in one
   * turn, such as counters, only the last is written.
   */
  appending (owner: string, number: number, value: V, key?: string): Write
  /** Removes entries; numbers that are not there are ignored. */
  removing (numbers: readonly number[]): Write
  /** Removes all entries of the owner in this log. */
  clearing (owner: string): Write
  /**
   * Yields the live entries of all owners, those of one owner in no certain order: the order of their numbers is that
   * in which `next` gave them. An entry that cannot be read is put aside.
   */
  entries (): AsyncGenerator<LogEntry<V>>
  size (): Promise<LogSize>
}

/** Declares a log. An entry that cannot be read is always put aside. */
export function log<V> (
  version: number, upgrade?: (old: unknown, from: number) => unknown, reading: Pick<Reading, 'check'> = {},
): Shape<Log<V>> {
  return { kind: 'log', version, upgrade, check: reading.check, unreadable: 'moved' }
}
