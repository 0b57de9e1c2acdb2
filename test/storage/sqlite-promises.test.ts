/** SQLite keeps the promises that all drivers of storage make. */
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import { silent } from '../../lib/base/logger.js'
import { openStorage } from '../../lib/storage/open.js'
import { quickThreads } from '../quick-threads.js'
import { contract } from './contract.js'
import { checkLogCrashes, checkLogRestarts } from './log-contract.js'
import { driver } from './sqlite-stage.js'
import { checkReindexed } from './table-contract.js'
import { unreadable } from './unreadable.js'
import { temporaryFolder } from '../temporary-folder.js'

quickThreads()

contract(t, async t => {
  const storage = await openStorage({ driver: 'sqlite', folder: temporaryFolder(t), durability: 'os', log: silent })
  t.teardown(() => storage.close())
  return storage
})

unreadable(t, async t => {
  const file = join(temporaryFolder(t), 'test.db')
  const storage = await driver(t, { file })
  return {
    storage,
    async spoil (store, owner, id, text) {
      await storage.flush()
      const database = new Database(file)
      const where = 'store = (SELECT id FROM stores WHERE name = ?) AND owner = ?'
      database.prepare(`UPDATE records SET value = ? WHERE ${where} AND key = ?`).run(text, store, owner, id)
      database.prepare(`UPDATE journal SET value = ? WHERE ${where} AND id = ?`).run(text, store, owner, id)
      database.prepare(`UPDATE table_rows SET value = ? WHERE ${where.replace('owner', 'prefix || host')} AND key = ?`).run(text, store, owner, id)
      database.prepare('UPDATE log_segments SET entries = replace(entries, ?, ?) WHERE store = (SELECT id FROM stores WHERE name = ?) ' +
        'AND last = ?').run('{"name":"b"}', text, store, Number(id))
      database.close()
    },
  }
})

t.test('a table has the indexes with which it is opened, and its rows are upgraded', async t => {
  const file = join(temporaryFolder(t), 'test.db')
  await checkReindexed(t, () => driver(t, { file }))
})

t.test('a log is the same after restarts, and its entries are upgraded', async t => {
  const file = join(temporaryFolder(t), 'test.db')
  await checkLogRestarts(t, () => driver(t, { file }))
})

t.test('a log has what was acknowledged when its writer is killed, also while entries move', async t => {
  const storage = await driver(t)
  await checkLogCrashes(t, storage, () => storage.crash())
})
