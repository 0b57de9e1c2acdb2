/** Journals in SQLite. */
import { UnknownEntry, type Entry, type Journal, type JournalPage, type JournalQuery, type Write } from '../store.js'
import type { SqliteStorage } from './driver.js'
import { bytesOf, type Row, type SqliteWrite } from './rows.js'

interface Line { readonly id: string, readonly at: number, readonly with: string, readonly value: string }

export class SqliteJournal implements Journal<unknown> {
  readonly #name: string
  readonly #id: number
  readonly #storage: SqliteStorage

  constructor (name: string, id: number, storage: SqliteStorage) {
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  appending (owner: string, entry: Entry<unknown>): Write {
    const value = JSON.stringify(entry.value)
    const slash = entry.with.indexOf('/')
    const bare = slash < 0 ? entry.with : entry.with.slice(0, slash)
    return this.#write(['append', this.#id, owner, entry.id, entry.at, bare, entry.with, bytesOf(entry.value, value), value])
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
    const { sql, values } = this.#asked(owner, query)
    const most = query.limit === Infinity ? -1 : query.limit + 1 // one more tells whether there is more
    const lines = this.#storage.prepared(sql).all(...values, most) as Line[]
    const complete = lines.length <= query.limit
    const chosen = complete ? lines : lines.slice(0, query.limit)
    if (query.last === true) chosen.reverse()
    return { entries: chosen.map(line => ({ ...line, value: JSON.parse(line.value) as unknown })), complete }
  }

  async size (owner: string): Promise<{ entries: number, bytes: number }> {
    return this.#storage.prepared('SELECT count(*) AS entries, ifnull(sum(bytes), 0) AS bytes FROM journal WHERE store = ? AND owner = ?')
      .get(this.#id, owner) as { entries: number, bytes: number }
  }

  async owners (page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]> {
    return this.#storage.ownersIn('journal', this.#id, page)
  }

  trim (owner: string, keep: { readonly newest?: number, readonly since?: number }): Promise<number> {
    return this.#storage.put(this.#write(['trim', this.#id, owner, keep.newest ?? null, keep.since ?? null]))
  }

  expire (since: number, limit: number): Promise<number> {
    return this.#storage.put(this.#write(['expire', this.#id, since, limit === Infinity ? -1 : limit]))
  }

  /** The statement of a query: one of a few hundred at most, for values are never part of it. */
  #asked (owner: string, query: JournalQuery): { sql: string, values: (string | number)[] } {
    const values: (string | number)[] = [this.#id, owner]
    // Left to itself SQLite would look for a `since` among the entries of every owner, and for ids one entry after another.
    const index = query.ids === undefined ? 'journal_order' : 'journal_id'
    let sql = `SELECT id, at, with_full AS "with", value FROM journal INDEXED BY ${index} WHERE store = ? AND owner = ?`
    const where = (condition: string, value: string | number | undefined): void => {
      if (value === undefined) return
      sql += ` AND ${condition}`
      values.push(value)
    }
    where('seq > ?', this.#placeOf(owner, query.after))
    where('seq < ?', this.#placeOf(owner, query.before))
    where(query.with?.includes('/') === true ? 'with_full = ?' : 'with_bare = ?', query.with)
    where('at >= ?', query.since)
    where('at <= ?', query.until)
    where('id IN (SELECT value FROM json_each(?))', query.ids === undefined ? undefined : JSON.stringify(query.ids))
    return { sql: `${sql} ORDER BY seq${query.last === true ? ' DESC' : ''} LIMIT ?`, values }
  }

  #placeOf (owner: string, id: string | undefined): number | undefined {
    if (id === undefined) return undefined
    const found = this.#storage.prepared('SELECT seq FROM journal WHERE store = ? AND owner = ? AND id = ?')
      .get(this.#id, owner, id) as { readonly seq: number } | undefined
    if (found === undefined) throw new UnknownEntry(`there is no entry '${id}'`)
    return found.seq
  }

  #write (row: Row): SqliteWrite { return { store: this.#name, row } }
}
