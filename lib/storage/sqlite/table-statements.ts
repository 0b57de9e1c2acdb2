/** The statements that write tables, and the owners of stores by host, inside the writer's transaction. */
import type { Database, Statement } from 'better-sqlite3'
import { splitOwner } from '../owner.js'
import { shortKey, type IndexEntry } from '../ranks.js'
import type { Row } from './rows.js'

type RowOf<Op extends Row[0]> = Extract<Row, readonly [op: Op, ...unknown[]]>

const OWNER = 'store = ? AND host = ? AND prefix = ?'
const EVERY_STORE = 'store IN (SELECT id FROM stores) AND host = ? AND prefix = ?'
/** The owners of a store of records, and of a journal, one by one in order. */
const OWNERS = [
  {
    first: 'SELECT owner FROM records WHERE store = ? ORDER BY owner LIMIT 1',
    next: 'SELECT owner FROM records WHERE store = ? AND owner > ? ORDER BY owner LIMIT 1',
  },
  {
    first: 'SELECT owner FROM journal WHERE store = ? ORDER BY owner LIMIT 1',
    next: 'SELECT owner FROM journal WHERE store = ? AND owner > ? ORDER BY owner LIMIT 1',
  },
] as const
/** The most owners of a store that are remembered as listed; then all are forgotten, and listed again. */
const MOST_KNOWN = 100_000

/** Performs the writes of tables. Each function returns the number of changed rows. */
export class TableStatements {
  readonly #row: Statement
  readonly #unindex: Statement
  readonly #entry: Statement
  readonly #unset: Statement
  readonly #unsetIf: Statement
  readonly #wipe: Statement
  readonly #erase: Statement
  readonly #lapse: Statement

