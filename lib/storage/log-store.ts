/** The part that the logs of all drivers share: a driver keeps segments, and this reads and writes entries. */
import type { Items } from './items.js'
import type { Log, LogEntry, LogSize } from './log.js'
import { linesIn, removedIn, type SegmentRow } from './segments.js'
import type { Write } from './store.js'

/** A write to a log. */
export type LogChange =
  | { readonly op: 'note', readonly owner: string, readonly number: number, readonly key: string | null, readonly json: string }
  | { readonly op: 'strike', readonly numbers: readonly number[] }
  | { readonly op: 'still', readonly owner: string }
  | { readonly op: 'lose', readonly id: number }

/** The segments of one log in a database. */
export interface LogRows {
  /** Returns the next segments after this id, in order: at most `limit`, and at least one if there is any. */
  segments (after: number, limit: number): Promise<readonly SegmentRow[]>
  size (): Promise<LogSize>
  write (change: LogChange): Write
}

/** Segments that are read at a time. Most have the entries of one turn of the event loop. */
const PAGE = 20

export class StoredLog implements Log<unknown> {
  readonly items: Items
  readonly #rows: LogRows
  #last: number

  /** `last`: the highest number of the entries that are stored, or more. */
  constructor (items: Items, rows: LogRows, last: number) {
    this.items = items
    this.#rows = rows
    this.#last = last
  }

  next (): number { return ++this.#last }

  appending (owner: string, number: number, value: unknown, key?: string): Write {
    return this.#rows.write({ op: 'note', owner, number, key: key ?? null, json: JSON.stringify(value) })
  }

  removing (numbers: readonly number[]): Write { return this.#rows.write({ op: 'strike', numbers }) }
  clearing (owner: string): Write { return this.#rows.write({ op: 'still', owner }) }
  size (): Promise<LogSize> { return this.#rows.size() }

  async * entries (): AsyncGenerator<LogEntry<unknown>> {
    const passed = new Set<number>()
    for await (const { removed } of this.#segments()) {
      for (const [, numbers] of removedIn(removed) ?? []) for (const number of numbers) passed.add(number)
    }
    for await (const segment of this.#segments()) {
      const lines = linesIn(segment.entries)
      if (lines === undefined || removedIn(segment.removed) === undefined) {
        await this.#lose(segment)
        continue
      }
      for (const [number, owner, , value] of lines) {
        if (passed.has(number)) continue
        passed.add(number) // an entry that moves while it is read is in a later segment as well
        if (await this.#isReadable(owner, number, value)) yield { owner, number, value }
      }
    }
  }

  async * #segments (): AsyncGenerator<SegmentRow> {
    for (let after = 0; ;) {
      const rows = await this.#rows.segments(after, PAGE)
      yield * rows
      after = rows.at(-1)?.id ?? after
      if (rows.length === 0) return
    }
  }

  async #isReadable (owner: string, number: number, value: unknown): Promise<boolean> {
    const json = JSON.stringify(value)
    try {
      this.items.valueOf(json)
      return true
    } catch (error) {
      await this.items.move(owner, String(number), json, error, this.removing([number]))
      return false
    }
  }

  /** Puts a segment aside that is not JSON. */
  async #lose ({ id, entries, removed }: SegmentRow): Promise<void> {
    const error = new SyntaxError('a segment is not JSON')
    const write = this.#rows.write({ op: 'lose', id })
    await this.items.move('', `segment ${id}`, `${entries}\n${removed}`, error, write)
  }
}
