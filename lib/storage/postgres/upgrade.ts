/** Stores in the table of stores: registered, compared with what a module declares, and upgraded. */
import { bytesOf } from '../sqlite/rows.js'
import { isJson } from '../items.js'
import type { Shape } from '../store.js'
import type { Client } from './client.js'
import { transaction } from './steps.js'

/** Rows read at a time. */
const CHUNK = 500

/** The number of the store of this name, its values at the shape's version. Throws where that cannot be; then nothing has changed. */
export function register (client: Client, name: string, shape: Shape<unknown>): Promise<number> {
  return transaction(client, async () => {
    const { rows: [known] } = await client.query<{ id: number, kind: string, version: number }>('SELECT id, kind, version FROM stores WHERE name = $1', [name])
    if (known === undefined) {
      const { rows: [made] } = await client.query<{ id: number }>(
        'INSERT INTO stores (name, kind, version) VALUES ($1, $2, $3) RETURNING id', [name, shape.kind, shape.version])
      return made?.id ?? 0
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
    if (kind === 'records') await upgradeRecords(client, id, next)
    else await upgradeJournal(client, id, next)
    await client.query('UPDATE stores SET version = $1 WHERE id = $2', [shape.version, id])
    return id
  })
}

/** What becomes undefined is removed. */
async function upgradeRecords (client: Client, store: number, next: (json: string) => unknown): Promise<void> {
  interface Pair { readonly owner: string, readonly key: string, readonly value: string }
  const behind = async (where: string, values: unknown[]): Promise<Pair[]> => {
    const text = `SELECT owner, key, value FROM records WHERE store = $1${where} ORDER BY owner, key LIMIT ${CHUNK}`
    return (await client.query<Pair>(text, [store, ...values])).rows
  }
  let pairs = await behind('', [])
  for (let last = pairs.at(-1); last !== undefined; last = pairs.at(-1)) {
    for (const { owner, key, value } of pairs) {
      if (!isJson(value)) continue // whoever reads it puts it aside
      const fresh = next(value)
      if (fresh === undefined) await client.query('DELETE FROM records WHERE store = $1 AND owner = $2 AND key = $3', [store, owner, key])
      else await client.query('UPDATE records SET value = $4 WHERE store = $1 AND owner = $2 AND key = $3', [store, owner, key, JSON.stringify(fresh)])
    }
    pairs = await behind(' AND (owner, key) > ($2, $3)', [last.owner, last.key])
  }
}

async function upgradeJournal (client: Client, store: number, next: (json: string) => unknown): Promise<void> {
  interface Line { readonly owner: string, readonly seq: string, readonly value: string }
  const behind = async (where: string, values: unknown[]): Promise<Line[]> => {
    const text = `SELECT owner, seq, value FROM journal WHERE store = $1${where} ORDER BY owner, seq LIMIT ${CHUNK}`
    return (await client.query<Line>(text, [store, ...values])).rows
  }
  let lines = await behind('', [])
  for (let last = lines.at(-1); last !== undefined; last = lines.at(-1)) {
    for (const { owner, seq, value } of lines) {
      if (!isJson(value)) continue
      const fresh = next(value)
      const json = JSON.stringify(fresh)
      if (fresh === undefined) await client.query('DELETE FROM journal WHERE store = $1 AND owner = $2 AND seq = $3', [store, owner, seq])
      else await client.query('UPDATE journal SET value = $4, bytes = $5 WHERE store = $1 AND owner = $2 AND seq = $3', [store, owner, seq, json, bytesOf(fresh, json)])
    }
    lines = await behind(' AND (owner, seq) > ($2, $3)', [last.owner, last.seq])
  }
}
