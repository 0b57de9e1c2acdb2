/** Modules outside the package, in a server that was started: found, checked, loaded, reloaded. */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { freePorts, NOBODY, Program } from '../interop/process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

t.setTimeout(1_200_000)
t.jobs = 2 // each waits for one process after the other

/** Only a command that hangs lasts longer, in seconds. */
const LONGEST = 300

/** A module whose hook the server fires at its start. A module with another copy of the hooks would log nothing. */
const DICE = `import { defineModule, hostOpened, setting } from 'sestina'
export default defineModule({
  name: 'dice',
  settings: { sides: setting.count({ min: 2 }).default(6).says('The number of sides.') },
  setup (host) {
    host.on(hostOpened, () => { host.log.info('dice ready', { sides: host.settings.sides }) }, 'observe')
  },
})
`

/** The files of a folder, by path. A folder with a conf file is a place. */
interface Place { readonly folder: string, readonly write: (files: Readonly<Record<string, string>>) => void }

async function place (t: Test, modules: string, files: Readonly<Record<string, string>>): Promise<Place> {
  const folder = temporaryFolder(t)
  chmodSync(folder, 0o755)
  const write = (files: Readonly<Record<string, string>>): void => {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true, mode: 0o755 })
      writeFileSync(join(folder, path), text, { mode: 0o644 })
    }
  }
  const [port] = await freePorts(1)
  write({ 'sestina.toml': confOf(modules, port), ...files })
  return { folder, write }
}

function confOf (modules: string, port: number | undefined): string {
  return `data = "data"\n[log]\nformat = "json"\n[[listen]]\nfor = "clients"\nport = ${port}\naddress = ["127.0.0.1"]\n[modules]\n${modules}\n[host.localhost]\n`
}

async function command ({ folder }: Place, ...words: readonly string[]): Promise<string> {
  const program = new Program(process.execPath, [SESTINA, ...words, '--conf', join(folder, 'sestina.toml')], { input: '', isMeasured: false })
  await program.ends(LONGEST)
  return program.said
}

/**
 * Returns what `check` and `start` say, after testing that both refuse the conf with the same words. `isMeasured`:
 * whether the coverage of the check is measured.
 */
async function refusal (t: Test, { folder }: Place, isMeasured = true): Promise<string> {
  const conf = join(folder, 'sestina.toml')
  const [checked, started] = [['check', conf], ['start', '--conf', conf]].map(words =>
    new Program(process.execPath, [SESTINA, ...words], { input: '', isMeasured: isMeasured && words[0] === 'check' }))
  t.equal(await checked?.ends(LONGEST), 78)
  t.equal(await started?.ends(LONGEST), 78)
  t.equal(started?.said, checked?.said, 'check says what a start says')
  return checked?.said.replaceAll(folder, '') ?? ''
}

function starting (t: Test, { folder }: Place, isMeasured = false): Program {
  const server = new Program(process.execPath, [SESTINA, 'start', '--conf', join(folder, 'sestina.toml')], { input: '', isMeasured })
  t.teardown(() => server.stop())
  return server
}

t.test('a module in a folder without node_modules runs in the started server, with its settings', { buffered: true }, async t => {
  const here = await place(t, 'path = ["own"]\ndice = { sides = 8 }', { 'own/dice.mjs': DICE })
  await starting(t, here).says(/"sides":8,"msg":"dice ready"/)
})

t.test('a package by name uses the server\'s own copy of sestina, even if another one is installed beside it', { buffered: true }, async t => {
  const here = await place(t, 'packages = ["sestina-module-dice"]', {
    'node_modules/sestina-module-dice/package.json': JSON.stringify({
      name: 'sestina-module-dice', type: 'module', exports: { '.': { types: './dist/dice.d.ts', default: './dist/dice.js' } }, peerDependencies: { sestina: '*' }, peerDependenciesMeta: { sestina: { optional: true } },
    }),
    'node_modules/sestina-module-dice/dist/dice.js': `import { sides } from './sides.js'\n${DICE.replace('default(6)', 'default(sides)')}`,
    'node_modules/sestina-module-dice/dist/sides.js': "import { twelve } from 'twelve'\nimport { VERSION } from 'sestina'\nexport const sides = VERSION === '' ? 0 : twelve\n",
    'node_modules/twelve/package.json': '{ "name": "twelve", "type": "module", "exports": "./index.js" }',
    'node_modules/twelve/index.js': 'export const twelve = 12\n',
    'node_modules/sestina/package.json': '{ "name": "sestina", "type": "module", "exports": "./index.js" }',
    'node_modules/sestina/index.js': "throw new Error('another copy')\n",
  })
  await starting(t, here).says(/"sides":12,"msg":"dice ready"/)
})

