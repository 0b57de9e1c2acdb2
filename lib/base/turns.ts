/** Shares the event loop: whoever has used up a turn of it goes on in the next, and nobody keeps it from the others. */

/** Milliseconds that the work of one turn may take. One piece of work, and what else runs in the turn, come on top. */
const LONGEST = 10

export class Turns {
  readonly #now: () => number
  readonly #longest: number
  readonly #ended = (): void => { this.#began = undefined }
  readonly #run = (): void => { this.#runWaiting() }
  #began: number | undefined
  #waiting: (() => void)[] = []

  /** `now`: milliseconds that only grow. `longest`: milliseconds of work in one turn. */
  constructor (now: () => number = () => performance.now(), longest: number = LONGEST) {
    this.#now = now
    this.#longest = longest
  }

  /** Whether this turn of the event loop is used up. Work that can wait then waits by `later`. */
  get isSpent (): boolean {
    if (this.#began === undefined) {
      this.#began = this.#now()
      setImmediate(this.#ended)
      return false
    }
    return this.#now() - this.#began >= this.#longest
  }

  /** Runs `work` in a later turn, after all that waits already. What it throws is its own to catch. */
  later (work: () => void): void {
    if (this.#waiting.push(work) === 1) setImmediate(this.#run)
  }

  #runWaiting (): void {
    this.#began = this.#now()
    setImmediate(this.#ended)
    const waiting = this.#waiting
    let next = 0
    while (next < waiting.length && (next === 0 || !this.isSpent)) waiting[next++]?.()
    this.#waiting = waiting.slice(next)
    if (this.#waiting.length > 0) setImmediate(this.#run)
  }
}
