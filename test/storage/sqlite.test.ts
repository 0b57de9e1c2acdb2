/** SQLite keeps the promises of storage: acknowledged commits survive a kill, and storage recovers with its disk. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { silent, type Fields, type Logger } from '../../lib/base/logger.js'
import { holdFolder } from '../../lib/storage/lock.js'
import { openStorage } from '../../lib/storage/open.js'
import { connect, takeSteps } from '../../lib/storage/sqlite/connection.js'
import { SqliteStorage } from '../../lib/storage/sqlite/driver.js'
import { log } from '../../lib/storage/log.js'
import { SLACK } from '../../lib/storage/segments.js'
import { journal, records } from '../../lib/storage/store.js'
import { countRows, selectRows, sumRows } from '../../lib/storage/table-sql.js'
import type { Position } from '../../lib/storage/table-store.js'
import { UNMEASURED } from '../interop/process.js'
import { quickThreads } from '../quick-threads.js'
import { driver, inFolder } from './sqlite-stage.js'
import { failureOf, stored } from './stored.js'
import { checkReleased, FIXTURES } from './released.js'
import { temporaryFolder } from '../temporary-folder.js'

quickThreads(true)

const IS_SOURCE = import.meta.url.endsWith('.ts')
/** The words that start the committer: as source through the tools of this process, compiled without them. */
const COMMITTER = [
  ...IS_SOURCE ? process.execArgv : [], fileURLToPath(new URL(`./committer.${IS_SOURCE ? 'ts' : 'js'}`, import.meta.url)),
]
const [ENV, ...BARE] = [...UNMEASURED, process.execPath, ...COMMITTER]

t.test('no page, count or sum of a table looks at rows of others, or sorts', async t => {
  const file = join(temporaryFolder(t), 'test.db')
  await driver(t, { file })
  const database = new Database(file, { readonly: true })
  t.teardown(() => database.close())
  const position: Position = ['a', 'b']
  for (const prefix of ['a@', undefined]) {
    for (const name of ['due', undefined]) {
      const places = [[[], [], false], [[position], [], false], [[], [position], true]] as const
      for (const [after, before, isLast] of places) {
        const range = { host: 'x', prefix, name, low: undefined, high: 'b', after, before, isLast }
        const bounded = name === undefined && prefix === undefined ? { ...range, high: undefined } : range
        const queries = [selectRows(1, bounded, 9), countRows(1, bounded, undefined), sumRows(1, range, 'due', 9)]
        for (const { sql, values } of queries) {
          const plan = (database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values) as { readonly detail: string }[]).map(({ detail }) => detail)
          t.notMatch(plan.join('\n'), /TEMP B-TREE|SCAN (e|r|table)/, sql)
          t.match(plan.join('\n'), prefix === undefined ? /host=\?/ : /host=\? AND prefix=\?/, sql)
        }
      }
    }
  }
})

t.test('stored values are there after a stop and a start', async t => {
  const folder = join(temporaryFolder(t), 'new', 'data')
  const first = await inFolder(folder)
  const roster = await first.open('test.roster', records<string>(1))
  first.submit([roster.putting('a', 'k', 'v')])
  await first.close()
  await first.close()
  t.throws(() => first.submit([]), { message: 'storage is closed' })
  const second = await inFolder(folder)
  t.equal(await (await second.open('test.roster', records<string>(1))).get('a', 'k'), 'v')
  t.equal(statSync(folder).mode & 0o777, 0o700)
  for (const name of readdirSync(folder)) t.equal(statSync(join(folder, name)).mode & 0o777, 0o600, `only the owner can read ${name}`)
  await second.close()
})

t.test('SQLite without a data folder is refused', async t => {
  t.match(await failureOf(openStorage({ driver: 'sqlite', durability: 'disk', log: silent })), { message: 'SQLite needs a data folder' })
})

