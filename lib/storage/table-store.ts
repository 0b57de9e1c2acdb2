/** The part that the tables of all drivers share: a driver finds and writes rows, and this gives them their meaning. */
import { bytesOf, type Items } from './items.js'
import { splitOwner } from './owner.js'
import { entriesOf, shortKey, sortable, sumName, type IndexEntry, type Rank, type TableIndexes } from './ranks.js'
import { takePage } from './select.js'
import { UnknownEntry, type Write } from './store.js'
import type { RowName, Scope, Table, TablePage, TableQuery, TableRange, TableRow } from './table.js'

/**
 * A place in an order of rows: the rank and the number of the row in an index, or the prefix of the owner and the
 * short key.
 */
export type Position = readonly [string, string | number]

/** A row as a driver found it. `bytes` is the size of its value. */
export interface FoundRow {
  readonly owner: string
  readonly key: string
  readonly json: string
  readonly bytes: number
  readonly position: Position
}

/** The rows of a host, or of the owner with this prefix there. */
export interface ScopeAt { readonly host: string, readonly prefix: string | undefined }

/** A range as a driver looks for it. `name` is that of the index; without it rows are in the order of their keys. */
export interface RangeAt extends ScopeAt {
  readonly name: string | undefined
  readonly low: string | undefined
  readonly high: string | undefined
  readonly after: readonly Position[]
  readonly before: readonly Position[]
  readonly isLast: boolean
}

/** The rows of one step; `isEnd`: no more rows match. */
export interface FoundRows { readonly rows: readonly FoundRow[], readonly isEnd: boolean }

/** A write to a table. `only`: the value that a row must have, or else it stays. */
export type TableChange =
  | {
    readonly op: 'set'
    readonly owner: string
    readonly key: string
    readonly json: string
    /** The size of the value. */
    readonly bytes: number
    readonly entries: readonly IndexEntry[]
  }
  | { readonly op: 'unset', readonly owner: string, readonly key: string, readonly only: string | undefined }
  | { readonly op: 'wipe', readonly owner: string }
  | { readonly op: 'lapse', readonly name: string, readonly rank: string, readonly limit: number }

/** The rows of one table in a database. */
export interface TableRows {
  find (owner: string, key: string): Promise<string | undefined>
  /** Returns the position of a row in an index, or in the order of keys; undefined if it is not there. */
  positionOf (owner: string, key: string, name: string | undefined): Promise<Position | undefined>
  /**
   * Returns the first matches in the direction of the range: at most `limit`, and fewer if they have more bytes than
   * `bytes` together.
   */
  step (range: RangeAt, limit: number, bytes: number): Promise<FoundRows>
  count (range: RangeAt): Promise<number>
  sum (scope: ScopeAt, name: string): Promise<number>
  write (change: TableChange): Write
  /** Commits one change by itself; resolves with the number of removed rows when it is stored. */
  stored (change: TableChange): Promise<number>
}

/** Rows that one step of a page reads at most. */
const STEP = 250

export class StoredTable implements Table<unknown> {
  readonly #name: string
  readonly #indexes: TableIndexes<unknown>
  readonly #rows: TableRows
  readonly items: Items

  constructor (name: string, items: Items, rows: TableRows) {
    this.#name = name
    this.#indexes = items.shape.indexes ?? { by: {} }
    this.#rows = rows
    this.items = items
  }

