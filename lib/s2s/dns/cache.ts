/** Answers of DNS, kept as long as they hold, within a bound; one question at a time for each name. */
import { Cache } from '../../base/cache.js'
import type { Clock } from '../../base/clock.js'
import { DnsError, type Dns, type DnsAnswer, type RecordType } from './client.js'

const MOST = 10_000
const MOST_UNDER_WAY = 10_000
/** A failure is believed for so long, in milliseconds: who asks meanwhile does not ask again. */
const FAILURE = 5000

interface Kept { readonly answer: DnsAnswer | DnsError, readonly until: number }

export class CachedDns implements Dns {
  readonly #dns: Dns
  readonly #clock: Clock
  readonly #kept = new Cache<string, Kept>({ max: MOST })
  readonly #underWay = new Map<string, Promise<DnsAnswer>>()

  constructor (dns: Dns, clock: Clock) {
    this.#dns = dns
    this.#clock = clock
  }

  /** How many answers are kept. */
  get size (): number { return this.#kept.size }

  query (name: string, type: RecordType): Promise<DnsAnswer> {
    const key = `${type} ${name}`
    const kept = this.#kept.get(key)
    if (kept !== undefined && this.#clock.now() < kept.until) {
      return kept.answer instanceof DnsError ? Promise.reject(kept.answer) : Promise.resolve(kept.answer)
    }
    const underWay = this.#underWay.get(key)
    if (underWay !== undefined) return underWay
    if (this.#underWay.size >= MOST_UNDER_WAY) return Promise.reject(new DnsError('too many questions'))
    const asking = this.#ask(key, name, type).finally(() => { this.#underWay.delete(key) })
    this.#underWay.set(key, asking)
    return asking
  }

  async #ask (key: string, name: string, type: RecordType): Promise<DnsAnswer> {
    try {
      const answer = await this.#dns.query(name, type)
      this.#kept.set(key, { answer, until: this.#clock.now() + answer.ttl })
      return answer
    } catch (error) {
      if (error instanceof DnsError) this.#kept.set(key, { answer: error, until: this.#clock.now() + FAILURE })
      throw error
    }
  }
}
