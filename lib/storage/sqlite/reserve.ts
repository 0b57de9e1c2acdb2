/**
 * Lets the writer remove rows on a full disk. A removal needs disk space too, because its pages go to the write-ahead
 * log first. A file beside the database reserves that space, and is deleted while something is removed. The log is
 * copied into the database (a checkpoint) as soon as that may free space, so that removals make room for new writes.
 */
import { closeSync, fsyncSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Database } from 'better-sqlite3'
import type { Row } from './rows.js'

/** The bytes that removals may use on a full disk. */
const RESERVE = 1024 * 1024
/**
 * If fewer bytes than this are free on the disk, the log is kept short: a checkpoint needs as much space again as the
 * log has.
 */
const SCARCE = 64 * 1024 * 1024
/**
 * The number of written characters after which the free space is checked. If space is scarce, this also limits the
 * length of the log.
 */
const LOOK_AFTER = 256 * 1024
/** The bytes of free pages that the indexes of the written rows may take. */
const SPARE = 128 * 1024
/** How long a checkpoint waits for readers, in milliseconds. Writing waits as long. */
const CHECKPOINT_WAIT = 200
const REMOVALS: ReadonlySet<Row[0]> = new Set(['remove', 'clear', 'drop', 'empty', 'trim', 'expire', 'erase', 'unset', 'wipe', 'lapse', 'tidy', 'strike', 'still', 'lose'])

export class Reserve {
  readonly #database: Database
  readonly #file: string
  #isThere = false
  #written = 0

  /** Reserves the space, if the disk has it. */
  constructor (database: Database) {
    this.#database = database
    this.#file = `${database.name}-reserve`
    this.#take()
  }

  /**
   * Stores a batch that a full disk has refused, if that is possible, by calling `attempt`. A batch that only removes
   * may use the reserve. So may a batch that fits into free pages of the database: it needs space in the log, but none
   * in the database. Throws if the batch cannot be stored.
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
      // At once, before anybody else takes the space.
      this.#checkpoint()
      this.#take()
    }
  }

  /**
   * Must be called after each commit. Reserves the space again if it was given up, and keeps the log short while space
   * is scarce.
   */
  stored (batches: readonly (readonly Row[])[]): void {
    if (!this.#isThere) this.#take()
    for (const batch of batches) this.#written += lengthOf(batch)
    if (this.#written < LOOK_AFTER) return
    this.#written = 0
    const { bavail, bsize } = statfsSync(dirname(this.#file))
    if (bavail * bsize < SCARCE) this.#checkpoint()
  }

  /**
   * Copies the log into the database, if necessary with the space of the reserve. Returns true if the log is shorter
   * afterwards.
   */
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
      return false // a full disk may refuse a checkpoint too
    } finally {
      this.#database.pragma('busy_timeout = 60000')
    }
    return sizeOf(log) < before
  }

  /** True if a batch fits into free pages of the database. */
  #isRoomInside (batch: readonly Row[]): boolean {
    const numberOf = (pragma: string): number => Number(this.#database.pragma(pragma, { simple: true }))
    const free = numberOf('freelist_count') * numberOf('page_size')
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
      this.#isThere = false // no space left to reserve
    }
  }

  #give (): void {
    this.#isThere = false
    rmSync(this.#file, { force: true })
  }
}

/** Returns the number of characters of the texts that a batch writes. */
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
