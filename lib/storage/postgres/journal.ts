/** Journals in PostgreSQL. */
import type { Items, ReadPage } from '../items.js'
import { cut, listOf } from '../select.js'
import { bytesOf, markOf } from '../sqlite/rows.js'
import {
  UnknownEntry, type Entry, type Journal, type JournalFilter, type JournalPage, type JournalQuery, type Keeping, type NewEntry, type Write,
} from '../store.js'
import { soughtIn, wordsOf } from '../words.js'
import type { PostgresStorage } from './driver.js'
import type { PostgresWrite, Row } from './rows.js'
import { kept, read } from './text.js'

interface Line { readonly id: string, readonly at: number, readonly with: string, readonly value: string, readonly bytes: number }
interface Asked { readonly where: string, readonly values: unknown[] }

export class PostgresJournal implements Journal<unknown> {
  readonly #name: string
  readonly #id: number
  readonly #storage: PostgresStorage
  readonly items: Items

  constructor (name: string, id: number, storage: PostgresStorage, items: Items) {
    this.items = items
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  appending (owner: string, entry: NewEntry<unknown>): Write {
    const value = JSON.stringify(entry.value)
    const full = kept(entry.with)
    const slash = full.indexOf('/')
    const bare = slash < 0 ? full : full.slice(0, slash)
    const words = entry.text === undefined ? [] : wordsOf(entry.text)
    const mark = markOf(this.#id, owner)
    return this.#write({
      ...this.#of('append', owner), key: kept(entry.id), at: entry.at, bare, full, bytes: bytesOf(entry.value, value), value,
      ...entry.alias === undefined ? {} : { alias: kept(entry.alias) },
      ...words.length === 0 ? {} : { words: mark + words.join(` ${mark}`) },
    })
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
    return await this.items.page(() => this.#page(owner, query))
  }

  async #page (owner: string, query: JournalQuery): Promise<ReadPage> {
    const asked = this.#asked(owner, query)
    if (asked === undefined) return { entries: [], complete: true }
    const { where, values } = asked
    const order = query.last === true ? 'seq DESC' : 'seq'
    values.push(query.limit === Infinity ? null : query.limit + 1) // one more tells whether there is more
    let sql = `SELECT id, at::float8 AS at, with_full AS "with", value, bytes FROM journal ${where} ORDER BY ${order} LIMIT $${values.length}`
    if (query.bytes !== undefined) {
      // What is beyond the bytes of a page is not sent, but for the one that tells that there is more.
      const sums = `sum(bytes) OVER (ORDER BY ${order}) - bytes AS before, row_number() OVER (ORDER BY ${order}) AS place`
      values.push(query.bytes)
      sql = `SELECT id, at, "with", value, bytes FROM (${sql.replace(', bytes FROM', `, bytes, ${sums} FROM`)}) AS found ` +
        `WHERE before <= $${values.length} OR place <= 2 ORDER BY place`
    }
    const lines = await this.#storage.rows<Line>(sql, values)
    if (lines.length === 0) await this.#checkPlaces(owner, query)
    const { chosen, complete } = cut(lines, query, ({ bytes }) => bytes)
    const found = chosen.map(line => ({ id: read(line.id), at: line.at, with: read(line.with), json: line.value }))
    return { ...this.items.entries(owner, found, id => this.removing(owner, [id])), complete }
  }

  async count (owner: string, filter: JournalFilter): Promise<number> {
    const asked = this.#asked(owner, filter)
    if (asked === undefined) return 0
    const [found] = await this.#storage.rows<{ readonly entries: number }>(`SELECT count(*)::float8 AS entries FROM journal ${asked.where}`, asked.values)
    if (found?.entries === 0) await this.#checkPlaces(owner, filter)
    return found?.entries ?? 0
  }

  async size (owner: string): Promise<{ entries: number, bytes: number }> {
    const [size] = await this.#storage.rows<{ entries: number, bytes: number }>(
      'SELECT count(*)::float8 AS entries, coalesce(sum(bytes), 0)::float8 AS bytes FROM journal WHERE store = $1 AND owner = $2', [this.#id, kept(owner)])
    return size ?? { entries: 0, bytes: 0 }
  }

  owners (page: { readonly after?: string, readonly limit: number }): Promise<readonly string[]> {
    return this.#storage.ownersIn('journal', this.#id, page)
  }

  trim (owner: string, keep: Keeping): Promise<number> {
    const rows: Row[] = []
    if (keep.newest !== undefined) rows.push({ ...this.#of('keep', owner), at: keep.newest })
    if (keep.bytes !== undefined) rows.push({ ...this.#of('fit', owner), at: keep.bytes })
    if (keep.since !== undefined) rows.push({ ...this.#of('trim', owner), at: keep.since })
    return rows.length === 0 ? Promise.resolve(0) : this.#storage.stored([this.#write(...rows)])
  }

  expire (since: number, limit: number): Promise<number> {
    const most = limit === Infinity ? {} : { bytes: limit }
    return this.#storage.stored([this.#write({ ...this.#of('expire', ''), at: since, ...most })])
  }

  setAside (owner: string, { id, at, with: other, value }: Entry<unknown>, error: unknown): Promise<void> {
    return this.items.setAside(owner, id, value, error, this.removing(owner, [id]), { at, with: other })
  }

  /** The conditions of a query: one of a few hundred at most, for values are never part of it. undefined: nothing can match. */
  #asked (owner: string, query: JournalFilter): Asked | undefined {
    const values: unknown[] = [this.#id, kept(owner)]
    let all = 'WHERE store = $1 AND owner = $2'
    const where = (condition: string, value: unknown): void => {
      if (value === undefined) return
      values.push(value)
      all += ` AND ${condition.replace('?', `$${values.length}`)}`
    }
    const place = '(SELECT seq FROM journal WHERE store = $1 AND owner = $2 AND id = ?)'
    for (const id of listOf(query.after)) where(`seq > ${place}`, kept(id))
    for (const id of listOf(query.before)) where(`seq < ${place}`, kept(id))
    where(query.with?.includes('/') === true ? 'with_full = ?' : 'with_bare = ?', query.with === undefined ? undefined : kept(query.with))
    where('at >= ?', query.since)
    where('at <= ?', query.until)
    where('id = ANY (?)', query.ids?.map(kept))
    where('alias = ?', query.alias === undefined ? undefined : kept(query.alias))
    if (query.text !== undefined) {
      const mark = markOf(this.#id, owner)
      const sought = soughtIn(query.text)
      if (sought.length === 0) return undefined
      where('words @@ ?::tsquery', sought.map(word => `'${mark}${word}':*`).join(' & '))
    }
    return { where: all, values }
  }

  /** Nothing matches behind an id that is not there: the reader has to be told. */
  async #checkPlaces (owner: string, { after, before }: JournalFilter): Promise<void> {
    for (const id of [...listOf(after), ...listOf(before)]) {
      const found = await this.#storage.rows('SELECT 1 FROM journal WHERE store = $1 AND owner = $2 AND id = $3', [this.#id, kept(owner), kept(id)])
      if (found.length === 0) throw new UnknownEntry(`there is no entry '${id}'`)
    }
  }

  #of (op: Row['op'], owner: string): Pick<Row, 'op' | 'store' | 'owner'> { return { op, store: this.#id, owner: kept(owner) } }
  #write (...rows: readonly Row[]): PostgresWrite { return { store: this.#name, rows } }
}
