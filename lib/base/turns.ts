/** Shares the event loop: whoever has used up a turn of it goes on in the next, and nobody keeps it from the others. */
import type { Maybe } from './maybe.js'

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

/** Items that are worked on before anybody else gets a word in. */
const AT_ONCE = 32

/**
 * Does `work` for each item in order, in as many turns of the event loop as it takes; at once, and without a promise, if the items are
 * few or there is nobody to share with. Throws, or rejects with, what `work` throws; the items after that one are left out.
 */
export function inTurns<T> (turns: Turns | undefined, items: readonly T[], work: (item: T) => void): Maybe<void> {
  const first = turns === undefined ? items.length : Math.min(items.length, AT_ONCE)
  for (const item of items.slice(0, first)) work(item)
  return turns === undefined || first === items.length ? undefined : goOn(turns, items, first, work)
}

async function goOn<T> (turns: Turns, items: readonly T[], from: number, work: (item: T) => void): Promise<void> {
  for (let next = from; next < items.length; next += AT_ONCE) {
    await Promise.resolve() // what the items before have begun goes on first, and counts
    if (turns.isSpent) await new Promise<void>(resolve => { turns.later(resolve) })
    for (const item of items.slice(next, next + AT_ONCE)) work(item)
  }
}
