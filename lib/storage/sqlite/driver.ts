/**
 * Storage in one SQLite file: a thread writes; the main thread and a reader's thread read on connections of their own.
 */
import { closeSync, openSync, rmSync } from 'node:fs'
import Database from 'better-sqlite3'
import type { Logger } from '../../base/logger.js'
import type { Turns } from '../../base/turns.js'
import { UnreadableItems } from '../aside.js'
import { Commits, Settling } from '../commits.js'
import { FollowedStores } from '../followers.js'
import { Items } from '../items.js'
import { listedOwners, type OwnersPage } from '../owner.js'
import { bytesIn, MOST_WAITING_BYTES } from '../room.js'
import type { Shape, Write } from '../store.js'
import type { Storage } from '../storage.js'
import { StoredLog } from '../log-store.js'
import { StoredTable } from '../table-store.js'
import { connect, takeSteps } from './connection.js'
import type { SqliteHome } from './home.js'
import { SqliteJournal } from './journal.js'
import { WriterLink } from './link.js'
import { SqliteSegments } from './log.js'
import { LongReads } from './long-reads.js'
import { MainThreadReads } from './main-thread-reads.js'
import { SqliteRecords } from './records.js'
import { touches, type Result, type Row, type SqliteWrite, type WriterSettings } from './rows.js'
import { SqliteRows } from './table.js'
import { register } from './upgrade.js'

/** The most batches that may wait for the writer; further batches fail. Callers should pause long before that. */
const MOST_WAITING = 100_000

export interface SqliteSettings extends WriterSettings {
  readonly log: Logger
  /** Shares the event loop if many commits settle together. */
  readonly turns?: Turns | undefined
  /** Runs when everything is closed. */
  readonly closed?: () => void
  /** The most batches that may wait for the writer. */
  readonly mostWaiting?: number
  /** The most bytes that these batches may have. */
  readonly mostBytes?: number
}

type SqliteStore = SqliteRecords | SqliteJournal | StoredTable | StoredLog

interface Waiting { readonly rows: readonly Row[], readonly bytes: number, readonly refused: Error | undefined }

export class SqliteStorage implements Storage, SqliteHome {
  readonly #settings: SqliteSettings
  readonly #database: Database.Database
  readonly #link: WriterLink
  /** Reads that may take long, in the reader's thread. */
  readonly long: LongReads
  readonly reads = new MainThreadReads()
  readonly #commits = new Commits()
  readonly #settling: Settling<Result>
  readonly #statements = new Map<string, Database.Statement>()
  readonly #stores = new Map<string, { readonly id: number, readonly store: SqliteStore }>()
  readonly aside = new UnreadableItems(this)
  readonly followed = new FollowedStores()
  /** Batches that have not settled by commit number, in order. */
  readonly #waiting = new Map<number, Waiting>()
  #waitingBytes = 0
  /** The batches of this turn of the event loop, which have not been posted yet. */
  #turn: (readonly Row[])[] = []
  /** The number of rows that the commit which settles now has changed. */
  #changes = 0
  #closing: Promise<void> | undefined

