/** The storage that the conf asks for. */
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
import type { Storage } from './store.js'

/** `folder` is where SQLite's files lie, and made where it is missing; `url` leads to a database elsewhere. */
export interface StorageSettings {
  readonly driver: 'memory' | 'sqlite' | 'postgres'
  readonly folder?: string
  readonly url?: string
  /** Whether a commit is on the disk, or with the operating system, before anybody hears of it. */
  readonly durability: 'disk' | 'os'
  readonly log: Logger
  /** Shares the event loop with those who read stanzas. */
  readonly turns?: Turns
}

/** Opens it. Throws where another process holds the folder or the database, and where a newer version has written what is there. */
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

/** Connects to the database and leaves it. Throws why it cannot be reached, without the secret in `url`. */
export async function probeStorage (url: string): Promise<void> { await probePostgres(url) }

/** Puts a backup in the place of what is stored, while no server runs. Throws with the reason where that is not done. */
export function restoreStorage (how: Pick<StorageSettings, 'driver' | 'folder'>, file: string, overwrite: boolean): Restored {
  if (how.driver !== 'sqlite' || how.folder === undefined) throw new Error(`the storage is "${how.driver}": only "sqlite" is restored from a file`)
  return restoreSqlite(file, how.folder, overwrite)
}
