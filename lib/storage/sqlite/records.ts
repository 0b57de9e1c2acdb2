/** Records in SQLite. */
import type { Items } from '../items.js'
import { StorageUnavailable, type Records, type Write } from '../store.js'
import type { SqliteStorage } from './driver.js'
import type { Row, SqliteWrite } from './rows.js'

type Pair = readonly [key: string, json: string]
type Broken = readonly [key: string, error: unknown]

/** How often a change begins anew because a record had to be put aside first. */
const ATTEMPTS = 3

export class SqliteRecords implements Records<unknown> {
  readonly #name: string
  readonly #id: number
  readonly #storage: SqliteStorage
  readonly items: Items

  constructor (name: string, id: number, storage: SqliteStorage, items: Items) {
    this.items = items
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  async get (owner: string, key: string): Promise<unknown> {
    const found = this.#find(owner, key)
    return found === undefined ? undefined : await this.items.one(owner, key, found, error => this.#move(owner, key, error))
  }

  async all (owner: string, page?: { readonly after?: string, readonly limit: number }): Promise<ReadonlyMap<string, unknown>> {
    const limit = page?.limit ?? Infinity
    const few = this.#read(owner, page?.after, Math.min(limit, FEW + 1))
    // Of more, all of it anew, at one moment: what changes between two reads would be seen by halves.
    const found = few.length <= FEW ? few : await this.#all(owner, page?.after, limit)
    return await this.items.all(owner, found, (key, error) => this.#move(owner, key, error))
  }

  async owners (page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]> {
    return this.#storage.ownersIn('records', this.#id, page)
  }

  async put (owner: string, key: string, value: unknown): Promise<void> {
    await this.#storage.put(this.putting(owner, key, value))
  }

  /** Needs no lock: between the read and the submit nothing else runs, and what is on its way to the owner's rows is awaited first. */
  async change (owner: string, next: (old: ReadonlyMap<string, unknown>) => ReadonlyMap<string, unknown>): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const broken = await this.#change(owner, next)
      if (broken.length === 0) return
      for (const [key, error] of broken) await this.#move(owner, key, error)
    }
    throw new StorageUnavailable('what cannot be read cannot be put aside either')
  }

  /** What cannot be read is to be put aside before anything changes: then nothing is changed, and it is the answer. */
  async #change (
    owner: string, next: (old: ReadonlyMap<string, unknown>) => ReadonlyMap<string, unknown>,
  ): Promise<readonly Broken[]> {
    const broken: Broken[] = []
    await this.#storage.atRest(this.#id, owner, () => {
      const old = this.items.values(owner, this.#read(owner, undefined, Infinity), (key, error) => { broken.push([key, error]) })
      if (broken.length > 0) return undefined
      const writes = [...next(old)].map(([key, value]) => this.putting(owner, key, value))
      return writes.length === 0 ? undefined : this.#storage.stored(writes)
    })
    return broken
  }

  putting (owner: string, key: string, value: unknown): Write {
    return this.#write(value === undefined ? ['remove', this.#id, owner, key] : ['put', this.#id, owner, key, JSON.stringify(value)])
  }

  clearing (owner: string): Write { return this.#write(['clear', this.#id, owner]) }

  #find (owner: string, key: string): string | undefined {
    const found = this.#storage.prepared('SELECT value FROM records WHERE store = ? AND owner = ? AND key = ?')
      .get(this.#id, owner, key) as { readonly value: string } | undefined
    return found?.value
  }

  #read (owner: string, after: string | undefined, limit: number): Pair[] {
    const [sql, values] = this.#query(owner, after, limit)
    return this.#storage.prepared(sql).raw().all(...values) as Pair[]
  }

  async #all (owner: string, after: string | undefined, limit: number): Promise<readonly Pair[]> {
    return await this.#storage.long.rows(owner, ...this.#query(owner, after, limit)) as readonly Pair[]
  }

  #query (owner: string, after: string | undefined, limit: number): [sql: string, values: (string | number)[]] {
    const most = limit === Infinity ? -1 : limit
    return after === undefined
      ? [FIRST, [this.#id, owner, most]]
      : [AFTER, [this.#id, owner, after, most]]
  }

  setAside (owner: string, key: string, value: unknown, error: unknown, instead?: unknown): Promise<void> {
    return this.items.setAside(owner, key, value, error, this.putting(owner, key, instead))
  }

  /** Puts a record aside, unless it can be read by the time that nothing else is on its way to it. */
  async #move (owner: string, key: string, error: unknown): Promise<void> {
    await this.#storage.atRest(this.#id, owner, () => {
      const found = this.#find(owner, key)
      if (found === undefined || this.items.isReadable(found)) return undefined
      return this.#storage.aside.put({ store: this.#name, owner, id: key, text: found, error }, this.putting(owner, key, undefined))
    })
  }

  #write (row: Row): SqliteWrite { return { store: this.#name, row } }
}

/** Records that are read on the main thread; of more, the reader's thread reads all. */
const FEW = 100
const FIRST = 'SELECT key, value FROM records WHERE store = ? AND owner = ? ORDER BY key LIMIT ?'
const AFTER = 'SELECT key, value FROM records WHERE store = ? AND owner = ? AND key > ? ORDER BY key LIMIT ?'
