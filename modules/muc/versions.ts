/** The versions of a room's list of affiliations (XEP-0463). */
import { createHash } from 'node:crypto'
import type { Affiliation } from './standing.js'

/** The most changes that are remembered. Who knows an older version gets the whole list. */
const MOST_STEPS = 500
/** A version is a sum of numbers of this many bits, modulo two to the power of it. */
const BITS = 128

/** A change of the list, or a part of one. Without `since`, it is the whole list. */
export interface Step { readonly since?: string, readonly until: string }

interface Change { readonly since: string, readonly who: string, readonly affiliation: Affiliation }

/**
 * The versions of one list. A version is the sum of one keyed hash for each affiliation: it stays the same over
 * restarts without being stored, the same list has the same version, and it tells nothing of the list.
 */
export class Versions {
  readonly #keys: readonly [number, number, number, number]
  readonly #changes: Change[] = []
  #sum = 0n

  constructor (salt: string, belongings: Iterable<readonly [string, { readonly affiliation: Affiliation }]>) {
    const keys = createHash('sha256').update(salt).digest()
    this.#keys = [keys.readInt32BE(0), keys.readInt32BE(4), keys.readInt32BE(8), keys.readInt32BE(12)]
    for (const [who, { affiliation }] of belongings) this.#add(this.#hashOf(who, affiliation))
  }

  /** About how many bytes of memory it takes. */
  get bytes (): number { return 300 * this.#changes.length }

  get current (): string { return this.#sum.toString(36) }

  /** Notes the affiliation of somebody, if it has changed. */
  change (who: string, before: Affiliation, after: Affiliation): void {
    if (before === after) return
    this.#changes.push({ since: this.current, who, affiliation: after })
    this.#add(this.#hashOf(who, after) - this.#hashOf(who, before))
    if (this.#changes.length > MOST_STEPS) this.#changes.splice(0, MOST_STEPS / 2)
  }

  /** Returns the affiliations that have changed since a version; undefined if the version is unknown. */
  since (version: string): ReadonlyMap<string, Affiliation> | undefined {
    if (version === this.current) return new Map()
    const from = this.#changes.findLastIndex(({ since }) => since === version)
    if (from < 0) return undefined
    return new Map(this.#changes.slice(from).map(({ who, affiliation }) => [who, affiliation]))
  }

  #add (hash: bigint): void { this.#sum = BigInt.asUintN(BITS, this.#sum + hash) }

  /** Four lanes of FNV-1a, each with a key of its own: a cryptographic hash of 5,000 rows takes too long. */
  #hashOf (who: string, affiliation: Affiliation): bigint {
    if (affiliation === 'none') return 0n
    const text = `${affiliation} ${who}`
    let [a, b, c, d] = this.#keys
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at)
      a = Math.imul(a ^ unit, 0x01000193)
      b = Math.imul(b ^ unit ^ a >>> 15, 0x9e3779b1)
      c = Math.imul(c ^ unit ^ b >>> 15, 0x85ebca6b)
      d = Math.imul(d ^ unit ^ c >>> 15, 0xc2b2ae35)
    }
    return BigInt(a >>> 0) << 96n | BigInt(b >>> 0) << 64n | BigInt(c >>> 0) << 32n | BigInt(d >>> 0)
  }
}
