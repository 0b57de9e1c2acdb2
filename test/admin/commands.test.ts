/** The commands of an operator, in process: the answer of each command, and its errors. */
import { join } from 'node:path'
import t from 'tap'
import { CommandError } from '../../lib/admin/talk.js'
import { COMMAND_NAMES, runCommand, checkAccount } from '../../lib/admin/commands.js'
import { dnsRecords, type Resolver } from '../../lib/admin/dns.js'
import { defineModule, parseJid } from '../../lib/api.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { SqliteStorage } from '../../lib/storage/sqlite/driver.js'
import type { Storage } from '../../lib/storage/storage.js'
import type { Shape } from '../../lib/storage/store.js'
import { silent } from '../../lib/base/logger.js'
import { scenario } from '../scenario.js'
import { asks, RecordedTalk, worldOf } from './world.js'
import { temporaryFolder } from '../temporary-folder.js'

t.test('accounts are added, shown, locked, unlocked and removed', async t => {
  const s = await scenario(t, { modules: ['presence', 'roster'], hosts: ['montague.lit', 'capulet.lit'] })
  t.equal(await asks(s.server, 'user add', ['Romeo@montague.lit'], { input: 'secret one' }), 'romeo@montague.lit added')
  await asks(s.server, 'user add', ['juliet@capulet.lit'], { input: 'secret two' })
  t.match(await asks(s.server, 'user list'), [{ account: 'romeo@montague.lit', locked: '' }, { account: 'juliet@capulet.lit' }])
  t.equal((await asks(s.server, 'user list', ['Capulet.lit']) as unknown[]).length, 1)
  t.equal(await asks(s.server, 'user password', ['romeo@montague.lit'], { input: 'secret three' }), 'password of romeo@montague.lit changed')
  t.ok(await s.host('montague.lit').accounts.verifyPassword('romeo', 'secret three'))

  const phone = await s.device('romeo@montague.lit/phone')
  t.match(await asks(s.server, 'user show', ['romeo@montague.lit']), {
    account: 'romeo@montague.lit', created: /^2026-/, state: 'active', sessions: ['romeo@montague.lit/phone'],
    keys: ['SCRAM-SHA-1', 'SCRAM-SHA-256', 'SCRAM-SHA-512'],
  })
  t.equal(await asks(s.server, 'user lock', ['romeo@montague.lit', 'a', 'brawl']), 'romeo@montague.lit locked, 1 session ended')
  t.match(phone.error, { condition: 'not-authorized' })
  t.match(await asks(s.server, 'user show', ['romeo@montague.lit']), { state: 'locked', locked: { reason: 'a brawl' }, sessions: [] })
  t.match(await asks(s.server, 'user list', ['montague.lit']), [{ locked: 'a brawl' }])
  t.equal(await asks(s.server, 'user unlock', ['romeo@montague.lit']), 'romeo@montague.lit unlocked')
  t.equal(await asks(s.server, 'user remove', ['romeo@montague.lit']), 'romeo@montague.lit removed')
  t.equal((await asks(s.server, 'user list', ['montague.lit']) as unknown[]).length, 0)
})

t.test('sessions are listed, and ended all together or one by one', async t => {
  const s = await scenario(t, { modules: ['presence', 'roster'], hosts: ['montague.lit', 'capulet.lit'] })
  const phone = await s.device('romeo@montague.lit/phone', { presence: '<presence><priority>5</priority></presence>', address: '2001:db8::1' })
  const laptop = await s.device('romeo@montague.lit/laptop', { presence: false })
  await s.device('juliet@capulet.lit/balcony')
  const rows = async (...args: string[]): Promise<string[]> => (await asks(s.server, 'session list', args) as { jid: string }[]).map(({ jid }) => jid)
  t.strictSame(await rows(), ['romeo@montague.lit/phone', 'romeo@montague.lit/laptop', 'juliet@capulet.lit/balcony'])
  t.strictSame(await rows('capulet.lit'), ['juliet@capulet.lit/balcony'])
  t.strictSame(await rows('romeo@montague.lit'), ['romeo@montague.lit/phone', 'romeo@montague.lit/laptop'])
  t.strictSame(await rows('romeo@montague.lit/phone'), ['romeo@montague.lit/phone'])
  t.match(await asks(s.server, 'session list', ['romeo@montague.lit']), [{ address: '2001:db8::1', priority: 5, secure: true }, { priority: '' }])
  t.equal(await asks(s.server, 'session kick', ['romeo@montague.lit/phone']), '1 session ended')
  t.match(phone.error, { condition: 'policy-violation' })
  t.notOk(laptop.closed)
  t.equal(await asks(s.server, 'session kick', ['romeo@montague.lit']), '1 session ended')
  t.ok(laptop.closed)
  t.equal(await asks(s.server, 'session kick', ['romeo@montague.lit']), '0 sessions ended')
})

