/** Rates: token buckets that return how long to wait. Nothing is dropped; it is only read later. */
import { Cache } from './cache.js'
import type { Clock } from './clock.js'

export class TokenBucket {
  readonly #clock: Clock
  readonly #rate: number
  readonly #burst: number
  #tokens: number
  #at: number

  /** `rate` is the amount per second in the long run. `burst` is the amount at once after a rest. */
  constructor (clock: Clock, rate: number, burst: number) {
    this.#clock = clock
    this.#rate = rate
    this.#burst = burst
    this.#tokens = burst
    this.#at = clock.now()
  }

  /**
   * Takes `amount` in advance if the wait is at most `longest`, and returns the wait, in milliseconds. Otherwise takes
   * nothing and returns undefined: else a flood of refused requests would keep out everybody else.
   */
  claim (amount: number, longest: number): number | undefined {
    const wait = this.take(amount)
    if (wait <= longest) return wait
    this.#tokens += amount
    return undefined
  }

  /** The amount that may be taken now; less than 0 if too much was taken. */
  get level (): number {
    this.take(0)
    return this.#tokens
  }

  /**
   * Takes `amount`, which has been used already. Returns how long to wait before more may be used, in milliseconds, 0
   * for no wait.
   */
  take (amount: number): number {
    const now = this.#clock.now()
    // A clock that was set back adds nothing.
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, now - this.#at) * this.#rate / 1000) - amount
    this.#at = now
    return this.#tokens >= 0 ? 0 : Math.ceil(-this.#tokens * 1000 / this.#rate)
  }
}

/**
 * Budgets by name, one for each account or domain: all its connections share it, and later ones too. A held budget
 * stays. Of the others, the least recently used is forgotten first.
 */
export class Budgets {
  readonly #clock: Clock
  readonly #rate: number
  readonly #burst: number
  readonly #held = new Map<string, { readonly bucket: TokenBucket, holds: number }>()
  readonly #rested: Cache<string, TokenBucket>

  /**
   * `rate` is units per second. `burst` is units at once after a rest. `max` is how many budgets that nobody holds are
   * remembered.
   */
  constructor (clock: Clock, rate: number, burst: number, max: number) {
    this.#clock = clock
    this.#rate = rate
    this.#burst = burst
    this.#rested = new Cache({ max, maxSize: max * CHARACTERS, sizeCalculation: (_, key) => key.length + 1 })
  }

  /** The number of held budgets. */
  get held (): number { return this.#held.size }

  of (name: string): TokenBucket {
    const known = this.#held.get(name)?.bucket ?? this.#rested.get(name)
    if (known !== undefined) return known
    const bucket = new TokenBucket(this.#clock, this.#rate, this.#burst)
    this.#rested.set(name, bucket)
    return bucket
  }

  /** Returns a budget, and holds it until `leave` was called as often as this. */
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
 * A rate that members share. Each member has an equal part of it, and may take what the others leave. A member that
 * stays below its part never waits, however busy the others are. Bounded by the number of members.
 */
export class SharedRate {
  readonly #clock: Clock
  readonly #rate: number
  readonly #seconds: number
  readonly #least: number
  readonly #pool: TokenBucket
  readonly #members = new Map<string, Member>()

  /**
   * `rate` is the amount per second, of all members together. `seconds`: unused rate is saved for this time. `least` is
   * what each member may always take at once.
   */
  constructor (clock: Clock, rate: number, seconds: number, least: number) {
    this.#clock = clock
    this.#rate = rate
    this.#seconds = seconds
    this.#least = least
    this.#pool = new TokenBucket(clock, rate, rate * seconds)
  }

  get size (): number { return this.#members.size }

  /** Adds a member. It stays until it has left as often as it has joined. */
  join (member: string): void {
    const known = this.#members.get(member)
    if (known !== undefined) known.holds++
    else this.#members.set(member, { holds: 1, tokens: Infinity, at: this.#clock.now() })
  }

  leave (member: string): void {
    const known = this.#members.get(member)
    if (known !== undefined && --known.holds <= 0) this.#members.delete(member)
  }

  /**
   * Takes `amount`, which a member has used already. Returns how long the member must wait, in milliseconds, 0 for no
   * wait.
   */
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
    known.tokens = 0 // taken from what the others left: nothing is owed for it
    return 0
  }
}

/**
 * Claims on rates that many senders share, one rate for each group. A sender may not take more than is left for the
 * rest of its group: one that takes all it can leaves room for one that has taken nothing. A refused claim is not
 * counted. Bounded in entries and characters.
 */
export class FairClaims {
  readonly #clock: Clock
  readonly #window: number
  readonly #pools: Cache<string, TokenBucket>
  readonly #senders: Cache<string, { readonly used: number, readonly at: number }>

  /**
   * `window` is the time in which a sender's claims are gradually forgotten, in milliseconds. `max` is how many groups,
   * and how many senders, are remembered.
   */
  constructor (clock: Clock, window: number, max: number) {
    this.#clock = clock
    this.#window = window
    this.#pools = new Cache({ max, maxSize: max * CHARACTERS, sizeCalculation: (_, key) => key.length + 1 })
    this.#senders = new Cache({ max, maxSize: max * CHARACTERS, sizeCalculation: (_, key) => key.length + 1 })
  }

  /** Takes one of the `most` claims of a group in a window. Returns false if none is left for this sender. */
  claim (group: string, sender: string, most: number): boolean {
    let pool = this.#pools.get(group)
    if (pool === undefined) {
      pool = new TokenBucket(this.#clock, most * 1000 / this.#window, most)
      this.#pools.set(group, pool)
    }
    const now = this.#clock.now()
    const before = this.#senders.get(sender)
    const used = before === undefined ? 0 : before.used * Math.exp(-Math.max(0, now - before.at) / this.#window)
    if (used + 1 > pool.level) return false
    pool.take(1)
    this.#senders.set(sender, { used: used + 1, at: now })
    return true
  }
}

/** The characters of a remembered name, on average. */
const CHARACTERS = 200
