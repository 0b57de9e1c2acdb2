/**
 * A bounded cache by text of the entries that were used recently, in two generations: cheaper than a strict LRU cache,
 * and nearly as good.
 */
export class TwoGenerationCache<T> {
  readonly #half: number
  #young = new Map<string, T>()
  #old = new Map<string, T>()

  /** `bound`: the most entries that the cache holds. */
  constructor (bound: number) {
    this.#half = Math.max(1, Math.floor(bound / 2))
  }

  get (text: string): T | undefined {
    const young = this.#young.get(text)
    if (young !== undefined) return young
    const old = this.#old.get(text)
    if (old !== undefined) this.#put(text, old)
    return old
  }

  /** Keeps `text` itself, which must not be a slice: a slice would keep the larger string in memory. */
  set (text: string, value: T): void {
    this.#put(text, value)
  }

  /** The number of entries, never more than the bound. */
  get size (): number { return this.#young.size + this.#old.size }

  #put (text: string, value: T): void {
    this.#old.delete(text)
    if (this.#young.size >= this.#half) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(text, value)
  }
}
