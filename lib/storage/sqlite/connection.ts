/** Opens connections to a database file, and runs the numbered steps that bring its tables to this version. */
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import Database from 'better-sqlite3'
import { PACKAGE_ROOT } from '../../base/package.js'

export type Durability = 'disk' | 'os'

const STEPS = join(PACKAGE_ROOT, 'lib', 'storage', 'sqlite', 'steps')
/** How long a connection waits for the transaction of another one, in milliseconds. */
const BUSY_TIMEOUT = 60_000
/** The bytes of cache that a connection may use. */
const CACHE = 32 * 1024 * 1024
/** The number of pages (of 4 KiB) in the write-ahead log after which they are copied into the database. */
const CHECKPOINT = 2000

/** Opens a connection to the file. Creates the file if it is missing, readable by its owner only. */
export function connect (file: string, durability: Durability): Database.Database {
  closeSync(openSync(file, 'a', 0o600))
  const database = new Database(file, { timeout: BUSY_TIMEOUT })
  try {
    database.pragma('journal_mode = WAL')
    // set explicitly: this build of SQLite uses NORMAL for a write-ahead log by default
    database.pragma(`synchronous = ${durability === 'disk' ? 'FULL' : 'NORMAL'}`)
    database.pragma(`wal_autocheckpoint = ${CHECKPOINT}`)
    database.pragma(`journal_size_limit = ${CHECKPOINT * 4096 * 4}`)
    database.pragma(`cache_size = -${CACHE / 1024}`)
  } catch (error) {
    database.close()
    throw error
  }
  return database
}

/**
 * Opens a connection that locks the whole file with a transaction that never ends. Throws if another connection holds
 * the file.
 */
export function connectAlone (file: string): Database.Database {
  closeSync(openSync(file, 'a', 0o600))
  const database = new Database(file, { timeout: 0 })
  try {
    database.pragma('locking_mode = EXCLUSIVE')
    database.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    throw error
  }
  return database
}

/** True if the error says that another connection holds the file. */
export function isBusy (error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')
}

/**
 * Runs the steps that the database has not had yet, all or none. Throws if the database is at a later step than this
 * version knows.
 */
export function takeSteps (database: Database.Database, folder: string = STEPS): void {
  const steps = stepsIn(folder)
  const versions = steps.map(name => parseInt(name, 10))
  const newest = newestStep(folder)
  database.transaction(() => {
    const version = Number(database.pragma('user_version', { simple: true }))
    if (version > newest) {
      throw new Error(`the database ${basename(database.name)} was written by a newer version of the server: ` +
        `it is at step ${version}, and this version knows ${newest}`)
    }
    for (const [index, step] of steps.entries()) {
      if ((versions[index] ?? 0) > version) database.exec(readFileSync(join(folder, step), 'utf8'))
    }
    if (newest > version) database.pragma(`user_version = ${newest}`)
  }).immediate()
}

function stepsIn (folder: string): string[] {
  return readdirSync(folder).filter(name => /^\d{3}-.*\.sql$/.test(name)).sort()
}

/** Returns the number of the last step that this version knows. */
export function newestStep (folder: string = STEPS): number {
  return parseInt(stepsIn(folder).at(-1) ?? '0', 10)
}
