/**
 * The thread for long reads. Each request is one step of a read, bounded in rows and in bytes; the next step is another
 * request.
 */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import type { Database, Statement } from 'better-sqlite3'
import { connect } from './connection.js'
import type { EntryRow, ReadRequest, Step, Value, WriterSettings } from './rows.js'

/**
 * The most entries that one step looks at, the most that it returns, and the most bytes of their values. A search by
 * words looks at all its matches at once.
 */
const LOOKED_AT = 20_000
const ANSWERED = 1000
const BYTES = 512 * 1024
/** The most statements that are kept prepared. */
const PREPARED = 200

interface Window { readonly from: string, readonly values: readonly Value[] }
type TableRow = readonly [owner: string, key: string, json: string, bytes: number, ...unknown[]]
type Row = readonly [id: string, at: number, full: string, value: string, bytes: number, seq: number]

function serve (port: MessagePort, settings: WriterSettings): void {
  const database = connect(settings.file, settings.durability)
  database.pragma('query_only = ON')
  const reader = new Reader(database)
  port.on('message', (request: ReadRequest | 'close') => {
    if (request === 'close') {
      database.close()
      port.close()
      return
    }
    try {
      port.postMessage([request.number, reader.answer(request)])
    } catch (error) {
      port.postMessage([request.number, undefined, error instanceof Error ? error.message : String(error)])
    }
  })
}

class Reader {
  readonly #database: Database
  readonly #prepared = new Map<string, Statement>()

  constructor (database: Database) { this.#database = database }

  answer (request: ReadRequest): unknown {
    switch (request.what) {
      case 'rows': return this.#statement(request.sql).raw().all(...request.values)
      case 'some': return this.#some(request)
      case 'page': return this.#page(request)
      case 'skip': return this.#skip(request)
      case 'count': return this.#count(request)
    }
  }

  /** Returns rows of a table until they have more bytes than the request wants; the fourth column is their size. */
  #some ({ sql, values, bytes: most }: Extract<ReadRequest, { what: 'some' }>): readonly TableRow[] {
    const rows: TableRow[] = []
    let bytes = 0
    for (const row of this.#statement(sql).raw().iterate(...values) as IterableIterator<TableRow>) {
      rows.push(row)
      bytes += row[3]
      if (bytes > most) break
    }
    return rows
  }

  /** Returns the next entries of a page. */
  #page ({ from, values, seen, isLast, limit, bytes: most, window }: Extract<ReadRequest, { what: 'page' }>): Step<readonly EntryRow[]> {
    const end = this.#end(window, seen, isLast)
    const sql = `SELECT id, at, with_full, value, bytes, seq ${from}${bounds(seen, end, isLast)} ORDER BY seq${isLast ? ' DESC' : ''} LIMIT ?`
    const rows = Math.min(limit, ANSWERED)
    const found = this.#statement(sql).raw().iterate(...values, ...listed(seen, end), rows) as IterableIterator<Row>
    const lines: EntryRow[] = []
    let bytes = 0
    let last: number | undefined
    for (const [id, at, full, value, size, seq] of found) {
      lines.push([id, at, full, value, size])
      bytes += size
      last = seq
      if (bytes > Math.min(most, BYTES)) break
    }
    // If the answer is cut off, go on after its last entry, otherwise after the looked-at entries. Without a window, an
    // answer that is not cut off is the last one.
    const isCut = bytes > Math.min(most, BYTES) || lines.length === rows
    return { found: lines, seen: isCut ? last : end }
  }

  /**
   * Skips matches: `found` is their number, and `seen` the place after which the next step begins. That is the place of
   * the last match to skip, once all are skipped.
   */
  #skip ({ from, values, seen, isLast, most, window }: Extract<ReadRequest, { what: 'skip' }>): Step<number> {
    const end = this.#end(window, seen, isLast)
    const matches = `${from}${bounds(seen, end, isLast)}`
    const all = [...values, ...listed(seen, end)]
    const [count] = this.#statement(`SELECT count(*) ${matches}`).raw().get(...all) as [number]
    if (count < most) return { found: count, seen: end }
    const sql = `SELECT seq ${matches} ORDER BY seq${isLast ? ' DESC' : ''} LIMIT 1 OFFSET ?`
    const [last] = this.#statement(sql).raw().get(...all, most - 1) as [number]
    return { found: most, seen: last }
  }

  #count ({ from, values, seen, window }: Extract<ReadRequest, { what: 'count' }>): Step<{ readonly entries: number, readonly bytes: number }> {
    const end = this.#end(window, seen, false)
    const sql = `SELECT count(*), ifnull(sum(bytes), 0) ${from}${bounds(seen, end, false)}`
    const [entries, bytes] = this.#statement(sql).raw().get(...values, ...listed(seen, end)) as [number, number]
    return { found: { entries, bytes }, seen: end }
  }

  /** Returns the place at which this step ends; undefined if the step can look at all that is left. */
  #end (window: Window | undefined, seen: number | undefined, isLast: boolean): number | undefined {
    if (window === undefined) return undefined
    const sql = `SELECT seq ${window.from}${bounds(seen, undefined, isLast)} ORDER BY seq${isLast ? ' DESC' : ''} LIMIT 1 OFFSET ${LOOKED_AT}`
    const found = this.#statement(sql).raw().get(...window.values, ...listed(seen, undefined)) as [number] | undefined
    return found?.[0]
  }

  #statement (sql: string): Statement {
    const known = this.#prepared.get(sql)
    if (known !== undefined) return known
    if (this.#prepared.size >= PREPARED) this.#prepared.clear()
    const fresh = this.#database.prepare(sql)
    this.#prepared.set(sql, fresh)
    return fresh
  }
}

/** Returns the conditions for entries after the place seen last, up to the end of the step. */
function bounds (seen: number | undefined, end: number | undefined, isLast: boolean): string {
  return (seen === undefined ? '' : ` AND seq ${isLast ? '<' : '>'} ?`) + (end === undefined ? '' : ` AND seq ${isLast ? '>=' : '<='} ?`)
}

function listed (...values: readonly (number | undefined)[]): number[] {
  return values.filter(value => value !== undefined)
}

if (parentPort !== null) serve(parentPort, workerData as WriterSettings)
