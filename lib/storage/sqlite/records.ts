/** Records in SQLite. */
import type { Items } from '../items.js'
import type { OwnersPage } from '../owner.js'
import { StorageUnavailable, type Records, type Write } from '../store.js'
import type { SqliteHome } from './home.js'
import type { Row, SqliteWrite } from './rows.js'

type Pair = readonly [key: string, json: string]
type Broken = readonly [key: string, error: unknown]

/** The number of times that a change is tried, because a record may have to be put aside first. */
const ATTEMPTS = 3

export class SqliteRecords implements Records<unknown> {
  readonly #name: string
  readonly #id: number
  readonly #storage: SqliteHome
  readonly items: Items

  constructor (name: string, id: number, storage: SqliteHome, items: Items) {
    this.items = items
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  async get (owner: string, key: string): Promise<unknown> {
    const found = this.#find(owner, key)
    if (found === undefined) return undefined
    return await this.items.one(owner, key, found, error => this.#move(owner, key, error))
  }

  async all (
    owner: string, page?: { readonly after?: string, readonly limit: number },
  ): Promise<ReadonlyMap<string, unknown>> {
    const limit = page?.limit ?? Infinity
    const few = this.#read(owner, page?.after, Math.min(limit, FEW + 1))
    // If there are more, read all of them again at one moment: two reads could see halves of a change in between.
    const found = few.length <= FEW ? few : await this.#all(owner, page?.after, limit)
    return await this.items.all(owner, found, (key, error) => this.#move(owner, key, error))
  }

  async owners (page: OwnersPage): Promise<readonly string[]> {
    if (page.host !== undefined && !this.items.isByHost) throw this.items.unlisted()
    return await this.#storage.ownersIn('records', this.#id, page)
  }

  async put (owner: string, key: string, value: unknown): Promise<void> {
    await this.#storage.put(this.putting(owner, key, value))
  }

  /**
   * Needs no lock: nothing else runs between the read and the submit, and writes to the owner's rows that are under way
   * are awaited first.
   */
  async change (
    owner: string, next: (old: ReadonlyMap<string, unknown>) => ReadonlyMap<string, unknown>,
  ): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const broken = await this.#change(owner, next)
      if (broken.length === 0) return
      for (const [key, error] of broken) await this.#move(owner, key, error)
    }
    throw new StorageUnavailable('an unreadable record could not be put aside')
  }

  /**
   * Makes the change, unless there are unreadable records: then changes nothing and returns them, so that they are put
   * aside first.
   */
  async #change (
    owner: string, next: (old: ReadonlyMap<string, unknown>) => ReadonlyMap<string, unknown>,
  ): Promise<readonly Broken[]> {
    const broken: Broken[] = []
    await this.#storage.atRest(this.#id, owner, () => {
      const found = this.#read(owner, undefined, Infinity)
      const old = this.items.values(owner, found, (key, error) => { broken.push([key, error]) })
      if (broken.length > 0) return undefined
      const writes = [...next(old)].map(([key, value]) => this.putting(owner, key, value))
      return writes.length === 0 ? undefined : this.#storage.stored(writes)
    })
    return broken
  }

  putting (owner: string, key: string, value: unknown): Write {
    return this.#write(value === undefined
      ? ['remove', this.#id, owner, key]
      : ['put', this.#id, owner, key, JSON.stringify(value)])
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
    return this.items.setAside(owner, key, value, error, this.putting(owner, key, instead), {}, instead !== undefined)
  }

  /** Puts a record aside, unless it can be read after all writes under way to its owner have settled. */
  async #move (owner: string, key: string, error: unknown): Promise<void> {
    await this.#storage.atRest(this.#id, owner, () => {
      const found = this.#find(owner, key)
      if (found === undefined || this.items.isReadable(found)) return undefined
      const item = { store: this.#name, owner, id: key, text: found, error }
      return this.#storage.aside.put(item, this.putting(owner, key, undefined))
    })
  }

  #write (row: Row): SqliteWrite { return { store: this.#name, row } }
}

/** The most records that are read on the main thread; if there are more, the reader's thread reads all of them. */
const FEW = 100
const FIRST = 'SELECT key, value FROM records WHERE store = ? AND owner = ? ORDER BY key LIMIT ?'
const AFTER = 'SELECT key, value FROM records WHERE store = ? AND owner = ? AND key > ? ORDER BY key LIMIT ?'
