/** A clock whose time passes only when the test says so. */
import type { Clock, Timer } from '../lib/base/clock.js'

interface Waiting { at: number, readonly every: number | undefined, readonly run: () => void, readonly order: number }

export class FakeClock implements Clock {
  #now: number
  #order = 0
  readonly #waiting = new Set<Waiting>()

  constructor (now = Date.UTC(2026, 0, 1)) { this.#now = now }

  now (): number { return this.#now }
  /** The number of running timers. A test that ends with any has a leak. */
  get timers (): number { return this.#waiting.size }

  after (ms: number, run: () => void): Timer { return this.#add(ms, undefined, run) }
  every (ms: number, run: () => void): Timer { return this.#add(ms, ms, run) }

  /** Lets `ms` milliseconds pass. Timers run in order, each at its own time. */
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
      const isEarlier = first === undefined || waiting.at < first.at ||
        waiting.at === first.at && waiting.order < first.order
      if (isEarlier) first = waiting
    }
    return first
  }

  #add (ms: number, every: number | undefined, run: () => void): Timer {
    const waiting = { at: this.#now + ms, every, run, order: this.#order++ }
    this.#waiting.add(waiting)
    return { cancel: () => { this.#waiting.delete(waiting) } }
  }
}
