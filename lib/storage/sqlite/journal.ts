/** Journals in SQLite. */
import { bytesOf, type FoundEntry, type Items, type ReadPage } from '../items.js'
import type { OwnersPage } from '../owner.js'
import { takePage, listOf, withoutResource } from '../select.js'
import {
  UnknownEntry, type Entry, type Journal, type JournalFilter, type JournalPage, type JournalQuery, type TrimLimits,
  type NewEntry, type Write,
} from '../store.js'
import { indexedPrefixes } from '../words.js'
import type { SqliteHome } from './home.js'
import type { EntryRow, Row, SqliteWrite, Value } from './rows.js'

/**
 * The most entries that are read on the main thread, the most bytes of the value of each (together 0.5 ms), and the
 * most entries that are looked at there. The reader's thread reads the rest; a request to it costs as much as 40
 * entries.
 */
const FEW = 128
const SMALL = 4096
const LOOKED_AT = 256
/** The most entries whose sizes are summed on the main thread. */
const SUMMED = 1000

interface Range { readonly from: string, readonly values: readonly Value[] }
/** `window` selects the entries to look at, in order, so that a read can be divided into steps. */
interface Asked extends Range { readonly window: Range | undefined }
/** `value` is null if it is not `SMALL`. */
type Read = readonly [id: string, at: number, full: string, value: string | null, bytes: number, seq: number]

/** The matches of a query, while they are collected. */
class Gathered {
  readonly query: JournalQuery
  readonly #lines: EntryRow[] = []
  #bytes = 0
  /** True if no more entries are wanted, or if none match. */
  isOver = false

  constructor (query: JournalQuery) { this.query = query }

