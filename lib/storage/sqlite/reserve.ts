/**
 * What the writer does on a full disk. A removal needs room as well, for its pages go to the write-ahead log first: a file beside the
 * database holds that room, and is given up while something is removed. The log is taken over into the database as soon as that may free
 * anything, so that what was removed makes room for what comes.
 */
import { closeSync, fsyncSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Database } from 'better-sqlite3'
import type { Row } from './rows.js'

/** Bytes that removals may use on a full disk. */
const RESERVE = 1024 * 1024
/** With less room than this on the disk, the log is kept short: to be taken over it needs as much room again as it has. */
const SCARCE = 64 * 1024 * 1024
/** Characters that are written before anybody looks how much room there is, and how long the log may be if that is scarce. */
const LOOK_AFTER = 256 * 1024
/** Bytes of free pages that the indexes of what is written may take. */
const SPARE = 128 * 1024
/** How long the log waits for whoever reads it, in milliseconds: writing waits as long. */
const CHECKPOINT_WAIT = 200
const REMOVALS: ReadonlySet<Row[0]> = new Set(['remove', 'clear', 'drop', 'empty', 'trim', 'expire', 'erase'])

export class Reserve {
  readonly #database: Database
  readonly #file: string
  #isThere = false
  #written = 0

  /** Takes the room, if the disk has it. */
  constructor (database: Database) {
    this.#database = database
    this.#file = `${database.name}-reserve`
    this.#take()
  }

  /**
   * Stores a batch that a full disk has refused, if there is a way; `attempt` stores it. A batch that only removes may use the reserve, and
   * so may one for which the database has pages that are free: the log needs room for either, and the database none. Throws if there is no
   * way.
   */
  retry<T> (batch: readonly Row[], error: unknown, attempt: () => T): T {
    if (!isFull(error)) throw error
    const mayUse = batch.every(([op]) => REMOVALS.has(op)) || this.#isRoomInside(batch)
    if (!this.#checkpoint() && !mayUse) throw error
    try {
      return attempt()
    } catch (again) {
      if (!mayUse || !this.#isThere || !isFull(again)) throw again
    }
    this.#give()
    try {
      return attempt()
    } finally {
      // At once: until then nobody else may take the room.
      this.#checkpoint()
      this.#take()
    }
  }

  /** Something was stored: takes the room again, if it was given up, and keeps the log short while room is scarce. */
  stored (batches: readonly (readonly Row[])[]): void {
    if (!this.#isThere) this.#take()
    for (const batch of batches) this.#written += lengthOf(batch)
    if (this.#written < LOOK_AFTER) return
    this.#written = 0
    const { bavail, bsize } = statfsSync(dirname(this.#file))
    if (bavail * bsize < SCARCE) this.#checkpoint()
  }

  /** Takes the log over into the database, if need be into the room that is kept; whether the log is shorter for it. */
  #checkpoint (): boolean {
    if (sizeOf(`${this.#database.name}-wal`) === 0) return false
    if (this.#takeOver()) return true
    if (!this.#isThere) return false
    this.#give()
    const isShorter = this.#takeOver()
    this.#take()
    return isShorter
  }

  #takeOver (): boolean {
    const log = `${this.#database.name}-wal`
    const before = sizeOf(log)
    try {
      this.#database.pragma(`busy_timeout = ${CHECKPOINT_WAIT}`)
      this.#database.pragma('wal_checkpoint(TRUNCATE)')
    } catch {
      return false // a full disk may refuse this too
    } finally {
      this.#database.pragma('busy_timeout = 60000')
    }
    return sizeOf(log) < before
  }

  /** Whether a batch finds room on pages of the database that are free. */
  #isRoomInside (batch: readonly Row[]): boolean {
    const free = Number(this.#database.pragma('freelist_count', { simple: true })) * Number(this.#database.pragma('page_size', { simple: true }))
    return free > SPARE + 2 * lengthOf(batch)
  }

  #take (): void {
    try {
      const file = openSync(this.#file, 'w', 0o600)
      try {
        const zeros = Buffer.alloc(RESERVE)
        for (let written = 0; written < RESERVE;) written += writeSync(file, zeros, 0, RESERVE - written)
        fsyncSync(file)
        this.#isThere = true
      } finally {
        closeSync(file)
        if (!this.#isThere) this.#give()
      }
    } catch {
      this.#isThere = false // there is no room to keep
    }
  }

  #give (): void {
    this.#isThere = false
    rmSync(this.#file, { force: true })
  }
}

/** Characters of the texts that a batch writes. */
function lengthOf (batch: readonly Row[]): number {
  let length = 0
  for (const row of batch) for (const value of row) if (typeof value === 'string') length += value.length
  return length
}

function isFull (error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return code === 'SQLITE_FULL' || code.startsWith('SQLITE_IOERR')
}

function sizeOf (file: string): number { return statSync(file, { throwIfNoEntry: false })?.size ?? 0 }