t.test('the server reports its status and its hooks, reloads, and stops', async t => {
  const s = await scenario(t, { modules: ['presence', 'roster'], hosts: ['montague.lit'] })
  await s.device('romeo@montague.lit/phone')
  t.match(await asks(s.server, 'status'), { storage: 'fine', version: '0.0.0', hosts: [{ host: 'montague.lit', sessions: 1, accountsOnline: 1 }] })
  const hooks = await asks(s.server, 'hooks') as { hook: string, phase: string, owner: string }[]
  t.ok(hooks.some(({ hook, phase, owner }) => hook === 'presenceSent' && phase === 'act' && owner === 'roster'))
  let calls = 0
  const world = worldOf(s.server, { reload: () => { calls++; return Promise.resolve(['listen', 'tls']) }, stop: () => { calls++; return Promise.resolve() } })
  const talk = new RecordedTalk()
  t.equal(await runCommand(world, { command: 'reload', args: [] }, talk), 'reloaded; the changes of listen, tls need a restart')
  t.equal(await asks(s.server, 'reload'), 'reloaded')
  t.equal(await runCommand(world, { command: 'stop', args: [] }, talk), 'stopped')
  t.equal(calls, 2)
  Object.defineProperty(s.storage, 'trouble', { value: new Error('no space left') })
  t.match(await asks(s.server, 'status'), { storage: 'no space left' })
})

t.test('a status is returned while stored data cannot be read, and says why', async t => {
  const s = await scenario(t, { modules: [], hosts: ['montague.lit'] })
  s.server.hosts[0]!.accounts.list = () => Promise.reject(new Error('PostgreSQL cannot be reached'))
  t.match(await asks(s.server, 'status'), { storage: 'PostgreSQL cannot be reached', hosts: [{ host: 'montague.lit', accounts: 'unknown', sessions: 0 }] })
})

t.test('traffic reports the counts and shares of each kind in both directions, and what was saved', async t => {
  const s = await scenario(t, { modules: ['presence', 'csi'], hosts: ['montague.lit', 'capulet.lit'] })
  type Report = { since: string, traffic: { peers: string, kind: string }[], spared: unknown[] }
  const ask = async (): Promise<Report> => await asks(s.server, 'traffic') as Report
  const empty = await ask()
  t.equal(empty.since, '2026-01-01T00:00:00.000Z')
  t.equal(empty.traffic.length, 18, 'each kind, and all kinds, for clients and for servers')
  t.match(empty.traffic.at(-1), { peers: 'servers', kind: 'all', in: 0, inBytes: 0, inShare: 0, out: 0, outShare: 0 })
  t.same(empty.spared, [])
  const { clients, servers } = s.server.pipeline.traffic
  clients.in.add(0, 100)
  for (let n = 0; n < 3; n++) clients.out.add(3, 300)
  clients.out.add(0, 100)
  servers.in.add(4, 1)
  const { traffic } = await ask()
  const line = (peers: string, kind: string): unknown => traffic.find(row => row.peers === peers && row.kind === kind)
  t.match(line('clients', 'presence'), { in: 0, inBytes: 0, inShare: 0, out: 3, outBytes: 900, outShare: 90 })
  t.match(line('clients', 'chat'), { in: 1, inBytes: 100, inShare: 100, out: 1, outBytes: 100, outShare: 10 })
  t.match(line('clients', 'all'), { in: 1, out: 4, outBytes: 1000, outShare: 100 })
  t.match(line('servers', 'iq'), { in: 1, inBytes: 1, inShare: 100, out: 0 })
  const romeo = await s.device('romeo@montague.lit/orchard')
  for (const host of ['montague.lit', 'capulet.lit']) {
    const phone = await s.device(`juliet@${host}/phone`)
    await phone.says("<inactive xmlns='urn:xmpp:csi:0'/>")
    for (const status of ['here', 'there']) await romeo.says(`<presence to='juliet@${host}/phone'><status>${status}</status></presence>`)
  }
  const bytes = "<presence from='romeo@montague.lit/orchard' to='juliet@capulet.lit/phone'><status>here</status></presence>".length * 2 + 1
  t.same((await ask()).spared, [{ by: 'csi', kind: 'presence', stanzas: 2, bytes, wakeups: 4 }])
})

