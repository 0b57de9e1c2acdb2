/** What travels to the database: rows of one form, which function commit_batches knows (steps/002). */
import type { Write } from '../store.js'

export type Op = 'put' | 'remove' | 'clear' | 'append' | 'drop' | 'replace' | 'empty' | 'keep' | 'fit' | 'trim' | 'expire' | 'erase'

/** One write. `key` is a record's key or an entry's id; what an op does not need is left out. */
export interface Row {
  readonly op: Op
  readonly store: number
  readonly owner: string
  readonly key?: string
  /** A time, or for 'keep' how many, or for 'fit' how many bytes. */
  readonly at?: number
  readonly bare?: string
  readonly full?: string
  /** The bytes of a value, or for 'expire' how many at most. */
  readonly bytes?: number
  readonly value?: string
  readonly alias?: string
  /** The words that an entry is found by, with a space between them. */
  readonly words?: string
}

/** A write as this driver makes it. */
export interface PostgresWrite extends Write { readonly rows: readonly Row[] }

/** How a batch went: how many rows it changed, and why it failed where it did. */
export type Result = readonly [changes: number, error?: Error]

/** The batches as the parameters of commit_batches behind its first two. */
export function columnsOf (batches: readonly (readonly Row[])[]): unknown[] {
  const columns = Array.from({ length: 12 }, () => [] as unknown[]) as Columns
  const [number, op, store, owner, key, at, bare, full, bytes, value, alias, words] = columns
  batches.forEach((rows, index) => {
    for (const row of rows) {
      number.push(index + 1)
      op.push(row.op)
      store.push(row.store)
      owner.push(row.owner)
      key.push(row.key ?? null)
      at.push(row.at === undefined ? null : Math.trunc(row.at))
      bare.push(row.bare ?? null)
      full.push(row.full ?? null)
      bytes.push(row.bytes ?? null)
      value.push(row.value ?? null)
      alias.push(row.alias ?? null)
      words.push(row.words ?? null)
    }
  })
  return [batches.length, ...columns]
}

type Columns = [
  unknown[], unknown[], unknown[], unknown[], unknown[], unknown[], unknown[], unknown[], unknown[], unknown[], unknown[], unknown[],
]
