/** Slows down those who guess passwords, and nobody else: an owner at another address is not kept waiting. */
import ipaddr from 'ipaddr.js'
import { Cache } from '../base/cache.js'
import type { Clock } from '../base/clock.js'

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
    const pair = this.#remembered(this.#pairs, `${network} ${account}`)
    const all = this.#remembered(this.#addresses, network)
    return Math.max(this.#wait(pair, 0), this.#wait(all, this.#free))
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

/** An IPv4 address itself; of an IPv6 address its /64, for that is what one customer has. What is no IP address stands for itself. */
export function networkOf (address: string): string {
  const [plain = address] = address.split('%', 1)
  if (!ipaddr.isValid(plain)) return address
  const parsed = ipaddr.process(plain)
  if (!(parsed instanceof ipaddr.IPv6)) return parsed.toString()
  return `${parsed.parts.slice(0, 4).map(part => part.toString(16)).join(':')}::/64`
}
