/** Commit numbers for every driver: which commits have settled, and which callbacks wait for them. */
import type { Turns } from '../base/turns.js'

export class Commits {
  #last = 0
  #settled = 0
  /** Waiting callbacks by commit number, in the order in which they were added. */
  readonly #waits = new Map<number, ((error: Error | undefined) => void)[]>()
  #trouble: Error | undefined

  /** Returns the number of the next commit. */
  next (): number { return ++this.#last }
  get last (): number { return this.#last }
  get settled (): number { return this.#settled }
  /** Why the last commit failed; undefined if it succeeded. */
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

  /** Settles the next commit number and runs the callbacks that wait for it. Commit numbers settle in order. */
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
        // An error in one callback must not affect the others: it becomes an uncaught exception of the process.
        queueMicrotask(() => { throw thrown })
      }
    }
  }

  /** Resolves when every commit that has a number now has settled. */
  flush (): Promise<void> {
    return new Promise(resolve => { this.after(this.#last, () => { resolve() }) })
  }
}

/** The number of commits that settle before the promises that they resolved run, so that their time counts. */
const AT_ONCE = 16

/**
 * Settles the results of a writer in their order. One answer can hold a thousand commits, and each lets a passage go
 * on; other work gets its turns of the event loop in between. Without `turns` all commits settle at once.
 */
export class Settling<R> {
  readonly #turns: Turns | undefined
  readonly #settle: (result: R) => void
  readonly #run = (): void => { this.#runSome() }
  #results: R[] = []
  #next = 0

  /** `settle` must not throw. */
  constructor (turns: Turns | undefined, settle: (result: R) => void) {
    this.#turns = turns
    this.#settle = settle
  }

  /** The number of results that have arrived and have not settled. */
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
      // Advance first: `settle` may cause the next answer.
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
