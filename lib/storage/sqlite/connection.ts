/** Connections to a database file, and the numbered steps that bring its tables to what this version knows. */
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import Database from 'better-sqlite3'
import { PACKAGE_ROOT } from '../../base/package.js'

export type Durability = 'disk' | 'os'

const STEPS = join(PACKAGE_ROOT, 'lib', 'storage', 'sqlite', 'steps')
/** How long a connection waits for another one's transaction: milliseconds. */
const PATIENCE = 60_000
/** Bytes of cache a connection may keep. */
const CACHE = 32 * 1024 * 1024
/** Pages (of 4 KiB) in the write-ahead log before they are taken over into the database. */
const CHECKPOINT = 2000

/** A connection to the file, which is made where there is none and can be read by its owner alone. */
export function connect (file: string, durability: Durability): Database.Database {
  closeSync(openSync(file, 'a', 0o600))
  const database = new Database(file, { timeout: PATIENCE })
  try {
    database.pragma('journal_mode = WAL')
    // said explicitly: this build of SQLite takes NORMAL for a write-ahead log unless told
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

/** A connection that holds the whole file for itself, with a transaction that never ends. Throws where another one has it. */
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

/** Whether an error says that another connection holds the file. */
export function isBusy (error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')
}

/** Takes the steps that the database has not taken yet, all or none. Throws where it has taken more than there are. */
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

/** The step at which this version's databases are. */
export function newestStep (folder: string = STEPS): number {
  return parseInt(stepsIn(folder).at(-1) ?? '0', 10)
}
