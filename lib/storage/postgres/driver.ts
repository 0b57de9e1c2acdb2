/** Storage in a PostgreSQL database: one connection writes, a few others read. */
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
import { loadPg, type Pg } from './client.js'
import type { PostgresHome } from './home.js'
import { PostgresJournal } from './journal.js'
import { PostgresSegments } from './log.js'
import { PostgresReader } from './reader.js'
import { PostgresRecords } from './records.js'
import { ownerFields, type PostgresWrite, type Result, type Row } from './rows.js'
import { PostgresRows } from './table.js'
import { encodeText, decodeText } from './text.js'
import { register } from './upgrade.js'
import { PostgresWriter, type WriterSettings } from './writer.js'

/** The most batches that may wait for the writer; further batches fail. Callers should pause long before that. */
const MOST_WAITING = 100_000

export interface PostgresSettings extends WriterSettings {
  /** The most batches that may wait for the writer. */
  readonly mostWaiting?: number
  /** The most bytes that these batches may have. */
  readonly mostBytes?: number
  /** Shares the event loop if many commits settle together. */
  readonly turns?: Turns | undefined
}

/** Not the number of any store. */
const EVERY_STORE = 0

/** Returns the key for an owner's rows in a store. */
function placeOf (store: number, owner: string): string { return `${store} ${owner}` }

type PostgresStore = PostgresRecords | PostgresJournal | StoredTable | StoredLog

interface Waiting { readonly rows: readonly Row[], readonly bytes: number, readonly refused: Error | undefined }

export class PostgresStorage implements Storage, PostgresHome {
  readonly #settings: PostgresSettings
  readonly #commits = new Commits()
  readonly #stores = new Map<string, { readonly id: number, readonly store: PostgresStore }>()
  readonly aside = new UnreadableItems(this)
  readonly followed = new FollowedStores()
  /** Batches that have not settled by commit number, in order. */
  readonly #waiting = new Map<number, Waiting>()
  #waitingBytes = 0
  /** The last of these commits that touches an owner's rows in a store, by `placeOf`. */
  readonly #touched = new Map<string, number>()
  /** Reads under way that need to know whether somebody writes to the same rows meanwhile, by `placeOf`. */
  readonly #watched = new Map<string, Set<{ isDisturbed: boolean }>>()
  readonly #locks = new Map<string, Promise<unknown>>()
  /** The batches of this turn of the event loop, which have not been posted yet. */
  #turn: (readonly Row[])[] = []
  /** The number of rows that the commit which settles now has changed. */
  #changes = 0
  #closing: Promise<void> | undefined
  #writer!: PostgresWriter
  #reader!: PostgresReader

  /**
   * Connects to the database, creates missing tables, and locks the database. Throws if one of these is not possible.
   */
  static async open (settings: PostgresSettings): Promise<PostgresStorage> {
    const pg = await loadPg()
    const storage = new PostgresStorage(settings)
    await storage.#open(pg)
    return storage
  }

  private constructor (settings: PostgresSettings) { this.#settings = settings }

  async #open (pg: Pg): Promise<void> {
    const settling = new Settling<Result>(this.#settings.turns, result => { this.#settle(result) })
    this.#writer = await PostgresWriter.open(pg, this.#settings, results => { settling.push(results) })
    this.#reader = new PostgresReader(pg, this.#settings, () => this.#writer.connection())
  }

  async open<S> (name: string, shape: Shape<S>): Promise<S> {
    return await this.locked(`open ${name}`, async () => {
      await this.flush() // so that an upgrade sees every row
      const known = this.#stores.get(name)
      if (known !== undefined) {
        if (known.store.items.adopt(shape)) await this.#listOwners(known.id)
        return known.store as S
      }
      const id = await this.#writer.between(client => register(client, name, shape))
      const store = await this.#storeOf(name, id, shape)
      this.#stores.set(name, { id, store })
      if (shape.byHost === true) await this.#listOwners(id)
      return store as S
    })
  }

  async #storeOf (name: string, id: number, shape: Shape<unknown>): Promise<PostgresStore> {
    const items = new Items(name, shape, this.aside)
    switch (shape.kind) {
      case 'records': return new PostgresRecords(name, id, this, items)
      case 'journal': return new PostgresJournal(name, id, this, items)
      case 'table': return new StoredTable(name, items, new PostgresRows(name, id, this))
      case 'log': {
        const segments = new PostgresSegments(name, id, this)
        return new StoredLog(items, segments, await segments.last())
      }
    }
  }

