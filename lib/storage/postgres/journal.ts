/** Journals in PostgreSQL. */
import { bytesOf } from '../sqlite/rows.js'
import { UnknownEntry, type Entry, type Journal, type JournalPage, type JournalQuery, type Write } from '../store.js'
import type { PostgresStorage } from './driver.js'
import type { PostgresWrite, Row } from './rows.js'
import { kept, read } from './text.js'

interface Line { readonly id: string, readonly at: number, readonly with: string, readonly value: string }

export class PostgresJournal implements Journal<unknown> {
  readonly #name: string
  readonly #id: number
  readonly #storage: PostgresStorage

  constructor (name: string, id: number, storage: PostgresStorage) {
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  appending (owner: string, entry: Entry<unknown>): Write {
    const value = JSON.stringify(entry.value)
    const full = kept(entry.with)
    const slash = full.indexOf('/')
    const bare = slash < 0 ? full : full.slice(0, slash)
    return this.#write({ ...this.#of('append', owner), key: kept(entry.id), at: entry.at, bare, full, bytes: bytesOf(entry.value, value), value })
  }

  removing (owner: string, ids: readonly string[]): Write {
    return this.#write(...ids.map(id => ({ ...this.#of('drop', owner), key: kept(id) })))
  }

  replacing (owner: string, id: string, value: unknown): Write {
    const json = JSON.stringify(value)
    return this.#write({ ...this.#of('replace', owner), key: kept(id), bytes: bytesOf(value, json), value: json })
  }

  clearing (owner: string): Write { return this.#write(this.#of('empty', owner)) }

  async page (owner: string, query: JournalQuery): Promise<JournalPage<unknown>> {
    const { sql, values } = this.#asked(owner, query)
    const lines = [...await this.#storage.rows<Line>(sql, values)]
    if (lines.length === 0) await this.#checkPlaces(owner, query)
    const complete = lines.length <= query.limit
    const chosen = complete ? lines : lines.slice(0, query.limit)
    if (query.last === true) chosen.reverse()
    return {
      entries: chosen.map(line => ({ id: read(line.id), at: line.at, with: read(line.with), value: JSON.parse(line.value) as unknown })),
      complete,
    }
  }

  async size (owner: string): Promise<{ entries: number, bytes: number }> {
    const [size] = await this.#storage.rows<{ entries: number, bytes: number }>(
      'SELECT count(*)::float8 AS entries, coalesce(sum(bytes), 0)::float8 AS bytes FROM journal WHERE store = $1 AND owner = $2', [this.#id, kept(owner)])
    return size ?? { entries: 0, bytes: 0 }
  }

  owners (page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]> {
    return this.#storage.ownersIn('journal', this.#id, page)
  }

  trim (owner: string, keep: { readonly newest?: number, readonly since?: number }): Promise<number> {
    const rows: Row[] = []
    if (keep.newest !== undefined) rows.push({ ...this.#of('keep', owner), at: keep.newest })
    if (keep.since !== undefined) rows.push({ ...this.#of('trim', owner), at: keep.since })
    return rows.length === 0 ? Promise.resolve(0) : this.#storage.stored([this.#write(...rows)])
  }

  expire (since: number, limit: number): Promise<number> {
    const most = limit === Infinity ? {} : { bytes: limit }
    return this.#storage.stored([this.#write({ ...this.#of('expire', ''), at: since, ...most })])
  }

  /** The statement of a query: one of a few hundred at most, for values are never part of it. */
  #asked (owner: string, query: JournalQuery): { sql: string, values: unknown[] } {
    const values: unknown[] = [this.#id, kept(owner)]
    let sql = 'SELECT id, at::float8 AS at, with_full AS "with", value FROM journal WHERE store = $1 AND owner = $2'
    const where = (condition: string, value: unknown): void => {
      if (value === undefined) return
      values.push(value)
      sql += ` AND ${condition.replace('?', `$${values.length}`)}`
    }
    const place = '(SELECT seq FROM journal WHERE store = $1 AND owner = $2 AND id = ?)'
    where(`seq > ${place}`, query.after === undefined ? undefined : kept(query.after))
    where(`seq < ${place}`, query.before === undefined ? undefined : kept(query.before))
    where(query.with?.includes('/') === true ? 'with_full = ?' : 'with_bare = ?', query.with === undefined ? undefined : kept(query.with))
    where('at >= ?', query.since)
    where('at <= ?', query.until)
    where('id = ANY (?)', query.ids?.map(kept))
    values.push(query.limit === Infinity ? null : query.limit + 1) // one more tells whether there is more
    return { sql: `${sql} ORDER BY seq${query.last === true ? ' DESC' : ''} LIMIT $${values.length}`, values }
  }

  /** Nothing matches behind an id that is not there: the reader has to be told. */
  async #checkPlaces (owner: string, { after, before }: JournalQuery): Promise<void> {
    for (const id of [after, before]) {
      if (id === undefined) continue
      const found = await this.#storage.rows('SELECT 1 FROM journal WHERE store = $1 AND owner = $2 AND id = $3', [this.#id, kept(owner), kept(id)])
      if (found.length === 0) throw new UnknownEntry(`there is no entry '${id}'`)
    }
  }

  #of (op: Row['op'], owner: string): Pick<Row, 'op' | 'store' | 'owner'> { return { op, store: this.#id, owner: kept(owner) } }
  #write (...rows: readonly Row[]): PostgresWrite { return { store: this.#name, rows } }
}
