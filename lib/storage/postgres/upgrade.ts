/** Registers stores in the table of stores, compares them with what a module declares, and upgrades them. */
import type { Shape } from '../store.js'
import {
  indexNames, rowUpgradeOf, UPGRADED_AT_ONCE, upgradeLines, upgradeOf, type KnownStore, type Upgraded, type UpgradedRow,
} from '../upgrade.js'
import type { Client } from './client.js'
import { transaction } from './steps.js'
import { encodeText } from './text.js'

const RECORD = 'store = $1 AND owner = $2 AND key = $3'
const ENTRY = 'store = $1 AND owner = $2 AND seq = $3'

/**
 * Returns the number of the store with this name, after upgrading its values to the shape's version. Throws if that is
 * not possible; the transaction then changes nothing.
 */
export function register (client: Client, name: string, shape: Shape<unknown>): Promise<number> {
  return transaction(client, async () => {
    const { rows: [known] } = await client.query<KnownStore>(
      'SELECT id, kind, version, names FROM stores WHERE name = $1', [name])
    if (known === undefined) {
      const { rows: [made] } = await client.query<{ id: number }>(
        'INSERT INTO stores (name, kind, version, names) VALUES ($1, $2, $3, $4) RETURNING id',
        [name, shape.kind, shape.version, indexNames(shape)])
      return made?.id ?? 0
    }
    const upgrade = upgradeOf(name, known, shape)
    if (shape.kind === 'table') {
      const upgradeRow = rowUpgradeOf(known, shape, upgrade)
      if (upgradeRow === undefined) return known.id
      await upgradeTable(client, known.id, upgradeRow)
    } else {
      if (upgrade === undefined) return known.id
      if (shape.kind === 'records') await upgradeRecords(client, known.id, upgrade)
      else if (shape.kind === 'log') await upgradeLog(client, known.id, upgrade)
      else await upgradeJournal(client, known.id, upgrade)
    }
    await client.query('UPDATE stores SET version = $1, names = $2 WHERE id = $3', [shape.version, indexNames(shape), known.id])
    return known.id
  })
}

/** Upgrades the records of a store. */
async function upgradeRecords (client: Client, store: number, upgrade: (json: string) => Upgraded): Promise<void> {
  interface Pair { readonly owner: string, readonly key: string, readonly value: string }
  const behind = async (where: string, values: unknown[]): Promise<Pair[]> => {
    const text = `SELECT owner, key, value FROM records WHERE store = $1${where} ORDER BY owner, key LIMIT ${UPGRADED_AT_ONCE}`
    return (await client.query<Pair>(text, [store, ...values])).rows
  }
  let pairs = await behind('', [])
  for (let last = pairs.at(-1); last !== undefined; last = pairs.at(-1)) {
    for (const { owner, key, value } of pairs) {
      const next = upgrade(value)
      if (next === 'stays') continue
      if (next === 'goes') await client.query(`DELETE FROM records WHERE ${RECORD}`, [store, owner, key])
      else await client.query(`UPDATE records SET value = $4 WHERE ${RECORD}`, [store, owner, key, next.json])
    }
    pairs = await behind(' AND (owner, key) > ($2, $3)', [last.owner, last.key])
  }
}

async function upgradeJournal (client: Client, store: number, upgrade: (json: string) => Upgraded): Promise<void> {
  interface Line { readonly owner: string, readonly seq: string, readonly value: string }
  const behind = async (where: string, values: unknown[]): Promise<Line[]> => {
    const text = `SELECT owner, seq, value FROM journal WHERE store = $1${where} ORDER BY owner, seq LIMIT ${UPGRADED_AT_ONCE}`
    return (await client.query<Line>(text, [store, ...values])).rows
  }
  let lines = await behind('', [])
  for (let last = lines.at(-1); last !== undefined; last = lines.at(-1)) {
    for (const { owner, seq, value } of lines) {
      const next = upgrade(value)
      if (next === 'stays') continue
      if (next === 'goes') await client.query(`DELETE FROM journal WHERE ${ENTRY}`, [store, owner, seq])
      else {
        await client.query(`UPDATE journal SET value = $4, bytes = $5 WHERE ${ENTRY}`,
          [store, owner, seq, next.json, next.bytes])
      }
    }
    lines = await behind(' AND (owner, seq) > ($2, $3)', [last.owner, last.seq])
  }
}

async function upgradeTable (client: Client, store: number, upgrade: (json: string) => UpgradedRow): Promise<void> {
  interface Line { readonly id: string, readonly value: string }
  const next = async (after: string): Promise<Line[]> => {
    const text = `SELECT id, value FROM table_rows WHERE store = $1 AND id > $2 ORDER BY id LIMIT ${UPGRADED_AT_ONCE}`
    return (await client.query<Line>(text, [store, after])).rows
  }
  let lines = await next('0')
  for (let last = lines.at(-1); last !== undefined; last = lines.at(-1)) {
    for (const { id, value } of lines) await upgradeRow(client, id, upgrade(value))
    lines = await next(last.id)
  }
}

async function upgradeRow (client: Client, id: string, { value, entries }: UpgradedRow): Promise<void> {
  if (value === 'goes') {
    await client.query('DELETE FROM table_rows WHERE id = $1', [id])
    return
  }
  if (value !== 'stays') await client.query('UPDATE table_rows SET value = $2, bytes = $3 WHERE id = $1', [id, value.json, value.bytes])
  await client.query('DELETE FROM table_entries WHERE row_id = $1', [id])
  for (const [name, rank, amount] of entries) {
    await client.query('INSERT INTO table_entries (row_id, name, store, host, prefix, rank, amount) ' +
      'SELECT id, $2, store, host, prefix, $3, $4 FROM table_rows WHERE id = $1', [id, name, encodeText(rank), amount])
  }
}

async function upgradeLog (client: Client, store: number, upgrade: (json: string) => Upgraded): Promise<void> {
  const { rows: ids } = await client.query<{ id: string }>('SELECT id FROM log_segments WHERE store = $1', [store])
  for (const { id } of ids) {
    const { rows: [segment] } = await client.query<{ entries: string }>(
      'SELECT entries FROM log_segments WHERE store = $1 AND id = $2', [store, id])
    const upgraded = upgradeLines(segment?.entries ?? '', upgrade)
    if (upgraded === undefined) continue
    await client.query('UPDATE log_segments SET entries = $3 WHERE store = $1 AND id = $2', [store, id, upgraded])
  }
}
