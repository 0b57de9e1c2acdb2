/**
 * Accounts that were imported with keys for some hashes only: what their host offers, and how they get the other keys.
 */
import t, { type Test } from 'tap'
import { Accounts, accountsShape, indexShape, secretShape } from '../../lib/auth/accounts.js'
import { newKeys, sharedDerivations, type HashName } from '../../lib/auth/keys.js'
import { offered, start } from '../../lib/auth/mechanisms.js'
import { silent } from '../../lib/base/logger.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { openStorage } from '../../lib/storage/open.js'
import type { Write } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { parseJid, type Jid } from '../../lib/xmpp/jid.js'
import { Cluster, MISSING } from '../storage/cluster.js'
import { FakeClock } from '../fake-clock.js'
import { advertisedBy, contextOf, DOMAIN, ITERATIONS, outcome, plainOf, play } from './stage.js'
import { temporaryFolder } from '../temporary-folder.js'

const ALL = ['SCRAM-SHA-512-PLUS', 'SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN']
const without = (...hashes: readonly string[]): readonly string[] =>
  ALL.filter(name => !hashes.some(hash => name.includes(hash)))
const named = (local: string): Jid => parseJid(`${local}@${DOMAIN}`)

/** The accounts of one host in a storage, opened as the server opens them. */
class Stage {
  readonly storage: Storage
  accounts!: Accounts

  private constructor (storage: Storage) { this.storage = storage }

  static async open (storage: Storage): Promise<Stage> {
    const stage = new Stage(storage)
    await stage.starts()
    return stage
  }

  async starts (): Promise<void> {
    await this.storage.flush()
    this.accounts = await Accounts.open({
      domain: DOMAIN, clock: new FakeClock(), iterations: ITERATIONS, records: await this.storage.open('accounts', accountsShape),
      secrets: await this.storage.open('accounts.secret', secretShape), index: await this.storage.open('accounts.index', indexShape),
    })
  }

  /** Creates an account as an import does, with keys for these hashes only. */
  async imports (local: string, ...hashes: readonly HashName[]): Promise<void> {
    await this.stores(await this.accounts.arriving(named(local), undefined))
    for (const hash of hashes) await this.accounts.addKeys(named(local), hash, await newKeys('pencil', hash, 4096, sharedDerivations))
  }

  async removes (local: string): Promise<void> {
    await this.stores(this.accounts.removing(named(local)))
    await this.accounts.removed(named(local))
  }

  async stores (write: Write): Promise<void> {
    const batch = new PendingBatch()
    batch.add(write)
    const number = batch.submit(this.storage)
    await new Promise<void>(resolve => { this.storage.after(number, () => { resolve() }) })
  }

  get offers (): readonly string[] { return offered(contextOf(this.accounts)) }

  begin (name: string) {
    const context = contextOf(this.accounts)
    return start(name, context, advertisedBy(context))
  }

  /** Logs in as clients do, by the strongest mechanism that the host offers. */
  async logsIn (username: string): Promise<string> {
    const name = this.offers.find(name => !name.endsWith('-PLUS')) ?? ''
    if (name === 'PLAIN') return outcome(await this.begin(name).step(plainOf('', username, 'pencil')))
    const hash = name.endsWith('512') ? 'sha-512' : name.endsWith('256') ? 'sha-256' : 'sha-1'
    return outcome((await play(this.begin(name), { username, password: 'pencil', hash })).last)
  }
}