  constructor (database: Database) {
    const prepare = (sql: string): Statement => database.prepare(sql)
    this.#row = prepare('INSERT INTO table_rows (store, host, prefix, place, key, bytes, value) VALUES (?, ?, ?, ?, ?, ?, ?) ' +
      'ON CONFLICT (store, host, prefix, place) DO UPDATE SET key = excluded.key, bytes = excluded.bytes, value = excluded.value ' +
      'RETURNING id').pluck()
    this.#unindex = prepare('DELETE FROM table_entries WHERE row_id = ?')
    this.#entry = prepare('INSERT INTO table_entries (row_id, name, store, host, prefix, rank, amount) VALUES (?, ?, ?, ?, ?, ?, ?)')
    this.#unset = prepare(`DELETE FROM table_rows WHERE ${OWNER} AND place = ?`)
    this.#unsetIf = prepare(`DELETE FROM table_rows WHERE ${OWNER} AND place = ? AND value = ?`)
    this.#wipe = prepare(`DELETE FROM table_rows WHERE ${OWNER}`)
    this.#erase = prepare(`DELETE FROM table_rows WHERE ${EVERY_STORE}`)
    this.#lapse = prepare(`DELETE FROM table_rows WHERE id IN (
      WITH RECURSIVE hosts (host) AS (
        SELECT min(host) FROM table_entries WHERE store = @store AND name = @name
        UNION ALL
        SELECT (SELECT min(host) FROM table_entries WHERE store = @store AND name = @name AND host > hosts.host)
          FROM hosts WHERE hosts.host IS NOT NULL
      )
      SELECT e.row_id FROM hosts CROSS JOIN table_entries AS e INDEXED BY table_by_host
        WHERE hosts.host IS NOT NULL AND e.store = @store AND e.name = @name AND e.host = hosts.host AND e.rank <= @rank
        LIMIT @limit)`)
  }

  set ([, store, owner, key, bytes, value, entries]: RowOf<'set'>): number {
    const { host, prefix } = splitOwner(owner)
    const id = this.#row.get(store, host, prefix, shortKey(key), key, bytes, value) as number
    this.index(id, store, owner, JSON.parse(entries) as readonly IndexEntry[])
    return 1
  }

  /** Sets what a row has in the indexes. */
  index (id: number, store: number, owner: string, entries: readonly IndexEntry[]): void {
    const { host, prefix } = splitOwner(owner)
    this.#unindex.run(id)
    for (const [name, rank, amount] of entries) this.#entry.run(id, name, store, host, prefix, rank, amount)
  }

  unset ([, store, owner, key, only]: RowOf<'unset'>): number {
    const { host, prefix } = splitOwner(owner)
    const at = [store, host, prefix, shortKey(key)]
    return (only === null ? this.#unset.run(at) : this.#unsetIf.run(...at, only)).changes
  }

  wipe ([, store, owner]: RowOf<'wipe'>): number {
    const { host, prefix } = splitOwner(owner)
    return this.#wipe.run(store, host, prefix).changes
  }

  lapse ([, store, name, rank, limit]: RowOf<'lapse'>): number {
    return this.#lapse.run({ store, name, rank, limit }).changes
  }

  erase (owner: string): number {
    const { host, prefix } = splitOwner(owner)
    return this.#erase.run(host, prefix).changes
  }
}

/** Keeps the list of owners by host of those stores that want it. */
export class OwnerStatements {
  /** The owners that are known to be listed, by store: a store that is not here has no list. */
  readonly #known: Map<number, Set<string>>
  readonly #list: Statement
  readonly #begin: Statement
  readonly #tidy: Statement
  readonly #erase: Statement
  readonly #following: readonly ((store: number, after: string | undefined) => string | undefined)[]

  constructor (database: Database) {
    const listed = database.prepare('SELECT id FROM stores WHERE by_host').pluck().all() as number[]
    this.#known = new Map(listed.map(store => [store, new Set()]))
    this.#list = database.prepare('INSERT OR IGNORE INTO store_owners (store, host, prefix) VALUES (?, ?, ?)')
    this.#begin = database.prepare('UPDATE stores SET by_host = 1 WHERE id = ?')
    this.#tidy = database.prepare(`DELETE FROM store_owners WHERE ${OWNER} ` +
      'AND NOT EXISTS (SELECT 1 FROM records WHERE store = ? AND owner = ?) ' +
      'AND NOT EXISTS (SELECT 1 FROM journal WHERE store = ? AND owner = ?)')
    this.#erase = database.prepare(`DELETE FROM store_owners WHERE ${EVERY_STORE}`)
    this.#following = OWNERS.map(statements => {
      const first = database.prepare(statements.first).pluck()
      const next = database.prepare(statements.next).pluck()
      return (store, after) => (after === undefined ? first.get(store) : next.get(store, after)) as string | undefined
    })
  }

  /** Lists an owner to whom something was written, if the store has a list. */
  add (store: number, owner: string): void {
    const known = this.#known.get(store)
    if (known === undefined || known.has(owner)) return
    if (known.size >= MOST_KNOWN) known.clear()
    const { host, prefix } = splitOwner(owner)
    this.#list.run(store, host, prefix)
    known.add(owner)
  }

  /** Begins the list of a store with the owners that it has. */
  begin ([, store]: RowOf<'host'>): number {
    if (this.#begin.run(store).changes === 0) return 0
    this.#known.set(store, new Set())
    for (const next of this.#following) {
      for (let owner = next(store, undefined); owner !== undefined; owner = next(store, owner)) this.add(store, owner)
    }
    return 1
  }

  /** Removes an owner from the list of a store, if it holds nothing there. */
  tidy ([, store, owner]: RowOf<'tidy'>): number {
    const { host, prefix } = splitOwner(owner)
    this.#known.get(store)?.delete(owner)
    return this.#tidy.run(store, host, prefix, store, owner, store, owner).changes
  }

  /** Removes an owner whose rows are gone from all lists. */
  erase (owner: string): void {
    const { host, prefix } = splitOwner(owner)
    for (const known of this.#known.values()) known.delete(owner)
    this.#erase.run(host, prefix)
  }

  /** Forgets what is listed, because a transaction was rolled back. */
  forget (): void { for (const known of this.#known.values()) known.clear() }
}
