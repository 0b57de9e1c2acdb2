/** Journals in SQLite. */
import type { FoundEntry, Items, ReadPage } from '../items.js'
import { cut, listOf } from '../select.js'
import {
  UnknownEntry, type Entry, type Journal, type JournalFilter, type JournalPage, type JournalQuery, type Keeping, type NewEntry, type Write,
} from '../store.js'
import { soughtIn } from '../words.js'
import type { SqliteStorage } from './driver.js'
import { bytesOf, markOf, type Line, type Row, type SqliteWrite, type Value } from './rows.js'

/** Entries, and bytes of their values, that are read on the main thread: where there is more, the reader's thread reads the rest. */
const FEW = 20
const LITTLE = 64 * 1024
/** Entries whose sum is made on the main thread. */
const SUMMED = 1000

interface Range { readonly from: string, readonly values: readonly Value[] }
/** `window`: what is looked at, in order, so that a read can be done in steps. */
interface Asked extends Range { readonly window: Range | undefined }
type Read = readonly [id: string, at: number, full: string, value: string, bytes: number, seq: number]

/** A page while it is read. */
class Gathered {
  readonly query: JournalQuery
  readonly #lines: Line[] = []
  #bytes = 0
  /** Nothing more is wanted, or nothing more matches. */
  isOver = false

  constructor (query: JournalQuery) { this.query = query }

