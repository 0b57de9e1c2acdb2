/**
 * Learns how long each neighbourhood keeps a silent connection. Middleboxes (NAT, firewalls) drop silent connections
 * without notice; the limit is learned from silences that connections survived, and from connections that died in one.
 */
import { Cache, neighbourhoodOf } from '../../lib/api.js'

/** Silences in milliseconds: the shortest and longest allowed, and the first one tried in an unknown neighbourhood. */
export interface Bounds {
  readonly shortest: number
  /** Used while nothing is known of the neighbourhood. */
  readonly first: number
  readonly longest: number
}

/** How much longer the next trial is than a survived silence, in milliseconds. */
const STEP = 30_000
/** The trials end once the survived silence is at least this part of the one that was too long. */
const NEAR = 0.7
/** A silence that was too long is tried again after this time, in milliseconds. */
const AGAIN = 24 * 3600_000
/**
 * After a trial in which the device was lost and has not come back, the next trial waits this long, in milliseconds.
 */
const REST = 3600_000
/** This many deaths within a proven silence show that the neighbourhood has changed; one may be the device's own. */
const ENOUGH = 2

/** One neighbourhood, as far as it is known. */
export class HostNetwork {
  readonly key: string
  readonly #bounds: Bounds
  /** The silence after which devices are pinged: proven to be survived, or not disproved yet. */
  #interval: number
  #isProven = false
  /** The shortest silence that was too long, and when that was learned. */
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

  /** The silence after which devices are pinged, in milliseconds. */
  get interval (): number { return this.#interval }

  /** Returns a longer silence that is worth a trial by one device; undefined if there is none. */
  next (now: number): number | undefined {
    if (!this.#isProven || now < this.#restsUntil) return undefined
    if (now - this.#foundAt >= AGAIN) this.#tooLong = Infinity
    const more = this.#interval + STEP
    const between = this.#interval < NEAR * this.#tooLong ? (this.#interval + this.#tooLong) / 2 : this.#interval
    const next = Math.min(more < this.#tooLong ? more : between, this.#bounds.longest)
    return next > this.#interval ? next : undefined
  }

  /** Notes that a connection survived a silence. */
  survived (silence: number): void {
    if (silence >= this.#tooLong) this.#tooLong = Infinity
    if (silence < this.#interval) return
    this.#isProven = true
    this.#deaths = Math.max(0, this.#deaths - 1)
    this.#interval = Math.min(silence, this.#bounds.longest)
  }

  /** Notes that a connection died in a silence, because of its neighbourhood or of its device. */
  fell (silence: number, now: number): void {
    if (silence > this.#interval) this.#restsUntil = now + REST
  }

  /**
   * Notes that a connection died in a silence while its device is well, so its neighbourhood dropped it. True if
   * devices are pinged sooner from now on.
   */
  died (silence: number, now: number): boolean {
    if (silence < this.#bounds.shortest) return false // shorter than any ping interval: nothing can be done about it
    if (silence > this.#interval) {
      this.#restsUntil = -Infinity
      this.#note(Math.min(silence, this.#tooLong), now)
      return false // the interval is still the one that was survived
    }
    if (now - this.#lastDeathAt >= AGAIN) this.#deaths = this.#longestDeath = 0
    this.#lastDeathAt = now
    this.#deaths++
    this.#longestDeath = Math.max(silence, this.#longestDeath)
    // An interval that was never survived is given up after its first death, if the silence reached it.
    if (this.#deaths < ENOUGH && (this.#isProven || silence < this.#interval)) return false
    return this.#fall(now)
  }

  /** The interval was wrong: starts anew from half of the silence that was too long. */
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

/** The most recently seen neighbourhoods. */
export class Networks {
  readonly #bounds: Bounds
  readonly #known: Cache<string, HostNetwork>

  constructor (bounds: Bounds, most: number) {
    this.#bounds = bounds
    this.#known = new Cache({ max: most })
  }

  /** The number of remembered neighbourhoods. */
  get size (): number { return this.#known.size }

  /** Returns the neighbourhood of an IP address. */
  at (address: string): HostNetwork {
    const key = neighbourhoodOf(address)
    const known = this.#known.get(key) ?? new HostNetwork(key, this.#bounds)
    this.#known.set(key, known)
    return known
  }
}
