/** Settings that have been renamed: a conf file may still write their former names. */
import t, { type Test } from 'tap'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { describe } from '../../lib/config/describe.js'
import { loadConfig, type AllModules, type Config } from '../../lib/config/load.js'
import { ConfigProblems, writePlace } from '../../lib/config/problem.js'
import { configReference, jsonSchema } from '../../lib/config/reference.js'
import { count, duration, list, named, optional, table, text, type Schema } from '../../lib/config/schema.js'
import { host as hostSchema, server as serverSchema } from '../../lib/config/server.js'
import { findModules } from '../../lib/host/loader.js'
import { HOST } from './conf.js'
import { temporaryFolder } from '../temporary-folder.js'

const day = { called: 'day', isRight: (text: string): boolean => text.endsWith('day') }
const MODULES: AllModules = new Map(Object.entries<Schema>({
  ping: {
    pongTimeout: duration().default('1m').was('patience', 'wait').says('How long.'),
    ranges: optional(table({ least: count().was('shortest') })).was('limits'),
    steps: list(table({ after: duration().was('behind').says('When.') })).default([]),
    days: named(table({ hours: list(text()).default([]).was('hour') }), day),
  },
}).map(([name, settings]) => [name, { settings }]))

type Files = string | Readonly<Record<string, string>>

function load (t: Test, files: Files): { readonly config: Config, readonly told: readonly string[] } {
  const folder = temporaryFolder(t, typeof files === 'string' ? { 'sestina.toml': files } : { ...files })
  const config = loadConfig(join(folder, 'sestina.toml'), MODULES)
  return { config, told: config.formerNames.map(({ place, text }) => `${writePlace(place)}: ${text}`.replaceAll(folder + '/', '')) }
}

function problems (t: Test, files: Files): readonly string[] {
  try {
    load(t, files)
  } catch (error) {
    if (!(error instanceof ConfigProblems)) throw error
    return error.message.split('\n').map(line => line.replaceAll(/\/\S*\/(?=\w+\.toml)/g, ''))
  }
  return []
}

const pingOf = (config: Config, domain = 'example.org'): unknown => config.hosts.get(domain)?.modules.get('ping')

t.test('a setting under a former name is in force, and a warning names the new name and the place', async t => {
  const { config, told } = load(t, `[modules]\nping = { patience = "2m" }\n${HOST}`)
  t.match(pingOf(config), { pongTimeout: 120_000 })
  t.same(told, ['sestina.toml:2:10: modules.ping.patience has a new name: write modules.ping.pongTimeout'])
  t.match(config.formerNames, [{ former: 'modules.ping.patience', name: 'modules.ping.pongTimeout' }])
  t.same(load(t, `[modules]\nping = { pongTimeout = "2m" }\n${HOST}`).told, [], 'the new name warns of nothing')
})

