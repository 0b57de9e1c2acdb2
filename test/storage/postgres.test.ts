/**
 * PostgreSQL keeps the promises of storage: acknowledged commits survive its crash, and storage recovers with the
 * database.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { client as xmppClient, xml, type Client as XmppClient } from '@xmpp/client'
import type { Client } from 'pg'
import t, { type Test } from 'tap'
import { systemClock } from '../../lib/base/clock.js'
import { openLogger, silent, type Fields } from '../../lib/base/logger.js'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { findModules, start } from '../../lib/main.js'
import { openStorage } from '../../lib/storage/open.js'
import { loadPg } from '../../lib/storage/postgres/client.js'
import { PostgresStorage, type PostgresSettings } from '../../lib/storage/postgres/driver.js'
import { hold, nameOf } from '../../lib/storage/postgres/hold.js'
import { takeSteps } from '../../lib/storage/postgres/steps.js'
import { journal, records, StorageUnavailable, type Journal } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { Cluster, MISSING, PASSWORD } from './cluster.js'
import { contract } from './contract.js'
import { failureOf, stored } from './stored.js'
import { checkLogCrashes, checkLogRestarts } from './log-contract.js'
import { checkReindexed } from './table-contract.js'
import { checkReleased, FIXTURES } from './released.js'
import { unreadable } from './unreadable.js'
import { temporaryFolder } from '../temporary-folder.js'

const PATIENCE = 1_200_000
t.setTimeout(PATIENCE)

t.test('an unreachable PostgreSQL is reported without the password', async t => {
  const refused = async (url: string): Promise<Error> => await failureOf(openStorage({ driver: 'postgres', url, durability: 'disk', log: silent })) as Error
  t.match(await failureOf(openStorage({ driver: 'postgres', durability: 'disk', log: silent })), { message: 'PostgreSQL needs storage.url' })
  for (const url of ['Sesame', 'http://a:Sesame@b/c', 'postgres://a:Sesame@b:port/c']) {
    t.equal((await refused(url)).message, 'storage.url is not the address of a database such as postgres://user:password@host/database')
  }
  const error = await refused(`postgres://a:Sesame@/c?host=${temporaryFolder(t)}`)
  t.match(error.message, /ENOENT/)
  t.notMatch(inspect(error), 'Sesame')

  const missing = Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
  t.match(await failureOf(loadPg(() => Promise.reject(missing))), { message: /run npm install pg$/ })
  const broken = new Error('broken')
  t.equal(await failureOf(loadPg(() => Promise.reject(broken))), broken)
})

t.test('PostgreSQL storage keeps its promises with a real server', { skip: MISSING, timeout: PATIENCE }, async t => {
  const cluster = await Cluster.start(t)

  /** Opens the driver, on a new database unless `more` names one. */
  async function driver (t: Test, more: Partial<PostgresSettings> = {}): Promise<PostgresStorage> {
    const storage = await PostgresStorage.open({ url: more.url ?? await cluster.database(), durability: 'os', log: silent, ...more })
    t.teardown(() => storage.close())
    return storage
  }

  void t.test('PostgreSQL puts unreadable items aside', t => {
    unreadable(t, async t => {
      const url = await cluster.database()
      const storage = await driver(t, { url })
      const where = (store: string, owner: string): string => `store = (SELECT id FROM sestina.stores WHERE name = '${store}') AND owner = '${owner}'`
      return {
        storage,
        async spoil (store, owner, id, text) {
          await cluster.query(url, `UPDATE sestina.records SET value = '${text}' WHERE ${where(store, owner)} AND key = '${id}'`)
          await cluster.query(url, `UPDATE sestina.journal SET value = '${text}' WHERE ${where(store, owner)} AND id = '${id}'`)
          await cluster.query(url, `UPDATE sestina.table_rows SET value = '${text}' WHERE ${where(store, owner).replace('owner', 'prefix || host')} AND key = '${id}'`)
          await cluster.query(url, `UPDATE sestina.log_segments SET entries = replace(entries, '{"name":"b"}', '${text}') WHERE last::text = '${id}'`)
        },
      }
    })
    t.end()
  })

  void t.test('PostgreSQL keeps the promises of storage', t => {
    contract(t, async t => {
      const storage = await openStorage({ driver: 'postgres', url: await cluster.database(), durability: 'os', log: silent })
      t.teardown(() => storage.close())
      return storage
    })
    t.end()
  })

  void t.test('a table has the indexes with which it is opened, and its rows are upgraded', async t => {
    const url = await cluster.database()
    await checkReindexed(t, () => driver(t, { url }))
  })

  void t.test('a log is the same after restarts, and its entries are upgraded', async t => {
    const url = await cluster.database()
    await checkLogRestarts(t, () => driver(t, { url }))
  })

  void t.test('a log has what was acknowledged when its connection is killed, also while entries move', async t => {
    const url = await cluster.database()
    const storage = await driver(t, { url })
    await checkLogCrashes(t, storage, () => endWriters(url))
  })

  void t.test('stored values are there after a stop and a start', async t => {
    const url = await cluster.database()
    const first = await driver(t, { url })
    const roster = await first.open('test.roster', records<string>(1))
    first.submit([roster.putting('a', 'k', 'v')])
    await first.close()
    await first.close()
    t.throws(() => first.submit([]), { message: 'storage is closed' })
    const second = await driver(t, { url })
    t.equal(await (await second.open('test.roster', records<string>(1))).get('a', 'k'), 'v')
    t.match(await failureOf(second.backup()), { message: /pg_dump/ })
  })

  void t.test('texts with characters that PostgreSQL lacks keep their order and are read unchanged', async t => {
    const storage = await driver(t)
    const roster = await storage.open('test.roster', records<string>(1))
    const entries = await storage.open('test.entries', journal<string>(1))
    const odd = ['\0', '\0\0', '\0\u0001', '\0a', '\u0001', '\u0001\0', '\u0001\u0001', '\u0001\u0002', '\u0002', 'a\0b', 'a\u0001b', 'a\u0002']
    await stored(storage, odd.flatMap(text => [roster.putting(text, text, text), roster.putting('all', text, text)]))
    t.same([...await roster.all('all')], odd.map(text => [text, text]))
    t.same((await roster.owners({ limit: 99 })).filter(owner => owner !== 'all'), odd)
    t.equal(await roster.get('\0', '\0'), '\0')
    await stored(storage, odd.map((id, at) => entries.appending('\0', { id, at, with: `${id}/x`, value: id })))
    t.same((await entries.page('\0', { limit: 99 })).entries.map(({ id, with: address }) => [id, address]), odd.map(id => [id, `${id}/x`]))
    t.same((await entries.page('\0', { limit: 9, with: 'a\0b', after: '\0' })).entries.map(({ id }) => id), ['a\0b'])
  })

  void t.test('a duplicate id fails its whole batch, and no other batch of the same turn', async t => {
    const storage = await driver(t)
    const entries = await storage.open('test.entries', journal<number>(1))
    const roster = await storage.open('test.roster', records<number>(1))
    const entry = { id: '1', at: 1, with: '', value: 1 }
    const batches = [
      [entries.appending('a', entry)],
      [roster.putting('a', 'lost', 1), entries.appending('a', entry)],
      [],
      [roster.putting('a', 'kept', 1)],
    ]
    const outcomes = await Promise.all(batches.map(writes => failureOf(stored(storage, writes))))
    t.same(outcomes.map(error => error instanceof Error ? error.message.replace(/.*\(/, '(') : error), [undefined, '(23505)', undefined, undefined])
    t.same([...(await roster.all('a')).keys()], ['kept'])
    t.equal(storage.trouble, undefined, 'the last commit succeeded')
  })

  void t.test('a number in a journal is never used twice', async t => {
    const storage = await driver(t)
    const entries = await storage.open('test.entries', journal<number>(1))
    await stored(storage, ['1', '2'].map(id => entries.appending('a', { id, at: 1, with: '', value: 1 })))
    await stored(storage, [entries.removing('a', ['2'])])
    await stored(storage, [entries.appending('a', { id: '3', at: 1, with: '', value: 1 })])
    t.same((await entries.page('a', { after: '1', limit: 5 })).entries.map(({ id }) => id), ['3'])
  })

  void t.test('when too many writes wait, the next one fails in its turn', async t => {
    const storage = await driver(t, { mostWaiting: 2 })
    const roster = await storage.open('test.roster', records<number>(1))
    const outcomes = await Promise.all([1, 2, 3].map(n => failureOf(stored(storage, [roster.putting('a', `${n}`, n)]))))
    t.match(outcomes, [undefined, undefined, { message: /too many writes wait/ }])
    t.same([...(await roster.all('a')).keys()], ['1', '2'])
  })

  void t.test('durability "disk" waits for the database to sync, "os" does not', async t => {
    for (const [durability, setting] of [['disk', 'on'], ['os', 'off']] as const) {
      const url = await cluster.database()
      const lines: string[] = []
      const storage = await driver(t, { url, durability, log: { ...silent, warn: event => { lines.push(event) } } })
      await cluster.query(url, `CREATE TABLE public.said (setting text);
        CREATE FUNCTION public.say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          INSERT INTO public.said VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
        CREATE TRIGGER say BEFORE INSERT ON sestina.records FOR EACH ROW EXECUTE FUNCTION public.say()`)
      await (await storage.open('test.roster', records<number>(1))).put('a', 'k', 1)
      t.same(await cluster.query(url, 'SELECT setting FROM public.said'), [{ setting }])
      t.same(lines, durability === 'disk' ? ['storage unsafe'] : [], 'a database that does not sync at all is reported')
    }
  })

  void t.test('one server holds a database, and the error for the next one names it', async t => {
    const url = await cluster.database()
    const first = await driver(t, { url })
    t.match(await failureOf(PostgresStorage.open({ url, durability: 'os', log: silent })), {
      message: new RegExp(`^the database is held by process ${process.pid} at .+ since \\d{4}-\\d\\d-\\d\\dT[\\d:]+Z: one server at a time can use it$`),
    })
    await first.close()
    await driver(t, { url })
  })

  void t.test('a lost connection of this process that the database has not noticed is ended, and no other', async t => {
    const { default: pg } = await import('pg')
    const url = await cluster.database()
    const connected = async (name: string): Promise<Client> => {
      const client = new pg.Client({ connectionString: url, application_name: name })
      client.on('error', () => {}) // the connection will be ended
      await client.connect()
      t.teardown(() => client.end().catch(() => {}))
      return client
    }
    const ours = await connected(nameOf(process.pid))
    await hold(ours, systemClock, undefined)
    const { rows: [{ pid }] } = await ours.query('SELECT pg_backend_pid() AS pid')
    const ended = new Promise(resolve => { ours.once('end', resolve) }) // an error comes first
    const next = await connected(nameOf(process.pid))
    await hold(next, systemClock, pid)
    await ended
    await next.end()
    const foreign = await connected('another')
    await hold(foreign, systemClock, undefined)
    const { rows: [{ pid: other }] } = await foreign.query('SELECT pg_backend_pid() AS pid')
    t.match(await failureOf(hold(await connected(nameOf(process.pid)), systemClock, other)), { message: /held by another server since/ })
  })

  void t.test('a server that has lost the database accepts no writes until it holds the database again', async t => {
    const url = await cluster.database()
    const events: string[] = []
    const note = (event: string): void => { events.push(event) }
    const storage = await driver(t, { url, patience: 50, log: { ...silent, info: note, error: note } })
    const roster = await storage.open('test.roster', records<number>(1))
    const { default: pg } = await import('pg')
    const rival = new pg.Client({ connectionString: url })
    await rival.connect()
    t.teardown(() => rival.end())
    const held = rival.query('SELECT pg_advisory_lock($1::int, $2::int)', [0x73657374, 0x696e61])
    await endWriters(url)
    await held
    const refused = await failureOf(roster.put('a', 'k', 1))
    t.match(refused, { message: /the database is held by another server|terminating connection|lost/ })
    t.ok(storage.trouble)
    t.equal(await roster.get('a', 'k'), undefined, 'reads go on')
    await rival.query('SELECT pg_advisory_unlock_all()')
    await comesTrue(() => storage.trouble === undefined || events.includes('storage connection restored'))
    await roster.put('a', 'k', 2)
    t.equal(storage.trouble, undefined)
    t.same(events.filter(event => event !== 'storage failed' && event !== 'storage recovered'), ['storage connection lost', 'storage connection restored'])

    const again = rival.query('SELECT pg_advisory_lock($1::int, $2::int)', [0x73657374, 0x696e61])
    await endWriters(url)
    await again
    await rival.query("UPDATE sestina.writer SET token = 'mine'")
    await rival.query('SELECT pg_advisory_unlock_all()')
    await comesTrue(() => events.includes('storage taken over'))
    t.match(await failureOf(roster.put('a', 'k', 3)), { message: /another server has written to this database meanwhile/ })
    t.equal(await roster.get('a', 'k'), 2)
  })

  /** Ends the connections that hold this database. */
  async function endWriters (url: string): Promise<void> {
    await cluster.query(url, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted " +
      'AND database = (SELECT oid FROM pg_database WHERE datname = current_database())')
  }

  void t.test('a commit whose answer is lost is neither lost nor done twice', async t => {
    const line = await cluster.line(t)
    const url = await cluster.database()
    const storage = await driver(t, { url: line.url(url), patience: 60_000 })
    const entries = await storage.open('test.entries', journal<number>(1))
    const append = (n: number): Promise<unknown> => failureOf(stored(storage, [entries.appending('a', { id: `${n}`, at: n, with: '', value: n })]))
    line.cutAtNextAnswer()
    t.equal(await append(1), undefined, 'the database has done it, and confirms that on request')
    line.cutAtNextQuestion()
    t.equal(await append(2), undefined, 'the database never received it, and gets it again')
    line.cutAtNextAnswer()
    t.match(await Promise.all([append(3), append(3)]), [undefined, { message: /23505/ }], 'a failure is still reported as a failure')
    t.equal(await append(4), undefined)
    t.same((await entries.page('a', { limit: 9 })).entries.map(({ value }) => value), [1, 2, 3, 4])
    t.equal(line.cuts, 3)
  })

  void t.test('a commit that ends its connection each time fails alone in the end', async t => {
    const url = await cluster.database()
    const storage = await driver(t, { url, patience: 60_000 })
    const roster = await storage.open('test.roster', records<string>(1))
    await cluster.query(url, `CREATE FUNCTION public.crash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.value LIKE '%poison%' THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END IF; RETURN NEW; END $$;
      CREATE TRIGGER crash BEFORE INSERT ON sestina.records FOR EACH ROW EXECUTE FUNCTION public.crash()`)
    const outcomes = await Promise.all(['before', 'poison', 'behind'].map(value => failureOf(roster.put('a', value, value))))
    t.match(outcomes, [undefined, { message: /was lost 3 times during one commit/ }, undefined])
    t.same([...(await roster.all('a')).keys()], ['before', 'behind'])
  })

  void t.test('under load, while the server is killed and restarted, nothing is lost or doubled, and patient commits succeed', async t => {
    const url = await cluster.database()
    const storage = await driver(t, { url, durability: 'disk', patience: PATIENCE }) // 'os' may lose what the database had not written yet
    const load = await Load.on(storage)
    for (const signal of ['SIGQUIT', 'SIGINT', 'SIGQUIT'] as const) {
      await load.acks(200)
      await cluster.stop(signal)
      await cluster.start()
    }
    await load.acks(200)
    await load.stop()
    t.same(load.failed, [])
    await load.check(t)
  })

  void t.test('while the server is away waiting commits fail, and storage recovers by itself when it is back', async t => {
    const url = await cluster.database()
    const events: string[] = []
    const note = (event: string, fields?: Fields): void => { events.push(`${event}: ${JSON.stringify(fields)}`) }
    const storage = await driver(t, { url, durability: 'disk', patience: 100, log: { ...silent, info: note, error: note } })
    const roster = await storage.open('test.roster', records<number>(1))
    const load = await Load.on(storage)
    await load.acks(100)
    await cluster.stop('SIGQUIT')
    await load.failures(100)
    t.ok(storage.trouble)
    t.ok(await failureOf(roster.get('a', 'k')) instanceof StorageUnavailable)
    t.ok(await failureOf(roster.change('a', () => new Map([['k', 1]]))) instanceof StorageUnavailable)
    t.ok(await failureOf(storage.open('test.other', records<number>(1))) instanceof StorageUnavailable)
    await cluster.start()
    await load.acks(100)
    await load.stop()
    t.equal(storage.trouble, undefined)
    await roster.put('a', 'k', 1)
    await load.check(t)
    t.same(events.map(line => line.split(':')[0]),
      ['storage connection lost', 'storage failed', 'storage connection restored', 'storage recovered'])
    t.notMatch(events.join(' '), PASSWORD)
  })

  void t.test('a full disk fails commits, not reads', async t => {
    const url = await cluster.database()
    const storage = await driver(t, { url })
    const roster = await storage.open('test.roster', records<string>(1))
    await roster.put('a', 'k', 'v')
    await cluster.query(url, `CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
      CREATE TRIGGER disk BEFORE UPDATE ON sestina.writer FOR EACH ROW EXECUTE FUNCTION public.full()`)
    t.match(await failureOf(roster.put('a', 'k', 'w')), { message: /No space left on device \(53100\)/ })
    t.match(storage.trouble, { message: /No space left/ })
    t.equal(await roster.get('a', 'k'), 'v')
    await cluster.query(url, 'DROP TRIGGER disk ON sestina.writer')
    await roster.put('a', 'k', 'w')
    t.equal(storage.trouble, undefined)
  })

  void t.test('a store of an older version is upgraded, every value once; an impossible upgrade is reported', async t => {
    const storage = await driver(t)
    const url = await cluster.database()
    await storage.close()
    const first = await driver(t, { url })
    const old = await first.open('test.roster', records<number>(1))
    const log = await first.open('test.log', journal<number>(3))
    const numbers = Array.from({ length: 1100 }, (_, n) => n)
    await stored(first, numbers.map(n => old.putting(`o${n % 7}`, `${n}`, n)))
    await stored(first, numbers.map(n => log.appending(`o${n % 7}`, { id: `${n}`, at: n, with: '', value: n })))
    await first.close()
    const second = await driver(t, { url })
    const upgrade = (value: unknown, from: number): unknown => value === 5 ? undefined : `${String(value)} from ${from}`
    const next = await second.open('test.roster', records<string>(2, upgrade))
    const nextLog = await second.open('test.log', journal<string>(4, upgrade))
    t.equal(await next.get('o3', '3'), '3 from 1')
    t.equal(await next.get('o5', '5'), undefined)
    let count = 0
    for (const owner of await nextLog.owners({ limit: 9 })) {
      const { entries } = await nextLog.page(owner, { limit: Infinity })
      for (const { id, value } of entries) t.equal(value, `${id} from 3`)
      count += entries.length
    }
    t.equal(count, 1099)
    t.equal((await nextLog.size('o0')).bytes, (await nextLog.page('o0', { limit: Infinity })).entries.reduce((sum, { value }) => sum + value.length, 0))
    await second.close()
    const third = await driver(t, { url })
    t.match(await failureOf(third.open('test.roster', records<string>(1))), { message: /newer version of its module/ })
    t.match(await failureOf(third.open('test.roster', journal<string>(2))), { message: /is a store of kind 'records', not 'journal'/ })
    t.match(await failureOf(third.open('test.roster', records<string>(3))), { message: /the store test.roster has no upgrade from version 2 to 3/ })
    t.match(await failureOf(third.open('test.roster', records<string>(3, () => { throw new Error('odd value') }))), { message: 'odd value' })
    t.equal(await (await third.open('test.roster', records<string>(2))).get('o3', '3'), '3 from 1')
  })

  void t.test('a database of each released schema is upgraded to the current one, with all its data', async t => {
    const fixtures = readdirSync(FIXTURES).filter(name => name.startsWith('postgres-')).sort()
    t.ok(fixtures.length > 0)
    for (const name of fixtures) {
      const url = await cluster.database()
      await cluster.query(url, readFileSync(join(FIXTURES, name), 'utf8'))
      const storage = await driver(t, { url })
      await checkReleased(t, storage, name)
      await storage.close()
    }
  })

  void t.test('schema steps run in order, all or none; a newer database or one of another encoding is refused', async t => {
    const { default: pg } = await import('pg')
    const folder = temporaryFolder(t, { '001-one.sql': 'CREATE TABLE one (x int)', '002-two.sql': 'CREATE TABLE two (x int); CREATE TABLE one (x int)', 'notes.txt': '' })
    const url = await cluster.database()
    const client = new pg.Client({ connectionString: url, options: '-c search_path=sestina -c client_min_messages=warning' })
    await client.connect()
    t.teardown(() => client.end())
    t.match(await failureOf(takeSteps(client, folder)), { message: /relation "one" already exists/ })
    t.same((await client.query('SELECT 1 FROM pg_tables WHERE schemaname = \'sestina\'')).rows, [])
    writeFileSync(join(folder, '002-two.sql'), 'CREATE TABLE two (x int)')
    await takeSteps(client, folder)
    writeFileSync(join(folder, '003-three.sql'), 'CREATE TABLE three (x int)')
    await takeSteps(client, folder)
    await takeSteps(client, folder)
    t.same((await client.query('SELECT number FROM steps ORDER BY number')).rows, [{ number: 1 }, { number: 2 }, { number: 3 }])
    await client.query('INSERT INTO steps (number, name) VALUES (99, \'later\')')
    t.match(await failureOf(PostgresStorage.open({ url, durability: 'os', log: silent })), { message: /written by a newer version of the server: it is at step 99/ })
    const latin = await cluster.database("ENCODING 'LATIN1'")
    t.match(await failureOf(PostgresStorage.open({ url: latin, durability: 'os', log: silent })), { message: /the encoding of the database is LATIN1, but must be UTF8/ })
    await cluster.query(latin, 'ALTER DATABASE ' + (/\/(d\d+)\?/.exec(latin)?.[1] ?? '') + ' SET default_transaction_read_only = on')
    t.match(await failureOf(PostgresStorage.open({ url: latin, durability: 'os', log: silent })), { message: /the database is read-only/ })
  })

  void t.test('Sestina on PostgreSQL keeps a message for an offline account over a restart', async t => {
    const lines: string[] = []
    const log = openLogger({ level: 'debug', format: 'json', output: { write: line => lines.push(line) } })
    const folder = temporaryFolder(t, {
      'sestina.toml': `
        storage = { driver = "postgres", url = { env = "DATABASE" } }
        listen = [{ for = "clients", port = 0, address = ["127.0.0.1"], tls = "none" }]
        modules = { roster = true, presence = true, message = true, offline = true }
        host.localhost = {}
      `,
    })
    const modules = await findModules(join(PACKAGE_ROOT, 'dist', 'modules'))
    const url = await cluster.database()
    const run = (): ReturnType<typeof start> => start({ file: join(folder, 'sestina.toml'), modules, log, env: name => name === 'DATABASE' ? url : undefined })
    let server = await run()
    t.teardown(() => server.stop())
    const host = server.server.host('localhost')!
    for (const name of ['romeo', 'juliet']) await host.createAccount(parseJid(`${name}@localhost`), 'a secret of Verona')
    const online = async (username: string): Promise<{ device: XmppClient, messages: string[] }> => {
      const device = xmppClient({ service: `xmpp://127.0.0.1:${server.listening[0]!.port}`, domain: 'localhost', username, password: 'a secret of Verona' })
      Object.assign(device, { timeout: PATIENCE }) // the library gives a slow machine 2 s
      const messages: string[] = []
      device.on('error', error => { t.comment(String(error)) })
      device.on('stanza', stanza => { if (stanza.is('message')) messages.push(stanza.getChildText('body') ?? '') })
      await device.start()
      await device.send(xml('presence'))
      return { device, messages }
    }
    const romeo = await online('romeo')
    await romeo.device.send(xml('message', { to: 'juliet@localhost', type: 'chat' }, xml('body', {}, 'O, speak again, bright angel')))
    await romeo.device.iqCaller.request(xml('iq', { type: 'get' }, xml('query', { xmlns: 'jabber:iq:roster' }))) // answered after the message
    await romeo.device.stop()
    await server.stop()
    server = await run()
    const juliet = await online('juliet')
    await comesTrue(() => juliet.messages.length > 0)
    t.same(juliet.messages, ['O, speak again, bright angel'])
    await juliet.device.stop()
    await server.stop()
    t.notMatch(lines.join(''), PASSWORD)
  })
})

