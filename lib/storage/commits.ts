/** Commit numbers: what has settled, and who waits for which. The same for every driver. */

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
