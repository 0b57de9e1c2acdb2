/** Commit numbers: what has settled, and who waits for which. The same for every driver. */
import type { Turns } from '../base/turns.js'

export class Commits {
  #last = 0
  #settled = 0
  /** Waits in the order of numbers, each list in the order of asking. */
  readonly #waits = new Map<number, ((error: Error | undefined) => void)[]>()
  #trouble: Error | undefined

  /** The number of the next commit. */
  next (): number { return ++this.#last }
  get last (): number { return this.#last }
  get settled (): number { return this.#settled }
  /** Why the last commit failed; undefined where it did not. */
  get trouble (): Error | undefined { return this.#trouble }

  after (number: number, then: (error: Error | undefined) => void): void {
    if (number <= this.#settled) {
      then(undefined)
      return
    }
    const waits = this.#waits.get(number)
    if (waits === undefined) this.#waits.set(number, [then])
    else waits.push(then)
  }

  /** The next number in turn has settled; those who wait for it run. Numbers settle in order. */
  settle (error: Error | undefined): void {
    const number = ++this.#settled
    this.#trouble = error
    const waits = this.#waits.get(number)
    this.#waits.delete(number)
    if (waits === undefined) return
    for (const then of waits) {
      try {
        then(error)
      } catch (thrown) {
        // A defect of one who waits is nothing to the others: the process hears of it as of any error that nobody catches.
        queueMicrotask(() => { throw thrown })
      }
    }
  }

  /** Resolves once all that has a number now has settled. */
  flush (): Promise<void> {
    return new Promise(resolve => { this.after(this.#last, () => { resolve() }) })
  }
}

/** Commits that settle before what they have resolved runs, and its time counts. */
const AT_ONCE = 16

/**
 * Settles what a writer answers, in its order. One answer can hold a thousand commits, and each lets somebody go on: others have their
 * turns of the event loop in between. Without `turns` all of them settle at once.
 */
export class Settling<R> {
  readonly #turns: Turns | undefined
  readonly #settle: (result: R) => void
  readonly #run = (): void => { this.#runSome() }
  #results: R[] = []
  #next = 0

  /** `settle`: must not throw. */
  constructor (turns: Turns | undefined, settle: (result: R) => void) {
    this.#turns = turns
    this.#settle = settle
  }

  /** Answers that have come, and have not settled. */
  get length (): number { return this.#results.length - this.#next }

  push (results: readonly R[]): void {
    const isIdle = this.length === 0
    for (const result of results) this.#results.push(result)
    if (!isIdle) return
    if (this.#turns?.isSpent === true) this.#turns.later(this.#run)
    else this.#runSome()
  }

  #runSome (): void {
    const end = this.#turns === undefined ? Infinity : this.#next + AT_ONCE
    while (this.#next < Math.min(end, this.#results.length)) {
      // Counted first: whoever goes on may cause the next answer.
      const result = this.#results[this.#next++]
      if (result !== undefined) this.#settle(result)
    }
    if (this.#next < this.#results.length) {
      queueMicrotask(() => { this.#goOn() })
      return
    }
    this.#results = []
    this.#next = 0
  }

  #goOn (): void {
    if (this.#turns?.isSpent === true) this.#turns.later(this.#run)
    else this.#runSome()
  }
}