t.test('former names are read at a host, in tables, lists and included files', async t => {
  const { config, told } = load(t, {
    'sestina.toml': `include = ["more.toml"]\n${HOST}[host."example.org".modules.ping]\nwait = "3m"\nlimits = { shortest = 4 }\n`,
    'more.toml': '[modules.ping]\npatience = "2m"\n[[modules.ping.steps]]\nbehind = "1s"\n[[modules.ping.steps]]\nafter = "2s"\n[modules.ping.days.Monday]\nhour = ["8"]\n',
  })
  t.match(pingOf(config), { pongTimeout: 180_000, ranges: { least: 4 }, steps: [{ after: 1000 }, { after: 2000 }], days: { Monday: { hours: ['8'] } } })
  t.same(told, [
    'more.toml:2:1: modules.ping.patience has a new name: write modules.ping.pongTimeout',
    'more.toml:4:1: modules.ping.steps[0].behind has a new name: write modules.ping.steps[0].after',
    'more.toml:8:1: modules.ping.days.Monday.hour has a new name: write modules.ping.days.Monday.hours',
    'sestina.toml:4:1: host."example.org".modules.ping.wait has a new name: write host."example.org".modules.ping.pongTimeout',
    'sestina.toml:5:1: host."example.org".modules.ping.limits has a new name: write host."example.org".modules.ping.ranges',
    'sestina.toml:5:12: host."example.org".modules.ping.ranges.shortest has a new name: write host."example.org".modules.ping.ranges.least',
  ])
  const rows = new Map(describe(config).map(({ path, from }) => [path, from.replace(/^.*\//, '')]))
  t.equal(rows.get('host."example.org".modules.ping.pongTimeout'), 'sestina.toml:4:8', 'the place of the value is that of the former name')
  t.equal(rows.get('host."example.org".modules.ping.steps[0].after'), 'more.toml:4:10')
})

t.test('a host may write the new name where all hosts have the former one', async t => {
  const { config } = load(t, `[modules.ping]\npatience = "2m"\n${HOST}[host."example.org".modules.ping]\npongTimeout = "3m"\n[host.other]\n`)
  t.match([pingOf(config), pingOf(config, 'other')], [{ pongTimeout: 180_000 }, { pongTimeout: 120_000 }])
})

t.test('a setting that is written by both names is reported with both places', async t => {
  t.same(problems(t, `[modules.ping]\npatience = "2m"\npongTimeout = "3m"\n${HOST}`), [
    'sestina.toml:2:1: modules.ping.patience is a former name of modules.ping.pongTimeout, which is set as well: also at sestina.toml:3:1; remove one of them',
  ])
  t.same(problems(t, { 'sestina.toml': `include = ["more.toml"]\n${HOST}[modules]\nping = { patience = "2m" }\n`, 'more.toml': '[modules.ping]\nwait = "3m"\n' }), [
    'more.toml:2:1: modules.ping.wait is a former name of modules.ping.pongTimeout, which is set as well: also at sestina.toml:4:10; remove one of them',
  ])
})

t.test('a mistake in a setting under a former name has its place, and the new name', async t => {
  t.same(problems(t, `[modules.ping]\npatience = 5\n${HOST}`), [`sestina.toml:2:12: ping.pongTimeout: '5' is not a duration such as "30s", "12h", "7d" or "1y"`])
  t.same(problems(t, `[modules.ping]\npongTimeouts = "5m"\n${HOST}`), [
    "sestina.toml:2:1: ping has no setting 'pongTimeouts'; did you mean 'pongTimeout'?",
  ])
})

t.test('two settings with one name, be it a former one, are a defect of their schema', async t => {
  t.throws(() => table({ a: count().was('b'), b: count() }), { message: "two settings have the name 'b'" })
  t.throws(() => table({ a: count().was('c'), b: count().was('c') }), { message: "two settings have the name 'c'" })
})

t.test('editors are told that a former name is deprecated, and the reference page does not list it', async t => {
  const schema = jsonSchema(MODULES)
  const said = 'A former name of pongTimeout: write pongTimeout.'
  const old = { type: 'string', description: said, deprecated: true, deprecationMessage: said, default: undefined }
  const least = 'A former name of least: write least.'
  t.match(schema, { definitions: { 'module-ping': { anyOf: [{}, { properties: {
    pongTimeout: { type: 'string', default: '1m', deprecated: undefined },
    patience: old,
    wait: old,
    ranges: {
      properties: { least: { minimum: 0 }, shortest: { minimum: 0, deprecated: true, description: least } },
      required: [],
    },
    steps: { items: { properties: { after: {}, behind: { deprecated: true } }, required: [] } },
    days: { additionalProperties: { properties: { hours: {}, hour: { deprecated: true } } } },
  } }] } } })
  const page = configReference(MODULES)
  t.match(page, '| `pongTimeout` | duration |')
  t.notMatch(page, 'patience')
})

t.test('no setting of the server or of a module has the name of another, not even a former one', async t => {
  const modules = await findModules(fileURLToPath(new URL('../../modules/', import.meta.url)))
  const schemas = [...modules.values()].map(({ settings = {} }) => settings)
  for (const schema of [serverSchema, hostSchema, ...schemas]) t.doesNotThrow(() => table(schema))
})

t.test('CHANGELOG.md lists every former name beside the present one', async t => {
  const modules = await findModules(fileURLToPath(new URL('../../modules/', import.meta.url)))
  const page = readFileSync(join(PACKAGE_ROOT, 'CHANGELOG.md'), 'utf8')
  const tables: readonly (readonly [section: string, schema: Schema])[] = [
    ...Object.entries(serverSchema).map(([name, { fields, item }]) =>
      [item === undefined ? `[${name}]` : `[[${name}]]`, fields ?? item?.fields ?? {}] as const),
    ...[...modules].map(([name, { settings = {} }]) => [name, settings] as const),
  ]
  let count = 0
  for (const [section, schema] of tables) {
    const [, after = ''] = page.split(`  | \`${section}\` | `)
    const listed = new Map(rowsIn(after))
    for (const [former, name] of renamedIn(schema, '')) {
      t.equal(listed.get(former), name, `${section} ${former}`)
      count++
    }
  }
  t.ok(count > 40)
})

function * renamedIn (schema: Schema, above: string): Iterable<readonly [former: string, name: string]> {
  for (const [name, { former, fields, item }] of Object.entries(schema)) {
    for (const old of former) yield [above + old, above + name]
    if (fields !== undefined) yield * renamedIn(fields, `${above}${name}.`)
    if (item?.fields !== undefined) yield * renamedIn(item.fields, `${above}${name}."…".`)
  }
}

/** Reads the rows of one section: the first, and those after it whose first cell is empty. */
function rowsIn (text: string): readonly (readonly [former: string, name: string])[] {
  const rows = text.split('\n  | ')
  const end = rows.findIndex((row, index) => index > 0 && !row.startsWith('| '))
  return rows.slice(0, end === -1 ? rows.length : end).flatMap(row => {
    const [olds = [], news = []] = row.replace(/^\| /, '').split(' | ').map(cell => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name))
    return olds.map((old, index) => [old, news[index] ?? ''] as const)
  })
}
