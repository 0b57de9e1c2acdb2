/** What travels between the driver and its writer: plain arrays, the cheapest there is to copy from thread to thread. */
import { createHash } from 'node:crypto'
import type { Write } from '../store.js'
import type { Durability } from './connection.js'

/** One write. Stores go by their numbers, values are JSON, `ids` is a JSON array. */
export type Row =
  | readonly [op: 'put', store: number, owner: string, key: string, value: string]
  | readonly [op: 'remove', store: number, owner: string, key: string]
  | readonly [op: 'clear', store: number, owner: string]
  | readonly [
    op: 'append', store: number, owner: string, id: string, at: number, bare: string, full: string, bytes: number, value: string,
    alias: string | null, text: string | null,
  ]
  | readonly [op: 'drop', store: number, owner: string, ids: string]
  | readonly [op: 'replace', store: number, owner: string, id: string, bytes: number, value: string]
  | readonly [op: 'empty', store: number, owner: string]
  | readonly [op: 'trim', store: number, owner: string, newest: number | null, since: number | null, bytes: number | null]
  | readonly [op: 'expire', store: number, since: number, limit: number]
  | readonly [op: 'erase', owner: string]

/** What a turn of the event loop submitted: its batches, each all or nothing; or the wish to end. */
export type Request = readonly (readonly Row[])[] | 'close'

/** How a batch went: how many rows its last write changed, and why it failed where it did. */
export type Result = readonly [changes: number, error?: string]

/** What a writer is started with. */
export interface WriterSettings {
  readonly file: string
  readonly durability: Durability
  /** The most pages the database may have: tests make it full with this. */
  readonly maxPages?: number
}

/** What a statement is run with. */
export type Value = string | number

/** An entry of a journal as it is read. */
export type Line = readonly [id: string, at: number, full: string, json: string, bytes: number]

/** Entries in order that a step may stop among: what stands after SELECT. */
interface Range { readonly from: string, readonly values: readonly Value[] }

/** What the reader's thread is asked. `window`: all entries that are looked at; `seen`: the place of the last that was. */
export type Read =
  | { readonly what: 'rows', readonly sql: string, readonly values: readonly Value[] }
  | Range & {
    readonly what: 'page', readonly seen: number | undefined, readonly isLast: boolean, readonly limit: number, readonly bytes: number,
    readonly window: Range | undefined,
  }
  | Range & { readonly what: 'count', readonly seen: number | undefined, readonly window: Range | undefined }
export type ReadRequest = Read & { readonly number: number }

/** What a step has found; `seen`: where the next one goes on, undefined if there is none. */
export interface Step<T> { readonly found: T, readonly seen: number | undefined }
export type ReadAnswer = readonly [number: number, found: unknown, error?: string]

/** A write as this driver makes it. */
export interface SqliteWrite extends Write { readonly row: Row }

/** Whether a row changes what an owner has in a store of records. */
export function touches (row: Row, store: number, owner: string): boolean {
  if (row[0] === 'erase') return row[1] === owner
  return row[1] === store && row[2] === owner
}

/** What words of an owner's entries begin with in the table of words. */
export function markOf (store: number, owner: string): string {
  return createHash('sha256').update(`${store} ${owner}`).digest('hex').slice(0, MARK_LENGTH)
}

const MARK_LENGTH = 12

/** The bytes a value counts for: a text its own, anything else those of its JSON. */
export function bytesOf (value: unknown, json: string): number {
  return Buffer.byteLength(typeof value === 'string' ? value : json)
}
