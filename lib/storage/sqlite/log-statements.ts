/** Writes logs inside the writer's transaction: all entries of a transaction become one row. */
import type { Database, Statement } from 'better-sqlite3'
import { Segments, type SegmentRow } from '../segments.js'
import type { Row } from './rows.js'

export type LogOps = 'note' | 'strike' | 'still' | 'lose'

export class LogStatements {
  /** The logs that have been written to, by store. */
  readonly #logs = new Map<number, Segments>()
  /** Logs that may not be open yet: they are read again, because an opening may upgrade them. */
  readonly #borrowed = new Set<number>()
  readonly #all: Statement
  readonly #entries: Statement
  readonly #insert: Statement
  readonly #delete: Statement
  readonly #stores: Statement

  constructor (database: Database) {
    this.#all = database.prepare('SELECT id, last, entries, removed FROM log_segments WHERE store = ? ORDER BY id')
    this.#entries = database.prepare('SELECT entries FROM log_segments WHERE store = ? AND id = ?').pluck()
    this.#insert = database.prepare('INSERT INTO log_segments (store, id, last, entries, removed) VALUES (?, ?, ?, ?, ?)')
    this.#delete = database.prepare('DELETE FROM log_segments WHERE store = ? AND id = ?')
    this.#stores = database.prepare('SELECT id FROM stores WHERE kind = \'log\'').pluck()
  }

  /** Performs a write; returns the number of changed rows, as far as it is known. */
  perform (row: Extract<Row, readonly [LogOps, ...unknown[]]>): number {
    const log = this.#logOf(row[1])
    switch (row[0]) {
      case 'note':
        log.add(row[3], row[2], row[4], row[5])
        if (log.isLarge) this.#write(row[1], log)
        return 1
      case 'strike': return (JSON.parse(row[2]) as readonly number[]).filter(number => log.remove(number)).length
      case 'still': log.clear(row[2]); return 1
      case 'lose': return this.#delete.run(row[1], row[2]).changes
    }
  }

  /** Removes an owner's entries from all logs. */
  erase (owner: string): void {
    for (const store of this.#stores.all() as number[]) {
      if (!this.#logs.has(store)) this.#borrowed.add(store)
      this.#logOf(store).clear(owner)
    }
  }

  /** Writes the changes of the transaction. */
  finish (): void {
    for (const [store, log] of this.#logs) if (log.isChanged) this.#write(store, log)
    for (const store of this.#borrowed) this.#logs.delete(store)
    this.#borrowed.clear()
  }

  #write (store: number, log: Segments): void {
    log.plan()
    const { gone, row } = log.finish(id => this.#entries.get(store, id) as string)
    for (const id of gone) this.#delete.run(store, id)
    if (row !== undefined) this.#insert.run(store, row.id, row.last, row.entries, row.removed)
  }

  /** Forgets what the logs hold, because a transaction was rolled back: it is read again. */
  forget (): void { this.#logs.clear() }

  #logOf (store: number): Segments {
    const known = this.#logs.get(store)
    if (known !== undefined) return known
    const log = new Segments(this.#all.iterate(store) as IterableIterator<SegmentRow>)
    this.#logs.set(store, log)
    return log
  }
}
