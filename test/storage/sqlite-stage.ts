/** Storage in SQLite for tests, in a folder of their own. */
import { join } from 'node:path'
import type { Test } from 'tap'
import { silent } from '../../lib/base/logger.js'
import { openStorage } from '../../lib/storage/open.js'
import { SqliteStorage, type SqliteSettings } from '../../lib/storage/sqlite/driver.js'
import type { Storage } from '../../lib/storage/storage.js'
import { temporaryFolder } from '../temporary-folder.js'

/** Opens the driver alone, on a file of its own. */
export async function driver (t: Test, more: Partial<SqliteSettings> = {}): Promise<SqliteStorage> {
  const file = more.file ?? join(temporaryFolder(t), 'test.db') // t.testdir () empties the folder
  const storage = await SqliteStorage.open({ file, durability: 'os', log: silent, ...more })
  t.teardown(() => storage.close())
  return storage
}

export async function inFolder (folder: string): Promise<Storage> {
  return openStorage({ driver: 'sqlite', folder, durability: 'os', log: silent })
}