t.test('a duplicate id fails its whole batch, and no other batch of the same turn', async t => {
  const storage = await driver(t)
  const entries = await storage.open('test.entries', journal<number>(1))
  const roster = await storage.open('test.roster', records<number>(1))
  const entry = { id: '1', at: 1, with: '', value: 1 }
  const batches = [
    [entries.appending('a', entry)],
    [roster.putting('a', 'lost', 1), entries.appending('a', entry)],
    [roster.putting('a', 'kept', 1)],
  ]
  const outcomes = await Promise.all(batches.map(writes => failureOf(stored(storage, writes))))
  t.same(outcomes.map(error => error instanceof Error ? error.message.replace(/.*\(/, '(') : error), [undefined, '(SQLITE_CONSTRAINT_UNIQUE)', undefined])
  t.same([...(await roster.all('a')).keys()], ['kept'])
  t.equal(storage.trouble, undefined, 'the last commit succeeded')
})

t.test('a number in a journal is never used twice', async t => {
  const storage = await driver(t)
  const entries = await storage.open('test.entries', journal<number>(1))
  await stored(storage, ['1', '2'].map(id => entries.appending('a', { id, at: 1, with: '', value: 1 })))
  await stored(storage, [entries.removing('a', ['2'])])
  await stored(storage, [entries.appending('a', { id: '3', at: 1, with: '', value: 1 })])
  t.same((await entries.page('a', { after: '1', limit: 5 })).entries.map(({ id }) => id), ['3'])
})

t.test('a full disk fails commits, not reads; storage recovers when there is room', async t => {
  const lines: string[] = []
  const log: Logger = { ...silent, error: event => { lines.push(event) }, info: event => { lines.push(event) } }
  const storage = await driver(t, { maxPages: 60, log })
  const entries = await storage.open('test.entries', journal<string>(1))
  const big = 'x'.repeat(20_000)
  let failure: unknown
  let kept = 0
  for (let n = 0; failure === undefined && n < 100; n++) {
    failure = await failureOf(stored(storage, [entries.appending(n < 5 ? 'old' : 'a', { id: `${n}`, at: n, with: '', value: big })]))
    if (failure === undefined) kept++
  }
  t.match(failure, { message: /SQLITE_FULL/ })
  t.equal(storage.trouble, failure)
  t.match(await failureOf(stored(storage, [entries.appending('a', { id: 'again', at: 1, with: '', value: big })])), { message: /SQLITE_FULL/ })
  const roster = await storage.open('test.roster', records<string>(1))
  t.match(await failureOf(roster.put('a', 'k', big)), { message: /SQLITE_FULL/ })
  t.match(await failureOf(roster.change('a', () => new Map([['k', big]]))), { message: /SQLITE_FULL/ })
  t.equal((await entries.size('old')).entries + (await entries.size('a')).entries, kept, 'all that was acknowledged, and nothing else')
  t.equal((await entries.page('old', { limit: 1 })).entries[0]?.value, big)

  await stored(storage, [entries.clearing('old')])
  t.equal(storage.trouble, undefined)
  await stored(storage, [entries.appending('a', { id: 'again', at: 1, with: '', value: big })])
  t.same(lines, ['storage failed', 'storage recovered'])
})

t.test('a writer that dies fails the commits that it had, and a new writer takes over', async t => {
  const lines: [string, Fields | undefined][] = []
  const storage = await driver(t, { log: { ...silent, error: (event, fields) => { lines.push([event, fields]) } } })
  const roster = await storage.open('test.roster', records<number>(1))
  const inHand = failureOf(stored(storage, [roster.putting('a', 'k', 1)]))
  await new Promise(resolve => { setImmediate(resolve) })
  const crashed = storage.crash()
  const outcome = await inHand
  await crashed
  if (outcome !== undefined) t.match(outcome, { message: /the writer was lost/ })
  const later = failureOf(stored(storage, [roster.putting('a', 'l', 2)]))
  t.equal(await later, undefined)
  t.equal(await roster.get('a', 'l'), 2)
  t.equal(lines[0]?.[0], 'storage writer lost')
  t.equal(storage.trouble, undefined)
})

t.test('when too many writes wait, the next one fails in its turn', async t => {
  const storage = await driver(t, { mostWaiting: 2 })
  const roster = await storage.open('test.roster', records<number>(1))
  const outcomes = await Promise.all([1, 2, 3].map(n => failureOf(stored(storage, [roster.putting('a', `${n}`, n)]))))
  t.match(outcomes, [undefined, undefined, { message: /too many writes wait/ }])
  t.same([...(await roster.all('a')).keys()], ['1', '2'])
})

t.test('waiting writes are bounded in bytes, too; the last one may exceed the bound', async t => {
  const storage = await driver(t, { mostBytes: 1000 })
  const texts = await storage.open('test.texts', records<string>(1))
  const put = (key: string): Promise<unknown> => failureOf(stored(storage, [texts.putting('a', key, 'x'.repeat(2000))]))
  t.match(await Promise.all([put('1'), put('2')]), [undefined, { message: /too many writes wait/ }])
  t.equal(await put('3'), undefined, 'once the first is stored there is room')
  t.same([...(await texts.all('a')).keys()], ['1', '3'])
})

t.test('a store of an older version is upgraded, every value once', async t => {
  const file = join(temporaryFolder(t), 'test.db')
  const first = await SqliteStorage.open({ file, durability: 'os', log: silent })
  const old = await first.open('test.roster', records<number>(1))
  const log = await first.open('test.log', journal<number>(3))
  const numbers = Array.from({ length: 1100 }, (_, n) => n)
  await stored(first, numbers.map(n => old.putting(`o${n % 7}`, `${n}`, n)))
  await stored(first, numbers.map(n => log.appending('a', { id: `${n}`, at: n, with: '', value: n })))
  await first.close()

  const second = await driver(t, { file })
  const roster = await second.open('test.roster', records<unknown>(2, (value, from) => value === 5 ? undefined : { value, from }))
  const all = await Promise.all([0, 1, 2, 3, 4, 5, 6].map(async n => [...await roster.all(`o${n}`)]))
  t.same(all.flat().sort(([a], [b]) => Number(a) - Number(b)), numbers.filter(n => n !== 5).map(n => [`${n}`, { value: n, from: 1 }]))
  const entries = await second.open('test.log', journal<string>(5, (value, from) => value === 5 ? undefined : `${value} of ${from}`))
  const page = await entries.page('a', { limit: 2000 })
  t.same(page.entries.map(({ value }) => value), numbers.filter(n => n !== 5).map(n => `${n} of 3`))
  t.equal((await entries.size('a')).bytes, page.entries.reduce((sum, { value }) => sum + value.length, 0))
})

t.test('an upgrade that fails changes nothing', async t => {
  const file = join(temporaryFolder(t), 'test.db')
  const first = await SqliteStorage.open({ file, durability: 'os', log: silent })
  const old = await first.open('test.roster', records<number>(1))
  await stored(first, [old.putting('a', '1', 1), old.putting('a', '2', 2)])
  await first.close()
  const second = await driver(t, { file })
  const upgrade = (value: unknown): unknown => { if (value === 2) throw new Error('what is a 2?'); return 'new' }
  t.match(await failureOf(second.open('test.roster', records<unknown>(2, upgrade))), { message: 'what is a 2?' })
  t.match(await failureOf(second.open('test.roster', records<unknown>(2))), { message: /the store test.roster has no upgrade from version 1 to 2/ })
  const roster = await second.open('test.roster', records<number>(1))
  t.same([...await roster.all('a')], [['1', 1], ['2', 2]])
  t.throws(() => second.prepared('DELETE FROM records').run(), { code: 'SQLITE_READONLY' }, 'afterwards the connection is read-only again')
})

t.test('data of a newer version is refused, store by store and as a whole', async t => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'sestina.db')
  const first = await SqliteStorage.open({ file, durability: 'os', log: silent })
  await first.open('test.roster', records<number>(3))
  t.match(await failureOf(first.open('test.roster', journal<number>(3))), undefined, 'an open store is not checked again')
  await first.close()
  const second = await SqliteStorage.open({ file, durability: 'os', log: silent })
  t.match(await failureOf(second.open('test.roster', records<number>(2))), { message: /test.roster was written by a newer version of its module: its values are at version 3, this one knows 2/ })
  t.match(await failureOf(second.open('test.roster', journal<number>(3))), { message: /is a store of kind 'records', not 'journal'/ })
  await second.close()

  const database = new Database(file)
  database.pragma('user_version = 900')
  database.close()
  t.match(await failureOf(inFolder(folder)), { message: /sestina.db was written by a newer version of the server: it is at step 900, and this version knows \d+$/ })
  holdFolder(folder).release() // the lock was released
})