t.test('check --full shows the settings of the module and where they come from; a host can turn it off', { buffered: true }, async t => {
  const here = await place(t, 'path = ["own"]\ndice = { sides = 8 }', { 'own/dice.mjs': DICE })
  const conf = readFileSync(join(here.folder, 'sestina.toml'), 'utf8')
  t.match(await command(here, 'check', '--full'), /modules\.dice\.sides\W+8\W+\S*sestina\.toml:10:18/)
  here.write({ 'sestina.toml': `${conf}[host.localhost.modules]\ndice = false\n` })
  t.notMatch(await command(here, 'check', '--full'), /host\.localhost\.modules\.dice/)
  here.write({ 'sestina.toml': `${conf}[host.localhost.modules]\npath = ["own"]\n` })
  t.match(await refusal(t, here), '/sestina.toml:13:1: path is for all hosts: write it under [modules]')
})

t.test('code that others may write is refused, with the path and the remedy', { buffered: true }, async t => {
  const here = await place(t, 'path = ["own"]', { 'own/dice.mjs': DICE })
  const at = (path: string): string => join(here.folder, path)
  const cases = ['', 'own', 'own/dice.mjs']
  for (const path of cases) {
    chmodSync(at(path), 0o775)
    const named = path === '' ? '' : `/${path}`
    t.match(await refusal(t, here), `/sestina.toml:9:9: modules.path: other users may write ${named}: chmod go-w ${named}\n`)
    chmodSync(at(path), 0o755)
  }

  here.write({ 'elsewhere/part.mjs': 'export const sides = 6\n', 'own/dice.mjs': `import './part/part.mjs'\n${DICE}` })
  mkdirSync(at('own/part'))
  symlinkSync(at('elsewhere/part.mjs'), at('own/part/part.mjs'))
  chmodSync(at('elsewhere'), 0o777)
  t.match(await refusal(t, here), '/own/dice.mjs cannot be loaded: other users may write /elsewhere: chmod go-w /elsewhere\n', 'an import, after symbolic links')

  rmSync(at('own'), { recursive: true })
  symlinkSync(at('elsewhere'), at('own'))
  t.match(await refusal(t, here), 'modules.path: other users may write /elsewhere: chmod go-w /elsewhere\n', 'a folder that is a symbolic link')
})

t.test('code of another user is refused', { buffered: true, skip: NOBODY === undefined && 'only root can give files away' }, async t => {
  const { chownSync } = await import('node:fs')
  const here = await place(t, 'path = ["own"]', { 'own/dice.mjs': DICE })
  chownSync(join(here.folder, 'own', 'dice.mjs'), 65534, 65534)
  t.match(await refusal(t, here), /modules\.path: \/own\/dice\.mjs belongs to another user \(uid 65534\), .*: chown root \/own\/dice\.mjs\n/)
})

type Mistake = readonly [what: string, modules: string, files: Readonly<Record<string, string>>, said: string | RegExp]

