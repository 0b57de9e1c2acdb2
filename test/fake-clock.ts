/** Time passes when the test says so. */
import type { Clock, Timer } from '../lib/base/clock.js'

interface Waiting { at: number, readonly every: number | undefined, readonly run: () => void, readonly order: number }

export class FakeClock implements Clock {
  #now: number
  #order = 0
  readonly #waiting = new Set<Waiting>()

  constructor (now = Date.UTC(2026, 0, 1)) { this.#now = now }

  now (): number { return this.#now }
  /** How many timers stand: a test that ends with some has a leak. */
  get timers (): number { return this.#waiting.size }

  after (ms: number, run: () => void): Timer { return this.#add(ms, undefined, run) }
  every (ms: number, run: () => void): Timer { return this.#add(ms, ms, run) }

  /** Lets `ms` milliseconds pass: timers run in order, each at its own time. */
  pass (ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = this.#next(end)
      if (next === undefined) break
      this.#now = next.at
      if (next.every === undefined) this.#waiting.delete(next)
      else next.at += Math.max(next.every, 1)
      next.run()
    }
    this.#now = end
  }

  #next (end: number): Waiting | undefined {
    let first: Waiting | undefined
    for (const waiting of this.#waiting) {
      if (waiting.at > end) continue
      if (first === undefined || waiting.at < first.at || waiting.at === first.at && waiting.order < first.order) first = waiting
    }
    return first
  }

  #add (ms: number, every: number | undefined, run: () => void): Timer {
    const waiting = { at: this.#now + ms, every, run, order: this.#order++ }
    this.#waiting.add(waiting)
    return { cancel: () => { this.#waiting.delete(waiting) } }
  }
}
