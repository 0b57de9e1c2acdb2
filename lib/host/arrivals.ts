/** The order in which the stanzas of one stream are settled: as they came, also where one of them waits and the next does not. */

/** One stanza's place. */
export interface Arrival {
  /** All that came before it has been settled. */
  readonly isFirst: boolean
  /** Runs once all that came before has been settled; at once where it has. One waits here at a time. */
  whenFirst (run: () => void): void
  /** Runs `settle` once all that came before has been settled. Only the first call counts; those after it run at once. */
  settle (settle: () => void): void
}

export class Arrivals {
  readonly #settled: () => void
  readonly #failed: (error: unknown) => void
  readonly #open: Place[] = []

  /**
   * `settled` is told as each one's turn comes, right before it is settled. `failed` hears what the settling of one throws: that is not the
   * fault of those who wait with it, and their turn comes all the same.
   */
  constructor (settled: () => void, failed: (error: unknown) => void) {
    this.#settled = settled
    this.#failed = failed
  }

  /** Nothing that has come is unsettled. */
  get isClear (): boolean { return this.#open.length === 0 }

  arrive (): Arrival {
    const place = new Place(this, true)
    this.#open.push(place)
    return place
  }

  /** Runs once all that has come so far is settled; at once where it is. */
  behind (run: () => void): void {
    if (this.#open.length === 0) { run(); return }
    const place = new Place(this, false)
    place.work = run
    this.#open.push(place)
  }

  /** Whether this is the next to be settled. */
  isNext (place: Arrival): boolean { return this.#open[0] === place }

  /** Settles those whose turn has come. */
  drain (): void {
    for (let first = this.#open[0]; first !== undefined; first = this.#open[0]) {
      const { work } = first
      if (work !== undefined) this.#open.shift()
      try {
        if (work === undefined) first.comes()
        else {
          if (first.isCounted) this.#settled()
          first.comes()
          work()
        }
      } catch (error) {
        this.#failed(error)
      }
      if (work === undefined) return
    }
  }
}

class Place implements Arrival {
  readonly #arrivals: Arrivals
  readonly isCounted: boolean
  work: (() => void) | undefined
  #awaiting: (() => void) | undefined

  constructor (arrivals: Arrivals, isCounted: boolean) {
    this.#arrivals = arrivals
    this.isCounted = isCounted
    this.work = undefined
    this.#awaiting = undefined
  }

  get isFirst (): boolean { return this.#arrivals.isNext(this) }

  whenFirst (run: () => void): void {
    if (this.isFirst || this.work !== undefined) run()
    else this.#awaiting = run
  }

  /** Its turn has come. */
  comes (): void {
    const awaiting = this.#awaiting
    this.#awaiting = undefined
    awaiting?.()
  }

  settle (settle: () => void): void {
    if (this.work !== undefined) { settle(); return }
    this.work = settle
    this.#arrivals.drain()
  }
}