const MISTAKES: readonly Mistake[] = [
  ['a missing folder', 'path = ["own"]', {}, '/sestina.toml:9:9: modules.path: /own does not exist\n'],
  ['a folder without a module', 'path = ["own"]', { 'own/dice.ts': DICE }, 'there is no module in /own: a module is NAME.js, NAME.mjs, or a folder NAME with index.js or package.json. TypeScript must be compiled first\n'],
  ['a package that is not installed', 'packages = ["sestina-module-dice"]', {}, "/sestina.toml:9:13: modules.packages: there is no package 'sestina-module-dice' in /node_modules or above: install it"],
  ['a package that is not built', 'path = ["own"]', { 'own/dice/package.json': '{ "main": "dist/x.js" }' }, '/own/dice/package.json names dist/x.js, which does not exist: is the package built?\n'],
  ['a path as a package', 'packages = ["../own"]', {}, '\'../own\' is not the name of an npm package such as "sestina-module-dice"\n'],
  ['the name of a module of Sestina', 'path = ["own"]', { 'own/roster.mjs': DICE }, "/own/roster.mjs is named 'roster', like a module of Sestina, which cannot be replaced: give it another name\n"],
  ['a package with such a name', 'path = ["own"]', { 'own/package.json': '{ "main": "x.mjs" }', 'own/x.mjs': DICE.replace("'dice'", "'roster'") }, "/own/x.mjs is named 'roster', like"],
  ['two modules with one name', 'path = ["own", "more"]', { 'own/dice.mjs': DICE, 'more/dice.mjs': DICE }, "/more/dice.mjs and /own/dice.mjs are both named 'dice': remove one\n"],
  ['another name than the file\'s', 'path = ["own"]', { 'own/dicer.mjs': DICE }, "/own/dicer.mjs exports a module named 'dice': the file must have the module's name\n"],
  ['a file that is no module', 'path = ["own"]', { 'own/dice.mjs': 'export default 6\n' }, '/own/dice.mjs does not export a module as its default.'],
  ['a misspelt name', 'dicer = true\npath = ["own"]', { 'own/dice.mjs': DICE }, "/sestina.toml:9:1: there is no module 'dicer'; did you mean 'dice'?\n"],
  ['a misspelt setting', 'path = ["own"]\ndice = { side = 2 }', { 'own/dice.mjs': DICE }, "/sestina.toml:10:10: dice has no setting 'side'; did you mean 'sides'?\n"],
  ['a syntax error', 'path = ["own"]', { 'own/dice.mjs': `${DICE}}}` }, /\/own\/dice\.mjs cannot be loaded: SyntaxError: .*\n`node --check FILE` shows the line\n$/],
  ['a missing export', 'path = ["own"]', { 'own/dice.mjs': DICE.replace('hostOpened,', 'hostOpened, nothing,') }, /\/own\/dice\.mjs:1\nimport [^]*SyntaxError: .* named 'nothing'\n$/],
  ['a CommonJS module', 'path = ["own"]', { 'own/package.json': '{ "type": "commonjs" }', 'own/dice.js': "const { defineModule } = require('sestina')\nmodule.exports = defineModule({ name: 'dice' })\n" }, /is a CommonJS module|does not export a module/],
]

t.test('a start and a check refuse each mistake in the same plain words', { buffered: true }, async t => {
  for (const [mistake, modules, files, said] of MISTAKES) {
    // The tool that measures the coverage reads CommonJS modules in its own way.
    await t.test(mistake, async t => { t.match(await refusal(t, await place(t, modules, files), mistake !== 'a CommonJS module'), said) })
  }
})

t.test('a module that throws when it is loaded is reported with the lines of its sources', { buffered: true }, async t => {
  const source = `import { defineModule } from 'sestina'

interface Rolls { readonly total: number }

const rolls: Rolls | undefined = undefined as unknown as Rolls

export default defineModule({ name: \`dice\${rolls.total}\`, setup () { /* nothing */ } })
`
  const { outputText, sourceMapText = '' } = ts.transpileModule(source, {
    fileName: 'dice.ts', compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, sourceMap: true },
  })
  const here = await place(t, 'path = ["own"]', { 'own/dice.js': outputText, 'own/dice.js.map': sourceMapText, 'own/dice.ts': source, 'own/package.json': '{ "type": "module" }' })
  t.match(await refusal(t, here), /\/own\/dice\.js cannot be loaded: TypeError: .*\(reading 'total'\)\n +at .*\/own\/dice\.ts:7:\d+\)?\n$/)
})

t.test('a reload takes new modules, drops removed ones, and says which rebuilt ones need a restart', { buffered: true }, async t => {
  const here = await place(t, 'path = ["own"]', { 'own/dice.mjs': DICE, 'own/part/part.mjs': 'export const a = 1\n' })
  const conf = readFileSync(join(here.folder, 'sestina.toml'), 'utf8')
  const server = starting(t, here, true)
  await server.says(/"msg":"server ready"/)
  t.match(await command(here, 'reload'), /^reloaded\n/)

  here.write({ 'own/coin.mjs': DICE.replaceAll('dice', 'coin').replaceAll('hostOpened', 'offersChanged') })
  t.match(await command(here, 'reload'), /^reloaded\n/)
  await server.says(/"msg":"coin ready"/)

  here.write({ 'own/dice.mjs': DICE.replace('default(6)', 'default(7)'), 'own/part/part.mjs': 'export const a = 1\n' })
  t.match(await command(here, 'reload'), /^reloaded; the changes of modules\.dice need a restart\n/)
  here.write({ 'own/dice.mjs': DICE })
  t.match(await command(here, 'reload'), /^reloaded\n/, 'the old files are there again')
  here.write({ 'own/part/part.mjs': 'export const a = 2\n' })
  t.match(await command(here, 'reload'), 'reloaded; the changes of modules.coin, modules.dice need a restart\n', 'a file that they may import')

  here.write({ 'own/cube.mjs': 'null.x\n' })
  t.match(await command(here, 'reload'), /own\/cube\.mjs cannot be loaded: TypeError/)
  here.write({ 'own/cube.mjs': DICE.replaceAll('dice', 'cube').replaceAll('hostOpened', 'offersChanged') })
  t.match(await command(here, 'reload'), /^reloaded/)
  await server.says(/"msg":"cube ready"/)

  here.write({ 'sestina.toml': conf.replace('path = ["own"]', '') })
  t.match(await command(here, 'reload'), /^reloaded\n/)
  t.notMatch(await command(here, 'hooks'), /dice|coin|cube/)
})

