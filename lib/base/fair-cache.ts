/**
 * A cache with many writers, bounded in bytes for each group and over all. A group that fills it loses its own entries,
 * not those of others.
 */
import { Ledger, type Share } from './ledger.js'

interface Item<V> { readonly value: V, readonly size: number }
interface Group<V> extends Share { readonly name: string, readonly items: Map<string, Item<V>> }

/** The bounds of a cache, in bytes: for one group, and over all. `sizeOf` returns the bytes of one entry. */
export interface FairBounds<V> {
  readonly each: number
  readonly all: number
  readonly sizeOf: (key: string, value: V) => number
}

export class FairCache<V> {
  readonly #bounds: FairBounds<V>
  readonly #groups = new Map<string, Group<V>>()
  readonly #ledger: Ledger<Group<V>>
  #size = 0

  constructor (bounds: FairBounds<V>) {
    this.#bounds = bounds
    this.#ledger = new Ledger(bounds.all, group => { this.#forgetOldest(group) }, 1)
  }

  /** The number of entries in all groups. */
  get size (): number { return this.#size }
  /** The bytes of all groups. */
  get bytes (): number { return this.#ledger.bytes }

  /** Returns the value, which then counts as used just now. */
  get (group: string, key: string): V | undefined {
    const items = this.#groups.get(group)?.items
    const item = items?.get(key)
    if (items === undefined || item === undefined) return undefined
    items.delete(key)
    items.set(key, item)
    return item.value
  }

  /**
   * Stores a value. If there is no room, the least recently used entries are removed: of its group, then of the largest
   * group.
   */
  set (name: string, key: string, value: V): void {
    this.delete(name, key)
    const size = this.#bounds.sizeOf(key, value)
    if (size > this.#bounds.each) return
    const group = this.#groups.get(name) ?? { bytes: 0, name, items: new Map<string, Item<V>>() }
    this.#groups.set(name, group)
    while (group.items.size > 0 && group.bytes + size > this.#bounds.each) this.#forgetOldest(group)
    this.#groups.set(name, group)
    group.items.set(key, { value, size })
    this.#size++
    this.#ledger.change(group, size)
  }

  delete (name: string, key: string): void {
    const group = this.#groups.get(name)
    if (group !== undefined) this.#forget(group, key)
  }

  #forgetOldest (group: Group<V>): void {
    for (const key of group.items.keys()) { this.#forget(group, key); return }
  }

  #forget (group: Group<V>, key: string): void {
    const item = group.items.get(key)
    if (item === undefined) return
    group.items.delete(key)
    this.#size--
    this.#ledger.change(group, -item.size)
    if (group.items.size === 0) this.#groups.delete(group.name)
  }
}
