/** Stores in the table of stores: registered, compared with what a module declares, and upgraded. */
import type { Database } from 'better-sqlite3'
import { isJson } from '../items.js'
import type { Shape } from '../store.js'
import { bytesOf } from './rows.js'

/** Rows read at a time. */
const CHUNK = 500

/** The number of the store of this name, its values at the shape's version. Throws where that cannot be; then nothing has changed. */
export function register (database: Database, name: string, shape: Shape<unknown>): number {
  const known = database.prepare('SELECT id, kind, version FROM stores WHERE name = ?')
    .get(name) as { readonly id: number, readonly kind: string, readonly version: number } | undefined
  if (known === undefined) {
    const made = database.prepare('INSERT INTO stores (name, kind, version) VALUES (?, ?, ?)').run(name, shape.kind, shape.version)
    return Number(made.lastInsertRowid)
  }
  const { id, kind, version } = known
  if (kind !== shape.kind) throw new Error(`the store ${name} is a store of kind '${kind}', not '${shape.kind}'`)
  if (version > shape.version) {
    throw new Error(`the store ${name} was written by a newer version of its module: its values are at version ${version}, this one knows ${shape.version}`)
  }
  if (version === shape.version) return id
  if (shape.upgrade === undefined) throw new Error(`nothing takes the store ${name} from version ${version} to ${shape.version}`)
  const { upgrade } = shape
  const next = (json: string): unknown => upgrade(JSON.parse(json), version)
  if (kind === 'records') upgradeRecords(database, id, next)
  else upgradeJournal(database, id, next)
  database.prepare('UPDATE stores SET version = ? WHERE id = ?').run(shape.version, id)
  return id
}

/** What becomes undefined is removed. */
function upgradeRecords (database: Database, store: number, next: (json: string) => unknown): void {
  interface Pair { readonly owner: string, readonly key: string, readonly value: string }
  const first = database.prepare('SELECT owner, key, value FROM records WHERE store = ? ORDER BY owner, key LIMIT ?')
  const behind = database.prepare('SELECT owner, key, value FROM records WHERE store = ? AND (owner, key) > (?, ?) ORDER BY owner, key LIMIT ?')
  const put = database.prepare('UPDATE records SET value = ? WHERE store = ? AND owner = ? AND key = ?')
  const remove = database.prepare('DELETE FROM records WHERE store = ? AND owner = ? AND key = ?')
  let pairs = first.all(store, CHUNK) as Pair[]
  for (let last = pairs.at(-1); last !== undefined; last = pairs.at(-1)) {
    for (const { owner, key, value } of pairs) {
      if (!isJson(value)) continue // whoever reads it puts it aside
      const fresh = next(value)
      if (fresh === undefined) remove.run(store, owner, key)
      else put.run(JSON.stringify(fresh), store, owner, key)
    }
    pairs = behind.all(store, last.owner, last.key, CHUNK) as Pair[]
  }
}

function upgradeJournal (database: Database, store: number, next: (json: string) => unknown): void {
  interface Line { readonly seq: number, readonly value: string }
  const behind = database.prepare('SELECT seq, value FROM journal WHERE store = ? AND seq > ? ORDER BY seq LIMIT ?')
  const put = database.prepare('UPDATE journal SET value = ?, bytes = ? WHERE seq = ?')
  const remove = database.prepare('DELETE FROM journal WHERE seq = ?')
  let lines = behind.all(store, 0, CHUNK) as Line[]
  for (let last = lines.at(-1); last !== undefined; last = lines.at(-1)) {
    for (const { seq, value } of lines) {
      if (!isJson(value)) continue
      const fresh = next(value)
      if (fresh === undefined) {
        remove.run(seq)
      } else {
        const json = JSON.stringify(fresh)
        put.run(json, bytesOf(fresh, json), seq)
      }
    }
    lines = behind.all(store, last.seq, CHUNK) as Line[]
  }
}
