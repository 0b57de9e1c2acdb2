/** Pairs of domains that could not be connected. Each is left alone for a while, longer after each failure. */
import { Cache } from '../../base/cache.js'
import type { Clock } from '../../base/clock.js'
import type { LinkError } from '../ground/link-error.js'

interface Failure { readonly error: LinkError, readonly until: number, readonly times: number }

/** The most pairs of domains that are remembered. */
const MOST = 10_000
/**
 * How long a pair is left alone after its first failure, in milliseconds. Doubles each time; varies at random by a
 * quarter.
 */
const FIRST_REST = 5000
const LONGEST_REST = 300_000

export class Failures {
  readonly #clock: Clock
  readonly #chance: () => number
  readonly #failures = new Cache<string, Failure>({ max: MOST })

  /** `chance`: returns a random number from 0 to 1. */
  constructor (clock: Clock, chance: () => number) {
    this.#clock = clock
    this.#chance = chance
  }

  /** Adds a failure of a pair. Returns how long the pair is left alone, in milliseconds. */
  add (pair: string, error: LinkError): number {
    const times = (this.#failures.get(pair)?.times ?? 0) + 1
    const rest = Math.min(LONGEST_REST, FIRST_REST * 2 ** Math.min(times - 1, 16)) * (0.75 + this.#chance() / 2)
    this.#failures.set(pair, { error, until: this.#clock.now() + rest, times })
    return rest
  }

  /** Returns why the pair is left alone; undefined if it is not. */
  of (pair: string): LinkError | undefined {
    const failure = this.#failures.get(pair)
    return failure !== undefined && this.#clock.now() < failure.until ? failure.error : undefined
  }

  /** Forgets a pair that can be reached again. */
  forget (pair: string): void { this.#failures.delete(pair) }

  /** Returns each pair whose last attempt failed, with the reason. */
  entries (): readonly (readonly [string, LinkError])[] {
    return [...this.#failures.entries()].map(([pair, { error }]) => [pair, error])
  }
}
