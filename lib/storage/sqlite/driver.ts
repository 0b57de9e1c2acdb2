/** Storage in one SQLite file: a thread that writes, and reads on the main thread through a connection of their own. */
import { closeSync, openSync, rmSync } from 'node:fs'
import Database from 'better-sqlite3'
import type { Logger } from '../../base/logger.js'
import type { Turns } from '../../base/turns.js'
import { Aside } from '../aside.js'
import { Commits, Settling } from '../commits.js'
import { Items } from '../items.js'
import { bytesIn, MOST_WAITING_BYTES } from '../room.js'
import type { Shape, Storage, Write } from '../store.js'
import { connect, takeSteps } from './connection.js'
import { SqliteJournal } from './journal.js'
import { WriterLink } from './link.js'
import { LongReads } from './long-reads.js'
import { SqliteRecords } from './records.js'
import { touches, type Result, type Row, type SqliteWrite, type WriterSettings } from './rows.js'
import { register } from './upgrade.js'

/** Batches that may wait for the writer; those beyond fail. Who submits is meant to pause long before. */
const MOST_WAITING = 100_000

export interface SqliteSettings extends WriterSettings {
  readonly log: Logger
  /** Shares the event loop, if many commits settle together. */
  readonly turns?: Turns | undefined
  /** Runs once all is closed. */
  readonly closed?: () => void
  /** Batches that may wait for the writer. */
  readonly mostWaiting?: number
  /** Bytes of them. */
  readonly mostBytes?: number
}

interface Waiting { readonly rows: readonly Row[], readonly bytes: number, readonly refused: Error | undefined }

export class SqliteStorage implements Storage {
  readonly #settings: SqliteSettings
  readonly #database: Database.Database
  readonly #link: WriterLink
  /** Reads that may be long. */
  readonly long: LongReads
  readonly #commits = new Commits()
  readonly #settling: Settling<Result>
  readonly #statements = new Map<string, Database.Statement>()
  readonly #stores = new Map<string, SqliteRecords | SqliteJournal>()
  readonly aside = new Aside(this)
  /** Batches by number that have not settled, in order. */
  readonly #waiting = new Map<number, Waiting>()
  #waitingBytes = 0
  /** Those of this turn of the event loop. */
  #turn: (readonly Row[])[] = []
  /** What the commit that settles just now has changed. */
  #changes = 0
  #closing: Promise<void> | undefined

  /** Opens the file, making it where there is none. Throws where a newer version has written it. */
  static async open (settings: SqliteSettings): Promise<SqliteStorage> {
    const database = connect(settings.file, settings.durability)
    try {
      takeSteps(database)
      database.pragma('query_only = ON')
      const storage = new SqliteStorage(settings, database)
      await storage.#link.open()
      return storage
    } catch (error) {
      database.close()
      throw error
    }
  }

  private constructor (settings: SqliteSettings, database: Database.Database) {
    this.#settings = settings
    this.#database = database
    const { file, durability, maxPages } = settings
    this.long = new LongReads({ file, durability })
    this.#settling = new Settling(settings.turns, result => { this.#settle(result) })
    this.#link = new WriterLink({ file, durability, ...maxPages === undefined ? {} : { maxPages } }, {
      answered: results => { this.#settling.push(results) },
      lost: error => { this.#lost(error) },
    })
  }

  async open<S> (name: string, shape: Shape<S>): Promise<S> {
    await this.flush() // an upgrade sees every row there is
    const known = this.#stores.get(name)
    if (known !== undefined) {
      if (shape.check !== undefined) known.items.shape = shape
      return known as S
    }
    const id = this.#writing(() => register(this.#database, name, shape))
    const items = new Items(name, shape, this.aside)
    const store = shape.kind === 'records' ? new SqliteRecords(name, id, this, items) : new SqliteJournal(name, id, this, items)
    this.#stores.set(name, store)
    return store as S
  }