t.test('the command `s2s` lists the pairs of domains, and `s2s test` shows each step of the test of another server', async t => {
  const s = await scenario(t, { hosts: ['montague.lit', 'verona.lit'] })
  const asked: string[] = []
  const line = { local: 'montague.lit', remote: 'capulet.lit', direction: 'both' as const, state: 'established', security: 'EXTERNAL', queue: 3, unacknowledged: 2, address: '192.0.2.1', error: '' }
  const since = (ms: number) => ({ ...line, bytes: 900, since: s.clock.now() - ms })
  const federation = {
    numbers: () => [],
    report: () => [since(0), since(59_999), since(3_600_000 * 30), { ...since(0), since: undefined }, since(-5)],
    test: (local: string, remote: string) => {
      asked.push(`${local} ${remote}`)
      return Promise.resolve([{ step: 'dns', ok: true, says: 'x', mend: '' }, { step: 'verdict', ok: false, says: 'y', mend: 'you' }])
    },
  }
  const world = worldOf(s.server, { federation })
  const ask = (command: string, ...args: string[]) => runCommand(world, { command, args }, new RecordedTalk())
  t.match(await ask('s2s'), [{ ...line, age: '0s' }, { age: '59s' }, { age: '1d 6h' }, { age: '' }, { age: '0s' }])
  t.strictSame(await ask('s2s test', 'CAPULET.lit'), [{ step: 'dns', ok: 'ok', says: 'x', mend: '' }, { step: 'verdict', ok: 'FAILS', says: 'y', mend: 'you' }])
  await ask('s2s test', 'capulet.lit', 'verona.lit')
  t.strictSame(asked, ['montague.lit capulet.lit', 'verona.lit capulet.lit'])
  await t.rejects(ask('s2s test'), /a domain is missing/)
  await t.rejects(ask('s2s test', 'juliet@capulet.lit'), /give a domain/)
  await t.rejects(ask('s2s test', 'verona.lit'), /is a host of this server/)
  await t.rejects(ask('s2s test', 'capulet.lit', 'mantua.lit'), /not a host/)
  await t.rejects(asks(s.server, 's2s'), /does not talk to others/)
})

t.test('a module adds its own commands', async t => {
  const greeter = defineModule({ name: 'greeter', about: 'Greets.', setup (host) { host.command('greet', args => Promise.resolve(`hello ${args.join(' ')}`)) } })
  const s = await scenario(t, { modules: [greeter], hosts: ['montague.lit'] })
  t.equal(await asks(s.server, 'greet', ['old', 'friend']), 'hello old friend')
})

