/** The segments of a log in PostgreSQL. */
import type { LogSize } from '../log.js'
import type { LogChange, LogRows } from '../log-store.js'
import type { SegmentRow } from '../segments.js'
import type { Write } from '../store.js'
import type { PostgresHome } from './home.js'
import type { PostgresWrite, Row } from './rows.js'
import { encodeText } from './text.js'

export class PostgresSegments implements LogRows {
  readonly #name: string
  readonly #id: number
  readonly #storage: PostgresHome

  constructor (name: string, id: number, storage: PostgresHome) {
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  /** Returns the highest number of the entries that are stored. */
  async last (): Promise<number> {
    const [found] = await this.#storage.rows<{ readonly last: number }>(
      'SELECT coalesce(max(last), 0)::float8 AS last FROM log_segments WHERE store = $1', [this.#id])
    return found?.last ?? 0
  }

  segments (after: number, limit: number): Promise<readonly SegmentRow[]> {
    return this.#storage.rows<SegmentRow>('SELECT id::float8 AS id, last::float8 AS last, entries, removed ' +
      'FROM log_segments AS l WHERE store = $1 AND l.id > $2 ORDER BY l.id LIMIT $3', [this.#id, after, limit])
  }

  async size (): Promise<LogSize> {
    const [size] = await this.#storage.rows<LogSize>('SELECT count(*)::float8 AS segments, ' +
      'coalesce(sum(length(entries) + length(removed)), 0)::float8 AS bytes FROM log_segments WHERE store = $1', [this.#id])
    return size ?? { bytes: 0, segments: 0 }
  }

  write (change: LogChange): Write {
    const write: PostgresWrite = { store: this.#name, rows: [this.#rowOf(change)] }
    return write
  }

  #rowOf (change: LogChange): Row {
    const store = this.#id
    switch (change.op) {
      case 'note': {
        const { owner, number, key, json } = change
        return { op: 'note', store, owner: encodeText(owner), at: number, value: json, ...key === null ? {} : { key } }
      }
      case 'strike': return { op: 'strike', store, owner: '', value: JSON.stringify(change.numbers) }
      case 'still': return { op: 'still', store, owner: encodeText(change.owner) }
      case 'lose': return { op: 'lose', store, owner: '', at: change.id }
    }
  }
}
