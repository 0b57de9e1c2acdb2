/** The commands, settings and conf files in the documentation are those of this version. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { loadConfig, type AllModules } from '../lib/config/load.js'
import { setting } from '../lib/api.js'
import type { Schema } from '../lib/config/schema.js'
import { host as hostSchema, server as serverSchema } from '../lib/config/server.js'
import { findModules } from '../lib/main.js'
import { selfSigned } from '../lib/stream/self-signed.js'
import { usable } from '../lib/stream/certificate-files.js'
import { missing } from './interop/process.js'
import { SESTINA } from './sestina.js'
import { temporaryFolder } from './temporary-folder.js'

const written = (path: string): string => readFileSync(join(PACKAGE_ROOT, path), 'utf8')
const pagesIn = (folder: string): string[] => readdirSync(join(PACKAGE_ROOT, folder)).filter(name => name.endsWith('.md')).map(name => `${folder}/${name}`)
const PAGES = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', ...pagesIn('docs'), ...pagesIn('docs/decisions')]
const modules = await findModules(join(PACKAGE_ROOT, 'dist', 'modules'))
/** The modules that the pages tell their reader to write, and those for service hosts among them. */
const OWN: AllModules = new Map(Object.entries<Schema>({
  greeting: { text: setting.text().says('The text.') },
  words: { unwanted: setting.list(setting.text()).says('The words.') },
  dice: { sides: setting.count().says('The sides.') },
}).map(([name, settings]) => [name, { settings, isOff: true }]))
const SERVICES: AllModules = new Map([['echo', { at: 'services' }]])
/** Files that the pages tell their reader to make. */
const MADE: ReadonlySet<string> = new Set([
  'modules/greeting.ts', 'test/modules/mine.test.ts', 'test/modules/greeting.test.ts', 'dist/dice.test.js', 'test/releases/fixtures/VERSION',
])

/** Names of stores, which look like settings. */
const STORES: ReadonlySet<string> = new Set(['storage.unreadable'])

interface Block { readonly page: string, readonly kind: string, readonly text: string }

/** Returns the blocks of code in a page, without the indent of their first line. */
function blocksIn (page: string): readonly Block[] {
  return [...written(page).matchAll(/^( *)```(\w+)\n([^]*?)^ *```/gm)].map(([, indent = '', kind = '', text = '']) =>
    ({ page, kind, text: text.replaceAll(new RegExp(`^${indent}`, 'gm'), '') }))
}