t.test('a wrong command is answered with one line', async t => {
  const s = await scenario(t, { modules: ['presence', 'roster'], hosts: ['montague.lit'] })
  await s.account('romeo@montague.lit')
  const folder = temporaryFolder(t, { 'there': '' })
  const rows: readonly (readonly [string, readonly string[], RegExp, string?])[] = [
    ['frobnicate', [], /no command 'frobnicate'/],
    ['constructor', [], /no command/],
    ['user add', [], /an address is missing/],
    ['user add', ['@'], /./, 'x'],
    ['user add', ['montague.lit'], /montague\.lit is not an account/, 'x'],
    ['user add', ['romeo@elsewhere.lit'], /elsewhere\.lit is not a host/, 'x'],
    ['user add', ['romeo@montague.lit'], /romeo@montague\.lit exists/, 'x'],
    ['user add', ['new@montague.lit'], /a password is missing/],
    ['user add', ['new@montague.lit'], /a password is missing/, ''],
    ['user add', ['new@montague.lit'], /./, '\u0007'],
    ['user add', ['new@montague.lit'], /too long/, 'x'.repeat(2000)],
    ['user password', ['nobody@montague.lit'], /there is no nobody@montague\.lit/, 'x'],
    ['user remove', ['nobody@montague.lit'], /there is no nobody@montague\.lit/],
    ['user lock', ['nobody@montague.lit'], /there is no/],
    ['user unlock', ['nobody@montague.lit'], /there is no/],
    ['user show', ['nobody@montague.lit'], /there is no/],
    ['user list', ['elsewhere.lit'], /not a host/],
    ['session list', ['x@elsewhere.lit'], /not a host/],
    ['session kick', ['nobody@montague.lit'], /there is no nobody@montague\.lit/],
    ['backup', [], /a file is missing/],
    ['export', [], /a file is missing/],
    ['export', [join(folder, 'no', 'such', 'folder')], /cannot be written/],
    ['export', [join(folder, 'x.xml'), 'elsewhere.lit'], /not a host/],
    ['export', [join(folder, 'x.xml'), 'nobody@montague.lit'], /there is no nobody/],
    ['export', [join(folder, 'there')], /exists already/],
    ['import', ['--strict'], /a file is missing/],
    ['import', [folder], /is not a file/],
  ]
  for (const [command, args, error, input] of rows) {
    const how = input === undefined ? {} : { input }
    const thrown: unknown = await asks(s.server, command, args, how).catch((error: unknown) => error)
    t.ok(thrown instanceof CommandError, `${command} ${args.join(' ')}: ${String(thrown)}`)
    t.match(String(thrown), error)
  }
  for (const name of ['romeo', '', undefined, 'a@b@c', 'x@']) t.throws(() => { checkAccount(name) }, { message: /missing|not an account|not an address/ })
  checkAccount('romeo@montague.lit')
  t.ok(COMMAND_NAMES.includes('user add'))
})

t.test('an unexpected error is not reported as a mistake of the operator', async t => {
  const s = await scenario(t, { hosts: ['montague.lit'] })
  Object.defineProperty(s.storage, 'backup', { value: () => Promise.reject(new Error('the disk is on fire')) })
  await t.rejects(asks(s.server, 'backup', ['/x']), /was not written: the disk is on fire/)
  const world = worldOf(s.server, { reload: () => Promise.reject(new TypeError('a defect')) })
  await t.rejects(runCommand(world, { command: 'reload', args: [] }, new RecordedTalk()), TypeError)
})

