import { copyFileSync, existsSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { silent } from '../../lib/base/logger.js'
import { openStorage, restoreStorage } from '../../lib/storage/open.js'
import { records } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { quickThreads } from '../quick-threads.js'
import { temporaryFolder } from '../temporary-folder.js'

quickThreads()

const open = (folder: string): Promise<Storage> => openStorage({ driver: 'sqlite', folder, durability: 'os', log: silent })

async function put (folder: string, value: string): Promise<void> {
  const storage = await open(folder)
  const store = await storage.open('test.values', records<string>(1))
  await store.put('romeo', 'says', value)
  await storage.close()
}

async function said (folder: string): Promise<string | undefined> {
  const storage = await open(folder)
  const store = await storage.open('test.values', records<string>(1))
  const value = await store.get('romeo', 'says')
  await storage.close()
  return value
}

/** Makes a data folder without a database, and a backup that says 'backup'. */
async function folders (t: Test): Promise<{ readonly data: string, readonly file: string, readonly folder: string }> {
  const folder = temporaryFolder(t, { data: {}, other: {} })
  const [data, other, file] = ['data', 'other', 'backup.db'].map(name => join(folder, name)) as [string, string, string]
  await put(other, 'backup')
  const storage = await open(other)
  await storage.backup(file)
  await storage.close()
  return { data, file, folder }
}

const restore = (file: string, data: string, overwrite = false): ReturnType<typeof restoreStorage> =>
  restoreStorage({ driver: 'sqlite', folder: data }, file, overwrite)

t.test('a backup becomes the database of a folder that has none', async t => {
  const { data, file } = await folders(t)
  t.same(restore(file, data), { stores: 1, rows: 1 })
  t.equal(await said(data), 'backup')
  t.equal(statSync(join(data, 'sestina.db')).mode & 0o777, 0o600)
  t.ok(existsSync(file), 'the backup stays')
})

t.test('an existing database is kept, unless it is to be put aside', async t => {
  const { data, file } = await folders(t)
  await put(data, 'before')
  t.throws(() => restore(file, data), { message: /already holds a database: nothing was changed/ })
  t.equal(await said(data), 'before')
  restore(file, data, true)
  t.equal(await said(data), 'backup')
  const aside = new Database(join(data, 'sestina.db.before-restore'), { readonly: true })
  t.equal(aside.prepare("SELECT value FROM records WHERE owner = 'romeo'").pluck().get(), '"before"')
  aside.close()
})

t.test('a broken database can be replaced by a backup', async t => {
  const { data, file } = await folders(t)
  await put(data, 'before')
  writeFileSync(join(data, 'sestina.db'), 'broken'.repeat(1000))
  restore(file, data, true)
  t.equal(await said(data), 'backup')
})

t.test('a file that is not a sound backup changes nothing', async t => {
  const { data, file, folder } = await folders(t)
  await put(data, 'before')
  const made = (name: string, change: (database: Database.Database) => void): string => {
    const path = join(folder, name)
    copyFileSync(file, path)
    const database = new Database(path)
    database.pragma('journal_mode = DELETE')
    change(database)
    database.close()
    return path
  }
  const text = join(folder, 'letter.db')
  writeFileSync(text, 'O Romeo, Romeo! Wherefore art thou Romeo?'.repeat(100))
  const logged = join(folder, 'logged.db')
  copyFileSync(file, logged)
  writeFileSync(`${logged}-wal`, 'more')
  const cases: readonly (readonly [string, RegExp])[] = [
    [join(folder, 'nowhere.db'), /there is no file/],
    [folder, /there is no file/],
    [text, /it is not a database, or a damaged one/],
    [made('newer.db', database => { database.pragma('user_version = 99') }), /it was written by a newer version: it is at step 99/],
    [made('other.db', database => { database.exec('DROP TABLE journal') }), /it is not a database of Sestina/],
    [logged, /it is the database of a server, not a backup/],
  ]
  for (const [path, message] of cases) t.throws(() => restore(path, data, true), { message }, path)
  t.equal(await said(data), 'before')
  t.same(readdirSync(data).filter(name => name.startsWith('restoring')), [], 'the attempts leave no files')
})

t.test('restoring is refused for a folder that a server holds, and for storage that is not SQLite', async t => {
  const { data, file } = await folders(t)
  const storage = await open(data)
  t.throws(() => restore(file, data, true), { message: /held|holds|runs/ })
  await storage.close()
  t.throws(() => restoreStorage({ driver: 'postgres' }, file, true), { message: /only "sqlite" can be restored from a file/ })
})
