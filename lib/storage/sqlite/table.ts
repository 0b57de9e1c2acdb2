/** The rows of a table in SQLite. */
import { splitOwner } from '../owner.js'
import { shortKey } from '../ranks.js'
import type { Write } from '../store.js'
import { countRows, selectRows, sumRows, type Query } from '../table-sql.js'
import type { FoundRows, Position, RangeAt, ScopeAt, TableChange, TableRows } from '../table-store.js'
import type { SqliteHome } from './home.js'
import type { Row, SqliteWrite } from './rows.js'

/**
 * The most rows, and bytes of their values, that are read on the main thread, and the most that are counted there. The
 * reader's thread does the rest.
 */
const FEW = 100
const LITTLE = 128 * 1024
const COUNTED = 1000
/** The most bytes of the values of one step in the reader's thread. */
const BYTES = 512 * 1024

type Columns = readonly [owner: string, key: string, json: string, bytes: number, rank: string, row: string | number]
type Amounts = readonly [amount: number, rows: number]

const KEY = 'store = ? AND host = ? AND prefix = ? AND place = ?'

export class SqliteRows implements TableRows {
  readonly #name: string
  readonly #id: number
  readonly #storage: SqliteHome

  constructor (name: string, id: number, storage: SqliteHome) {
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  async find (owner: string, key: string): Promise<string | undefined> {
    const found = this.#storage.prepared(`SELECT value FROM table_rows WHERE ${KEY}`)
      .get(...this.#placeOf(owner, key)) as { readonly value: string } | undefined
    return found?.value
  }

  async positionOf (owner: string, key: string, name: string | undefined): Promise<Position | undefined> {
    const columns = name === undefined
      ? `SELECT prefix, place FROM table_rows WHERE ${KEY}`
      : `SELECT e.rank, e.row_id FROM table_rows AS r JOIN table_entries AS e ON e.row_id = r.id AND e.name = ? WHERE ${KEY.replace(/\w+ =/g, 'r.$&')}`
    return this.#storage.prepared(columns).raw()
      .get(...name === undefined ? [] : [name], ...this.#placeOf(owner, key)) as Position | undefined
  }

  async step (range: RangeAt, limit: number, most: number): Promise<FoundRows> {
    const isHere = this.#storage.reads.hasRoom
    const rows = isHere ? Math.min(limit, FEW) : limit
    const { sql, values } = selectRows(this.#id, range, rows)
    const found = isHere
      ? this.#some(sql, values, Math.min(most, LITTLE))
      : await this.#storage.long.some(range.host, sql, values, Math.min(most, BYTES)) as readonly Columns[]
    const bytes = found.reduce((sum, row) => sum + row[3], 0)
    return {
      rows: found.map(([owner, key, json, bytes, rank, row]) => ({ owner, key, json, bytes, position: [rank, row] })),
      isEnd: found.length < rows && bytes <= Math.min(most, isHere ? LITTLE : BYTES),
    }
  }

  #some (sql: string, values: readonly (string | number)[], most: number): readonly Columns[] {
    const rows: Columns[] = []
    let bytes = 0
    for (const row of this.#storage.prepared(sql).raw().iterate(...values) as IterableIterator<Columns>) {
      rows.push(row)
      bytes += row[3]
      if (bytes > most) break
    }
    this.#storage.reads.count(rows.length, bytes)
    return rows
  }

  async count (range: RangeAt): Promise<number> {
    const few = this.#one<readonly [number]>(countRows(this.#id, range, COUNTED))
    if (few[0] < COUNTED) return few[0]
    return (await this.#long<readonly [number]>(range.host, countRows(this.#id, range, undefined)))[0]
  }

  async sum (scope: ScopeAt, name: string): Promise<number> {
    const few = this.#one<Amounts>(sumRows(this.#id, scope, name, COUNTED))
    if (few[1] < COUNTED) return few[0]
    return (await this.#long<Amounts>(scope.host, sumRows(this.#id, scope, name, undefined)))[0]
  }

  write (change: TableChange): Write { return this.#write(change) }
  stored (change: TableChange): Promise<number> { return this.#storage.put(this.#write(change)) }

  #write (change: TableChange): SqliteWrite { return { store: this.#name, row: this.#rowOf(change) } }

  #rowOf (change: TableChange): Row {
    switch (change.op) {
      case 'set': {
        const { owner, key, bytes, json, entries } = change
        return ['set', this.#id, owner, key, bytes, json, JSON.stringify(entries)]
      }
      case 'unset': return ['unset', this.#id, change.owner, change.key, change.only ?? null]
      case 'wipe': return ['wipe', this.#id, change.owner]
      case 'lapse': return ['lapse', this.#id, change.name, change.rank, change.limit === Infinity ? -1 : change.limit]
    }
  }

  #one<T> ({ sql, values }: Query): T { return this.#storage.prepared(sql).raw().get(...values) as T }

  async #long<T> (host: string, { sql, values }: Query): Promise<T> {
    return (await this.#storage.long.rows(host, sql, values))[0] as T
  }

  #placeOf (owner: string, key: string): readonly [number, string, string, string] {
    const { host, prefix } = splitOwner(owner)
    return [this.#id, host, prefix, shortKey(key)]
  }
}