  /** The number of entries that are still wanted: one more than the page has, which shows whether there are more. */
  get room (): number { return this.query.limit + 1 - this.#lines.length }
  /** The number of bytes that the page can still take. */
  get bytesLeft (): number { return (this.query.bytes ?? Infinity) - this.#bytes }

  take (line: EntryRow): void {
    if (this.isOver) return
    this.#lines.push(line)
    this.#bytes += line[4]
    this.isOver = this.room <= 0 || this.#lines.length > 1 && this.bytesLeft < 0
  }

  page (): { readonly found: readonly FoundEntry[], readonly complete: boolean } {
    const { chosen, complete } = takePage(this.#lines, this.query, line => line[4])
    return { found: chosen.map(([id, at, full, json]) => ({ id, at, with: full, json })), complete }
  }
}

export class SqliteJournal implements Journal<unknown> {
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

  appending (owner: string, entry: NewEntry<unknown>): Write {
    const value = JSON.stringify(entry.value)
    return this.#write([
      'append', this.#id, owner, entry.id, entry.at, withoutResource(entry.with), entry.with, bytesOf(entry.value, value), value,
      entry.alias ?? null, entry.text ?? null,
    ])
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
    const { last, index = 0 } = query
    let seen: number | undefined
    if (index > 0) {
      seen = await this.#storage.long.skip(owner, { ...asked, isLast: last === true, most: index })
      if (seen === undefined) return { entries: [], complete: true }
    } else if (isShort(query) && this.#storage.reads.hasRoom) seen = this.#begin(asked, gathered)
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

  /**
   * Reads the first matches on the main thread: at most `FEW`, among the first `LOOKED_AT` entries, and none from the
   * first one that is not `SMALL`. Returns the place up to which it has looked: undefined if nothing more matches, or
   * if it has looked at nothing.
   */
  #begin ({ from, values, window }: Asked, gathered: Gathered): number | undefined {
    const isLast = gathered.query.last === true
    const order = `ORDER BY seq${isLast ? ' DESC' : ''} LIMIT`
    const end = window === undefined ? undefined : this.#endOf(window, order)
    const most = Math.min(gathered.room, FEW)
    const upTo = end === undefined ? '' : ` AND seq ${isLast ? '>=' : '<='} ?`
    const sql = `SELECT id, at, with_full, iif(bytes <= ${SMALL}, value, NULL), bytes, seq ${from}${upTo} ${order} ?`
    const found = this.#storage.prepared(sql).raw().all(...values, ...end === undefined ? [] : [end], most) as Read[]
    let seen: number | undefined
    let bytes = 0
    let isCut = found.length === most
    for (const [id, at, full, value, size, seq] of found) {
      if (value === null) { isCut = true; break }
      gathered.take([id, at, full, value, size])
      seen = seq
      bytes += size
      if (gathered.isOver) break
    }
    this.#storage.reads.count(found.length, bytes)
    if (gathered.isOver || isCut) return seen
    if (end === undefined) gathered.isOver = true
    return end
  }

  /** Returns the place of the last entry to look at here; undefined if there are no more entries than that. */
  #endOf ({ from, values }: Range, order: string): number | undefined {
    const sql = `SELECT seq ${from} ${order} 1 OFFSET ${LOOKED_AT}`
    return (this.#storage.prepared(sql).get(...values) as { readonly seq: number } | undefined)?.seq
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

  async owners (page: OwnersPage): Promise<readonly string[]> {
    if (page.host !== undefined && !this.items.isByHost) throw this.items.unlisted()
    return await this.#storage.ownersIn('journal', this.#id, page)
  }

  trim (owner: string, keep: TrimLimits): Promise<number> {
    const { newest = null, since = null, bytes = null } = keep
    return this.#storage.put(this.#write(['trim', this.#id, owner, newest, since, bytes]))
  }

  expire (since: number, limit: number): Promise<number> {
    return this.#storage.put(this.#write(['expire', this.#id, since, limit === Infinity ? -1 : limit]))
  }

  follow (owner: string, grew: () => void): () => void { return this.#storage.followed.follow(this.#id, owner, grew) }

  setAside (owner: string, { id, at, with: other, value }: Entry<unknown>, error: unknown): Promise<void> {
    return this.items.setAside(owner, id, value, error, this.removing(owner, [id]), { at, with: other })
  }

  /**
   * Builds the query from FROM on. Values are always parameters, so there are at most a few hundred different texts.
   * Returns undefined if nothing can match.
   */
  #asked (owner: string, query: JournalFilter): Asked | undefined {
    const values: (string | number)[] = [this.#id, owner]
    // Without a hint SQLite would search the entries of all owners for `since`, and all entries of an owner for ids.
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
    // Ids are few, and a search by words looks at all its matches at once: such a read cannot be divided into steps.
    const window = query.ids === undefined && query.text === undefined ? { from, values: [...values] } : undefined
    where(query.with?.includes('/') === true ? 'with_full = ?' : 'with_bare = ?', query.with)
    where('at >= ?', query.since)
    where('at <= ?', query.until)
    where(...conditionOf(query.ids))
    if (query.ids !== undefined) where('alias = ?', query.alias)
    if (query.text !== undefined) {
      const sought = indexedPrefixes(this.#id, owner, query.text)
      if (sought.length === 0) return undefined
      const search = sought.map(word => `"${word}" *`).join(' AND ')
      where('seq IN (SELECT rowid FROM journal_words WHERE journal_words MATCH ?)', search)
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

/** Returns the condition of these ids. One alone, which is what most reads ask for, takes less time. */
function conditionOf (ids: readonly string[] | undefined): [condition: string, value: string | undefined] {
  const [first, second] = ids ?? []
  if (first !== undefined && second === undefined) return ['id = ?', first]
  return ['id IN (SELECT value FROM json_each(?))', ids === undefined ? undefined : JSON.stringify(ids)]
}

/**
 * True if a read may begin on the main thread: it can end after any entry. A search by words cannot: SQLite finds all
 * its matches at once.
 */
function isShort ({ text, alias, ids }: JournalQuery): boolean {
  return text === undefined && alias === undefined && (ids?.length ?? 0) <= FEW
}