  /** Begins the list of a store's owners by host, if it has none yet. */
  async #listOwners (id: number): Promise<void> {
    const [listed] = await this.rows<{ readonly by_host: boolean }>('SELECT by_host FROM stores WHERE id = $1', [id])
    if (listed?.by_host === true) return
    await this.stored([{ store: '*', rows: [{ op: 'host', store: id, owner: '' }] } as PostgresWrite])
  }

  submit (writes: readonly Write[]): number {
    if (this.#closing !== undefined) throw new Error('storage is closed')
    const refused = this.#hasRoom ? undefined : new Error('too many writes wait for the database')
    const rows = refused === undefined ? writes.flatMap(write => (write as PostgresWrite).rows) : []
    const number = this.#commits.next()
    const bytes = rows.reduce((sum, row) => sum + bytesIn(Object.values(row)), 0)
    this.#waiting.set(number, { rows, bytes, refused })
    this.#waitingBytes += bytes
    for (const { store, owner } of rows) {
      const place = placeOf(store, owner)
      this.#touched.set(place, number)
      for (const watch of this.#watched.get(place) ?? []) watch.isDisturbed = true
    }
    if (this.#turn.push(rows) === 1) setImmediate(() => { this.#post() })
    return number
  }

  get #hasRoom (): boolean {
    const { mostWaiting = MOST_WAITING, mostBytes = MOST_WAITING_BYTES } = this.#settings
    return this.#waiting.size < mostWaiting && this.#waitingBytes < mostBytes
  }

  get submitted (): number { return this.#commits.last }
  get settled (): number { return this.#commits.settled }
  get trouble (): Error | undefined { return this.#writer.trouble ?? this.#commits.trouble }
  after (number: number, then: (error: Error | undefined) => void): void { this.#commits.after(number, then) }
  flush (): Promise<void> { return this.#commits.flush() }
  erasing (owner: string): PostgresWrite {
    return { store: '*', rows: [{ op: 'erase', store: EVERY_STORE, ...ownerFields(owner) }] }
  }

  async backup (): Promise<void> {
    throw new Error('a PostgreSQL database is backed up with its own tools, while the server runs: ' +
      'pg_dump --format=custom --file=FILE DATABASE')
  }

  close (): Promise<void> { return this.#closing ??= this.#close() }

  /** Commits writes by themselves; resolves with the number of rows that they changed when they are stored. */
  stored (writes: readonly Write[]): Promise<number> {
    const number = this.submit(writes)
    return new Promise((resolve, reject) => {
      this.after(number, error => { if (error === undefined) resolve(this.#changes); else reject(error) })
    })
  }

  /** Returns the rows of a statement that reads. */
  rows<R> (text: string, values: readonly unknown[]): Promise<readonly R[]> {
    return this.#reader.rows<R>(text, values)
  }

  /**
   * Returns the owners with rows in a store, in order. Takes one step of an index for each owner, however many rows
   * the owner has.
   */
  async ownersIn (table: 'records' | 'journal', store: number, page: OwnersPage): Promise<readonly string[]> {
    if (page.host !== undefined) return await this.#ownersAt(table, store, page.host, page)
    const next = (behind: string): string =>
      `(SELECT owner FROM ${table} WHERE store = $1${behind} ORDER BY owner LIMIT 1)`
    const owners = await this.rows<{ readonly owner: string }>(
      `WITH RECURSIVE steps AS (${next(page.after === undefined ? '' : ' AND owner > $3')} UNION ALL ` +
      `SELECT ${next(' AND owner > steps.owner')} FROM steps WHERE steps.owner IS NOT NULL) ` +
      'SELECT owner FROM steps WHERE owner IS NOT NULL LIMIT $2',
      [store, page.limit === Infinity ? null : page.limit, ...page.after === undefined ? [] : [encodeText(page.after)]])
    return owners.map(({ owner }) => decodeText(owner))
  }

  async #ownersAt (
    table: 'records' | 'journal', store: number, host: string, { after, limit }: OwnersPage,
  ): Promise<readonly string[]> {
    return await listedOwners({ host, after, limit }, async (prefix, most) => {
      const found = await this.rows<{ readonly prefix: string, readonly here: boolean }>(
        `SELECT prefix, EXISTS (SELECT 1 FROM ${table} WHERE store = l.store AND owner = l.prefix || l.host) AS here ` +
        `FROM store_owners AS l WHERE store = $1 AND host = $2 AND prefix ${prefix === undefined ? '>= \'\'' : '> $4'} ` +
        'ORDER BY prefix LIMIT $3',
        [store, encodeText(host), most, ...prefix === undefined ? [] : [encodeText(prefix)]])
      return found.map(({ prefix, here }) => [decodeText(prefix), here])
    }, gone => {
      if (this.#closing !== undefined) return
      this.submit([{ store: '*', rows: gone.map(owner => ({ op: 'tidy', store, ...ownerFields(owner) })) } as PostgresWrite])
    })
  }

  /** Runs `work` after all earlier work with the same key has ended. */
  async locked<T> (key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#locks.get(key)
    const mine = (async () => {
      await before?.catch(() => {}) // its own caller gets the error
      return await work()
    })()
    this.#locks.set(key, mine)
    try {
      return await mine
    } finally {
      if (this.#locks.get(key) === mine) this.#locks.delete(key)
    }
  }

  /**
   * Calls `look` when all writes under way to the owner's rows in a store have settled. Resolves with its result, or
   * with undefined if such a write was submitted while it read.
   */
  async undisturbed<T> (store: number, owner: string, look: () => Promise<T>): Promise<T | undefined> {
    const places = [placeOf(store, encodeText(owner)), placeOf(EVERY_STORE, encodeText(owner))]
    const last = (): number => Math.max(...places.map(place => this.#touched.get(place) ?? 0))
    for (let number = last(); number > 0; number = last()) {
      const awaited = number
      await new Promise<void>(resolve => { this.after(awaited, () => { resolve() }) })
    }
    const watch = { isDisturbed: false }
    for (const place of places) this.#watched.set(place, (this.#watched.get(place) ?? new Set()).add(watch))
    try {
      const found = await look()
      return watch.isDisturbed ? undefined : found
    } finally {
      for (const place of places) this.#unwatch(place, watch)
    }
  }

  #unwatch (place: string, watch: { isDisturbed: boolean }): void {
    const watches = this.#watched.get(place)
    watches?.delete(watch)
    if (watches?.size === 0) this.#watched.delete(place)
  }

  #post (): void {
    const batches = this.#turn
    this.#turn = []
    this.#writer.post(batches)
  }

  #settle ([changes, failure]: Result): void {
    const number = this.#commits.settled + 1
    const { rows, bytes, refused } = this.#waiting.get(number) ?? { rows: [], bytes: 0, refused: undefined }
    const error = refused ?? failure
    this.#waitingBytes -= bytes
    this.#waiting.delete(number)
    if (error === undefined && !this.followed.isEmpty) this.#tellFollowers(rows)
    for (const { store, owner } of rows) {
      const place = placeOf(store, owner)
      if (this.#touched.get(place) === number) this.#touched.delete(place)
    }
    this.#changes = changes
    const before = this.#commits.trouble
    if (error !== undefined && before === undefined) this.#settings.log.error('storage failed', { error })
    if (error === undefined && before !== undefined) this.#settings.log.info('storage recovered')
    this.#commits.settle(error)
  }

  #tellFollowers (rows: readonly Row[]): void {
    for (const { op, store, owner } of rows) if (op === 'append') this.followed.grew(store, decodeText(owner))
  }

  async #close (): Promise<void> {
    await this.flush()
    try {
      await this.#reader.close()
    } finally {
      await this.#writer.close()
    }
  }
}
