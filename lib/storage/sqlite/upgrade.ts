/** Registers stores in the table of stores, compares them with what a module declares, and upgrades them. */
import type { Database } from 'better-sqlite3'
import type { Shape } from '../store.js'
import {
  indexNames, rowUpgradeOf, UPGRADED_AT_ONCE, upgradeLines, upgradeOf, type KnownStore, type Upgraded, type UpgradedRow,
} from '../upgrade.js'
import { TableStatements } from './table-statements.js'

/**
 * Returns the number of the store with this name, after upgrading its values to the shape's version. Throws if that is
 * not possible; the transaction then changes nothing.
 */
export function register (database: Database, name: string, shape: Shape<unknown>): number {
  const known = database.prepare('SELECT id, kind, version, names FROM stores WHERE name = ?')
    .get(name) as KnownStore | undefined
  if (known === undefined) {
    const made = database.prepare('INSERT INTO stores (name, kind, version, names) VALUES (?, ?, ?, ?)')
      .run(name, shape.kind, shape.version, indexNames(shape))
    return Number(made.lastInsertRowid)
  }
  const upgrade = upgradeOf(name, known, shape)
  if (shape.kind === 'table') {
    const upgradeRow = rowUpgradeOf(known, shape, upgrade)
    if (upgradeRow === undefined) return known.id
    upgradeTable(database, known.id, upgradeRow)
  } else {
    if (upgrade === undefined) return known.id
    if (shape.kind === 'records') upgradeRecords(database, known.id, upgrade)
    else if (shape.kind === 'log') upgradeLog(database, known.id, upgrade)
    else upgradeJournal(database, known.id, upgrade)
  }
  database.prepare('UPDATE stores SET version = ?, names = ? WHERE id = ?').run(shape.version, indexNames(shape), known.id)
  return known.id
}

/** Upgrades the records of a store. */
function upgradeRecords (database: Database, store: number, upgrade: (json: string) => Upgraded): void {
  interface Pair { readonly owner: string, readonly key: string, readonly value: string }
  const first = database.prepare('SELECT owner, key, value FROM records WHERE store = ? ORDER BY owner, key LIMIT ?')
  const behind = database.prepare('SELECT owner, key, value FROM records ' +
    'WHERE store = ? AND (owner, key) > (?, ?) ORDER BY owner, key LIMIT ?')
  const put = database.prepare('UPDATE records SET value = ? WHERE store = ? AND owner = ? AND key = ?')
  const remove = database.prepare('DELETE FROM records WHERE store = ? AND owner = ? AND key = ?')
  let pairs = first.all(store, UPGRADED_AT_ONCE) as Pair[]
  for (let last = pairs.at(-1); last !== undefined; last = pairs.at(-1)) {
    for (const { owner, key, value } of pairs) {
      const next = upgrade(value)
      if (next === 'goes') remove.run(store, owner, key)
      else if (next !== 'stays') put.run(next.json, store, owner, key)
    }
    pairs = behind.all(store, last.owner, last.key, UPGRADED_AT_ONCE) as Pair[]
  }
}

function upgradeJournal (database: Database, store: number, upgrade: (json: string) => Upgraded): void {
  interface Line { readonly seq: number, readonly value: string }
  const behind = database.prepare('SELECT seq, value FROM journal WHERE store = ? AND seq > ? ORDER BY seq LIMIT ?')
  const put = database.prepare('UPDATE journal SET value = ?, bytes = ? WHERE seq = ?')
  const remove = database.prepare('DELETE FROM journal WHERE seq = ?')
  let lines = behind.all(store, 0, UPGRADED_AT_ONCE) as Line[]
  for (let last = lines.at(-1); last !== undefined; last = lines.at(-1)) {
    for (const { seq, value } of lines) {
      const next = upgrade(value)
      if (next === 'goes') remove.run(seq)
      else if (next !== 'stays') put.run(next.json, next.bytes, seq)
    }
    lines = behind.all(store, last.seq, UPGRADED_AT_ONCE) as Line[]
  }
}

function upgradeTable (database: Database, store: number, upgrade: (json: string) => UpgradedRow): void {
  interface Line { readonly id: number, readonly owner: string, readonly value: string }
  const statements = new TableStatements(database)
  const next = database.prepare('SELECT id, prefix || host AS owner, value FROM table_rows WHERE store = ? AND id > ? ORDER BY id LIMIT ?')
  const put = database.prepare('UPDATE table_rows SET value = ?, bytes = ? WHERE id = ?')
  const remove = database.prepare('DELETE FROM table_rows WHERE id = ?')
  let lines = next.all(store, 0, UPGRADED_AT_ONCE) as Line[]
  for (let last = lines.at(-1); last !== undefined; last = lines.at(-1)) {
    for (const { id, owner, value } of lines) {
      const row = upgrade(value)
      if (row.value === 'goes') {
        remove.run(id)
        continue
      }
      if (row.value !== 'stays') put.run(row.value.json, row.value.bytes, id)
      statements.index(id, store, owner, row.entries)
    }
    lines = next.all(store, last.id, UPGRADED_AT_ONCE) as Line[]
  }
}

function upgradeLog (database: Database, store: number, upgrade: (json: string) => Upgraded): void {
  const ids = database.prepare('SELECT id FROM log_segments WHERE store = ?').pluck().all(store) as number[]
  const entries = database.prepare('SELECT entries FROM log_segments WHERE store = ? AND id = ?').pluck()
  const put = database.prepare('UPDATE log_segments SET entries = ? WHERE store = ? AND id = ?')
  for (const id of ids) {
    const upgraded = upgradeLines(entries.get(store, id) as string, upgrade)
    if (upgraded !== undefined) put.run(upgraded, store, id)
  }
}
