/** The versions of a room's list of affiliations (XEP-0463). */
import { createHmac } from 'node:crypto'
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
  readonly #salt: string
  readonly #changes: Change[] = []
  #sum = 0n

  constructor (salt: string, belongings: Iterable<readonly [string, { readonly affiliation: Affiliation }]>) {
    this.#salt = salt
    for (const [who, { affiliation }] of belongings) this.#add(this.#hashOf(who, affiliation))
  }

  /** About how many bytes of memory it takes. */
  get bytes (): number { return 300 * this.#changes.length }

  get current (): string { return this.#sum.toString(36) }

  /** Notes that the affiliation of somebody has changed. */
  change (who: string, before: Affiliation, after: Affiliation): void {
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

  #hashOf (who: string, affiliation: Affiliation): bigint {
    if (affiliation === 'none') return 0n
    const hash = createHmac('sha256', this.#salt).update(`${affiliation} ${who}`).digest()
    return hash.readBigUInt64BE() << 64n | hash.readBigUInt64BE(8)
  }
}
