/**
 * Removes the oldest messages of archives by age, number and size, within the limits of the conf or of the operator for
 * one account.
 */
import { ownersAt } from '../../lib/api.js'
import type { Journal, Logger, Records } from '../../lib/api.js'

/** The operator's limits for one account; the conf applies to what is left out. `expire` in milliseconds. */
export interface Limits { readonly expire?: number, readonly keep?: number }

/** The dependencies of Retention; `expire` in milliseconds. */
export interface RetentionHome {
  readonly domain: string
  readonly messages: Journal<string>
  readonly limits: Records<Limits>
  readonly settings: { readonly expire: number, readonly keep: number, readonly bytes: number }
  readonly log: Logger
  readonly now: () => number
}

/** The most accounts whose growth is remembered; with more, all archives are checked. */
const MOST_GROWN = 10_000
const DAY = 86_400_000
const KEY = 'limits'

/** Trims archives: those that have grown with each sweep, all of them once a day. */
export class Retention {
  readonly #home: RetentionHome
  /** Accounts whose archive has grown since the last check. */
  #grown = new Set<string>()
  /** The time of the last check of all archives; undefined if there was none since the settings were loaded. */
  #allAt: number | undefined
  #isSweeping = false
  #isWanted = false

  constructor (home: RetentionHome) { this.#home = home }

  /** Notes that an archive has grown. */
  grew (owner: string): void {
    if (this.#grown.size < MOST_GROWN) this.#grown.add(owner)
    else this.#allAt = undefined
  }

  /** Returns the operator's limits for an account. */
  async limitsOf (owner: string): Promise<Limits> { return await this.#home.limits.get(owner, KEY) ?? {} }

  /** Sets limits for an account and trims its archive. Rejects if they cannot be stored. */
  async limit (owner: string, limits: Limits): Promise<void> {
    await this.#home.limits.put(owner, KEY, Object.keys(limits).length === 0 ? undefined : limits)
    await this.#trim(owner, true)
  }

  /** Trims archives that have grown; once a day all archives, because messages expire with time alone. */
  async sweep (): Promise<void> {
    this.#isWanted = true
    if (this.#isSweeping) return
    this.#isSweeping = true
    try {
      while (this.#takes()) await this.#once()
    } catch (error) {
      this.#allAt = undefined
      this.#home.log.warn('archive retention failed', { error })
    } finally {
      this.#isSweeping = false
    }
  }

  #takes (): boolean {
    const wanted = this.#isWanted
    this.#isWanted = false
    return wanted
  }

  async #once (): Promise<void> {
    const { now } = this.#home
    const grown = this.#grown
    const isFirst = this.#allAt === undefined
    this.#grown = new Set()
    if (this.#allAt === undefined || now() - this.#allAt >= DAY) {
      this.#allAt = now()
      const { messages, domain } = this.#home
      for await (const owner of ownersAt(messages, domain)) await this.#trim(owner, isFirst || grown.has(owner))
    } else {
      for (const owner of grown) await this.#trim(owner, true)
    }
  }

  /** Trims an archive by age; if it has grown, by number and size as well. */
  async #trim (owner: string, hasGrown: boolean): Promise<void> {
    const { messages, settings, now } = this.#home
    const { expire = settings.expire, keep = settings.keep } = await this.limitsOf(owner)
    await messages.trim(owner, { since: now() - expire, ...hasGrown ? { newest: keep, bytes: settings.bytes } : {} })
  }
}
