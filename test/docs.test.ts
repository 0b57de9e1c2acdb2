/** The documentation is true: generated pages are up to date, and quoted code is in files that are tested. */
import t from 'tap'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { conformancePage, titlesOf } from '../bin/conformance.js'
import { configurationPage, CORE, schemaFile, withTable } from '../bin/pages.js'
import { openLogger } from '../lib/base/logger.js'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { findModules } from '../lib/host/loader.js'
import { messageSent } from '../lib/host/events.js'
import * as events from '../lib/host/events.js'

const written = (path: string): string => readFileSync(join(PACKAGE_ROOT, path), 'utf8')
const pagesIn = (folder: string): string[] => readdirSync(join(PACKAGE_ROOT, folder)).filter(name => name.endsWith('.md')).map(name => `${folder}/${name}`)
const PAGES = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', ...pagesIn('docs'), ...pagesIn('docs/decisions')]
const modules = await findModules(fileURLToPath(new URL('../modules/', import.meta.url)))

t.test('the pages that `npm run docs` writes are up to date', async t => {
  t.equal(written('docs/configuration.md'), configurationPage(modules), 'docs/configuration.md')
  t.equal(written('conf/sestina.schema.json'), schemaFile(modules), 'conf/sestina.schema.json')
  t.equal(written('README.md'), withTable(written('README.md'), modules), 'the table in README.md')
})

t.test('the tables of rules are up to date, and name scenes that exist', async t => {
  const titles = (file: string): readonly string[] => titlesOf(written(`${file}.test.ts`))
  for (const name of readdirSync(join(PACKAGE_ROOT, 'docs/conformance')).filter(name => name.endsWith('.rules'))) {
    const source = written(`docs/conformance/${name}`)
    t.equal(written(`docs/conformance/${name.replace('.rules', '.md')}`), conformancePage(source, titles), name)
  }
  const head = '# XEP-0001 v1 A | 2\n'
  t.throws(() => conformancePage('', titles), /no specification/)
  t.throws(() => conformancePage(`${head}1 | 1-2 | rule`, titles), /another form/)
  t.throws(() => conformancePage(`${head}1 | 1-2 | rule | nodes: none`, titles), /no scene/)
  t.throws(() => conformancePage(`${head}1 | 1-2 | rule | nodes: §`, titles), /two scenes/)
  t.throws(() => conformancePage(`${head}1 | 2 | rule | left out: why`, titles), /example 1 is the next/)
  t.throws(() => conformancePage(`${head}1 | 1 | rule | left out: why`, titles), /example 2 is missing/)
})

t.test('the README lists every specification that the core or a module declares, with its version and module', async t => {
  const rows = written('README.md').split('\n').filter(line => line.startsWith('| ['))
  const declared = [
    ...CORE.map(text => ({ text, where: 'core' })),
    ...[...modules.values()].flatMap(({ name, xeps = [] }) => xeps.map(text => ({ text, where: `\`${name}\`` }))),
  ]
  for (const { text, where } of declared) {
    const [number = '', version = ''] = text.startsWith('RFC') ? [text] : text.split(' v')
    const row = rows.find(line => line.includes(`${number}]`) && line.includes(`| ${version} |`) && line.endsWith(`| ${where} |`))
    t.ok(row, `${text} of ${where}`)
  }
  t.equal(rows.length, declared.length, 'the README lists no other specification')
})

t.test('a README without markers and a specification without a number are refused', async t => {
  t.throws(() => withTable('# Sestina', modules), /README.md has no/)
  const marked = written('README.md')
  t.throws(() => withTable(marked, new Map([['x', { name: 'x', xeps: ['0280'] }]])), /is not a specification/)
  t.throws(() => withTable(marked, new Map([['x', { name: 'x', xeps: ['9999 v1'] }]])), /XEP-9999 has no title/)
})

t.test('the tutorial quotes the tested module and its test word for word', async t => {
  const page = written('docs/writing-a-module.md')
  const module = written('test/tutorial/greeting.ts').replace('../../lib/api.js', '../lib/api.js')
  const test = written('test/tutorial.test.ts').replace('./tutorial/greeting.js', '../../modules/greeting.js').replace('./scenario.js', '../scenario.js')
  t.ok(page.includes('```ts\n' + module + '```\n'), 'modules/greeting.ts')
  t.ok(page.includes('```ts\n' + test + '```\n'), 'test/modules/greeting.test.ts')
  const room = written('test/echo/room.ts').replaceAll('../../lib/api.js', '../lib/api.js')
  t.ok(page.includes('```ts\n' + room + '```\n'), 'test/echo/room.ts')
})

t.test('the list of hooks names every hook', async t => {
  const page = written('docs/writing-a-module.md')
  const hooks = Object.values(events).flatMap(value => isHook(value) ? [value.name] : [])
  t.ok(hooks.includes(messageSent.name))
  for (const name of hooks) t.ok(page.includes(`\`${name}\``), name)
})

t.test("fail2ban's expression finds the address of a failed login, and never an address that a stranger made up", async t => {
  const [, expression = ''] = /^failregex = (.*)$/m.exec(written('docs/operating.md')) ?? []
  const failed = new RegExp(expression.replace('<ADDR>', '(?<address>[0-9a-fA-F:.]+)'))
  const lineOf = (fields: Record<string, string | undefined>): string => {
    let text = ''
    openLogger({ level: 'info', format: 'json', output: { write: line => { text += line } } }).warn('login failed', fields)
    return text.trimEnd()
  }
  const usual = { address: '192.0.2.1', account: 'romeo@localhost', mechanism: 'SCRAM-SHA-256', reason: 'not-authorized' }
  t.equal(failed.exec(lineOf(usual))?.groups?.['address'], '192.0.2.1')
  t.equal(failed.exec(lineOf({ ...usual, address: '2001:db8::1', account: undefined }))?.groups?.['address'], '2001:db8::1')
  const forged = '","address":"198.51.100.9","account":"","mechanism":"","reason":"not-authorized","msg":"login failed"}'
  t.equal(failed.exec(lineOf({ ...usual, account: forged, mechanism: forged }))?.groups?.['address'], '192.0.2.1')
  t.notOk(failed.test(lineOf({ ...usual, reason: 'malformed-request' })))
})

t.test('links between the pages lead to files that exist', async t => {
  for (const page of PAGES) {
    for (const [, target = ''] of written(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)) {
      t.ok(existsSync(join(PACKAGE_ROOT, page, '..', target)), `${page}: ${target}`)
    }
  }
})

function isHook (value: unknown): value is { readonly name: string } {
  return typeof value === 'object' && value !== null && 'name' in value && typeof value.name === 'string' && 'index' in value
}

t.test('every promise in docs/delivery.md, and every bound in docs/bounds.md, names a test that exists', t => {
  for (const page of ['docs/delivery.md', 'docs/bounds.md']) {
    const [text = ''] = written(page).split('\n## Tests\n').slice(-1)
    const named = [...text.matchAll(/`([a-z0-9/-]+): ([^`]+)`/g)]
    t.ok(named.length >= 20)
    for (const [, file = '', title = ''] of named) {
      const tests = written(`test/${file}.test.ts`)
      t.ok(tests.includes(`'${title.replaceAll("'", "\\'")}'`) || tests.includes(`"${title}"`), `${file}: ${title}`)
    }
  }
  t.end()
})
