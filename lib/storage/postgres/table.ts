/** The rows of a table in PostgreSQL. */
import { shortKey } from '../ranks.js'
import type { Write } from '../store.js'
import { countRows, selectRows, sumRows, type Query } from '../table-sql.js'
import type { FoundRows, Position, RangeAt, ScopeAt, TableChange, TableRows } from '../table-store.js'
import type { PostgresHome } from './home.js'
import { ownerFields, type PostgresWrite, type Row } from './rows.js'
import { decodeText, encodeText } from './text.js'

interface Line {
  readonly owner: string
  readonly key: string
  readonly value: string
  readonly bytes: number
  readonly first: string
  readonly second: string | number
}

const KEY = 'r.store = $1 AND r.host = $2 AND r.prefix = $3 AND r.place = $4'

export class PostgresRows implements TableRows {
  readonly #name: string
  readonly #id: number
  readonly #storage: PostgresHome

  constructor (name: string, id: number, storage: PostgresHome) {
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  async find (owner: string, key: string): Promise<string | undefined> {
    const [found] = await this.#storage.rows<{ readonly value: string }>(
      `SELECT r.value FROM table_rows AS r WHERE ${KEY}`, this.#placeOf(owner, key))
    return found?.value
  }

  async positionOf (owner: string, key: string, name: string | undefined): Promise<Position | undefined> {
    const sql = name === undefined
      ? `SELECT r.prefix AS first, r.place AS second FROM table_rows AS r WHERE ${KEY}`
      : 'SELECT e.rank AS first, e.row_id::float8 AS second FROM table_rows AS r ' +
        `JOIN table_entries AS e ON e.row_id = r.id AND e.name = $5 WHERE ${KEY}`
    const values = [...this.#placeOf(owner, key), ...name === undefined ? [] : [name]]
    const [found] = await this.#storage.rows<Pick<Line, 'first' | 'second'>>(sql, values)
    return found === undefined ? undefined : positionIn(found)
  }

  async step (range: RangeAt, limit: number, most: number): Promise<FoundRows> {
    const lines = await this.#ask<Line>(selectRows(this.#id, encodeRange(range), limit), sql => {
      // Rows beyond the bytes of a page are not sent, except the one that shows that there are more.
      const sums = 'sum(bytes) OVER (ORDER BY place) - bytes AS before'
      const found = `SELECT *, row_number() OVER () AS place FROM (${sql}) AS f (owner, key, value, bytes, first, second)`
      return `SELECT owner, key, value, bytes, first, second${range.name === undefined ? '' : '::float8'} AS second ` +
        `FROM (SELECT *, ${sums} FROM (${found}) AS ordered) AS summed WHERE before <= ? OR place <= 2 ORDER BY place`
    }, most === Infinity ? Number.MAX_SAFE_INTEGER : most)
    let left = most
    for (const { bytes } of lines) left -= bytes
    const rows = lines.map(line => ({
      owner: decodeText(line.owner), key: decodeText(line.key), json: line.value, bytes: line.bytes,
      position: positionIn(line),
    }))
    return { rows, isEnd: rows.length < limit && left >= 0 }
  }

  async count (range: RangeAt): Promise<number> {
    const query = countRows(this.#id, encodeRange(range), undefined)
    const [found] = await this.#ask<{ readonly count: number }>(query, sql => sql.replace('count(*)', 'count(*)::float8 AS count'))
    return found?.count ?? 0
  }

  async sum (scope: ScopeAt, name: string): Promise<number> {
    const query = sumRows(this.#id, encodeScope(scope), name, undefined)
    const [found] = await this.#ask<{ readonly total: number }>(query, sql =>
      sql.replace('coalesce(sum(amount), 0), count(*)', 'coalesce(sum(amount), 0)::float8 AS total'))
    return found?.total ?? 0
  }

  write (change: TableChange): Write { return this.#write(change) }
  stored (change: TableChange): Promise<number> { return this.#storage.stored([this.#write(change)]) }

  #write (change: TableChange): PostgresWrite { return { store: this.#name, rows: [this.#rowOf(change)] } }

  #rowOf (change: TableChange): Row {
    const { op } = change
    const store = this.#id
    if (op === 'lapse') {
      const most = change.limit === Infinity ? {} : { bytes: change.limit }
      return { op, store, owner: '', alias: change.name, key: encodeText(change.rank), ...most }
    }
    const of = { op, store, ...ownerFields(change.owner) }
    if (op === 'wipe') return of
    const key = encodeText(shortKey(change.key))
    if (op === 'unset') return { ...of, key, ...change.only === undefined ? {} : { value: change.only } }
    const { json, bytes, entries } = change
    const words = JSON.stringify(entries.map(([name, rank, amount]) => [name, encodeText(rank), amount]))
    return { ...of, key, alias: encodeText(change.key), value: json, bytes, words }
  }

  /**
   * Runs a statement that has question marks for its parameters, after `wrap` has changed it. `more`: the values of
   * parameters that `wrap` adds after the others.
   */
  async #ask<R> (
    { sql, values }: Query, wrap: (sql: string) => string, ...more: readonly number[]
  ): Promise<readonly R[]> {
    let count = 0
    const text = wrap(sql).replace(/\?/g, () => `$${++count}`)
    return await this.#storage.rows<R>(text, [...values, ...more])
  }

  #placeOf (owner: string, key: string): unknown[] {
    const { bare, full } = ownerFields(owner)
    return [this.#id, bare, full, encodeText(shortKey(key))]
  }
}

function positionIn ({ first, second }: Pick<Line, 'first' | 'second'>): Position {
  return [decodeText(first), typeof second === 'string' ? decodeText(second) : second]
}

function encodeScope ({ host, prefix }: ScopeAt): ScopeAt {
  return { host: encodeText(host), prefix: prefix === undefined ? undefined : encodeText(prefix) }
}

function encodeRange (range: RangeAt): RangeAt {
  const encoded = (text: string | undefined): string | undefined => text === undefined ? undefined : encodeText(text)
  const place = ([first, second]: Position): Position =>
    [encodeText(first), typeof second === 'string' ? encodeText(second) : second]
  return {
    ...range, ...encodeScope(range), low: encoded(range.low), high: encoded(range.high),
    after: range.after.map(place), before: range.before.map(place),
  }
}
