/**
 * What each network lets live. Boxes on the way (NAT, firewalls) forget a connection that was silent for too long, and tell nobody: how
 * long that is, is learnt from silences that were survived, and from connections that died in one.
 */
import { Cache, neighbourhoodOf } from '../../lib/api.js'

/** All in milliseconds. */
export interface Bounds {
  readonly shortest: number
  /** Where nothing is known yet. */
  readonly first: number
  readonly longest: number
}

/** What is tried behind a silence that was survived: so much more. */
const STEP = 30_000
/** Between what was survived and what was not: so near is near enough. */
const NEAR = 0.7
/** A silence that was too long once is tried again after so long. */
const AGAIN = 24 * 3600_000
/** Behind one that was not survived, by a device that has not come back either, nothing is tried for so long. */
const REST = 3600_000
/** So many deaths within what was survived before show that the network is another now; one may be the device's own. */
const ENOUGH = 2

export class Network {
  readonly key: string
  readonly #bounds: Bounds
  /** After so long a silence devices are asked: what is known to be survived, or was not yet tried otherwise. */
  #interval: number
  #isProven = false
  /** The shortest silence that was too long, and when that was found. */
  #tooLong = Infinity
  #foundAt = 0
  #restsUntil = -Infinity
  #deaths = 0
  #longestDeath = 0
  #lastDeathAt = 0

  constructor (key: string, bounds: Bounds) {
    this.key = key
    this.#bounds = bounds
    this.#interval = bounds.first
  }

  get interval (): number { return this.#interval }

  /** A longer silence that is worth a try, by one device at a time; undefined: none. */
  next (now: number): number | undefined {
    if (!this.#isProven || now < this.#restsUntil) return undefined
    if (now - this.#foundAt >= AGAIN) this.#tooLong = Infinity
    const more = this.#interval + STEP
    const between = this.#interval < NEAR * this.#tooLong ? (this.#interval + this.#tooLong) / 2 : this.#interval
    const next = Math.min(more < this.#tooLong ? more : between, this.#bounds.longest)
    return next > this.#interval ? next : undefined
  }

  /** A connection has outlived so long a silence. */
  survived (silence: number): void {
    if (silence >= this.#tooLong) this.#tooLong = Infinity
    if (silence < this.#interval) return
    this.#isProven = true
    this.#deaths = Math.max(0, this.#deaths - 1)
    this.#interval = Math.min(silence, this.#bounds.longest)
  }

  /** A connection has died in so long a silence: by the network, or with its device. */
  fell (silence: number, now: number): void {
    if (silence > this.#interval) this.#restsUntil = now + REST
  }

  /** A connection has died in so long a silence, and its device is well. True where devices are asked sooner from now on. */
  died (silence: number, now: number): boolean {
    if (silence < this.#bounds.shortest) return false // it was nobody's silence, and nothing could be done about it
    if (silence > this.#interval) {
      this.#restsUntil = -Infinity
      this.#note(Math.min(silence, this.#tooLong), now)
      return false // back to what was survived
    }
    if (now - this.#lastDeathAt >= AGAIN) this.#deaths = this.#longestDeath = 0
    this.#lastDeathAt = now
    this.#deaths++
    this.#longestDeath = Math.max(silence, this.#longestDeath)
    // What was never survived is given up at once, if all of it was too long.
    if (this.#deaths < ENOUGH && (this.#isProven || silence < this.#interval)) return false
    return this.#fall(now)
  }

  /** What was believed is not so: half of what was too long, and up again from there. */
  #fall (now: number): boolean {
    const before = this.#interval
    this.#note(this.#longestDeath, now)
    this.#interval = Math.min(before, Math.max(this.#bounds.shortest, this.#longestDeath / 2))
    this.#isProven = false
    this.#deaths = this.#longestDeath = 0
    return this.#interval < before
  }

  #note (silence: number, now: number): void {
    this.#tooLong = silence
    this.#foundAt = now
  }
}

/** The networks that were met last. */
export class Networks {
  readonly #bounds: Bounds
  readonly #known: Cache<string, Network>

  constructor (bounds: Bounds, most: number) {
    this.#bounds = bounds
    this.#known = new Cache({ max: most })
  }

  get size (): number { return this.#known.size }

  /** The network of this address. */
  at (address: string): Network {
    const key = neighbourhoodOf(address)
    const known = this.#known.get(key) ?? new Network(key, this.#bounds)
    this.#known.set(key, known)
    return known
  }
}
