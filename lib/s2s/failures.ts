/** Domains to which there was no way: they are left alone for a while, longer each time. */
import { Cache } from '../base/cache.js'
import type { Clock } from '../base/clock.js'
import type { LinkError } from './world.js'

interface Failure { readonly error: LinkError, readonly until: number, readonly times: number }

/** Pairs of domains that are remembered. */
const MOST = 10_000
/** After a failure a domain is left alone for so long, in milliseconds; doubled each time, and by chance a quarter more or less. */
const FIRST_REST = 5000
const LONGEST_REST = 300_000

export class Failures {
  readonly #clock: Clock
  readonly #chance: () => number
  readonly #failures = new Cache<string, Failure>({ max: MOST })

  /** `chance`: from 0 to 1. */
  constructor (clock: Clock, chance: () => number) {
    this.#clock = clock
    this.#chance = chance
  }

  /** One more of this pair. Answers with the milliseconds for which it is left alone. */
  add (pair: string, error: LinkError): number {
    const times = (this.#failures.get(pair)?.times ?? 0) + 1
    const rest = Math.min(LONGEST_REST, FIRST_REST * 2 ** Math.min(times - 1, 16)) * (0.75 + this.#chance() / 2)
    this.#failures.set(pair, { error, until: this.#clock.now() + rest, times })
    return rest
  }

  /** Why the pair is left alone; undefined where it is not. */
  of (pair: string): LinkError | undefined {
    const failure = this.#failures.get(pair)
    return failure !== undefined && this.#clock.now() < failure.until ? failure.error : undefined
  }

  /** There is a way again. */
  forget (pair: string): void { this.#failures.delete(pair) }

  /** Each pair that has failed last, and why. */
  entries (): readonly (readonly [string, LinkError])[] {
    return [...this.#failures.entries()].map(([pair, { error }]) => [pair, error])
  }
}