t.test('the schema steps run all or none, each once', async t => {
  const folder = temporaryFolder(t, { steps: { '001-one.sql': 'CREATE TABLE one (x)', '002-two.sql': 'CREATE TABLE two (x); CREATE TABLE one (x)', 'notes.txt': 'no step' } })
  const database = connect(join(folder, 'test.db'), 'disk')
  t.teardown(() => { database.close() })
  t.throws(() => { takeSteps(database, join(folder, 'steps')) }, { message: /table one already exists/ })
  t.same(database.prepare('SELECT name FROM sqlite_schema').all(), [])
  writeFileSync(join(folder, 'steps', '002-two.sql'), 'CREATE TABLE two (x)')
  takeSteps(database, join(folder, 'steps'))
  writeFileSync(join(folder, 'steps', '003-three.sql'), 'CREATE TABLE three (x)')
  takeSteps(database, join(folder, 'steps'))
  takeSteps(database, join(folder, 'steps'))
  t.equal(database.prepare('SELECT name FROM sqlite_schema').all().length, 3)
  t.equal(database.pragma('user_version', { simple: true }), 3)
  t.equal(database.pragma('synchronous', { simple: true }), 2, 'FULL')
})

t.test('a database of each released schema is upgraded to the current one, with all its data', async t => {
  const fixtures = readdirSync(FIXTURES).filter(name => name.startsWith('sqlite-')).sort()
  t.ok(fixtures.length > 0)
  for (const name of fixtures) {
    const file = join(temporaryFolder(t), 'test.db')
    const database = new Database(file)
    database.exec(readFileSync(join(FIXTURES, name), 'utf8'))
    database.close()
    const storage = await driver(t, { file })
    await checkReleased(t, storage, name)
    await storage.close()
  }
})

