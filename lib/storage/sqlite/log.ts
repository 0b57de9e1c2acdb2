/** The segments of a log in SQLite. */
import type { LogSize } from '../log.js'
import type { LogChange, LogRows } from '../log-store.js'
import type { SegmentRow } from '../segments.js'
import type { Write } from '../store.js'
import type { SqliteHome } from './home.js'
import type { Row, SqliteWrite } from './rows.js'

/** The bytes of segments after which one read takes no more. */
const BYTES = 1024 * 1024

type Columns = readonly [id: number, last: number, entries: string, bytes: number, removed: string]

export class SqliteSegments implements LogRows {
  readonly #name: string
  readonly #id: number
  readonly #storage: SqliteHome

  constructor (name: string, id: number, storage: SqliteHome) {
    this.#name = name
    this.#id = id
    this.#storage = storage
  }

  /** The highest number of the entries that are stored. */
  get last (): number {
    return this.#storage.prepared('SELECT coalesce(max(last), 0) FROM log_segments WHERE store = ?').pluck()
      .get(this.#id) as number
  }

  async segments (after: number, limit: number): Promise<readonly SegmentRow[]> {
    const sql = 'SELECT id, last, entries, length(entries) + length(removed), removed ' +
      'FROM log_segments WHERE store = ? AND id > ? ORDER BY id LIMIT ?'
    const rows = await this.#storage.long.some(this.#name, sql, [this.#id, after, limit], BYTES) as readonly Columns[]
    return rows.map(([id, last, entries, , removed]) => ({ id, last, entries, removed }))
  }

  async size (): Promise<LogSize> {
    const sql = 'SELECT coalesce(sum(length(entries) + length(removed)), 0), count(*) FROM log_segments WHERE store = ?'
    const [size] = await this.#storage.long.rows(this.#name, sql, [this.#id]) as readonly (readonly [number, number])[]
    return { bytes: size?.[0] ?? 0, segments: size?.[1] ?? 0 }
  }

  write (change: LogChange): Write {
    const write: SqliteWrite = { store: this.#name, row: this.#rowOf(change) }
    return write
  }

  #rowOf (change: LogChange): Row {
    switch (change.op) {
      case 'note': return ['note', this.#id, change.owner, change.number, change.key, change.json]
      case 'strike': return ['strike', this.#id, JSON.stringify(change.numbers)]
      case 'still': return ['still', this.#id, change.owner]
      case 'lose': return ['lose', this.#id, change.id]
    }
  }
}
