/** Journals in SQLite. */
import type { Items, ReadPage } from '../items.js'
import { cut, listOf } from '../select.js'
import {
  UnknownEntry, type Entry, type Journal, type JournalFilter, type JournalPage, type JournalQuery, type Keeping, type NewEntry, type Write,
} from '../store.js'
import { soughtIn } from '../words.js'
import type { SqliteStorage } from './driver.js'
import { bytesOf, markOf, type Row, type SqliteWrite } from './rows.js'

type Line = readonly [id: string, at: number, full: string, value: string, bytes: number]
interface Asked { readonly from: string, readonly values: (string | number)[] }

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

  #page (owner: string, query: JournalQuery): ReadPage {
    const asked = this.#asked(owner, query)
    if (asked === undefined) return { entries: [], complete: true }
    const sql = `SELECT id, at, with_full, value, bytes ${asked.from} ORDER BY seq${query.last === true ? ' DESC' : ''} LIMIT ?`
    const most = query.limit === Infinity ? -1 : query.limit + 1 // one more tells whether there is more
    const rows = this.#storage.prepared(sql).raw()
    // What is beyond the bytes of a page is not even read.
    const lines: Line[] = []
    let bytes = 0
    for (const line of rows.iterate(...asked.values, most) as IterableIterator<Line>) {
      lines.push(line)
      bytes += line[4]
      if (lines.length > 1 && bytes > (query.bytes ?? Infinity)) break
    }
    const { chosen, complete } = cut(lines, query, line => line[4])
    const found = chosen.map(([id, at, full, json]) => ({ id, at, with: full, json }))
    return { ...this.items.entries(owner, found, id => this.removing(owner, [id])), complete }
  }

  async count (owner: string, filter: JournalFilter): Promise<number> {
    const asked = this.#asked(owner, filter)
    if (asked === undefined) return 0
    return (this.#storage.prepared(`SELECT count(*) AS entries ${asked.from}`).get(...asked.values) as { readonly entries: number }).entries
  }

  async size (owner: string): Promise<{ entries: number, bytes: number }> {
    return this.#storage.prepared('SELECT count(*) AS entries, ifnull(sum(bytes), 0) AS bytes FROM journal WHERE store = ? AND owner = ?')
      .get(this.#id, owner) as { entries: number, bytes: number }
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
    for (const id of listOf(query.after)) where('seq > ?', this.#placeOf(owner, id))
    for (const id of listOf(query.before)) where('seq < ?', this.#placeOf(owner, id))
    where(query.with?.includes('/') === true ? 'with_full = ?' : 'with_bare = ?', query.with)
    where('at >= ?', query.since)
    where('at <= ?', query.until)
    where('id IN (SELECT value FROM json_each(?))', query.ids === undefined ? undefined : JSON.stringify(query.ids))
    where('alias = ?', query.alias)
    if (query.text !== undefined) {
      const mark = markOf(this.#id, owner)
      const sought = soughtIn(query.text)
      if (sought.length === 0) return undefined
      where('seq IN (SELECT rowid FROM journal_words WHERE journal_words MATCH ?)', sought.map(word => `"${mark}${word}" *`).join(' AND '))
    }
    return { from, values }
  }

  #placeOf (owner: string, id: string): number {
    const found = this.#storage.prepared('SELECT seq FROM journal WHERE store = ? AND owner = ? AND id = ?')
      .get(this.#id, owner, id) as { readonly seq: number } | undefined
    if (found === undefined) throw new UnknownEntry(`there is no entry '${id}'`)
    return found.seq
  }

  #write (row: Row): SqliteWrite { return { store: this.#name, row } }
}
