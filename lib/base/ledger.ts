/** Ledger: how many bytes each holder has. If all have too many, it takes from the largest. */

/** One holder. Only the ledger changes `bytes`. */
export interface Share { bytes: number }

/** The least share that is worth looking for, in bytes, unless the caller gives another. */
const LEAST = 4096

export class Ledger<S extends Share> {
  #all: number
  readonly #bounds = new Set<{ readonly all: number }>()
  readonly #take: (share: S) => void
  readonly #least: number
  /**
   * The shares of 2^n to 2^(n+1) bytes: one that is the largest, or at least half of it, is found without a look at all
   * shares.
   */
  readonly #classes: (Set<S> | undefined)[] = []
  #bytes = 0

  /**
   * `all` is the bytes that all may hold together. `take` is called for one of the largest shares and lowers it, in the
   * call or later; it is called again only when something is added. `least`: nothing is taken from a smaller share,
   * whose number must be bounded elsewhere.
   */
  constructor (all: number, take: (share: S) => void, least = LEAST) {
    this.#all = all
    this.#take = take
    this.#least = least
  }

  /** The bytes of all shares together. */
  get bytes (): number { return this.#bytes }

  /**
   * Adds a bound on the bytes of all holders. Of several bounds the largest counts. Returns a function that removes it;
   * after the last one is removed it still counts.
   */
  bound (all: number): () => void {
    const bound = { all }
    const count = (): void => {
      if (this.#bounds.size > 0) this.#all = Math.max(...[...this.#bounds].map(({ all }) => all))
    }
    this.#bounds.add(bound)
    count()
    return () => {
      this.#bounds.delete(bound)
      count()
    }
  }

  /** Changes a share by this number of bytes, which may be negative. */
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

  /** Returns the class of a share; 0 if it is too small to take from. */
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

/** One holder in a ledger of all hosts. `shrink` lowers its share, in the call or later. */
export interface SharedShare extends Share { shrink (): void }

/** A ledger that all hosts of the process share. It takes nothing until a host adds a bound. */
export class SharedLedger extends Ledger<SharedShare> {
  constructor () { super(Infinity, share => { share.shrink() }) }
}

/** The most shares of one class that are compared. */
const MOST_LOOKED = 1000
