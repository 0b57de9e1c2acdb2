/** The order in which the stanzas of one stream are settled: as they came, also where one of them waits and the next does not. */

/** One stanza's place. */
export interface Arrival {
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

  arrive (): Arrival {
    const place = new Place(this.#settled, () => { this.#drain() })
    this.#open.push(place)
    return place
  }

  /** Runs once all that has come so far is settled; at once where it is. */
  behind (run: () => void): void {
    if (this.#open.length === 0) { run(); return }
    const place = new Place(() => {}, () => {})
    place.settle(run)
    this.#open.push(place)
  }

  #drain (): void {
    for (let first = this.#open[0]; first?.work !== undefined; first = this.#open[0]) {
      this.#open.shift()
      try {
        first.begin()
        first.work()
      } catch (error) {
        this.#failed(error)
      }
    }
  }
}

class Place implements Arrival {
  readonly #ready: () => void
  /** Its turn has come. */
  readonly begin: () => void
  work: (() => void) | undefined

  constructor (begin: () => void, ready: () => void) {
    this.begin = begin
    this.#ready = ready
  }

  settle (settle: () => void): void {
    if (this.work !== undefined) { settle(); return }
    this.work = settle
    this.#ready()
  }
}
