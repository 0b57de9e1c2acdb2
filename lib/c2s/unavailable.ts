/** Logs the login attempts that the server could not decide: one line a minute, not one for each attempt. */
import type { Clock } from '../base/clock.js'
import type { Fields, Logger } from '../base/logger.js'

/** The time between two lines of the log, in milliseconds. */
const QUIET = 60_000

export class UnavailableLogins {
  readonly #clock: Clock
  readonly #log: Logger
  #saidAt = -Infinity
  #unsaid = 0

  constructor (clock: Clock, log: Logger) {
    this.#clock = clock
    this.#log = log
  }

  /**
   * Logs an attempt that ended with temporary-auth-failure: at most one line a minute, with the number of attempts
   * since the last one. `error` is a defect, logged with its stack; undefined if `reason` says enough, as in a storage
   * outage.
   */
  tell (attempt: Fields, reason: string, error: unknown): void {
    this.#unsaid++
    const now = this.#clock.now()
    if (now < this.#saidAt + QUIET) return
    this.#saidAt = now
    this.#log.warn('login unavailable', { ...attempt, reason, count: this.#unsaid })
    if (error !== undefined) this.#log.error('login not processed', { error })
    this.#unsaid = 0
  }
}
