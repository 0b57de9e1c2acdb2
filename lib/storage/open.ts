/** Opens the storage that the conf names. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from '../base/logger.js'
import type { Turns } from '../base/turns.js'
import { holdFolder } from './lock.js'
import { MemoryStorage } from './memory.js'
import { probePostgres } from './postgres/client.js'
import { PostgresStorage } from './postgres/driver.js'
import { SqliteStorage } from './sqlite/driver.js'
import { DATABASE, restoreSqlite, type Restored } from './sqlite/restore.js'
import type { Storage } from './storage.js'

/** `folder` holds the files of SQLite and is created if it is missing; `url` is the address of a database server. */
export interface StorageSettings {
  readonly driver: 'memory' | 'sqlite' | 'postgres'
  readonly folder?: string
  readonly url?: string
  /** Whether a commit must be on the disk, or only handed to the operating system, before it counts as stored. */
  readonly durability: 'disk' | 'os'
  readonly log: Logger
  /** Shares the event loop with the reading of stanzas. */
  readonly turns?: Turns
}

/** Opens the storage. Throws if another process holds the folder or the database, or if a newer version wrote it. */
export async function openStorage (how: StorageSettings): Promise<Storage> {
  if (how.driver === 'memory') return new MemoryStorage()
  if (how.driver === 'postgres') {
    if (how.url === undefined) throw new Error('PostgreSQL needs storage.url')
    return PostgresStorage.open({ url: how.url, durability: how.durability, log: how.log, turns: how.turns })
  }
  if (how.folder === undefined) throw new Error('SQLite needs a data folder')
  mkdirSync(how.folder, { recursive: true, mode: 0o700 })
  const lock = holdFolder(how.folder)
  try {
    return await SqliteStorage.open({
      file: join(how.folder, DATABASE),
      durability: how.durability,
      log: how.log,
      turns: how.turns,
      closed: () => { lock.release() },
    })
  } catch (error) {
    lock.release()
    throw error
  }
}

/** Connects to the database and disconnects. If that fails, throws the reason, without the password in `url`. */
export async function probeStorage (url: string): Promise<void> { await probePostgres(url) }

/** Replaces the stored data with a backup, while no server runs. Throws the reason if that is not done. */
export function restoreStorage (
  how: Pick<StorageSettings, 'driver' | 'folder'>, file: string, overwrite: boolean,
): Restored {
  if (how.driver !== 'sqlite' || how.folder === undefined) {
    throw new Error(`storage.driver is "${how.driver}": only "sqlite" can be restored from a file`)
  }
  return restoreSqlite(file, how.folder, overwrite)
}