async function everywhere (t: Test, storage: () => Promise<Storage>): Promise<void> {
  await t.test('a host offers no mechanism that some account cannot use, also after a restart, until all can', async t => {
    const s = await Stage.open(await storage())
    await s.accounts.create(named('native'), 'pencil')
    t.same(s.offers, ALL)
    await s.imports('romeo', 'sha-1')
    t.same(s.offers, without('256', '512'))
    for (const name of ['romeo', 'native']) t.equal(await s.logsIn(name), 'success', name)
    await s.starts()
    t.same(s.offers, without('256', '512'))
    await s.imports('juliet', 'sha-1', 'sha-256')
    t.equal(await s.accounts.countLacking('sha-256', 10), 1)
    t.equal(await s.accounts.countLacking('sha-512', 10), 2)
    await s.accounts.addKeys(named('romeo'), 'sha-256', await newKeys('pencil', 'sha-256', ITERATIONS, sharedDerivations))
    t.same(s.offers, without('512'))
    await s.accounts.setPassword(named('juliet'), 'pencil')
    t.same(s.offers, without('512'), 'one is left')
    await s.removes('romeo')
    t.same(s.offers, ALL)
    await s.starts()
    t.same(s.offers, ALL)
    for (const name of ['juliet', 'native']) t.equal(await s.logsIn(name), 'success', name)
    await s.storage.close()
  })

  await t.test('a login by PLAIN adds the missing keys to an account', async t => {
    const s = await Stage.open(await storage())
    await s.imports('romeo', 'sha-1')
    t.equal(outcome(await s.begin('PLAIN').step(plainOf('', 'romeo', 'pen'))), 'not-authorized')
    t.same(s.offers, without('256', '512'), 'not with a wrong password')
    t.equal(outcome(await s.begin('PLAIN').step(plainOf('', 'romeo', 'pencil'))), 'success')
    t.same(s.offers, ALL)
    t.equal(await s.logsIn('romeo'), 'success')
    t.equal((await s.accounts.credentials('romeo', 'sha-1')).iterations, 4096, 'the existing keys stay')
    await s.storage.close()
  })

  await t.test('if a host has no index of hashes, the start creates it', async t => {
    const s = await Stage.open(await storage())
    for (const name of ['a', 'b', 'c']) await s.accounts.create(named(name), 'pencil')
    await s.imports('romeo', 'sha-256')
    const [index, stale] = [await s.storage.open('accounts.index', indexShape), 'sha-512']
    await s.storage.flush()
    for (const owner of [DOMAIN, `${DOMAIN} sha-1`, `${DOMAIN} ${stale}`]) for (const key of (await index.all(owner)).keys()) await index.put(owner, key, undefined)
    await s.starts()
    t.same(s.offers, without('SHA-1', '512'))
    await s.accounts.setPassword(named('romeo'), 'pencil')
    await index.put(`${DOMAIN} ${stale}`, 'nobody', true)
    await index.put(`${DOMAIN} ${stale}`, 'romeo', true)
    await s.starts()
    t.same(s.offers, ALL, 'obsolete rows are removed')
    t.equal(await s.accounts.countLacking('sha-512', 10), 0)
    await s.storage.close()
  })
}

t.test('in memory', async t => everywhere(t, () => Promise.resolve(new MemoryStorage())))

t.test('in SQLite', async t => {
  let folders = 0
  const folder = temporaryFolder(t)
  await everywhere(t, () => openStorage({ driver: 'sqlite', folder: `${folder}/${++folders}`, durability: 'os', log: silent }))
})

t.test('in PostgreSQL', { skip: MISSING }, async t => {
  const cluster = await Cluster.start(t)
  await everywhere(t, async () => openStorage({ driver: 'postgres', url: await cluster.database(), durability: 'os', log: silent }))
})

t.test('an account without any keys does not limit the offer: nobody can log in to it', async t => {
  const s = await Stage.open(new MemoryStorage())
  await s.imports('romeo')
  t.same(s.offers, ALL)
  t.equal(await s.logsIn('romeo'), 'not-authorized')
})

t.test('if no password mechanism would be left, the host offers all that the conf allows', async t => {
  const s = await Stage.open(new MemoryStorage())
  await s.imports('romeo', 'sha-1')
  await s.imports('juliet', 'sha-512')
  t.same(s.offers, ['PLAIN'])
  const allowed = ['SCRAM-SHA-256', 'SCRAM-SHA-512', 'EXTERNAL']
  t.same(offered(contextOf(s.accounts, { allowed })), ['SCRAM-SHA-512', 'SCRAM-SHA-256'])
  t.same(offered(contextOf(s.accounts, { secure: false, bindings: [] })), without('PLUS', 'PLAIN'), 'PLAIN is not offered without TLS')
  t.equal(await s.logsIn('juliet'), 'success')
  t.same(s.offers, without('256', '512'), 'juliet has all keys now, romeo does not')
})

t.test('a login succeeds although its new keys cannot be stored', async t => {
  const s = await Stage.open(new MemoryStorage())
  await s.imports('romeo', 'sha-1')
  const told: unknown[] = []
  const context = contextOf(s.accounts, { trouble: error => { told.push(error) } })
  s.accounts.complete = () => Promise.reject(new Error('the disk is full'))
  t.equal(outcome(await start('PLAIN', context, advertisedBy(context)).step(plainOf('', 'romeo', 'pencil'))), 'success')
  t.match(told, [{ message: 'the disk is full' }])
})

t.test('keys of a password that was replaced meanwhile are not added', async t => {
  const s = await Stage.open(new MemoryStorage())
  await s.imports('romeo', 'sha-1')
  const login = s.begin('PLAIN').step(plainOf('', 'romeo', 'pencil'))
  const change = s.accounts.setPassword(named('romeo'), 'quill and ink')
  await Promise.all([login, change])
  for (const hash of ['sha-1', 'sha-256', 'sha-512'] as const) {
    const { last } = await play(s.begin(`SCRAM-${hash.toUpperCase()}`), { username: 'romeo', password: 'quill and ink', hash })
    t.equal(outcome(last), 'success', hash)
  }
})
