/**
 * A cache of DNS answers, each kept for its time to live, bounded in answers and bytes. Asks only once at a time for
 * each name and type.
 */
import { Cache } from '../../base/cache.js'
import type { Clock } from '../../base/clock.js'
import { DnsError, type Dns, type DnsAnswer, type RecordType } from './dns-client.js'
import { bytesOf } from './dns-records.js'

const MOST = 10_000
/** The most bytes of all answers: room for 10,000 usual ones. */
const MOST_BYTES = 16 * 1024 * 1024
/** The bytes of a failure, with its stack, about. */
const FAILURE_BYTES = 2048
/** How long a failure is kept, in milliseconds, before DNS is asked again. */
const FAILURE = 5000

interface Question { readonly name: string, readonly type: RecordType }

export class CachedDns implements Dns {
  readonly #kept: Cache<string, DnsAnswer | DnsError, Question>

  /** `dns` bounds the queries that are under way. */
  constructor (dns: Dns, clock: Clock) {
    this.#kept = new Cache({
      max: MOST,
      maxSize: MOST_BYTES,
      sizeCalculation: (answer, key) =>
        key.length + (answer instanceof DnsError ? FAILURE_BYTES : bytesOf(answer.records)),
      ttl: FAILURE,
      perf: clock,
      ttlResolution: 0, // the clock is asked each time
      ignoreFetchAbort: true, // a query whose place was needed goes on, and its answer is not kept
      fetchMethod: async (_key, _stale, { options, context: { name, type } }) => {
        try {
          const answer = await dns.query(name, type)
          options.ttl = answer.ttl
          return answer
        } catch (error) {
          if (error instanceof DnsError) return error
          throw error
        }
      },
    })
  }

  /** The number of answers that are kept or under way. */
  get size (): number { return this.#kept.size }
  /** The bytes of the answers that are kept, about. */
  get bytes (): number { return this.#kept.calculatedSize }

  async query (name: string, type: RecordType): Promise<DnsAnswer> {
    const answer = await this.#kept.forceFetch(`${type} ${name}`, { context: { name, type } })
    if (answer instanceof DnsError) throw answer
    return answer
  }
}
