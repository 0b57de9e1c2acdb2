/** A cache that many fill, bounded in bytes for each of them and over all: whoever fills it loses what is theirs, not what is others'. */
import { Ledger, type Share } from './ledger.js'

interface Item<V> { readonly value: V, readonly size: number }
interface Group<V> extends Share { readonly name: string, readonly items: Map<string, Item<V>> }

/** What a cache may hold, in bytes: of one group, and of all. `sizeOf`: bytes of one entry. */
export interface FairBounds<V> { readonly each: number, readonly all: number, readonly sizeOf: (key: string, value: V) => number }

export class FairCache<V> {
  readonly #bounds: FairBounds<V>
  readonly #groups = new Map<string, Group<V>>()
  readonly #ledger: Ledger<Group<V>>
  #size = 0

  constructor (bounds: FairBounds<V>) {
    this.#bounds = bounds
    this.#ledger = new Ledger(bounds.all, group => { this.#forgetOldest(group) }, 1)
  }

  /** Entries of all groups. */
  get size (): number { return this.#size }
  /** What they hold together. */
  get bytes (): number { return this.#ledger.bytes }

  /** The value; it counts as used just now. */
  get (group: string, key: string): V | undefined {
    const items = this.#groups.get(group)?.items
    const item = items?.get(key)
    if (items === undefined || item === undefined) return undefined
    items.delete(key)
    items.set(key, item)
    return item.value
  }

  /** Keeps it. Of its group, then of the group that holds most, what was not used for longest goes. */
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
