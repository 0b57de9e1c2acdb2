/**
 * The rows that are sent to the database, in the one form that the function commit_batches takes (steps/002 to 004).
 */
import { splitOwner } from '../owner.js'
import type { Write } from '../store.js'
import { encodeText } from './text.js'

export type Op =
  | 'put' | 'remove' | 'clear' | 'append' | 'drop' | 'replace' | 'empty' | 'keep' | 'fit' | 'trim' | 'expire' | 'erase'
  | 'set' | 'unset' | 'wipe' | 'lapse' | 'own' | 'host' | 'tidy'
  | 'note' | 'strike' | 'still' | 'segment' | 'lose'

/**
 * One write. `key` is the key of a record or the id of an entry; of a table it is the key as it is compared, and for
 * 'lapse' a rank. Fields that an op does not need are left out.
 */
export interface Row {
  readonly op: Op
  readonly store: number
  readonly owner: string
  readonly key?: string
  /**
   * A time; for a log the number of an entry, or the id of a segment; for 'keep' the number of entries, for 'fit' the
   * number of bytes.
   */
  readonly at?: number
  /** The other party's addresses; for a table or a list of owners the host and the prefix of the owner. */
  readonly bare?: string
  readonly full?: string
  /** The bytes of a value; for 'expire' and 'lapse' the most entries to remove. */
  readonly bytes?: number
  readonly value?: string
  /** For 'set' the key, for 'lapse' the name of an index. */
  readonly alias?: string
  /** The words by which a search finds the entry, separated by spaces; for 'set' what the row has in the indexes. */
  readonly words?: string
}

/** A write of this driver. */
export interface PostgresWrite extends Write { readonly rows: readonly Row[] }

/** The result of a batch: the number of rows that it changed, and the error if it failed. */
export type Result = readonly [changes: number, error?: Error]

/** Returns the fields of a row that say whose it is. `owner` is not encoded. */
export function ownerFields (owner: string): { readonly owner: string, readonly bare: string, readonly full: string } {
  const { host, prefix } = splitOwner(owner)
  return { owner: encodeText(owner), bare: encodeText(host), full: encodeText(prefix) }
}

/** Returns the batches as the parameters of commit_batches after its first two. */
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
  unknown[], unknown[], unknown[], unknown[], unknown[], unknown[],
  unknown[], unknown[], unknown[], unknown[], unknown[], unknown[],
]
