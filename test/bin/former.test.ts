/** A conf file with former names of settings works as before, and the operator is told the new names. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { loadConfig } from '../../lib/config/load.js'
import { writePlace } from '../../lib/config/problem.js'
import type { Schema } from '../../lib/config/schema.js'
import { host as hostSchema, server as serverSchema } from '../../lib/config/server.js'
import { findModules } from '../../lib/main.js'
import { freePorts, Program } from '../interop/process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

t.setTimeout(1_200_000)

const OLD = readFileSync(join(PACKAGE_ROOT, 'test', 'bin', 'former.toml'), 'utf8')

const modules = await findModules(join(PACKAGE_ROOT, 'dist', 'modules'))

async function place (t: Test): Promise<string> {
  const [port = 0] = await freePorts(1)
  const conf = join(temporaryFolder(t), 'sestina.toml')
  writeFileSync(conf, OLD.replace('5222', String(port)))
  return conf
}

async function ran (...words: readonly string[]): Promise<Program> {
  const program = new Program(process.execPath, [SESTINA, ...words], { input: '' })
  await program.ended
  return program
}

t.test('each former name is in the conf file of this test, is read, and its value is in force', async t => {
  const config = loadConfig(await place(t), modules)
  const all = formerIn(serverSchema, hostSchema, ...[...modules.values()].map(({ settings = {} }) => settings))
  t.same(config.formerNames.map(({ former }) => former.split('.').at(-1)).sort(), all.sort())
  t.match(config.server, {
    tls: { minVersion: 'TLSv1.3' },
    listen: [{ maxStanzaSize: 131_072 }],
    authentication: {
      minPasswordLength: 6, tokenLifetime: 7 * 86_400_000, failureDelay: 2000, forgetFailuresAfter: 300_000,
    },
    limits: {
      negotiationTimeout: 60_000, idleTimeout: 172_800_000, connectionsPerAddress: 7, sessionsPerAccount: 3,
      resourceConflict: 'refuse',
      unauthenticated: { maxStanzaSize: 20_000, maxElements: 32 },
    },
    federation: {
      privateRanges: ['10.0.0.0/8'], queue: { stanzas: 10, bytes: 65_536, timeout: 10_000 },
      idleTimeout: 300_000, connectionsPerAddress: 9,
      domain: { 'capulet.example': { allowPrivateAddresses: true } },
    },
  })
  t.match(Object.fromEntries(config.hosts.get('localhost')?.modules ?? []), {
    'csi': { totalBytes: 1_048_576, urgentNamespaces: ['urn:alarm'], delayedNamespaces: ['urn:advert'] },
    'limits': {
      sessionStanzasPerSecond: 51, addressStanzasPerSecond: 201, accountCostPerSecond: 2001,
      strangerMessagesPerMinute: 121, subscriptionRequestsPerMinute: 61,
    },
    'mam': { pageSize: 100 },
    'ping': {
      initialInterval: 180_000, minInterval: 120_000, maxInterval: 600_000, maxResumableInterval: 1_200_000,
      pongTimeout: 30_000,
    },
    'presence': { repeatAfter: 7_200_000, cacheSize: 1_048_576, directedRecipients: 99 },
    'push': { notificationsPerHour: 601, expire: 91 * 86_400_000 },
    'register': { accountsPerHour: 6 },
    'roster': { bytesPerRequest: 2048, bytesPerName: 512, groupsPerContact: 5 },
    'stream-management': {
      resumeTimeout: 1_200_000, accountBytes: 16_777_216, totalBytes: 134_217_728, ackTimeout: 120_000,
    },
    'version': { disclose: false },
  })
})

t.test('check, a start and a reload name each former name with its place and the new name, and the server works', async t => {
  const conf = await place(t)
  const { formerNames } = loadConfig(conf, modules)
  const warnings = formerNames.map(({ place, text }) => `${writePlace(place)}: warning: ${text}`)
  t.ok(warnings.includes(`${conf}:40:79: warning: modules.ping.patience has a new name: write modules.ping.pongTimeout`), 'a place is right')

  const checked = await ran('check', conf)
  t.equal(await checked.ended, 0)
  for (const line of warnings) t.ok(checked.said.includes(line), line)

  const server = new Program(process.execPath, [SESTINA, 'start', '--conf', conf], { input: '' })
  t.teardown(() => server.stop())
  await server.says(/"msg":"server ready"/)
  const logged = (): readonly unknown[] => server.said.split('\n').filter(line => line.includes('"setting renamed"')).map(line => JSON.parse(line))
  const wanted = formerNames.map(({ place, former, name }) => ({ level: 'warn', msg: 'setting renamed', place: writePlace(place), former, name }))
  t.match(logged(), wanted)
  t.equal(logged().length, wanted.length)

  writeFileSync(conf, readFileSync(conf, 'utf8').replace(/ping = .*/, 'ping = { longest = "11m" }'))
  const before = server.said.length
  const reloaded = await ran('reload', '--conf', conf)
  t.match(reloaded.said, new RegExp(`^reloaded$[^]*${conf}:40:10: warning: modules\\.ping\\.longest has a new name: write modules\\.ping\\.maxInterval`, 'm'))
  t.notMatch(reloaded.said, /patience = /)
  t.ok(await server.says(/"msg":"setting renamed".*\n/, undefined, before), 'a reload logs them again')

  writeFileSync(conf, readFileSync(conf, 'utf8').replace(/ping = .*/, 'ping = { longest = "11m", maxInterval = "12m" }'))
  const refused = await ran('reload', '--conf', conf)
  t.not(await refused.ended, 0)
  t.match(refused.said, `${conf}:40:10: modules.ping.longest is a former name of modules.ping.maxInterval, which is set as well: also at ${conf}:40:27; remove one of them`)
  server.signal('SIGTERM')
  t.equal(await server.ended, 0)
})

function formerIn (...schemas: readonly Schema[]): string[] {
  return schemas.flatMap(schema => Object.values(schema).flatMap(({ former, fields = {}, item }) =>
    [...former, ...formerIn(fields, item?.fields ?? {})]))
}