  async get (owner: string, key: string): Promise<unknown> {
    const json = await this.#rows.find(owner, key)
    if (json === undefined) return undefined
    return await this.items.one(owner, key, json, error => this.#move(owner, key, json, error))
  }

  async page (scope: Scope, query: TableQuery): Promise<TablePage<unknown>> {
    const range = await this.#rangeOf(scope, query, query.last === true)
    const unread = new Map<string, RowName>()
    for (;;) {
      const { chosen, complete } = await this.#gather(range, query)
      const { rows, broken } = this.#read(chosen)
      const isNew = broken.some(row => !unread.has(nameOf(row)))
      for (const { owner, key } of broken) unread.set(nameOf({ owner, key }), { owner, key })
      if (!isNew || this.items.shape.unreadable !== 'moved') {
        const refused = this.#refuse(broken)
        if (refused !== undefined && this.items.shape.unreadable === 'refused' && 'owner' in scope) throw refused
        return { rows, complete, ...unread.size === 0 ? {} : { unread: [...unread.values()] } }
      }
      for (const { owner, key, json, error } of broken) await this.#move(owner, key, json, error)
    }
  }

  async count (scope: Scope, range: TableRange = {}): Promise<number> {
    return await this.#rows.count(await this.#rangeOf(scope, range, false))
  }

  async sum (scope: Scope, name: string): Promise<number> {
    if (!Object.hasOwn(this.#indexes.sum ?? {}, name)) throw new RangeError(`the table ${this.#name} has no sum '${name}'`)
    return await this.#rows.sum(scopeAt(scope), sumName(name))
  }

  putting (owner: string, key: string, value: unknown): Write {
    const json = JSON.stringify(value)
    return this.#rows.write({
      op: 'set', owner, key, json, bytes: bytesOf(value, json), entries: entriesOf(this.#indexes, value),
    })
  }

  removing (owner: string, key: string, unchanged?: unknown): Write {
    const only = unchanged === undefined ? undefined : JSON.stringify(unchanged)
    return this.#rows.write({ op: 'unset', owner, key, only })
  }

  clearing (owner: string): Write { return this.#rows.write({ op: 'wipe', owner }) }

  async expire (index: string, now: Rank, limit: number): Promise<number> {
    this.#checkIndex(index)
    return await this.#rows.stored({ op: 'lapse', name: index, rank: sortable(now), limit })
  }

  setAside (owner: string, key: string, value: unknown, error: unknown, instead?: unknown): Promise<void> {
    const write = instead === undefined ? this.removing(owner, key) : this.putting(owner, key, instead)
    return this.items.setAside(owner, key, value, error, write, {}, instead !== undefined)
  }

  /** Puts a row aside, unless its value has changed by then. */
  #move (owner: string, key: string, json: string, error: unknown): Promise<void> {
    return this.items.move(owner, key, json, error, this.#rows.write({ op: 'unset', owner, key, only: json }))
  }

  #read (found: readonly FoundRow[]): {
    readonly rows: readonly TableRow<unknown>[]
    readonly broken: readonly (FoundRow & { readonly error: unknown })[]
  } {
    const rows: TableRow<unknown>[] = []
    const broken: (FoundRow & { readonly error: unknown })[] = []
    for (const row of found) {
      try {
        const { owner, key, position } = row
        rows.push({ owner, key, value: this.items.valueOf(row.json), place: JSON.stringify(position) })
      } catch (error) {
        broken.push({ ...row, error })
      }
    }
    return { rows, broken }
  }

  /** Logs the rows that stay where they are. Returns the first error. */
  #refuse (broken: readonly (FoundRow & { readonly error: unknown })[]): Error | undefined {
    if (this.items.shape.unreadable === 'moved') return undefined
    return broken.map(({ owner, key, error }) => this.items.refuse(owner, key, error))[0]
  }

  /** Reads as many rows as the page takes, step by step. */
  async #gather (
    range: RangeAt, query: TableQuery,
  ): Promise<{ readonly chosen: readonly FoundRow[], readonly complete: boolean }> {
    const rows: FoundRow[] = []
    let left = query.bytes ?? Infinity
    let isEnd = false
    for (let next = range; !isEnd && rows.length <= query.limit && (rows.length < 2 || left >= 0);) {
      const step = await this.#rows.step(next, Math.min(query.limit + 1 - rows.length, STEP), Math.max(0, left))
      for (const row of step.rows) {
        rows.push(row)
        left -= row.bytes
      }
      isEnd = step.isEnd || step.rows.length === 0
      const last = step.rows.at(-1)?.position
      if (last !== undefined) next = range.isLast ? { ...next, before: [last] } : { ...next, after: [last] }
    }
    return takePage(rows, query, ({ bytes }) => bytes)
  }

  async #rangeOf (scope: Scope, { by, from, to, after, before }: TableRange, isLast: boolean): Promise<RangeAt> {
    if (by !== undefined) this.#checkIndex(by)
    if (by === undefined && (from !== undefined || to !== undefined) && 'host' in scope) {
      throw new RangeError('bounds of the key are for one owner only')
    }
    const bound = (rank: Rank | undefined): string | undefined =>
      rank === undefined ? undefined : by === undefined ? shortKey(String(rank)) : sortable(rank)
    return {
      ...scopeAt(scope), name: by, low: bound(from), high: bound(to), isLast,
      after: after === undefined ? [] : [await this.#positionOf(after, by)],
      before: before === undefined ? [] : [await this.#positionOf(before, by)],
    }
  }

  async #positionOf (place: string | RowName, by: string | undefined): Promise<Position> {
    const position = typeof place === 'string'
      ? positionIn(place, by)
      : await this.#rows.positionOf(place.owner, place.key, by)
    if (position === undefined) throw new UnknownEntry(`there is no such row in the table ${this.#name}`)
    return position
  }

  #checkIndex (name: string): void {
    if (!Object.hasOwn(this.#indexes.by, name)) throw new RangeError(`the table ${this.#name} has no index '${name}'`)
  }
}

function scopeAt (scope: Scope): ScopeAt {
  return 'owner' in scope ? splitOwner(scope.owner) : { host: scope.host, prefix: undefined }
}

function nameOf ({ owner, key }: RowName): string { return `${owner}\n${key}` }

/** Reads a place that a page has given; undefined if no page of this order has. */
function positionIn (place: string, by: string | undefined): Position | undefined {
  try {
    const value: unknown = JSON.parse(place)
    if (!Array.isArray(value)) return undefined
    const [first, second] = value as unknown[]
    const isOfOrder = by === undefined ? typeof second === 'string' : Number.isSafeInteger(second)
    return typeof first === 'string' && isOfOrder ? [first, second as string | number] : undefined
  } catch {
    return undefined
  }
}
