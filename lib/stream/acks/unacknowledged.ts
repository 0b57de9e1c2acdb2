/** The stanzas that were sent on a stream and that the peer has not acknowledged (XEP-0198 §4). */
import { Fifo } from '../../base/fifo.js'
import { counted, distance } from './counters.js'

/** An item whose size in bytes is known. `size` is given if `octets` are made each time they are read. */
export interface Sized { readonly octets: string, readonly size?: number }

/** Returns the bytes of an item. */
export function sizeOf (item: Sized): number { return item.size ?? item.octets.length }

/** Items that were sent and are not acknowledged, in order. The owner bounds it by `length` and `bytes`. */
export class Unacknowledged<T extends Sized> {
  readonly #items = new Fifo<T>()
  #acknowledged: number
  #bytes = 0

  /** `acknowledged`: the count of acknowledged items, if a stream is resumed. */
  constructor (acknowledged = 0) { this.#acknowledged = counted(acknowledged, 0) }

  get length (): number { return this.#items.length }
  get bytes (): number { return this.#bytes }
  /** The count of items that the peer has handled. */
  get acknowledged (): number { return this.#acknowledged }
  /** The count of items that were sent. */
  get sent (): number { return counted(this.#acknowledged, this.length) }

  /** The last item, if it is not acknowledged. */
  get last (): T | undefined { return this.#items.last }

  /** Returns the item at an index, counted from the first unacknowledged one. */
  at (place: number): T | undefined { return this.#items.at(place) }

  /** Adds an item that was sent. */
  push (item: T): void {
    this.#items.push(item)
    this.#bytes += sizeOf(item)
  }

  /**
   * Removes and returns the items up to the count `h`. Returns undefined if `h` is more than was sent or less than
   * before.
   */
  acknowledge (h: number): readonly T[] | undefined {
    const count = distance(this.#acknowledged, h)
    if (count > this.length) return undefined
    if (count === 0) return []
    const handled = this.#items.take(count)
    for (const item of handled) this.#bytes -= sizeOf(item)
    this.#acknowledged = h
    return handled
  }

  /** True if `acknowledge` would accept this count. */
  covers (h: number): boolean { return distance(this.#acknowledged, h) <= this.length }

  /** Returns all items, the oldest first. */
  all (): readonly T[] { return this.#items.all() }

  /**
   * Removes and returns all items. They count as sent: an earlier count, such as that of an open ping, must not cover
   * items that are added later.
   */
  take (): readonly T[] {
    this.#acknowledged = this.sent
    this.#bytes = 0
    return this.#items.take()
  }
}