t.test('a file that is not a database is refused', async t => {
  const file = join(temporaryFolder(t), 'test.db')
  writeFileSync(file, 'a letter to my aunt, long enough to be read as the header of a database file, which it is not'.repeat(20))
  t.match(await failureOf(SqliteStorage.open({ file, durability: 'os', log: silent })), { code: 'SQLITE_NOTADB' })
})

t.test('a backup is a whole copy of one moment, taken while writes go on', async t => {
  const storage = await driver(t)
  const roster = await storage.open('test.roster', records<number | string>(1))
  const entries = await storage.open('test.entries', journal<string>(1))
  for (let n = 0; n < 300; n++) storage.submit([entries.appending('a', { id: `${n}`, at: n, with: '', value: 'x'.repeat(10_000) })])
  const before = storage.submit([roster.putting('a', 'pair', 0), roster.putting('b', 'pair', 0)])
  const copy = join(t.testdirName, 'copy.db')
  let isDone = false
  let n = 0
  const backup = storage.backup(copy).finally(() => { isDone = true })
  while (!isDone) {
    n++
    storage.submit([roster.putting('a', 'pair', n), roster.putting('b', 'pair', n)])
    await new Promise(resolve => { setImmediate(resolve) }) // the copy takes a step at each turn too
  }
  await backup
  t.ok(storage.settled > before)
  t.ok(n > 3, 'writes went on meanwhile')
  t.equal(statSync(copy).mode & 0o777, 0o600)

  const second = await SqliteStorage.open({ file: copy, durability: 'os', log: silent })
  const copied = await second.open('test.roster', records<number>(1))
  t.type(await copied.get('a', 'pair'), 'number')
  t.equal(await copied.get('a', 'pair'), await copied.get('b', 'pair'))
  t.equal((await (await second.open('test.entries', journal<string>(1))).size('a')).entries, 300)
  await second.close()
  t.match(await failureOf(storage.backup(copy)), { code: 'EEXIST' })
  t.match(await failureOf(storage.backup(join(t.testdirName, 'nowhere', 'copy.db'))), { code: 'ENOENT' })
})

interface Committer { readonly child: ChildProcess, readonly acked: readonly number[], upTo (n: number): Promise<void> }

/** Starts a process that commits into the folder; `acked` has the numbers that it has reported as stored. */
function committer (t: Test, folder: string, ...more: string[]): Committer {
  const child = spawn(ENV, [...BARE, folder, ...more], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const acked: number[] = []
  let rest = ''
  let wake = (): void => {}
  child.stdout?.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) acked.push(Number(line.replace('acked ', '')))
    wake()
  })
  child.once('exit', () => { wake() })
  const upTo = async (n: number): Promise<void> => {
    while (acked.length < n && child.exitCode === null) await new Promise<void>(resolve => { wake = resolve })
  }
  return { child, acked, upTo }
}

