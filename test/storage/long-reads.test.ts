/** Long reads of SQLite run off the main thread, in steps that are bounded in rows and bytes. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { silent } from '../../lib/base/logger.js'
import { connect, takeSteps } from '../../lib/storage/sqlite/connection.js'
import { SqliteStorage } from '../../lib/storage/sqlite/driver.js'
import { LongReads } from '../../lib/storage/sqlite/long-reads.js'
import { performer } from '../../lib/storage/sqlite/statements.js'
import { register } from '../../lib/storage/sqlite/upgrade.js'
import { pageOf } from '../../lib/storage/select.js'
import { journal, records, StorageUnavailable, type Journal, type JournalQuery, type NewEntry } from '../../lib/storage/store.js'
import { failureOf } from './stored.js'
import { staysBelow, TurnMeter } from '../hostile/turns.js'
import { quickThreads } from '../quick-threads.js'
import { temporaryFolder } from '../temporary-folder.js'

quickThreads()

const MANY = 45_000
const LARGE = 200_000
const WORDS = 'ab cd ef gh ij kl mn op'

/** Returns the nth of more entries than one step can read. Some are large, half share an alias, few are with Juliet. */
function entry (n: number): NewEntry<string> {
  const isLarge = n % 5000 === 0
  return {
    id: `e${n}`, at: n, with: n % 9000 === 7 ? 'juliet@capulet.lit/balcony' : 'romeo@montague.lit',
    value: isLarge ? 'x'.repeat(LARGE) : `value ${n}`, ...n % 2 === 0 ? { alias: 'same' } : {}, ...n % 3 === 0 ? { text: WORDS } : {},
  }
}
const ENTRIES = Array.from({ length: MANY }, (_, n) => entry(n))

interface Filled { readonly storage: SqliteStorage, readonly store: Journal<string>, readonly file: string }

async function filled (t: Test, many = MANY): Promise<Filled> {
  const file = join(temporaryFolder(t), 'x.db')
  const database = connect(file, 'os')
  takeSteps(database)
  database.transaction(() => {
    const { perform } = performer(database)
    const store = register(database, 'test.journal', journal(1))
    for (const { id, at, with: full, value, alias, text } of ENTRIES.slice(0, many)) {
      perform(['append', store, 'owner', id, at, full.split('/', 1)[0] ?? '', full, value.length, JSON.stringify(value), alias ?? null, text ?? null])
    }
    const items = register(database, 'test.items', records(1))
    for (let n = 0; n < 3000; n++) perform(['put', items, 'owner', `k${String(n).padStart(4, '0')}`, JSON.stringify({ n })])
  })()
  database.close()
  const storage = await SqliteStorage.open({ file, durability: 'os', log: silent })
  t.teardown(() => storage.close())
  return { storage, store: await storage.open('test.journal', journal<string>(1)), file }
}

const QUERIES: Readonly<Record<string, JournalQuery>> = {
  'everything': { limit: Infinity },
  'the last of everything': { limit: 30_000, last: true },
  'a rare contact': { with: 'juliet@capulet.lit', limit: 100 },
  'the last entries of a rare contact': { with: 'juliet@capulet.lit/balcony', limit: 2, last: true },
  'an unknown contact': { with: 'nobody@nowhere.lit', limit: 10 },
  'an alias': { alias: 'same', limit: 22_000 },
  'an alias, from the end': { alias: 'same', limit: 1500, last: true },
  'a time': { since: 41_000, until: 41_100, limit: 1000 },
  'words': { text: 'a c e', limit: 5000 },
  'words that no entry has': { text: 'zz', limit: 10 },
  'entries between two others': { after: 'e100', before: 'e44000', limit: 2500, last: true },
  'ids': { ids: Array.from({ length: 300 }, (_, n) => `e${n * 100}`), limit: 300 },
  'entries up to a number of bytes': { limit: 30_000, bytes: 3 * LARGE },
  'one entry larger than the bound': { limit: 30, bytes: 10 },
  'a few': { limit: 5 },
  'the few at the end': { after: 'e44990', limit: 50 },
}

