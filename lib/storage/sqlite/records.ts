/** Records in SQLite. */
import type { Records, Write } from '../store.js'
import type { SqliteStorage } from './driver.js'
import type { Row, SqliteWrite } from './rows.js'

interface Pair { readonly key: string, readonly value: string }

export class SqliteRecords implements Records<unknown> {
  readonly #name: string
  readonly #id: number
  readonly #storage: SqliteStorage

  constructor (name: string, id: number, storage: SqliteStorage) {
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  async get (owner: string, key: string): Promise<unknown> {
    const found = this.#storage.prepared('SELECT value FROM records WHERE store = ? AND owner = ? AND key = ?')
      .get(this.#id, owner, key) as { readonly value: string } | undefined
    return found === undefined ? undefined : JSON.parse(found.value)
  }

  async all (owner: string, page?: { readonly after?: string, readonly limit: number }): Promise<ReadonlyMap<string, unknown>> {
    return this.#read(owner, page?.after, page?.limit ?? Infinity)
  }

  async owners (page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]> {
    return this.#storage.ownersIn('records', this.#id, page)
  }

  async put (owner: string, key: string, value: unknown): Promise<void> {
    await this.#storage.put(this.putting(owner, key, value))
  }

  /** Needs no lock: between the read and the submit nothing else runs, and what is on its way to the owner's rows is awaited first. */
  async change (owner: string, next: (old: ReadonlyMap<string, unknown>) => ReadonlyMap<string, unknown>): Promise<void> {
    await this.#storage.atRest(this.#id, owner, () => {
      const writes = [...next(this.#read(owner, undefined, Infinity))].map(([key, value]) => this.putting(owner, key, value))
      return writes.length === 0 ? undefined : this.#storage.stored(writes)
    })
  }

  putting (owner: string, key: string, value: unknown): Write {
    return this.#write(value === undefined ? ['remove', this.#id, owner, key] : ['put', this.#id, owner, key, JSON.stringify(value)])
  }

  clearing (owner: string): Write { return this.#write(['clear', this.#id, owner]) }

  #read (owner: string, after: string | undefined, limit: number): Map<string, unknown> {
    const most = limit === Infinity ? -1 : limit
    const pairs = after === undefined
      ? this.#storage.prepared('SELECT key, value FROM records WHERE store = ? AND owner = ? ORDER BY key LIMIT ?').all(this.#id, owner, most)
      : this.#storage.prepared('SELECT key, value FROM records WHERE store = ? AND owner = ? AND key > ? ORDER BY key LIMIT ?')
        .all(this.#id, owner, after, most)
    return new Map((pairs as Pair[]).map(({ key, value }) => [key, JSON.parse(value)]))
  }

  #write (row: Row): SqliteWrite { return { store: this.#name, row } }
}
