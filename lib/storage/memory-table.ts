/** The rows of a table in memory: the reference for drivers that query a database. */
import { Items } from './items.js'
import { byCodePoint, memoryWrite, type MemoryHome } from './memory-write.js'
import { splitOwner } from './owner.js'
import { shortKey, type IndexEntry } from './ranks.js'
import type { Write } from './store.js'
import {
  StoredTable, type FoundRows, type Position, type RangeAt, type ScopeAt, type TableChange, type TableRows,
} from './table-store.js'

interface Row {
  readonly id: number
  readonly owner: string
  readonly host: string
  readonly prefix: string
  readonly key: string
  readonly place: string
  readonly json: string
  readonly bytes: number
  readonly entries: readonly IndexEntry[]
}

export class MemoryTable extends StoredTable {
  readonly #name: string
  readonly #rows: MemoryRows

  constructor (name: string, storage: MemoryHome, items: Items, rows = new MemoryRows(name, storage)) {
    super(name, items, rows)
    this.#name = name
    this.#rows = rows
  }

  remains (storage: MemoryHome): MemoryTable {
    const rows = this.#rows.remains(storage)
    return new MemoryTable(this.#name, storage, new Items(this.#name, this.items.shape, storage.aside), rows)
  }

  erase (owner: string): void { this.#rows.perform({ op: 'wipe', owner }) }
  spoil (owner: string, key: string, text: string): void { this.#rows.spoil(owner, key, text) }
}

class MemoryRows implements TableRows {
  readonly #name: string
  readonly #storage: MemoryHome
  readonly #rows = new Map<string, Row>()
  #ids = 0

  constructor (name: string, storage: MemoryHome) {
    this.#name = name
    this.#storage = storage
  }

  remains (storage: MemoryHome): MemoryRows {
    const next = new MemoryRows(this.#name, storage)
    for (const [name, row] of this.#rows) next.#rows.set(name, row)
    next.#ids = this.#ids
    return next
  }

  find (owner: string, key: string): Promise<string | undefined> {
    return this.#storage.read(() => this.#rows.get(nameOf(owner, key))?.json)
  }

  positionOf (owner: string, key: string, name: string | undefined): Promise<Position | undefined> {
    return this.#storage.read(() => {
      const row = this.#rows.get(nameOf(owner, key))
      return row === undefined ? undefined : positionOf(row, name)
    })
  }

  step (range: RangeAt, limit: number): Promise<FoundRows> {
    return this.#storage.read(() => {
      const matches = this.#matching(range)
      if (range.isLast) matches.reverse()
      const rows = matches.slice(0, limit).map(([position, { owner, key, json, bytes }]) => (
        { owner, key, json, bytes, position }))
      return { rows, isEnd: matches.length <= limit }
    })
  }

  count (range: RangeAt): Promise<number> { return this.#storage.read(() => this.#matching(range).length) }

  sum ({ host, prefix }: ScopeAt, name: string): Promise<number> {
    return this.#storage.read(() => {
      let total = 0
      for (const row of this.#rows.values()) {
        if (row.host !== host || prefix !== undefined && row.prefix !== prefix) continue
        for (const [sum, , amount] of row.entries) if (sum === name) total += amount ?? 0
      }
      return total
    })
  }

  write (change: TableChange): Write { return memoryWrite(this.#name, () => { this.perform(change) }) }

  async stored (change: TableChange): Promise<number> {
    let count = 0
    await this.#storage.put(memoryWrite(this.#name, () => { count = this.perform(change) }))
    return count
  }

  /** Performs a change; returns the number of removed rows. */
  perform (change: TableChange): number {
    const before = this.#rows.size
    switch (change.op) {
      case 'set': this.#set(change); return 0
      case 'unset': {
        const name = nameOf(change.owner, change.key)
        if (change.only === undefined || this.#rows.get(name)?.json === change.only) this.#rows.delete(name)
        break
      }
      case 'wipe': for (const [name, { owner }] of this.#rows) if (owner === change.owner) this.#rows.delete(name); break
      case 'lapse': this.#lapse(change)
    }
    return before - this.#rows.size
  }

  spoil (owner: string, key: string, text: string): void {
    const row = this.#rows.get(nameOf(owner, key))
    if (row !== undefined) this.#rows.set(nameOf(owner, key), { ...row, json: text })
  }

  #set ({ owner, key, json, bytes, entries }: Extract<TableChange, { op: 'set' }>): void {
    const name = nameOf(owner, key)
    const id = this.#rows.get(name)?.id ?? ++this.#ids
    this.#rows.set(name, { id, owner, ...splitOwner(owner), key, place: shortKey(key), json, bytes, entries })
  }

  #lapse ({ name, rank, limit }: Extract<TableChange, { op: 'lapse' }>): void {
    const due = [...this.#rows.values()].flatMap(row => {
      const position = positionOf(row, name)
      return position !== undefined && byCodePoint(position[0], rank) <= 0 ? [[position, row] as const] : []
    }).sort(([a, one], [b, two]) => byCodePoint(one.host, two.host) || inOrder(a, b))
    for (const [, { owner, key }] of due.slice(0, limit)) this.#rows.delete(nameOf(owner, key))
  }

  #matching ({ host, prefix, name, low, high, after, before }: RangeAt): (readonly [Position, Row])[] {
    const bounded = name === undefined ? 1 : 0 // the part of a position that `low` and `high` bound
    return [...this.#rows.values()].flatMap(row => {
      if (row.host !== host || prefix !== undefined && row.prefix !== prefix) return []
      const position = positionOf(row, name)
      return position === undefined ? [] : [[position, row] as const]
    }).filter(([position]) => {
      const value = String(position[bounded])
      return (low === undefined || byCodePoint(value, low) >= 0) &&
        (high === undefined || byCodePoint(value, high) <= 0) &&
        after.every(other => inOrder(other, position) < 0) && before.every(other => inOrder(position, other) < 0)
    }).sort(([a], [b]) => inOrder(a, b))
  }
}

function positionOf (row: Row, name: string | undefined): Position | undefined {
  if (name === undefined) return [row.prefix, row.place]
  const entry = row.entries.find(entry => entry[0] === name)
  return entry === undefined ? undefined : [entry[1], row.id]
}

function inOrder (a: Position, b: Position): number {
  const [first, second] = [a[1], b[1]]
  return byCodePoint(a[0], b[0]) ||
    (typeof first === 'number' && typeof second === 'number' ? first - second : byCodePoint(String(first), String(second)))
}

function nameOf (owner: string, key: string): string { return `${owner}\n${shortKey(key)}` }
