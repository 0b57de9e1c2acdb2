/** Storage in a PostgreSQL database: one connection that writes, a few that read. */
import type { Turns } from '../../base/turns.js'
import { Aside } from '../aside.js'
import { Commits, Settling } from '../commits.js'
import { Items } from '../items.js'
import { bytesIn, MOST_WAITING_BYTES } from '../room.js'
import type { Shape, Storage, Write } from '../store.js'
import { loadPg, type Pg } from './client.js'
import { PostgresJournal } from './journal.js'
import { PostgresReader } from './reader.js'
import { PostgresRecords } from './records.js'
import type { PostgresWrite, Result, Row } from './rows.js'
import { kept, read } from './text.js'
import { register } from './upgrade.js'
import { PostgresWriter, type WriterSettings } from './writer.js'

/** Batches that may wait for the writer; those beyond fail. Who submits is meant to pause long before. */
const MOST_WAITING = 100_000

export interface PostgresSettings extends WriterSettings {
  /** Batches that may wait for the writer. */
  readonly mostWaiting?: number
  /** Bytes of them. */
  readonly mostBytes?: number
  /** Shares the event loop, if many commits settle together. */
  readonly turns?: Turns | undefined
}

/** No store has this number. */
const EVERY_STORE = 0

/** An owner's rows in a store. */
function placeOf (store: number, owner: string): string { return `${store} ${owner}` }

interface Waiting { readonly rows: readonly Row[], readonly bytes: number, readonly refused: Error | undefined }

export class PostgresStorage implements Storage {
  readonly #settings: PostgresSettings
  readonly #commits = new Commits()
  readonly #stores = new Map<string, PostgresRecords | PostgresJournal>()
  readonly aside = new Aside(this)
  /** Batches by number that have not settled, in order. */
  readonly #waiting = new Map<number, Waiting>()
  #waitingBytes = 0
  /** The last of them that touches an owner's rows in a store, by `placeOf`. */
  readonly #touched = new Map<string, number>()
  /** Who reads and wants to know whether these rows are written to meanwhile. */
  readonly #watched = new Map<string, Set<{ isDisturbed: boolean }>>()
  readonly #locks = new Map<string, Promise<unknown>>()
  /** Those of this turn of the event loop. */
  #turn: (readonly Row[])[] = []
  /** What the commit that settles just now has changed. */
  #changes = 0
  #closing: Promise<void> | undefined
  #writer!: PostgresWriter
  #reader!: PostgresReader

  /** Connects to the database, makes its tables where there are none, and holds it. Throws where one of these cannot be. */
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
      await this.flush() // an upgrade sees every row there is
      const known = this.#stores.get(name)
      if (known !== undefined) {
        if (shape.check !== undefined) known.items.shape = shape
        return known as S
      }
      const id = await this.#writer.between(client => register(client, name, shape))
      const items = new Items(name, shape, this.aside)
      const store = shape.kind === 'records' ? new PostgresRecords(name, id, this, items) : new PostgresJournal(name, id, this, items)
      this.#stores.set(name, store)
      return store as S
    })
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
  erasing (owner: string): PostgresWrite { return { store: '*', rows: [{ op: 'erase', store: EVERY_STORE, owner: kept(owner) }] } }

  async backup (): Promise<void> {
    throw new Error('a PostgreSQL database is backed up with its own tools, while the server runs: pg_dump --format=custom --file=FILE DATABASE')
  }

  close (): Promise<void> { return this.#closing ??= this.#close() }

  /** Writes by themselves; resolves with how many rows they changed once they are stored. */
  stored (writes: readonly Write[]): Promise<number> {
    const number = this.submit(writes)
    return new Promise((resolve, reject) => {
      this.after(number, error => { if (error === undefined) resolve(this.#changes); else reject(error) })
    })
  }

  /** The rows of a statement that reads. */
  rows<R> (text: string, values: readonly unknown[]): Promise<readonly R[]> { return this.#reader.rows<R>(text, values) }

  /** Owners with rows in a store, in order: a step of the index each, however many rows they have. */
  async ownersIn (table: 'records' | 'journal', store: number, page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]> {
    const next = (behind: string): string => `(SELECT owner FROM ${table} WHERE store = $1${behind} ORDER BY owner LIMIT 1)`
    const owners = await this.rows<{ readonly owner: string }>(
      `WITH RECURSIVE steps AS (${next(page.after === undefined ? '' : ' AND owner > $3')} UNION ALL ` +
      `SELECT ${next(' AND owner > steps.owner')} FROM steps WHERE steps.owner IS NOT NULL) ` +
      'SELECT owner FROM steps WHERE owner IS NOT NULL LIMIT $2',
      [store, page.limit === Infinity ? null : page.limit, ...page.after === undefined ? [] : [kept(page.after)]])
    return owners.map(({ owner }) => read(owner))
  }

  /** Runs `work` behind all that was asked for under the same key. */
  async locked<T> (key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#locks.get(key)
    const mine = (async () => {
      await before?.catch(() => {}) // whoever asked has heard of it
      return await work()
    })()
    this.#locks.set(key, mine)
    try {
      return await mine
    } finally {
      if (this.#locks.get(key) === mine) this.#locks.delete(key)
    }
  }

  /** What `look` reads once all that touches the owner's rows in a store has settled; undefined where more was submitted while it read. */
  async undisturbed<T> (store: number, owner: string, look: () => Promise<T>): Promise<T | undefined> {
    const places = [placeOf(store, kept(owner)), placeOf(EVERY_STORE, kept(owner))]
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
    const waiting = this.#waiting.get(number)
    const error = waiting?.refused ?? failure
    this.#waitingBytes -= this.#waiting.get(number)?.bytes ?? 0
    this.#waiting.delete(number)
    for (const { store, owner } of waiting?.rows ?? []) {
      const place = placeOf(store, owner)
      if (this.#touched.get(place) === number) this.#touched.delete(place)
    }
    this.#changes = changes
    const before = this.#commits.trouble
    if (error !== undefined && before === undefined) this.#settings.log.error('storage-failed', { error })
    if (error === undefined && before !== undefined) this.#settings.log.info('storage-recovered')
    this.#commits.settle(error)
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
