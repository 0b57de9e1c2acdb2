/** The few connections that read, beside the one that writes. */
import type { Pool } from 'pg'
import type { Logger } from '../../base/logger.js'
import { StorageUnavailable } from '../store.js'
import { configOf, isLost, withoutDetails, type ConnectionSettings, type Pg } from './client.js'
import { nameOf } from './hold.js'

const CONNECTIONS = 4
/** The most reads that may wait for a connection; further reads fail. */
const MOST_WAITING = 10_000
/** The number of times that a read is tried if its connection is lost. */
const ATTEMPTS = 3

export class PostgresReader {
  readonly #pool: Pool
  /** Resolves when the database can be reached; throws StorageUnavailable if that takes too long. */
  readonly #there: () => Promise<unknown>
  /** A name for each statement, so that the database plans it once for each connection. */
  readonly #names = new Map<string, string>()
  #waiting = 0

  constructor (pg: Pg, settings: ConnectionSettings & { readonly log: Logger }, there: () => Promise<unknown>) {
    const config = configOf(pg, settings, nameOf(process.pid), true)
    this.#pool = new pg.Pool({ ...config, max: CONNECTIONS, allowExitOnIdle: true })
    // the loss of an idle connection does no harm: the pool opens another
    this.#pool.on('error', error => { settings.log.debug('storage reader lost', { error: withoutDetails(error) }) })
    this.#there = there
  }

  /**
   * Returns the rows of a statement. Values are always parameters, so there are at most a few hundred different
   * statements.
   */
  async rows<R> (text: string, values: readonly unknown[]): Promise<readonly R[]> {
    if (this.#waiting >= MOST_WAITING) throw new StorageUnavailable('too many reads wait for the database')
    this.#waiting++
    try {
      return await this.#attempt(text, values)
    } finally {
      this.#waiting--
    }
  }

  async close (): Promise<void> { await this.#pool.end() }

  async #attempt<R> (text: string, values: readonly unknown[]): Promise<readonly R[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        const { rows } = await this.#pool.query({ name: this.#nameOf(text), text, values: [...values] })
        return rows as R[]
      } catch (error) {
        if (!isLost(error)) throw withoutDetails(error)
        if (attempt === ATTEMPTS) throw new StorageUnavailable(withoutDetails(error).message)
        await this.#there()
      }
    }
  }

  #nameOf (text: string): string {
    const known = this.#names.get(text)
    if (known !== undefined) return known
    const name = `read_${this.#names.size}`
    this.#names.set(text, name)
    return name
  }
}
