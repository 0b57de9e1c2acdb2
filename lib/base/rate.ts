/** Rates: a token bucket that says how long to wait. Nothing is lost, it is only read later. */
import { Cache } from './cache.js'
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

  /** How much may come now; less than 0 if more has come than may. */
  get level (): number {
    this.take(0)
    return this.#tokens
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

/**
 * Budgets by name, one for an account or a domain: what it has spent on one connection it has not on another, nor on the next one. A budget
 * that is held stays; of the others those are forgotten first that were used longest ago.
 */
export class Budgets {
  readonly #clock: Clock
  readonly #rate: number
  readonly #burst: number
  readonly #held = new Map<string, { readonly bucket: TokenBucket, holds: number }>()
  readonly #rested: Cache<string, TokenBucket>

  /** `rate`: units a second. `burst`: units at once after a rest. `max`: budgets that are remembered and not held. */
  constructor (clock: Clock, rate: number, burst: number, max: number) {
    this.#clock = clock
    this.#rate = rate
    this.#burst = burst
    this.#rested = new Cache({ max, maxSize: max * CHARACTERS, sizeCalculation: (_, key) => key.length + 1 })
  }

  /** Budgets that somebody holds. */
  get held (): number { return this.#held.size }

  of (name: string): TokenBucket {
    const known = this.#held.get(name)?.bucket ?? this.#rested.get(name)
    if (known !== undefined) return known
    const bucket = new TokenBucket(this.#clock, this.#rate, this.#burst)
    this.#rested.set(name, bucket)
    return bucket
  }

  /** The same, and it is held until `leave` was called as often as this. */
  hold (name: string): TokenBucket {
    const bucket = this.of(name)
    const held = this.#held.get(name)
    if (held === undefined) this.#held.set(name, { bucket, holds: 1 })
    else held.holds++
    this.#rested.delete(name)
    return bucket
  }

  leave (name: string): void {
    const held = this.#held.get(name)
    if (held === undefined || --held.holds > 0) return
    this.#held.delete(name)
    this.#rested.set(name, held.bucket)
  }
}

interface Member { holds: number, tokens: number, at: number }

/**
 * A rate that members share. Each has the same part of it for itself, and whoever needs more takes what the others leave: a member that
 * stays below its part never waits, however busy the others are. Bounded by its members.
 */
export class SharedRate {
  readonly #clock: Clock
  readonly #rate: number
  readonly #seconds: number
  readonly #least: number
  readonly #pool: TokenBucket
  readonly #members = new Map<string, Member>()

  /**
   * `rate`: a second, of all members together. `seconds`: how long a rest is made up for at once. `least`: what each member may always take
   * at once.
   */
  constructor (clock: Clock, rate: number, seconds: number, least: number) {
    this.#clock = clock
    this.#rate = rate
    this.#seconds = seconds
    this.#least = least
    this.#pool = new TokenBucket(clock, rate, rate * seconds)
  }

  get size (): number { return this.#members.size }

  /** A member is there until it has left as often as it has joined. */
  join (member: string): void {
    const known = this.#members.get(member)
    if (known !== undefined) known.holds++
    else this.#members.set(member, { holds: 1, tokens: Infinity, at: this.#clock.now() })
  }

  leave (member: string): void {
    const known = this.#members.get(member)
    if (known !== undefined && --known.holds <= 0) this.#members.delete(member)
  }

  /** Takes `amount`, which has come already, for a member; answers how many milliseconds it is to wait, 0 for none. */
  take (member: string, amount: number): number {
    const known = this.#members.get(member)
    if (known === undefined) return 0
    const now = this.#clock.now()
    const part = this.#rate / this.#members.size
    const most = Math.max(part * this.#seconds, this.#least)
    known.tokens = Math.min(most, known.tokens + Math.max(0, now - known.at) * part / 1000) - amount
    known.at = now
    const isLeft = this.#pool.take(amount) === 0
    if (known.tokens >= 0) return 0
    const wait = Math.ceil(-known.tokens * 1000 / part)
    if (!isLeft) return wait
    known.tokens = 0 // taken from what others have left: nothing is owed for that
    return 0
  }
}

/**
 * Claims on rates that many senders share: one for each group of them. A sender gets no more than is left for the others of its group, so
 * that one who takes all there is leaves room for one who has taken nothing. What is refused is not counted. Bounded in entries and
 * characters.
 */
export class FairClaims {
  readonly #clock: Clock
  readonly #window: number
  readonly #pools: Cache<string, TokenBucket>
  readonly #senders: Cache<string, { readonly used: number, readonly at: number }>

  /** `window`: milliseconds in which what a sender has taken is forgotten, bit by bit. `max`: groups, and senders, that are remembered. */
  constructor (clock: Clock, window: number, max: number) {
    this.#clock = clock
    this.#window = window
    this.#pools = new Cache({ max, maxSize: max * CHARACTERS, sizeCalculation: (_, key) => key.length + 1 })
    this.#senders = new Cache({ max, maxSize: max * CHARACTERS, sizeCalculation: (_, key) => key.length + 1 })
  }

  /** Takes one of the `most` that a group has in a window; false: there is none left for this sender. */
  claim (group: string, sender: string, most: number): boolean {
    let pool = this.#pools.get(group)
    if (pool === undefined) this.#pools.set(group, pool = new TokenBucket(this.#clock, most * 1000 / this.#window, most))
    const now = this.#clock.now()
    const before = this.#senders.get(sender)
    const used = before === undefined ? 0 : before.used * Math.exp(-Math.max(0, now - before.at) / this.#window)
    if (used + 1 > pool.level) return false
    pool.take(1)
    this.#senders.set(sender, { used: used + 1, at: now })
    return true
  }
}

/** Characters of a name, on the average of all that are remembered. */
const CHARACTERS = 200