  /** Entries that are still wanted: one more than the page has, which tells whether there is more. */
  get room (): number { return this.query.limit + 1 - this.#lines.length }
  /** Bytes after which nothing is wanted any more. */
  get bytesLeft (): number { return (this.query.bytes ?? Infinity) - this.#bytes }

  take (line: Line): void {
    if (this.isOver) return
    this.#lines.push(line)
    this.#bytes += line[4]
    this.isOver = this.room <= 0 || this.#lines.length > 1 && this.bytesLeft < 0
  }

  page (): { readonly found: readonly FoundEntry[], readonly complete: boolean } {
    const { chosen, complete } = cut(this.#lines, this.query, line => line[4])
    return { found: chosen.map(([id, at, full, json]) => ({ id, at, with: full, json })), complete }
  }
}

export class SqliteJournal implements Journal<unknown> {
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

  appending (owner: string, entry: NewEntry<unknown>): Write {
    const value = JSON.stringify(entry.value)
    const slash = entry.with.indexOf('/')
    const bare = slash < 0 ? entry.with : entry.with.slice(0, slash)
    return this.#write(['append', this.#id, owner, entry.id, entry.at, bare, entry.with, bytesOf(entry.value, value), value, entry.alias ?? null, entry.text ?? null])
  }

  removing (owner: string, ids: readonly string[]): Write {
    return this.#write(['drop', this.#id, owner, JSON.stringify(ids)])
  }

  replacing (owner: string, id: string, value: unknown): Write {
    const json = JSON.stringify(value)
    return this.#write(['replace', this.#id, owner, id, bytesOf(value, json), json])
  }

  clearing (owner: string): Write { return this.#write(['empty', this.#id, owner]) }

  async page (owner: string, query: JournalQuery): Promise<JournalPage<unknown>> {
    return await this.items.page(() => this.#page(owner, query))
  }

  async #page (owner: string, query: JournalQuery): Promise<ReadPage> {
    const asked = this.#asked(owner, query)
    if (asked === undefined) return { entries: [], complete: true }
    const gathered = new Gathered(query)
    let seen = isShort(query) ? this.#begin(asked, gathered) : undefined
    while (!gathered.isOver) {
      const step = await this.#storage.long.page(owner, {
        ...asked, seen, isLast: query.last === true, limit: gathered.room, bytes: gathered.bytesLeft,
      })
      for (const line of step.found) gathered.take(line)
      seen = step.seen
      if (seen === undefined) gathered.isOver = true
    }
    const { found, complete } = gathered.page()
    return { ...this.items.entries(owner, found, id => this.removing(owner, [id])), complete }
  }

  /** Reads the first matches on the main thread, as long as they are few. Answers with the place of the last. */
  #begin ({ from, values }: Asked, gathered: Gathered): number | undefined {
    const { query } = gathered
    const sql = `SELECT id, at, with_full, value, bytes, seq ${from} ORDER BY seq${query.last === true ? ' DESC' : ''} LIMIT ?`
    const most = Math.min(gathered.room, FEW)
    let seen: number | undefined
    let count = 0
    let bytes = 0
    for (const row of this.#storage.prepared(sql).raw().iterate(...values, most) as IterableIterator<Read>) {
      const [id, at, full, value, size, seq] = row
      gathered.take([id, at, full, value, size])
      seen = seq
      count++
      bytes += size
      if (gathered.isOver || bytes > LITTLE) return seen
    }
    if (count < most) gathered.isOver = true
    return seen
  }

  async count (owner: string, filter: JournalFilter): Promise<number> {
    const asked = this.#asked(owner, filter)
    return asked === undefined ? 0 : (await this.#storage.long.count(owner, asked)).entries
  }

  async size (owner: string): Promise<{ readonly entries: number, readonly bytes: number }> {
    const few = this.#storage.prepared('SELECT count(*) AS entries, ifnull(sum(bytes), 0) AS bytes FROM ' +
      `(SELECT bytes FROM journal INDEXED BY journal_order WHERE store = ? AND owner = ? LIMIT ${SUMMED})`)
      .get(this.#id, owner) as { entries: number, bytes: number }
    if (few.entries < SUMMED) return few
    const all = { from: ALL, values: [this.#id, owner] }
    return await this.#storage.long.count(owner, { ...all, window: all })
  }

  async owners (page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]> {
    return this.#storage.ownersIn('journal', this.#id, page)
  }

  trim (owner: string, keep: Keeping): Promise<number> {
    return this.#storage.put(this.#write(['trim', this.#id, owner, keep.newest ?? null, keep.since ?? null, keep.bytes ?? null]))
  }

  expire (since: number, limit: number): Promise<number> {
    return this.#storage.put(this.#write(['expire', this.#id, since, limit === Infinity ? -1 : limit]))
  }

  setAside (owner: string, { id, at, with: other, value }: Entry<unknown>, error: unknown): Promise<void> {
    return this.items.setAside(owner, id, value, error, this.removing(owner, [id]), { at, with: other })
  }

  /** A query behind its FROM: one of a few hundred at most, for values are never part of it. undefined: nothing can match. */
  #asked (owner: string, query: JournalFilter): Asked | undefined {
    const values: (string | number)[] = [this.#id, owner]
    // Left to itself SQLite would look for a `since` among the entries of every owner, and for ids one entry after another.
    const index = query.ids !== undefined ? 'journal_id' : query.alias !== undefined ? 'journal_alias' : 'journal_order'
    let from = `FROM journal INDEXED BY ${index} WHERE store = ? AND owner = ?`
    const where = (condition: string, value: string | number | undefined): void => {
      if (value === undefined) return
      from += ` AND ${condition}`
      values.push(value)
    }
    where('alias = ?', query.ids === undefined ? query.alias : undefined)
    for (const id of listOf(query.after)) where('seq > ?', this.#placeOf(owner, id))
    for (const id of listOf(query.before)) where('seq < ?', this.#placeOf(owner, id))
    // Ids are few, and a search by words looks at all that it finds at once: there is nothing to stop among.
    const window = query.ids === undefined && query.text === undefined ? { from, values: [...values] } : undefined
    where(query.with?.includes('/') === true ? 'with_full = ?' : 'with_bare = ?', query.with)
    where('at >= ?', query.since)
    where('at <= ?', query.until)
    where('id IN (SELECT value FROM json_each(?))', query.ids === undefined ? undefined : JSON.stringify(query.ids))
    if (query.ids !== undefined) where('alias = ?', query.alias)
    if (query.text !== undefined) {
      const mark = markOf(this.#id, owner)
      const sought = soughtIn(query.text)
      if (sought.length === 0) return undefined
      where('seq IN (SELECT rowid FROM journal_words WHERE journal_words MATCH ?)', sought.map(word => `"${mark}${word}" *`).join(' AND '))
    }
    return { from, values, window }
  }

  #placeOf (owner: string, id: string): number {
    const found = this.#storage.prepared('SELECT seq FROM journal WHERE store = ? AND owner = ? AND id = ?')
      .get(this.#id, owner, id) as { readonly seq: number } | undefined
    if (found === undefined) throw new UnknownEntry(`there is no entry '${id}'`)
    return found.seq
  }

  #write (row: Row): SqliteWrite { return { store: this.#name, row } }
}

const ALL = 'FROM journal INDEXED BY journal_order WHERE store = ? AND owner = ?'

/** Whether the first matches are the first entries that are looked at: the read takes no longer than its answer. */
function isShort ({ with: other, alias, text, since, until, ids }: JournalQuery): boolean {
  const isFiltered = [other, alias, text, since, until].some(filter => filter !== undefined)
  return !isFiltered && (ids?.length ?? 0) <= FEW
}
