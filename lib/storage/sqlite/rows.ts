/** The messages between the driver and its threads: plain arrays, which are the cheapest to copy between threads. */
import type { Write } from '../store.js'
import type { Durability } from './connection.js'

/**
 * One write. `store` is the number of a store, `value` is JSON; `ids`, `entries` and `numbers` are JSON arrays.
 */
export type Row =
  | readonly [op: 'put', store: number, owner: string, key: string, value: string]
  | readonly [op: 'remove', store: number, owner: string, key: string]
  | readonly [op: 'clear', store: number, owner: string]
  | readonly [
    op: 'append', store: number, owner: string, id: string, at: number, bare: string, full: string, bytes: number,
    value: string, alias: string | null, text: string | null,
  ]
  | readonly [op: 'drop', store: number, owner: string, ids: string]
  | readonly [op: 'replace', store: number, owner: string, id: string, bytes: number, value: string]
  | readonly [op: 'empty', store: number, owner: string]
  | readonly [
    op: 'trim', store: number, owner: string, newest: number | null, since: number | null, bytes: number | null,
  ]
  | readonly [op: 'expire', store: number, since: number, limit: number]
  | readonly [op: 'set', store: number, owner: string, key: string, bytes: number, value: string, entries: string]
  | readonly [op: 'unset', store: number, owner: string, key: string, only: string | null]
  | readonly [op: 'wipe', store: number, owner: string]
  | readonly [op: 'lapse', store: number, name: string, rank: string, limit: number]
  | readonly [op: 'host', store: number]
  | readonly [op: 'tidy', store: number, owner: string]
  | readonly [op: 'note', store: number, owner: string, number: number, key: string | null, value: string]
  | readonly [op: 'strike', store: number, numbers: string]
  | readonly [op: 'still', store: number, owner: string]
  | readonly [op: 'lose', store: number, id: number]
  | readonly [op: 'erase', owner: string]

/**
 * The batches that one turn of the event loop submitted, each stored as a whole or not at all; or the request to end.
 */
export type Request = readonly (readonly Row[])[] | 'close'

/** The result of a batch: the number of rows that its last write changed, and the error if it failed. */
export type Result = readonly [changes: number, error?: string]

/** The settings with which a writer or reader starts. */
export interface WriterSettings {
  readonly file: string
  readonly durability: Durability
  /** The most pages that the database may have. Tests use this to fill it. */
  readonly maxPages?: number
}

/** A parameter of a statement. */
export type Value = string | number

/** An entry of a journal as it is read. */
export type EntryRow = readonly [id: string, at: number, full: string, json: string, bytes: number]

/** Entries in order, among which a step may stop: a query from FROM on. */
interface Range { readonly from: string, readonly values: readonly Value[] }

/**
 * A request to the reader's thread. `window` selects all entries to look at; `seen` is the place of the last one that
 * was looked at.
 */
export type Read =
  | { readonly what: 'rows', readonly sql: string, readonly values: readonly Value[] }
  | { readonly what: 'some', readonly sql: string, readonly values: readonly Value[], readonly bytes: number }
  | Range & {
    readonly what: 'page'
    readonly seen: number | undefined
    readonly isLast: boolean
    readonly limit: number
    readonly bytes: number
    readonly window: Range | undefined
  }
  | Range & {
    readonly what: 'skip'
    readonly seen: number | undefined
    readonly isLast: boolean
    /** The number of matches to skip. */
    readonly most: number
    readonly window: Range | undefined
  }
  | Range & { readonly what: 'count', readonly seen: number | undefined, readonly window: Range | undefined }
export type ReadRequest = Read & { readonly number: number }

/** The result of a step. `seen` is where the next step begins; undefined if there is none. */
export interface Step<T> { readonly found: T, readonly seen: number | undefined }
export type ReadAnswer = readonly [number: number, found: unknown, error?: string]

/** A write of this driver. */
export interface SqliteWrite extends Write { readonly row: Row }

/** True if a row changes what an owner has in a store of records. */
export function touches (row: Row, store: number, owner: string): boolean {
  if (row[0] === 'erase') return row[1] === owner
  return row[1] === store && row[2] === owner
}