t.test('dns reports each record, its current value, and what is wrong with it', async t => {
  const failing = (code: string) => async (): Promise<never> => { throw Object.assign(new Error(code), { code }) }
  const srv = (name: string, port: number) => ({ name, port, priority: 5, weight: 0 })
  const clients = { for: 'clients' } as const
  const offered = [
    { ...clients, tls: 'required', port: 5222 }, { ...clients, tls: 'direct', port: 5223 }, { ...clients, tls: 'none', port: 5224 }, { ...clients, tls: 'required', port: 5222 },
  ] as const
  const rows: readonly (readonly [string, Partial<Resolver>, string, string])[] = [
    ['right', { srv: async () => [srv('xmpp.lit', 5222), srv('xmpp.lit', 5223)], addresses: async () => ['192.0.2.1'] }, '5 0 5222 xmpp.lit., 5 0 5223 xmpp.lit.', 'fine'],
    ['no name', { srv: failing('ENOTFOUND') }, 'nothing (ENOTFOUND)', 'missing'],
    ['no record', { srv: failing('ENODATA') }, 'nothing (ENODATA)', 'missing'],
    ['an empty answer', { srv: async () => [] }, 'nothing', 'missing'],
    ['silence', { srv: failing('ETIMEOUT') }, 'nothing (ETIMEOUT)', 'DNS did not answer'],
    ['a failure', { srv: failing('ESERVFAIL') }, 'nothing (ESERVFAIL)', 'DNS did not answer'],
    ['an error without a code', { srv: async () => { throw new Error('x') } }, 'nothing (failed)', 'DNS did not answer'],
    ['refusal', { srv: async () => [srv('', 0)] }, '5 0 0 .', 'says that there is no such service'],
    ['another port', { srv: async () => [srv('xmpp.lit', 99)] }, '5 0 99 xmpp.lit.', 'no record for port 5222'],
    ['no address', { srv: async () => [srv('xmpp.lit', 5222)], addresses: failing('ENOTFOUND') }, '5 0 5222 xmpp.lit.', 'xmpp.lit has no address'],
    ['an empty list of addresses', { srv: async () => [srv('xmpp.lit', 5222)], addresses: async () => [] }, '5 0 5222 xmpp.lit.', 'xmpp.lit has no address'],
    ['silence about the address', { srv: async () => [srv('xmpp.lit', 5222)], addresses: failing('ETIMEOUT') }, '5 0 5222 xmpp.lit.', 'DNS did not answer'],
  ]
  for (const [name, resolver, today, verdict] of rows) {
    const lines = await dnsRecords(['example.org'], offered, { srv: failing('x'), addresses: failing('x'), ...resolver })
    t.strictSame(lines.map(({ record }) => record), [
      '_xmpp-client._tcp.example.org. 3600 IN SRV 5 0 5222 example.org.', '_xmpps-client._tcp.example.org. 3600 IN SRV 5 0 5223 example.org.',
    ])
    t.match(lines[0], { today, verdict }, name)
  }
  const servers = [{ for: 'servers', tls: 'required', port: 5269 }, { for: 'servers', tls: 'direct', port: 5270 }] as const
  t.strictSame((await dnsRecords(['example.org'], servers, { srv: failing('x'), addresses: failing('x') })).map(({ record }) => record), [
    '_xmpp-server._tcp.example.org. 3600 IN SRV 5 0 5269 example.org.', '_xmpps-server._tcp.example.org. 3600 IN SRV 5 0 5270 example.org.',
  ])
  const rooms = await dnsRecords(['example.org', 'conference.example.org'], [...offered, ...servers], { srv: failing('x'), addresses: failing('x') }, new Set(['conference.example.org']))
  t.strictSame(rooms.map(({ record }) => record).filter(record => record.includes('conference')), [
    '_xmpp-server._tcp.conference.example.org. 3600 IN SRV 5 0 5269 conference.example.org.',
    '_xmpps-server._tcp.conference.example.org. 3600 IN SRV 5 0 5270 conference.example.org.',
  ], 'no client connects to a service')
  let open = 0
  let most = 0
  await dnsRecords(Array.from({ length: 50 }, (_, n) => `${n}.lit`), offered, {
    srv: async () => { most = Math.max(most, ++open); await Promise.resolve(); open--; return [] },
    addresses: async () => [],
  })
  t.ok(most <= 8, 'few queries at a time')
})

/** Returns every entry of a storage as text, to search them for an address. */
async function allOf (storage: Storage, names: ReadonlyMap<string, Shape<unknown>['kind']>): Promise<string[]> {
  const { records, journal } = await import('../../lib/storage/store.js')
  const found: string[] = []
  for (const [name, kind] of names) {
    if (kind === 'records') {
      const store = await storage.open(name, records<unknown>(1))
      for (const owner of await store.owners({ limit: 10_000 })) {
        for (const [key, value] of await store.all(owner)) found.push(`${name} ${owner} ${key} ${JSON.stringify(value)}`)
      }
    } else {
      const store = await storage.open(name, journal<unknown>(1))
      for (const owner of await store.owners({ limit: 10_000 })) {
        for (const entry of (await store.page(owner, { limit: 10_000 })).entries) found.push(`${name} ${owner} ${entry.id} ${entry.with} ${JSON.stringify(entry.value)}`)
      }
    }
  }
  return found
}

