/** Rates: a token bucket that says how long to wait. Nothing is lost, it is only read later. */
import type { Clock } from './clock.js'

export class TokenBucket {
  readonly #clock: Clock
  readonly #rate: number
  readonly #burst: number
  #tokens: number
  #at: number

  /** `rate`: so many a second in the long run. `burst`: so many at once after a rest. */
  constructor (clock: Clock, rate: number, burst: number) {
    this.#clock = clock
    this.#rate = rate
    this.#burst = burst
    this.#tokens = burst
    this.#at = clock.now()
  }

  /**
   * Takes `amount` for what has not come yet, unless it would have to wait for longer than that: undefined, and nothing is taken, or a
   * flood of what is refused would keep the door shut for everybody else.
   */
  claim (amount: number, longest: number): number | undefined {
    const wait = this.take(amount)
    if (wait <= longest) return wait
    this.#tokens += amount
    return undefined
  }

  /** Takes `amount`, which has come already; answers how many milliseconds to wait before more may come, 0 for none. */
  take (amount: number): number {
    const now = this.#clock.now()
    // A clock that was set back gives nothing.
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, now - this.#at) * this.#rate / 1000) - amount
    this.#at = now
    return this.#tokens >= 0 ? 0 : Math.ceil(-this.#tokens * 1000 / this.#rate)
  }
}