  /** Opens the file, and creates it if it is missing. Throws if a newer version wrote it. */
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
    await this.flush() // so that an upgrade sees every row
    const known = this.#stores.get(name)
    if (known !== undefined) {
      if (known.store.items.adopt(shape)) await this.#listOwners(known.id)
      return known.store as S
    }
    const id = this.#writing(() => register(this.#database, name, shape))
    const store = this.#storeOf(name, id, shape)
    this.#stores.set(name, { id, store })
    if (shape.byHost === true) await this.#listOwners(id)
    return store as S
  }

  #storeOf (name: string, id: number, shape: Shape<unknown>): SqliteStore {
    const items = new Items(name, shape, this.aside)
    switch (shape.kind) {
      case 'records': return new SqliteRecords(name, id, this, items)
      case 'journal': return new SqliteJournal(name, id, this, items)
      case 'table': return new StoredTable(name, items, new SqliteRows(name, id, this))
      case 'log': {
        const segments = new SqliteSegments(name, id, this)
        return new StoredLog(items, segments, segments.last)
      }
    }
  }

  /** Begins the list of a store's owners by host, if it has none yet. */
  async #listOwners (id: number): Promise<void> {
    const listed = this.prepared('SELECT by_host FROM stores WHERE id = ?').get(id) as { readonly by_host: number }
    if (listed.by_host === 0) await this.put({ store: '*', row: ['host', id] } as SqliteWrite)
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

  /** Copies all that was submitted before the call into `file`, which must not exist. */
  async backup (file: string): Promise<void> {
    await this.flush()
    closeSync(openSync(file, 'wx', 0o600))
    const source = new Database(this.#settings.file, { readonly: true })
    try {
      // The open snapshot makes the copy one of a single moment; without it the copy would restart with every commit.
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

  /** Kills the writer in the middle of its work, for tests. */
  crash (): Promise<void> { return this.#link.kill() }

  close (): Promise<void> { return this.#closing ??= this.#close() }

  /** Commits one write by itself; resolves with the number of rows that it changed when it is stored. */
  put (write: Write): Promise<number> { return this.stored([write]) }

  /**
   * Commits writes by themselves; resolves with the number of rows that the last of them changed when they are stored.
   */
  stored (writes: readonly Write[]): Promise<number> {
    const number = this.submit(writes)
    return new Promise((resolve, reject) => {
      this.after(number, error => { if (error === undefined) resolve(this.#changes); else reject(error) })
    })
  }

  /**
   * Runs `then` when no submitted write to the owner's rows in this store is left to settle; resolves with its result.
   */
  async atRest<T> (store: number, owner: string, then: () => Promise<T> | undefined): Promise<T | undefined> {
    for (let number = this.#lastOn(store, owner); number !== undefined; number = this.#lastOn(store, owner)) {
      const awaited = number
      await new Promise<void>(resolve => { this.after(awaited, () => { resolve() }) })
    }
    return await then()
  }

  /** Returns the prepared statement for `sql`; prepares each statement once. */
  prepared (sql: string): Database.Statement {
    const known = this.#statements.get(sql)
    if (known !== undefined) return known
    const fresh = this.#database.prepare(sql)
    this.#statements.set(sql, fresh)
    return fresh
  }

  /**
   * Returns the owners with rows in a store, in order. Takes one step of an index for each owner, however many rows
   * the owner has.
   */
  async ownersIn (table: 'records' | 'journal', store: number, page: OwnersPage): Promise<readonly string[]> {
    if (page.host !== undefined) return await this.#ownersAt(table, store, page.host, page)
    const first = this.prepared(`SELECT owner FROM ${table} WHERE store = ? ORDER BY owner LIMIT 1`)
    const next = this.prepared(`SELECT owner FROM ${table} WHERE store = ? AND owner > ? ORDER BY owner LIMIT 1`)
    const owners: string[] = []
    let last = page.after
    while (owners.length < page.limit) {
      const row = last === undefined ? first.get(store) : next.get(store, last)
      const found = row as { readonly owner: string } | undefined
      if (found === undefined) break
      owners.push(last = found.owner)
    }
    return owners
  }

  async #ownersAt (
    table: 'records' | 'journal', store: number, host: string, { after, limit }: OwnersPage,
  ): Promise<readonly string[]> {
    return await listedOwners({ host, after, limit }, async (prefix, most) => {
      const sql = `SELECT prefix, EXISTS (SELECT 1 FROM ${table} WHERE store = l.store AND owner = l.prefix || l.host) ` +
        `FROM store_owners AS l WHERE store = ? AND host = ? AND prefix ${prefix === undefined ? '>= \'\'' : '> ?'} ` +
        'ORDER BY prefix LIMIT ?'
      const values = [store, host, ...prefix === undefined ? [] : [prefix], most]
      return await this.long.rows(host, sql, values) as readonly (readonly [string, number])[]
    }, gone => {
      if (this.#closing === undefined) this.submit(gone.map((owner): SqliteWrite => ({ store: '*', row: ['tidy', store, owner] })))
    })
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
    const waiting = this.#waiting.get(number)
    const error = waiting?.refused ?? (text === undefined ? undefined : new Error(text))
    this.#waitingBytes -= waiting?.bytes ?? 0
    if (error === undefined && !this.followed.isEmpty) this.#tellFollowers(waiting?.rows ?? [])
    this.#waiting.delete(number)
    this.#changes = changes
    const before = this.trouble
    if (error !== undefined && before === undefined) this.#settings.log.error('storage failed', { error })
    if (error === undefined && before !== undefined) this.#settings.log.info('storage recovered')
    this.#commits.settle(error)
  }

  #tellFollowers (rows: readonly Row[]): void {
    for (const row of rows) if (row[0] === 'append') this.followed.grew(row[1], row[2])
  }

  /** Fails the batches that the writer had not answered: nobody knows whether they were stored. */
  #lost (error: Error): void {
    this.#settings.log.error('storage writer lost', { error })
    const posted = this.#waiting.size - this.#turn.length - this.#settling.length
    const result: Result = [0, `the writer was lost: ${error.message}`]
    this.#settling.push(Array.from({ length: Math.max(0, posted) }, () => result))
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
