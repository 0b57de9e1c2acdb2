/** The parts that the stores in memory share: writes that are closures, and the order of texts. */
import type { UnreadableItems } from './aside.js'
import type { Write } from './store.js'

/** A write with the closure that performs it. */
export interface MemoryWrite extends Write { readonly run: () => void }

/** The storage in memory, as its stores see it. */
export interface MemoryHome {
  readonly aside: UnreadableItems
  /** Commits one write by itself; resolves when it is stored. */
  put (write: Write): Promise<void>
  /** Resolves with the result of `find`: now, or when the reads are released. */
  read<T> (find: () => T): Promise<T>
}

/** Returns a write of the store with this name. */
export function memoryWrite (store: string, run: () => void): MemoryWrite { return { store, run } }

/** Compares texts in the order in which databases have them. */
export function byCodePoint (a: string, b: string): number { return Buffer.compare(Buffer.from(a), Buffer.from(b)) }

/** Returns the value of a key; makes one if there is none. */
export function found<T> (map: Map<string, T>, key: string, make: () => T): T {
  const old = map.get(key)
  if (old !== undefined) return old
  const fresh = make()
  map.set(key, fresh)
  return fresh
}
