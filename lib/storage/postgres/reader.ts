/** Connections that read, a few of them, beside the one that writes. */
import type { Pool } from 'pg'
import type { Logger } from '../../base/logger.js'
import { StorageUnavailable } from '../store.js'
import { configOf, isLost, plain, type ConnectionSettings, type Pg } from './client.js'
import { nameOf } from './hold.js'

const CONNECTIONS = 4
/** Reads that may wait for one of them; those beyond fail. */
const MOST_WAITING = 10_000
/** How often a read is tried whose connection is lost. */
const ATTEMPTS = 3

export class PostgresReader {
  readonly #pool: Pool
  /** Resolves once the database is there; throws StorageUnavailable where that takes too long. */
  readonly #there: () => Promise<unknown>
  /** A name for each statement, so that the database plans it once a connection. */
  readonly #names = new Map<string, string>()
  #waiting = 0

  constructor (pg: Pg, settings: ConnectionSettings & { readonly log: Logger }, there: () => Promise<unknown>) {
    this.#pool = new pg.Pool({ ...configOf(pg, settings, nameOf(process.pid), true), max: CONNECTIONS, allowExitOnIdle: true })
    // an idle connection that is lost harms nobody: the pool makes another
    this.#pool.on('error', error => { settings.log.debug('storage-reader-lost', { error: plain(error) }) })
    this.#there = there
  }

  /** The rows of a statement, which is one of a few hundred at most: values are never part of it. */
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
        if (!isLost(error)) throw plain(error)
        if (attempt === ATTEMPTS) throw new StorageUnavailable(plain(error).message)
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
