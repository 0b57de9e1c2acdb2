/**
 * The order in which the stanzas of one stream are settled: the order of their arrival, also if one waits and the next
 * does not.
 */

/** The place of one stanza in the order of arrival. */
export interface Arrival {
  /** True if all that came before this stanza is settled. */
  readonly isFirst: boolean
  /**
   * Runs `run` after all that came before is settled; at once if it is settled already. Holds one callback at a time.
   */
  whenFirst (run: () => void): void
  /**
   * Runs `settle` after all that came before is settled. Only the first call waits; later calls run `settle` at once.
   */
  settle (settle: () => void): void
}

export class Arrivals {
  readonly #settled: () => void
  readonly #failed: (error: unknown) => void
  readonly #open: Place[] = []

  /**
   * `settled` is called right before each stanza is settled. `failed` gets an error that the settling of one stanza
   * throws; the stanzas after it are settled all the same.
   */
  constructor (settled: () => void, failed: (error: unknown) => void) {
    this.#settled = settled
    this.#failed = failed
  }

  /** True if all that has arrived is settled. */
  get isClear (): boolean { return this.#open.length === 0 }

  arrive (): Arrival {
    const place = new Place(this, true)
    this.#open.push(place)
    return place
  }

  /** Runs `run` after all that has arrived so far is settled; at once if it is settled already. */
  afterAll (run: () => void): void {
    if (this.#open.length === 0) { run(); return }
    const place = new Place(this, false)
    place.work = run
    this.#open.push(place)
  }

  /** True if this place is the next to be settled. */
  isNext (place: Arrival): boolean { return this.#open[0] === place }

  /** Settles the places whose turn has come. */
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

  /** Called when the turn of this place has come. */
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
