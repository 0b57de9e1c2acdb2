/** What archives let go: the oldest, by age, number and size, as the conf has it or as an operator wants it for one account. */
import type { Journal, Logger, Records } from '../../lib/api.js'

/** What an operator wants for one account; what is left out is as in the conf. `expire` in milliseconds. */
export interface Limits { readonly expire?: number, readonly keep?: number }

export interface RetentionHome {
  readonly domain: string
  readonly messages: Journal<string>
  readonly limits: Records<Limits>
  readonly settings: { readonly expire: number, readonly keep: number, readonly bytes: number }
  readonly log: Logger
  readonly now: () => number
}

/** Accounts whose growth is remembered; with more, all are looked at. */
const MOST_GROWN = 10_000
/** Accounts that are listed at a time. */
const PAGE = 200
const DAY = 86_400_000
const KEY = 'limits'

export class Retention {
  readonly #home: RetentionHome
  /** Accounts whose archive has grown since it was last looked at. */
  #grown = new Set<string>()
  /** When all archives were last looked at; undefined: not since the settings are what they are. */
  #allAt: number | undefined
  #isSweeping = false
  #isWanted = false

  constructor (home: RetentionHome) { this.#home = home }

  grew (owner: string): void {
    if (this.#grown.size < MOST_GROWN) this.#grown.add(owner)
    else this.#allAt = undefined
  }

  async limitsOf (owner: string): Promise<Limits> { return await this.#home.limits.get(owner, KEY) ?? {} }

  /** Throws where they cannot be stored. */
  async limit (owner: string, limits: Limits): Promise<void> {
    await this.#home.limits.put(owner, KEY, Object.keys(limits).length === 0 ? undefined : limits)
    await this.#trim(owner, true)
  }

  /** Archives that have grown are brought within their limits; once a day all are, for messages grow old by themselves. */
  async sweep (): Promise<void> {
    this.#isWanted = true
    if (this.#isSweeping) return
    this.#isSweeping = true
    try {
      while (this.#takes()) await this.#once()
    } catch (error) {
      this.#allAt = undefined
      this.#home.log.warn('archives stay as they are', { error })
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
      for await (const owner of this.#owners()) await this.#trim(owner, isFirst || grown.has(owner))
    } else {
      for (const owner of grown) await this.#trim(owner, true)
    }
  }

  /** `hasGrown`: it may be too large, and not only too old. */
  async #trim (owner: string, hasGrown: boolean): Promise<void> {
    const { messages, settings, now } = this.#home
    const { expire = settings.expire, keep = settings.keep } = await this.limitsOf(owner)
    await messages.trim(owner, { since: now() - expire, ...hasGrown ? { newest: keep, bytes: settings.bytes } : {} })
  }

  /** The accounts of this host: the store is one for all hosts, and each has settings of its own. */
  async * #owners (): AsyncGenerator<string> {
    const { messages, domain } = this.#home
    for (let after: string | undefined; ;) {
      const owners = await messages.owners({ limit: PAGE, ...after === undefined ? {} : { after } })
      for (const owner of owners) if (owner.endsWith(`@${domain}`)) yield owner
      after = owners.at(-1)
      if (owners.length < PAGE || after === undefined) return
    }
  }
}