t.test('all acknowledged commits are there after a kill, and each batch is stored as a whole or not at all', async t => {
  const folder = temporaryFolder(t)
  for (const round of [1, 2, 3]) {
    const data = join(folder, `${round}`)
    const { child, acked, upTo } = committer(t, data, 'disk')
    await upTo(40 * round)
    const closed = once(child, 'close')
    child.kill('SIGKILL')
    await closed
    t.ok(acked.length >= 40 * round)
    const storage = await inFolder(data)
    const counters = await (await storage.open('test.counters', records<number>(1))).all('a')
    const { entries } = await (await storage.open('test.entries', journal<number>(1))).page('a', { limit: Infinity })
    t.same(acked.filter(n => counters.get(`${n}`) !== n), [], `${acked.length} were acknowledged, ${counters.size} stored`)
    t.same(entries.map(({ value }) => value), [...counters.values()].sort((a, b) => a - b))
    const queue = await storage.open('test.queue', log<{ readonly n: number }>(1))
    const live: number[] = []
    for await (const { value: { n } } of queue.entries()) live.push(n)
    const expected = [...counters.values()].filter(n => n % 5 === 0 || !counters.has(`${n + 8}`))
    t.same(live.sort((a, b) => a - b), expected.sort((a, b) => a - b), 'a log whose entries move')
    t.ok((await queue.size()).bytes <= 2 * live.length * 20_100 + SLACK + 4096)
    await storage.close()
  }
})

t.test('one process holds a data folder, and the error for the next one names it', async t => {
  const folder = temporaryFolder(t)
  const { child, upTo } = committer(t, folder, 'os')
  await upTo(1)
  const said = await failureOf(inFolder(folder))
  t.match(said, { message: new RegExp(`^the data folder .* is held by process ${child.pid} since \\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z: one server at a time can use it$`) })
  const closed = once(child, 'close')
  child.kill('SIGKILL')
  await closed
  const mine = holdFolder(folder)
  t.throws(() => holdFolder(folder), { message: new RegExp(`held by process ${process.pid} since`) })
  writeFileSync(join(folder, 'lock.json'), 'torn')
  t.throws(() => holdFolder(folder), { message: /is held by another process: / })
  mine.release()
  mine.release()
  t.notOk(existsSync(join(folder, 'lock.json')))
  holdFolder(folder).release()
  mkdirSync(join(folder, 'odd', 'lock'), { recursive: true })
  t.throws(() => holdFolder(join(folder, 'odd')), { code: 'EISDIR' })
})

const STRACE = spawnSync('strace', ['-f', '-e', 'trace=fdatasync', 'true']).status === 0
  ? false
  : 'strace is missing, or may not trace here: apt-get install strace'

t.test('with durability "disk" every acknowledgement comes after an fdatasync, with "os" none waits for one', { skip: STRACE }, async t => {
  const folder = temporaryFolder(t)
  for (const durability of ['disk', 'os']) {
    const trace = join(folder, `${durability}.trace`)
    const { status } = spawnSync('strace', ['-f', '-o', trace, '-e', 'trace=fdatasync,fsync,write', '-e', 'signal=none',
      ENV, ...BARE, join(folder, durability), durability, '20'], { stdio: 'ignore' })
    t.equal(status, 0)
    const syncs: number[] = [] // before each ack, since the one before it
    let count = 0
    for (const line of readFileSync(trace, 'utf8').split('\n')) {
      // only a call that has returned counts: "fdatasync(20) = 0", or "<... fdatasync resumed>) = 0"
      if (/f(data)?sync(\(\d+\)| resumed>\)) += 0/.test(line)) count++
      if (!/ write\(1, "acked \d+/.test(line)) continue
      syncs.push(count)
      count = 0
    }
    t.equal(syncs.length, 20)
    if (durability === 'disk') t.ok(syncs.every(count => count > 0), `synced before each: ${syncs.join(' ')}`)
    else t.same(syncs.slice(1), Array.from({ length: 19 }, () => 0))
  }
})