  submit (writes: readonly Write[]): number {
    if (this.#closing !== undefined) throw new Error('storage is closed')
    const refused = this.#hasRoom ? undefined : new Error('too many writes wait for the disk')
    const rows = refused === undefined ? writes.map(write => (write as SqliteWrite).row) : []
    const number = this.#commits.next()
    const bytes = rows.reduce((sum, row) => sum + bytesIn(row), 0)
    this.#waiting.set(number, { rows, bytes, refused })
    this.#waitingBytes += bytes
    if (this.#turn.push(rows) === 1) setImmediate(() => { this.#post() })
    return number
  }

  get #hasRoom (): boolean {
    const { mostWaiting = MOST_WAITING, mostBytes = MOST_WAITING_BYTES } = this.#settings
    return this.#waiting.size < mostWaiting && this.#waitingBytes < mostBytes
  }

  get submitted (): number { return this.#commits.last }
  get settled (): number { return this.#commits.settled }
  get trouble (): Error | undefined { return this.#commits.trouble }
  after (number: number, then: (error: Error | undefined) => void): void { this.#commits.after(number, then) }
  flush (): Promise<void> { return this.#commits.flush() }
  erasing (owner: string): SqliteWrite { return { store: '*', row: ['erase', owner] } }

  /** Makes `file`, which must not exist, a copy of all that was submitted before the call. */
  async backup (file: string): Promise<void> {
    await this.flush()
    closeSync(openSync(file, 'wx', 0o600))
    const source = new Database(this.#settings.file, { readonly: true })
    try {
      // With its snapshot held the copy is of one moment, and does not begin anew with every commit.
      source.exec('BEGIN')
      source.prepare('SELECT count(*) FROM stores').get()
      await source.backup(file)
    } catch (error) {
      rmSync(file, { force: true })
      throw error
    } finally {
      source.close()
    }
  }

  /** Kills the writer in the middle of what it does: for tests. */
  crash (): Promise<void> { return this.#link.kill() }

  close (): Promise<void> { return this.#closing ??= this.#close() }

  /** One write by itself; resolves with how many rows it changed once it is stored. */
  put (write: Write): Promise<number> { return this.stored([write]) }

  /** Writes by themselves; resolves once they are stored. */
  stored (writes: readonly Write[]): Promise<number> {
    const number = this.submit(writes)
    return new Promise((resolve, reject) => {
      this.after(number, error => { if (error === undefined) resolve(this.#changes); else reject(error) })
    })
  }

  /** Runs `then` when nothing that was submitted and has not settled touches the owner's rows in this store; resolves as it does. */
  async atRest<T> (store: number, owner: string, then: () => Promise<T> | undefined): Promise<T | undefined> {
    for (let number = this.#lastOn(store, owner); number !== undefined; number = this.#lastOn(store, owner)) {
      const awaited = number
      await new Promise<void>(resolve => { this.after(awaited, () => { resolve() }) })
    }
    return await then()
  }

  /** The statement, prepared once. */
  prepared (sql: string): Database.Statement {
    const known = this.#statements.get(sql)
    if (known !== undefined) return known
    const fresh = this.#database.prepare(sql)
    this.#statements.set(sql, fresh)
    return fresh
  }

  /** Owners with rows in a store, in order: a step of the index each, however many rows they have. */
  ownersIn (table: 'records' | 'journal', store: number, page: { readonly after?: string, readonly limit: number }): string[] {
    const first = this.prepared(`SELECT owner FROM ${table} WHERE store = ? ORDER BY owner LIMIT 1`)
    const next = this.prepared(`SELECT owner FROM ${table} WHERE store = ? AND owner > ? ORDER BY owner LIMIT 1`)
    const owners: string[] = []
    let last = page.after
    while (owners.length < page.limit) {
      const found = (last === undefined ? first.get(store) : next.get(store, last)) as { readonly owner: string } | undefined
      if (found === undefined) break
      owners.push(last = found.owner)
    }
    return owners
  }

  #lastOn (store: number, owner: string): number | undefined {
    let last: number | undefined
    for (const [number, { rows }] of this.#waiting) {
      if (rows.some(row => touches(row, store, owner))) last = number
    }
    return last
  }

  #post (): void {
    const batches = this.#turn
    this.#turn = []
    this.#link.post(batches)
  }

  #settle ([changes, text]: Result): void {
    const number = this.#commits.settled + 1
    const error = this.#waiting.get(number)?.refused ?? (text === undefined ? undefined : new Error(text))
    this.#waitingBytes -= this.#waiting.get(number)?.bytes ?? 0
    this.#waiting.delete(number)
    this.#changes = changes
    const before = this.trouble
    if (error !== undefined && before === undefined) this.#settings.log.error('storage-failed', { error })
    if (error === undefined && before !== undefined) this.#settings.log.info('storage-recovered')
    this.#commits.settle(error)
  }

  /** What the writer had in hand may be stored or not: who waits hears that it failed. */
  #lost (error: Error): void {
    this.#settings.log.error('storage-writer-lost', { error })
    const posted = this.#waiting.size - this.#turn.length - this.#settling.length
    this.#settling.push(Array.from({ length: Math.max(0, posted) }, (): Result => [0, `the writer was lost: ${error.message}`]))
  }

  #writing<T> (run: () => T): T {
    this.#database.pragma('query_only = OFF')
    try {
      return this.#database.transaction(run).immediate()
    } finally {
      this.#database.pragma('query_only = ON')
    }
  }

  async #close (): Promise<void> {
    await this.flush()
    try {
      await this.long.close()
      await this.#link.close()
    } finally {
      this.#database.close()
      this.#settings.closed?.()
    }
  }
}