/** A module whose setup throws, in the fourth line of its source. */
const BROKEN = `import { defineModule, hostOpened } from 'sestina'
export default defineModule({
  name: 'coin',
  setup (host) { host.on(hostOpenedX, () => { host.log.info('coin ready') }, 'observe') },
})
`
const MENDED = BROKEN.replaceAll(/hostOpenedX?/g, 'offersChanged')

t.test('a module whose setup throws is reported by check, start and reload with its name and the line', { buffered: true }, async t => {
  const here = await place(t, 'path = ["own"]\ncoin = true', { 'own/coin.mjs': BROKEN, 'own/dice.mjs': DICE })
  const conf = join(here.folder, 'sestina.toml')
  const said = /^module 'coin' cannot be set up: ReferenceError: hostOpenedX is not defined\n +at .*\/own\/coin\.mjs:4:\d+\)?\n$/
  const check = new Program(process.execPath, [SESTINA, 'check', conf], { input: '' })
  t.equal(await check.ends(LONGEST), 78)
  t.match(check.said, new RegExp(`/sestina\\.toml:10:1: ${said.source.slice(1)}`))
  t.notOk(existsSync(join(here.folder, 'data')), 'a check stores nothing')
  const started = starting(t, here)
  t.equal(await started.ends(LONGEST), 1)
  t.match(started.said.split('\n').filter(line => !line.startsWith('{')).join('\n'), said)

  here.write({ 'own/coin.mjs': MENDED })
  t.match(await command(here, 'check'), /sestina\.toml is fine, with one warning\n$/)
  const server = starting(t, here)
  await server.says(/"msg":"server ready"/)
})

t.test('a reload loads a module again that could not be set up, and says if only a restart can', { buffered: true }, async t => {
  const here = await place(t, 'path = ["own"]', { 'own/dice.mjs': DICE, 'own/part/part.mjs': 'export const a = 1\n' })
  const server = starting(t, here)
  await server.says(/"msg":"server ready"/)
  here.write({ 'own/coin.mjs': BROKEN })
  const failed = await command(here, 'reload')
  t.match(failed, /^module 'coin' cannot be set up: ReferenceError: hostOpenedX is not defined\n +at .*\/own\/coin\.mjs:4:\d+\)?\n$/)
  t.equal(await command(here, 'reload'), failed, 'nothing has changed')

  here.write({ 'own/part/part.mjs': 'export const a = 2\n', 'own/coin.mjs': MENDED })
  t.match(await command(here, 'reload'), /^module 'coin' [^]*\nits files have changed since they were loaded: restart the server\n$/, 'another file has changed, which it may import')
  here.write({ 'own/part/part.mjs': 'export const a = 1\n' })
  t.match(await command(here, 'reload'), /^reloaded\n/)
  await server.says(/"msg":"coin ready"/)

  // The signal reaches only the server; the command would find the mistake first, in its own process.
  here.write({ 'own/cube.mjs': `import { two } from './part/two.mjs'\ntwo.toString()\n${DICE.replaceAll('dice', 'cube')}`, 'own/part/two.mjs': 'export const two = undefined\n' })
  server.signal('SIGHUP')
  await server.says(/own\/cube\.mjs cannot be loaded: TypeError.*own\/cube\.mjs:2:\d+.*"msg":"conf not reloaded"/)
  here.write({ 'own/part/two.mjs': 'export const two = 2\n' })
  t.match(await command(here, 'reload'), /own\/cube\.mjs cannot be loaded: TypeError[^]*\nits files have changed since they were loaded: restart the server\n$/)
})
