/** Shares the event loop: work that has used up a turn continues in a later one, so that others run in between. */
import type { Maybe } from './maybe.js'

/**
 * How long the work of one turn may take, in milliseconds. The last piece of work, and other work in the turn, may add
 * to it.
 */
const LONGEST = 5

export class Turns {
  readonly #now: () => number
  readonly #longest: number
  readonly #ended = (): void => { this.#began = undefined }
  readonly #run = (): void => { this.#runWaiting() }
  #began: number | undefined
  #waiting: (() => void)[] = []

  /** `now` returns milliseconds and never goes back. `longest` is the work of one turn, in milliseconds. */
  constructor (now: () => number = () => performance.now(), longest: number = LONGEST) {
    this.#now = now
    this.#longest = longest
  }

  /** True if this turn of the event loop is used up. Work that can wait then uses `later`. */
  get isSpent (): boolean {
    if (this.#began === undefined) {
      this.#began = this.#now()
      setImmediate(this.#ended)
      return false
    }
    return this.#now() - this.#began >= this.#longest
  }

  /** Runs `work` in a later turn, after the work that waits already. `work` must not throw. */
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

/** Items that are processed without a pause. */
const AT_ONCE = 32

/**
 * Runs `work` for each item in order, in as many turns of the event loop as needed. `atOnce` items, or all without
 * `turns`, are processed at once, without a promise. Throws, or rejects with, what `work` throws; the items after that
 * one are skipped.
 */
export function inTurns<T> (
  turns: Turns | undefined, items: readonly T[], work: (item: T) => void, atOnce: number = AT_ONCE,
): Maybe<void> {
  const first = turns === undefined ? items.length : Math.min(items.length, atOnce)
  for (const item of items.slice(0, first)) work(item)
  return turns === undefined || first === items.length ? undefined : goOn(turns, items.slice(first), work, atOnce)
}

async function goOn<T> (turns: Turns, items: readonly T[], work: (item: T) => void, atOnce: number): Promise<void> {
  for (let next = 0; next < items.length; next += atOnce) {
    await Promise.resolve() // work that the last items have begun continues first, and counts
    if (turns.isSpent) await new Promise<void>(resolve => { turns.later(resolve) })
    for (const item of items.slice(next, next + atOnce)) work(item)
  }
}
