/** Journals in PostgreSQL. */
import { bytesOf, type Items, type ReadPage } from '../items.js'
import type { OwnersPage } from '../owner.js'
import { takePage, listOf, withoutResource } from '../select.js'
import {
  UnknownEntry, type Entry, type Journal, type JournalFilter, type JournalPage, type JournalQuery, type TrimLimits,
  type NewEntry, type Write,
} from '../store.js'
import { indexedPrefixes, indexedWords } from '../words.js'
import type { PostgresHome } from './home.js'
import { ownerFields, type PostgresWrite, type Row } from './rows.js'
import { encodeText, decodeText } from './text.js'

interface Line {
  readonly id: string
  readonly at: number
  readonly with: string
  readonly value: string
  readonly bytes: number
}
interface Asked { readonly where: string, readonly values: unknown[] }

export class PostgresJournal implements Journal<unknown> {
  readonly #name: string
  readonly #id: number
  readonly #storage: PostgresHome
  readonly items: Items

  constructor (name: string, id: number, storage: PostgresHome, items: Items) {
    this.items = items
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  appending (owner: string, entry: NewEntry<unknown>): Write {
    const value = JSON.stringify(entry.value)
    const full = encodeText(entry.with)
    const words = entry.text === undefined ? '' : indexedWords(this.#id, owner, entry.text)
    return this.#write(...this.#listing(owner), {
      ...this.#of('append', owner), key: encodeText(entry.id), at: entry.at, bare: withoutResource(full), full,
      bytes: bytesOf(entry.value, value), value,
      ...entry.alias === undefined ? {} : { alias: encodeText(entry.alias) },
      ...words === '' ? {} : { words },
    })
  }

  removing (owner: string, ids: readonly string[]): Write {
    return this.#write(...ids.map(id => ({ ...this.#of('drop', owner), key: encodeText(id) })))
  }

  replacing (owner: string, id: string, value: unknown): Write {
    const json = JSON.stringify(value)
    return this.#write({ ...this.#of('replace', owner), key: encodeText(id), bytes: bytesOf(value, json), value: json })
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
    values.push(query.limit === Infinity ? null : query.limit + 1) // one more shows whether there are more
    let sql = `SELECT id, at::float8 AS at, with_full AS "with", value, bytes FROM journal ${where} ` +
      `ORDER BY ${order} LIMIT $${values.length}`
    if (query.index !== undefined && query.index > 0) {
      const skipping = `${sql.replace(', bytes FROM', ', bytes, seq FROM')} OFFSET $${values.push(query.index)}`
      sql = `SELECT id, at, "with", value, bytes FROM (${skipping}) AS skipped ORDER BY ${order}`
    }
    if (query.bytes !== undefined && query.bytes !== Infinity) {
      // Entries beyond the bytes of a page are not sent, except the one that shows that there are more.
      const sums = `sum(bytes) OVER (ORDER BY ${order}) - bytes AS before, ` +
        `row_number() OVER (ORDER BY ${order}) AS place`
      values.push(query.bytes)
      sql = 'SELECT id, at, "with", value, bytes ' +
        `FROM (${sql.replace(', bytes FROM', `, bytes, ${sums} FROM`)}) AS found ` +
        `WHERE before <= $${values.length} OR place <= 2 ORDER BY place`
    }
    const lines = await this.#storage.rows<Line>(sql, values)
    if (lines.length === 0) await this.#checkPlaces(owner, query)
    const { chosen, complete } = takePage(lines, query, ({ bytes }) => bytes)
    const found = chosen.map(line => (
      { id: decodeText(line.id), at: line.at, with: decodeText(line.with), json: line.value }
    ))
    return { ...this.items.entries(owner, found, id => this.removing(owner, [id])), complete }
  }

  async count (owner: string, filter: JournalFilter): Promise<number> {
    const asked = this.#asked(owner, filter)
    if (asked === undefined) return 0
    const [found] = await this.#storage.rows<{ readonly entries: number }>(
      `SELECT count(*)::float8 AS entries FROM journal ${asked.where}`, asked.values)
    if (found?.entries === 0) await this.#checkPlaces(owner, filter)
    return found?.entries ?? 0
  }

  async size (owner: string): Promise<{ entries: number, bytes: number }> {
    const [size] = await this.#storage.rows<{ entries: number, bytes: number }>(
      'SELECT count(*)::float8 AS entries, coalesce(sum(bytes), 0)::float8 AS bytes FROM journal ' +
      'WHERE store = $1 AND owner = $2', [this.#id, encodeText(owner)])
    return size ?? { entries: 0, bytes: 0 }
  }

  async owners (page: OwnersPage): Promise<readonly string[]> {
    if (page.host !== undefined && !this.items.isByHost) throw this.items.unlisted()
    return await this.#storage.ownersIn('journal', this.#id, page)
  }

  trim (owner: string, keep: TrimLimits): Promise<number> {
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

  follow (owner: string, grew: () => void): () => void { return this.#storage.followed.follow(this.#id, owner, grew) }

  setAside (owner: string, { id, at, with: other, value }: Entry<unknown>, error: unknown): Promise<void> {
    return this.items.setAside(owner, id, value, error, this.removing(owner, [id]), { at, with: other })
  }

  /**
   * Builds the conditions of a query. Values are always parameters, so there are at most a few hundred different texts.
   * Returns undefined if nothing can match.
   */
  #asked (owner: string, query: JournalFilter): Asked | undefined {
    const values: unknown[] = [this.#id, encodeText(owner)]
    let all = 'WHERE store = $1 AND owner = $2'
    const where = (condition: string, value: unknown): void => {
      if (value === undefined) return
      values.push(value)
      all += ` AND ${condition.replace('?', `$${values.length}`)}`
    }
    const place = '(SELECT seq FROM journal WHERE store = $1 AND owner = $2 AND id = ?)'
    for (const id of listOf(query.after)) where(`seq > ${place}`, encodeText(id))
    for (const id of listOf(query.before)) where(`seq < ${place}`, encodeText(id))
    const other = query.with === undefined ? undefined : encodeText(query.with)
    where(other?.includes('/') === true ? 'with_full = ?' : 'with_bare = ?', other)
    where('at >= ?', query.since)
    where('at <= ?', query.until)
    where('id = ANY (?)', query.ids?.map(encodeText))
    where('alias = ?', query.alias === undefined ? undefined : encodeText(query.alias))
    if (query.text !== undefined) {
      const sought = indexedPrefixes(this.#id, owner, query.text)
      if (sought.length === 0) return undefined
      where('words @@ ?::tsquery', sought.map(word => `'${word}':*`).join(' & '))
    }
    return { where: all, values }
  }

  /** Throws UnknownEntry if an id of `after` or `before` does not exist: a query with such an id matches nothing. */
  async #checkPlaces (owner: string, { after, before }: JournalFilter): Promise<void> {
    for (const id of [...listOf(after), ...listOf(before)]) {
      const found = await this.#storage.rows('SELECT 1 FROM journal WHERE store = $1 AND owner = $2 AND id = $3',
        [this.#id, encodeText(owner), encodeText(id)])
      if (found.length === 0) throw new UnknownEntry(`there is no entry '${id}'`)
    }
  }

  #listing (owner: string): readonly Row[] {
    return this.items.isByHost ? [{ op: 'own', store: this.#id, ...ownerFields(owner) }] : []
  }

  #of (op: Row['op'], owner: string): Pick<Row, 'op' | 'store' | 'owner'> {
    return { op, store: this.#id, owner: encodeText(owner) }
  }
  #write (...rows: readonly Row[]): PostgresWrite { return { store: this.#name, rows } }
}