/** Returns each command in a page: those in blocks for a shell, and those within a sentence. */
function commandsIn (page: string): readonly string[] {
  const lines = blocksIn(page).filter(({ kind }) => kind === 'sh').flatMap(({ text }) => text.split('\n'))
  const inline = [...written(page).replaceAll(/^( *)```[^]*?^ *```/gm, '').matchAll(/`([^`\n]+)`/g)].map(([, text = '']) => text)
  return [...lines, ...inline].flatMap(line => line.replace(/ #.*/, '').split(/ (?:\||&&|;) /)).map(text => text.trim())
}

const commands = PAGES.flatMap(page => commandsIn(page).map(command =>
  ({ page, words: command.replace(/^npx (?=sestina)/, '').split(/\s+/) })))
const of = (name: string): typeof commands => commands.filter(({ words }) => words[0] === name)

/** Returns the words and options that may follow each command, as the completion of bash has them. */
function grammar (): ReadonlyMap<string, ReadonlySet<string>> {
  const { stdout } = spawnSync(process.execPath, [SESTINA, 'completion', 'bash'], { encoding: 'utf8' })
  const cases = [...stdout.matchAll(/^ {4}'([^']*)'\*?\) words='([^']*)'/gm)]
  return new Map(cases.map(([, path = '', words = '']) => [path.trim(), new Set(words.split(' '))]))
}

t.test('each command `sestina …` in the documentation exists, with its options', async t => {
  const known = grammar()
  const found = of('sestina').filter(({ words }) => words.length > 1)
  t.ok(found.length > 30 && known.size > 20)
  for (const { page, words } of found) {
    let path = ''
    for (const word of words.slice(1)) {
      const next = `${path} ${word}`.trim()
      const isOption = word.startsWith('--')
      if (isOption) t.ok(known.get(path)?.has(word.replace(/=.*/, '')), `${page}: sestina ${path} has ${word}`)
      else if (known.has(next)) path = next
      else if (path === '' && !word.includes('|')) t.ok(known.get('')?.has(word), `${page}: sestina has ${word}`)
      // `sestina s2s` is a command of its own; other commands with subcommands need one.
      else if (known.get(path)?.has('list') === true) t.ok(known.get(path)?.has(word), `${page}: sestina ${path} has ${word}`)
    }
  }
})

t.test('each script of npm in the documentation exists', async t => {
  const { scripts } = Object(JSON.parse(written('package.json')))
  const named = of('npm').flatMap(({ page, words: [, verb = '', ...rest] }) => {
    const script = verb === 'run' ? rest.find(word => !word.startsWith('-')) : verb
    return script === undefined || ['install', 'i', 'ci', 'link'].includes(script) ? [] : [{ page, script }]
  })
  t.ok(named.length > 15)
  for (const { page, script } of named) t.ok(Object.hasOwn(scripts, script), `${page}: npm ${script}`)
})

t.test('each file that a command in the documentation names exists', async t => {
  const words = commands.flatMap(({ page, words }) => words.map(word => ({ page, word })))
  let count = 0
  for (const { page, word } of words) {
    const [source] = /^(?:(?:dist|test|lib|bin|bench|modules)\/[\w./-]+\.\w+|\.ci\/\w+|conf\/sestina\S+)$/.exec(word) ?? []
    if (source === undefined) continue
    const file = source.replace(/^dist\/(.*)\.js$/, '$1.ts')
    count++
    t.ok(MADE.has(file) || MADE.has(source) || existsSync(join(PACKAGE_ROOT, file)), `${page}: ${source}`)
  }
  t.ok(count > 20)
})

t.test('each conf file in the documentation is valid', async t => {
  const blocks = PAGES.flatMap(blocksIn).filter(({ kind }) => kind === 'toml')
  t.ok(blocks.length >= 6)
  for (const { page, text } of blocks) {
    const file = join(temporaryFolder(t), 'sestina.toml')
    // the reader has other secrets: here each is the text of the conf file itself
    const conf = text.replaceAll(/\{ (?:env|file) = "[^"]*" \}/g, '{ file = "sestina.toml" }')
    writeFileSync(file, conf.includes('[host.') ? conf : `${conf}[host.localhost]\n`)
    const { formerNames } = loadConfig(file, new Map([...modules, ...OWN, ...SERVICES]))
    t.same(formerNames, [], `${page} has the present names`)
  }
})

t.test('each setting that the documentation names exists', async t => {
  const tables = new Map<string, Schema[]>()
  const add = (name: string, schema: Schema): void => { tables.set(name, [...tables.get(name) ?? [], schema]) }
  for (const [name, kind] of Object.entries(serverSchema)) if (kind.fields !== undefined) add(name, kind.fields)
  for (const [name, { settings = {} }] of modules) add(name, settings)
  add('host."…"', hostSchema)
  const pages = PAGES.filter(page => page !== 'CHANGELOG.md' && !page.startsWith('docs/decisions/'))
  let count = 0
  for (const page of pages) {
    for (const [, table = '', path = ''] of written(page).matchAll(/`([a-z][a-z0-9-]*)\.([a-z][\w.]*)`/gi)) {
      const schemas = tables.get(table)
      if (schemas === undefined || path === 'ts' || STORES.has(`${table}.${path}`)) continue
      count++
      t.ok(schemas.some(schema => hasSetting(schema, path.split('.'))), `${page}: ${table}.${path}`)
    }
  }
  t.ok(count > 40)
})

function hasSetting (schema: Schema, [name = '', ...deeper]: readonly string[]): boolean {
  const kind = Object.hasOwn(schema, name) ? schema[name] : undefined
  return kind !== undefined && (deeper.length === 0 || hasSetting(kind.fields ?? {}, deeper))
}

t.test("the README's commands print the fingerprints of the server's own certificate as clients show them", { skip: missing({ openssl: 'openssl' }) }, async t => {
  const pair = await selfSigned('localhost', 'localhost', Date.now())
  const file = join(temporaryFolder(t), 'fullchain.pem')
  writeFileSync(file, pair.certificate)
  const lines = commandsOf('README.md').filter(line => line.startsWith('openssl ')).map(line => line.replace(/conf\/data\S+/, file))
  const said = lines.map(line => spawnSync('sh', ['-c', line], { encoding: 'utf8' }).stdout)
  t.match(said[0], `Fingerprint=${usable(pair, { oldest: 'TLSv1.2', authorities: [] }).fingerprint}`)
  t.match(said[1], /fingerprint=[0-9a-f]{40}$/m)
  t.equal(said.length, 2)
})

function commandsOf (page: string): readonly string[] {
  return blocksIn(page).filter(({ kind }) => kind === 'sh').flatMap(({ text }) => text.split('\n'))
}