/** Appends numbers without a pause, and knows which of them are stored. */
class Load {
  readonly #storage: Storage
  readonly #entries: Journal<number>
  readonly acked: number[] = []
  readonly failed: number[] = []
  #isStopping = false
  #running: Promise<void> = Promise.resolve()

  static async on (storage: Storage): Promise<Load> {
    const load = new Load(storage, await storage.open('test.load', journal<number>(1)))
    load.#running = load.#run()
    return load
  }

  private constructor (storage: Storage, entries: Journal<number>) {
    this.#storage = storage
    this.#entries = entries
  }

  /** Resolves once this many more are stored. */
  async acks (more: number): Promise<void> {
    const wanted = this.acked.length + more
    await comesTrue(() => this.acked.length >= wanted)
  }

  /** Resolves once this many more have failed. */
  async failures (more: number): Promise<void> {
    const wanted = this.failed.length + more
    await comesTrue(() => this.failed.length >= wanted)
  }

  async stop (): Promise<void> {
    this.#isStopping = true
    await this.#running
    await this.#storage.flush()
  }

  /**
   * Checks that all acknowledged numbers are there, once and in order; a failed one may be there too if its commit was
   * in doubt.
   */
  async check (t: Test): Promise<void> {
    const { entries } = await this.#entries.page('a', { limit: Infinity })
    const there = entries.map(({ value }) => value)
    t.same(there, [...new Set(there)].sort((a, b) => a - b))
    const present = new Set(there)
    t.same(this.acked.filter(n => !present.has(n)), [])
    t.same(this.acked, [...this.acked].sort((a, b) => a - b))
  }

  async #run (): Promise<void> {
    for (let n = 1; !this.#isStopping; n++) {
      const number = this.#storage.submit([this.#entries.appending('a', { id: `${n}`, at: n, with: '', value: n })])
      const value = n
      const settled = new Promise<void>(resolve => {
        this.#storage.after(number, error => {
          (error === undefined ? this.acked : this.failed).push(value)
          resolve()
        })
      })
      if (n % 5 === 0) await settled
    }
  }
}

/** Resolves once `isSo` returns true; asks every 2 ms. */
async function comesTrue (isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(resolve => { setTimeout(resolve, 2) })
}
