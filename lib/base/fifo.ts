/** A queue: the first item in is the first out, at the same cost whatever the length. Its owner bounds it. */

/** The most empty places at the front. With more, the queue is copied without them once they are half of it. */
const SLACK = 64

export class Fifo<T extends NonNullable<unknown>> {
  /** The places before `#head` are empty: a removed item is held no longer, whatever its owner counts. */
  #items: (T | undefined)[] = []
  #head = 0

  get length (): number { return this.#items.length - this.#head }
  get first (): T | undefined { return this.#items[this.#head] }
  get last (): T | undefined { return this.#items.at(-1) }

  /** Returns the item at an index, counted from the first one. */
  at (index: number): T | undefined { return this.#items[this.#head + index] }

  /** Returns all items in order. */
  all (): readonly T[] { return this.#from(this.#head) }

  push (item: T): void { this.#items.push(item) }

  /** Adds an item before all others. If nothing was removed before, all of them are moved. */
  unshift (item: T): void {
    if (this.#head === 0) this.#items.unshift(item)
    else this.#items[--this.#head] = item
  }

  /** Removes and returns the first item. */
  shift (): T | undefined {
    const items = this.#items
    const head = this.#head
    if (head === items.length) return undefined
    const item = items[head]
    items[head] = undefined
    this.#head = head + 1
    if (head >= SLACK || head + 1 === items.length) this.#compact()
    return item
  }

  /** Removes and returns the last item. */
  pop (): T | undefined {
    const item = this.#items.pop()
    this.#compact()
    return item
  }

  /** Removes and returns the first `count` items, or all if there are fewer. */
  take (count = this.length): readonly T[] {
    const items = this.#items
    const taken = this.#from(this.#head, this.#head + count)
    items.fill(undefined, this.#head, this.#head += taken.length)
    if (this.#head > SLACK || this.#head === items.length) this.#compact()
    return taken
  }

  /** Removes all items. */
  clear (): void {
    this.#items = []
    this.#head = 0
  }

  #from (start: number, end?: number): T[] {
    return this.#items.slice(start, end).filter(item => item !== undefined)
  }

  /** Copies the queue without the empty places, once they are half of it. */
  #compact (): void {
    if (this.#head * 2 <= this.#items.length) return
    this.#items = this.#items.slice(this.#head)
    this.#head = 0
  }
}
