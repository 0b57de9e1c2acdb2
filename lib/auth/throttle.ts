/** Slows down those who guess passwords, and nobody else: an owner at another address is not kept waiting. */
import { Cache } from '../base/cache.js'
import type { Clock } from '../base/clock.js'
import { networkOf } from '../base/network.js'

export interface ThrottleSettings {
  readonly clock: Clock
  /** The wait after the first failure, in milliseconds; it doubles with each further one. */
  readonly delay: number
  /** No wait is longer. */
  readonly longest?: number
  /** Failures are forgotten so long after the last of them. */
  readonly forget: number
  /** Failures under any names that an address has free: many people may share it. */
  readonly free?: number
  /** How many addresses, and pairs of account and address, are remembered. */
  readonly entries?: number
}

/** Attempts of one account from one address that may be under way at once, as long as none has failed. */
const AT_ONCE = 8

interface Failures {
  readonly count: number
  readonly last: number
}

export class Throttle {
  readonly #clock: Clock
  readonly #delay: number
  readonly #longest: number
  readonly #forget: number
  readonly #free: number
  /** By account and address: who guesses one account's password is slowed for this account, and its owner elsewhere is not. */
  readonly #pairs: Cache<string, Failures>
  /** By address alone: who tries one password with many accounts. */
  readonly #addresses: Cache<string, Failures>
  /** Attempts under way, by pair: as many guesses at a time would be as many for the wait of one. */
  readonly #trying = new Map<string, number>()

  constructor (how: ThrottleSettings) {
    this.#clock = how.clock
    this.#delay = how.delay
    this.#longest = how.longest ?? 60_000
    this.#forget = how.forget
    this.#free = how.free ?? 10
    this.#pairs = new Cache({ max: how.entries ?? 20_000 })
    this.#addresses = new Cache({ max: how.entries ?? 20_000 })
  }

  /** Milliseconds to wait before an attempt of this account (its bare address) from this IP address is looked at. */
  delayFor (account: string, address: string): number {
    const network = networkOf(address)
    const key = `${network} ${account}`
    const pair = this.#remembered(this.#pairs, key)
    const all = this.#remembered(this.#addresses, network)
    const trying = this.#trying.get(key) ?? 0
    const isCrowded = trying >= (pair === undefined ? AT_ONCE : 1)
    return Math.max(this.#wait(pair, 0), this.#wait(all, this.#free), isCrowded ? this.#delay : 0)
  }

  /** An attempt is under way, until what this answers with is called: once, when it is decided or given up. */
  begins (account: string, address: string): () => void {
    const key = `${networkOf(address)} ${account}`
    this.#trying.set(key, (this.#trying.get(key) ?? 0) + 1)
    return () => {
      const left = (this.#trying.get(key) ?? 1) - 1
      if (left > 0) this.#trying.set(key, left)
      else this.#trying.delete(key)
    }
  }

  /** An attempt with wrong credentials. */
  failed (account: string, address: string): void {
    const network = networkOf(address)
    this.#add(this.#pairs, `${network} ${account}`)
    this.#add(this.#addresses, network)
  }

  /** The owner is here: only this pair is cleared, or an account of their own would let them guess on. */
  succeeded (account: string, address: string): void {
    this.#pairs.delete(`${networkOf(address)} ${account}`)
  }

  #wait (failures: Failures | undefined, free: number): number {
    const count = (failures?.count ?? 0) - free
    if (failures === undefined || count <= 0) return 0
    // 2 ** 30 is beyond every bound: the exponent must not run away.
    const delay = Math.min(this.#delay * 2 ** Math.min(count - 1, 30), this.#longest)
    return Math.max(0, failures.last + delay - this.#clock.now())
  }

  #add (cache: Cache<string, Failures>, key: string): void {
    const count = this.#remembered(cache, key)?.count ?? 0
    cache.set(key, { count: count + 1, last: this.#clock.now() })
  }

  #remembered (cache: Cache<string, Failures>, key: string): Failures | undefined {
    const failures = cache.get(key)
    return failures === undefined || this.#clock.now() >= failures.last + this.#forget ? undefined : failures
  }
}