for (const driver of ['memory', 'SQLite'] as const) {
  t.test(`a removed account leaves no trace in ${driver}, except in others' stores what they keep of it themselves`, async t => {
    const storage = driver === 'memory' ? new MemoryStorage() : await SqliteStorage.open({ file: join(temporaryFolder(t), 'x.db'), durability: 'os', log: silent })
    t.teardown(() => storage.close())
    const names = new Map<string, Shape<unknown>['kind']>()
    const open = storage.open.bind(storage)
    storage.open = async (name, shape) => { names.set(name, shape.kind); return await open(name, shape) }
    const modules = ['roster', 'presence', 'message', 'offline', 'private', 'vcard', 'blocking', 'last-activity', 'carbons', 'disco', 'caps', 'register', 'limits', 'ping']
    const s = await scenario(t, { modules, hosts: ['montague.lit', 'capulet.lit'], storage: storage as MemoryStorage })
    const [romeo, juliet] = [await s.device('romeo@montague.lit/orchard'), await s.device('juliet@capulet.lit/balcony')]
    const [nurse, tybalt] = [await s.device('nurse@capulet.lit/x'), await s.device('tybalt@capulet.lit/x')]
    // Juliet and romeo subscribe to each other; romeo asks the nurse, and tybalt asks romeo.
    await romeo.asks(`<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit' name='J'/></query></iq>`)
    await romeo.says(`<presence type='subscribe' to='juliet@capulet.lit'/>`)
    await juliet.says(`<presence type='subscribed' to='romeo@montague.lit'/>`, `<presence type='subscribe' to='romeo@montague.lit'/>`)
    await romeo.says(`<presence type='subscribed' to='juliet@capulet.lit'/>`, `<presence type='subscribe' to='nurse@capulet.lit'/>`)
    await tybalt.says(`<presence type='subscribe' to='romeo@montague.lit'/>`)
    await tybalt.asks(`<iq type='set' id='2'><block xmlns='urn:xmpp:blocking'><item jid='someone@spam.lit'/></block></iq>`)
    await romeo.asks(`<iq type='set' id='3'><block xmlns='urn:xmpp:blocking'><item jid='paris@capulet.lit'/></block></iq>`)
    await romeo.asks(`<iq type='set' id='4'><vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard></iq>`)
    await romeo.asks(`<iq type='set' id='5'><query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query></iq>`)
    await romeo.says(`<presence type='unavailable'><status>off</status></presence>`)
    await juliet.says(`<message to='romeo@montague.lit' type='chat'><body>are you there?</body></message>`)
    await romeo.says(`<presence><priority>-1</priority></presence>`)
    await asks(s.server, 'user lock', ['paris@montague.lit']).catch(() => undefined)
    const before = await allOf(storage, names)
    for (const store of ['accounts', 'roster.items', 'offline.messages', 'private.pieces', 'vcard.cards', 'blocking.blocked', 'last-activity.last']) {
      t.ok(before.some(line => line.startsWith(`${store} `) && line.includes('romeo')), `${store} holds something of it`)
    }

    await asks(s.server, 'user remove', ['romeo@montague.lit'])
    await s.settled()
    const left = (await allOf(storage, names)).filter(line => line.includes('romeo'))
    // RFC 6121 §3.2, §3.3: the contacts keep their entries, without any subscription. Contacts that only waited for an
    // answer are gone.
    t.equal(left.length, 2, left.join('\n'))
    for (const line of left) t.match(line, /^roster\.items (juliet|tybalt)@capulet\.lit romeo@montague\.lit .*"subscription":"none","ask":false,"approved":false/)
    t.ok(romeo.closed)
    await juliet.getsInAnyOrder(`<presence type='unavailable' from='romeo@montague.lit/orchard'/>`).catch(() => undefined)
    nurse.forget()

    await asks(s.server, 'user add', ['romeo@montague.lit'], { input: 'another' })
    const anew = await s.device('romeo@montague.lit/anew')
    await anew.getsNothing()
    t.notMatch((await anew.asks(`<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>`)).toString(), /item/, 'a new account of the same name starts with nothing')
    t.notMatch((await anew.asks(`<iq type='get' id='b'><blocklist xmlns='urn:xmpp:blocking'/></iq>`)).toString(), /item/)
    t.equal(parseJid('romeo@montague.lit').toString(), 'romeo@montague.lit')
  })
}
