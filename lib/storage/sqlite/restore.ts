/** Replaces the database with a backup: checks the backup first, then exchanges the files in one step. */
import {
  chmodSync, closeSync, constants, copyFileSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { holdFolder } from '../lock.js'
import { newestStep } from './connection.js'

/** The number of stores and of rows in a restored backup. */
export interface Restored { readonly stores: number, readonly rows: number }

/**
 * Makes the backup `file` the database of a data folder, which no server may hold. If the folder has a database,
 * `overwrite` must be true: the old one is kept beside the new one with the ending `.before-restore`. Throws if there
 * is a database and `overwrite` is false, and if the file is not a sound database of a version that this server knows.
 */
export function restoreSqlite (file: string, folder: string, overwrite: boolean): Restored {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const lock = holdFolder(folder)
  const target = join(folder, DATABASE)
  const copy = join(folder, 'restoring.db')
  try {
    if (existsSync(target) && !overwrite) {
      throw new Error(`${folder} already holds a database: nothing was changed ` +
        '(--overwrite keeps it beside the new one)')
    }
    remove(copy)
    copied(file, copy)
    const found = examined(copy, file)
    if (existsSync(target)) putAside(target)
    renameSync(copy, target)
    synced(folder)
    return found
  } finally {
    remove(copy)
    lock.release()
  }
}

export const DATABASE = 'sestina.db'

function copied (file: string, copy: string): void {
  if (!existsSync(file) || !statSync(file).isFile()) throw new Error(`there is no file ${file}`)
  // A database with a log beside it is incomplete without that log, and nobody knows whether the two belong together.
  if (existsSync(`${file}-wal`) && statSync(`${file}-wal`).size > 0) {
    throw new Error(`${file} has a log of its own beside it (${file}-wal): ` +
      'it is the database of a server, not a backup')
  }
  copyFileSync(file, copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
  chmodSync(copy, 0o600)
  synced(copy)
}

/**
 * Checks the copy and counts its rows. Throws if `sestina backup` did not write it, if it is damaged, or if it is of a
 * newer version.
 */
function examined (copy: string, file: string): Restored {
  try {
    const database = new Database(copy, { fileMustExist: true })
    try {
      database.pragma('journal_mode = DELETE') // so that no log stays beside the copy
      const [broken] = database.pragma('integrity_check(1)') as readonly { readonly integrity_check: string }[]
      if (broken?.integrity_check !== 'ok') throw new Error(`it is damaged: ${broken?.integrity_check ?? 'unreadable'}`)
      const step = Number(database.pragma('user_version', { simple: true }))
      const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .pluck().all() as readonly string[]
      if (step < 1 || !TABLES.every(name => tables.includes(name))) throw new Error('it is not a database of Sestina')
      if (step > newestStep()) {
        throw new Error(`it was written by a newer version: it is at step ${step}, ` +
          `and this version knows ${newestStep()}`)
      }
      const count = (sql: string): number => Number(database.prepare(sql).pluck().get())
      return {
        stores: count('SELECT count(*) FROM stores'),
        rows: count('SELECT (SELECT count(*) FROM records) + (SELECT count(*) FROM journal)'),
      }
    } finally {
      database.close()
    }
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    const why = error instanceof Database.SqliteError ? 'it is not a database, or a damaged one' : text
    throw new Error(`${file} cannot be restored: ${why}`, { cause: error })
  }
}

const TABLES = ['stores', 'records', 'journal'] as const

/**
 * Renames the old database after copying its log into it. A log left in place would be taken for the log of the new
 * database.
 */
function putAside (target: string): void {
  try {
    const old = new Database(target, { fileMustExist: true })
    try {
      old.pragma('wal_checkpoint(TRUNCATE)')
    } finally {
      old.close()
    }
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error // the old database is broken, which is why it is replaced
  }
  const aside = `${target}.before-restore`
  remove(aside)
  for (const ending of ['-wal', '-shm', '']) {
    if (existsSync(target + ending)) renameSync(target + ending, aside + ending)
  }
}

function remove (database: string): void {
  for (const ending of ['', '-wal', '-shm', '-journal']) rmSync(database + ending, { force: true })
}

/** Waits until a file, or the names in a folder, are on the disk. */
function synced (path: string): void {
  const open = openSync(path, 'r')
  try {
    fsyncSync(open)
  } finally {
    closeSync(open)
  }
}
