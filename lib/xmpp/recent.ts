/** What was asked for recently, by text, within a bound: cheaper than a strict order of use, and nearly as good. */
export class Recent<T> {
  readonly #half: number
  #young = new Map<string, T>()
  #old = new Map<string, T>()

  /** `bound`: how many entries there may be at most. */
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

  /** Keeps the text as it is given: it must not be a piece of a larger one, which it would hold in memory. */
  set (text: string, value: T): void {
    this.#put(text, value)
  }

  /** How many are kept, never more than the bound. */
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