t.test('a page that takes many steps is the same as one that is read at once', { timeout: 1_200_000 }, async t => {
  const { store } = await filled(t)
  for (const [what, query] of Object.entries(QUERIES)) {
    const wanted = pageOf(ENTRIES, query, value => value.length)
    const found = await store.page('owner', query)
    t.equal(found.complete, wanted.complete, what)
    t.same(found.entries.map(({ id }) => id), wanted.entries.map(({ id }) => id), what)
    t.ok(found.entries.every(({ value }, index) => value === wanted.entries[index]?.value), what)
    if (query.limit === Infinity) t.equal(await store.count('owner', query), ENTRIES.length)
  }
  t.equal(await store.count('owner', { alias: 'same' }), MANY / 2)
  t.equal(await store.count('owner', { text: 'a b' }), 0)
  t.equal(await store.count('owner', { text: 'o m' }), MANY / 3)
  t.same(await store.size('owner'), { entries: MANY, bytes: ENTRIES.reduce((sum, { value }) => sum + value.length, 0) })
})

t.test('many records are all read, as of one moment', async t => {
  const { storage } = await filled(t, 10)
  const items = await storage.open('test.items', records<{ readonly n: number }>(1))
  const all = await items.all('owner')
  t.equal(all.size, 3000)
  t.same([...all.values()].map(({ n }) => n), Array.from({ length: 3000 }, (_, n) => n))
  t.equal((await items.all('owner', { after: 'k2000', limit: 500 })).size, 500)
  await items.put('owner', 'k0000', { n: -1 })
  t.same((await items.all('owner')).get('k0000'), { n: -1 }, 'a committed change is seen')
})

t.test('a search through many entries does not block the main thread', async t => {
  const { store } = await filled(t)
  await store.page('owner', { text: 'a', limit: 1 })
  const meter = new TurnMeter()
  meter.start()
  await staysBelow(t, 40, async () => {
    meter.take()
    const found = await Promise.all(Array.from({ length: 5 }, () => store.page('owner', { text: WORDS, with: 'nobody@nowhere.lit', limit: 10 })))
    t.same(found.map(({ entries }) => entries.length), [0, 0, 0, 0, 0])
    return meter.take().total
  }, total => `the search used ${total.toFixed(1)} ms of the main thread`)
  meter.stop()
})

t.test('an owner with many waiting reads does not delay other owners', async t => {
  const { file } = await filled(t, 10)
  const reads = new LongReads({ file, durability: 'os' })
  t.teardown(() => reads.close())
  const order: string[] = []
  const ask = async (owner: string): Promise<void> => { await reads.rows(owner, 'SELECT count(*) FROM journal', []); order.push(owner) }
  await Promise.all([...Array.from({ length: 20 }, () => ask('greedy')), ask('modest'), ask('modest')])
  t.ok(order.lastIndexOf('modest') < 8, order.join())
})

t.test('a read that fails is rejected, and so are those that wait when the storage is closed', async t => {
  const { file } = await filled(t, 10)
  const reads = new LongReads({ file, durability: 'os' })
  t.ok(await failureOf(reads.rows('a', 'SELECT nothing', [])) instanceof StorageUnavailable)
  t.same(await reads.rows('a', 'SELECT 1', []), [[1]], 'the next one succeeds')
  const waiting = Array.from({ length: 5 }, () => failureOf(reads.rows('a', 'SELECT count(*) FROM journal', [])))
  await reads.close()
  t.ok((await Promise.all(waiting)).every(error => error instanceof StorageUnavailable))
  t.ok(await failureOf(reads.rows('a', 'SELECT 1', [])) instanceof StorageUnavailable)
})

t.test('a reader that loops over short pages leaves the turn of the event loop', async t => {
  const { storage, store } = await filled(t, 3000)
  let turns = 0
  let isOver = false
  const count = (): void => {
    turns++
    if (!isOver) setImmediate(count)
  }
  setImmediate(count)
  let after: string | undefined
  let found = 0
  for (;;) {
    const { entries } = await store.page('owner', { limit: 20, ...after === undefined ? {} : { after } })
    found += entries.length
    after = entries.at(-1)?.id
    if (entries.length < 20) break
  }
  isOver = true
  t.equal(found, 3000)
  t.ok(turns > 5, `it took ${turns} turns`)
  await storage.close()
})
