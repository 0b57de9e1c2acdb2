/** Ledger: how many bytes each of many holds, with a bound over all that takes from whoever holds most. */

/** One holder. `bytes` is changed by the ledger alone. */
export interface Share { bytes: number }

/** What is less than this is not worth looking for, if nothing else is said: bytes. */
const LEAST = 4096

export class Ledger<S extends Share> {
  readonly #all: number
  readonly #take: (share: S) => void
  readonly #least: number
  /** Those that hold 2^n to 2^(n+1) bytes: to find one that holds most, or at least half of that, nobody looks at all of them. */
  readonly #classes: (Set<S> | undefined)[] = []
  #bytes = 0

  /**
   * `all`: bytes that all may hold together. `take` is called for one who holds most, and lowers its share, within the call or later; it
   * is called again only when something is added. `least`: nothing is taken from a share that is smaller; the number of those has to be
   * bounded elsewhere.
   */
  constructor (all: number, take: (share: S) => void, least = LEAST) {
    this.#all = all
    this.#take = take
    this.#least = least
  }

  /** What all hold together. */
  get bytes (): number { return this.#bytes }

  /** The share grows by this number of bytes, or shrinks if it is negative. */
  change (share: S, by: number): void {
    if (by === 0) return
    const from = this.#classOf(share.bytes)
    share.bytes += by
    this.#bytes += by
    const to = this.#classOf(share.bytes)
    if (from !== to) {
      if (from > 0) this.#classes[from]?.delete(share)
      if (to > 0) (this.#classes[to] ??= new Set()).add(share)
    }
    while (by > 0 && this.#bytes > this.#all) {
      const largest = this.#largest()
      if (largest === undefined) return
      const before = this.#bytes
      this.#take(largest)
      if (this.#bytes >= before) return
    }
  }

  /** 0: too little to be taken from. */
  #classOf (bytes: number): number { return bytes < this.#least ? 0 : 1 + Math.floor(Math.log2(bytes)) }

  #largest (): S | undefined {
    const top = this.#classes.findLast(shares => shares !== undefined && shares.size > 0)
    let largest: S | undefined
    let looked = 0
    for (const share of top ?? []) {
      if (largest === undefined || share.bytes > largest.bytes) largest = share
      if (++looked === MOST_LOOKED) break
    }
    return largest
  }
}

/** Shares of one class that are compared. */
const MOST_LOOKED = 1000
