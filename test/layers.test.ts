/** Who may import whom, and which package is at home where. The tables are the architecture; this test keeps them true. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { PACKAGE_ROOT } from '../lib/base/package.js'

/** The rooms, and whom of the others each may import. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'lib/base': [],
  'lib/xml': ['lib/base'],
  'lib/xmpp': ['lib/base', 'lib/xml'],
  'lib/config': ['lib/base'],
  'lib/storage': ['lib/base', 'lib/xmpp'],
  'lib/stream': ['lib/base', 'lib/xml', 'lib/xmpp'],
  'lib/auth': ['lib/base', 'lib/xmpp', 'lib/storage'],
  'lib/host': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/auth', 'lib/storage', 'lib/config'],
  'lib/c2s': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/auth', 'lib/host'],
  'lib/s2s': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/auth', 'lib/host', 'lib/storage'],
  'lib/component': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/auth', 'lib/host'],
  'lib/admin': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/auth', 'lib/storage', 'lib/config', 'lib/host'],
  'lib/api.ts': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/host', 'lib/storage', 'lib/config'],
  'lib/main.ts': ['lib'],
  'lib/check.ts': ['lib'],
  'modules': ['lib/api.ts'],
  'bin': ['lib/base', 'lib/main.ts', 'lib/check.ts', 'lib/admin', 'lib/config'],
}

/** Where a package or a part of Node may be used: folders or files. */
const HOMES: Readonly<Record<string, readonly string[]>> = {
  'ltx': ['lib/xml'],
  'sax': ['lib/xml'],
  '@xmpp/xml': ['lib/xml'],
  'tr46': ['lib/xmpp'],
  'bidi-js': ['lib/xmpp'],
  '@mongodb-js/saslprep': ['lib/xmpp'],
  'lru-cache': ['lib/base', 'lib/xmpp', 'lib/auth'],
  'ipaddr.js': ['lib/base', 'lib/xmpp', 'lib/config', 'lib/stream', 'lib/auth', 'lib/c2s', 'lib/s2s'],
  'zod': ['lib/config'],
  'smol-toml': ['lib/config'],
  'toml-eslint-parser': ['lib/config'],
  'pino': ['lib/base/logger.ts'],
  'pino-pretty': ['lib/base/logger.ts'],
  'better-sqlite3': ['lib/storage/sqlite'],
  'pg': ['lib/storage/postgres'],
  '@peculiar/x509': ['lib/stream'],
  'reflect-metadata': ['lib/stream'],
  'chokidar': ['lib/stream'],
  '@peculiar/asn1-schema': ['lib/auth', 'lib/stream', 'lib/s2s'],
  '@peculiar/asn1-x509': ['lib/auth', 'lib/stream', 'lib/s2s'],
  'dns-packet': ['lib/s2s'],
  'commander': ['bin'],
  '@clack/prompts': ['bin'],
  'cli-table3': ['bin'],
  'picocolors': ['bin'],
  'node:net': ['lib/stream', 'lib/c2s', 'lib/s2s', 'lib/component', 'lib/admin', 'lib/config'],
  'node:tls': ['lib/stream', 'lib/c2s', 'lib/s2s', 'lib/auth'],
  'node:dgram': ['lib/s2s/dns'],
  'node:dns': ['lib/s2s/resolve.ts', 'bin'],
  'node:worker_threads': ['lib/storage/sqlite'],
  'node:http': ['lib/web'],
  'node:child_process': ['bin'],
}

/** What another package hands on to us: @xmpp/xml its elements, whose version we choose here. */
const HANDED_ON = ['ltx']
const TOOLS = ['eslint', 'tsx', 'typescript', 'typescript-eslint']

interface Import { readonly file: string, readonly wanted: string }

const sources = ['lib', 'modules', 'bin', 'test', 'bench'].flatMap(top => {
  const names = readdirSync(join(PACKAGE_ROOT, top), { recursive: true, encoding: 'utf8' })
  return names.filter(name => name.endsWith('.ts')).map(name => join(top, name))
})
const imports: readonly Import[] = sources.flatMap(file => {
  const read = ts.preProcessFile(readFileSync(join(PACKAGE_ROOT, file), 'utf8'), true, true)
  return read.importedFiles.map(({ fileName }) => ({ file, wanted: fileName }))
})
const ofTheServer = ({ file }: Import): boolean => !file.startsWith('test/') && !file.startsWith('bench/')
const within = (file: string, place: string): boolean => file === place || file.startsWith(`${place}/`)

function roomOf (file: string): string | undefined {
  return Object.keys(MAY_IMPORT).find(room => within(file, room))
}

/** 'node:fs/promises' is 'node:fs', 'a/b.js' is 'a', '@a/b/c.js' is '@a/b'. */
function packageOf (wanted: string): string {
  if (isBuiltin(wanted)) return `node:${wanted.replace(/^node:/, '').split('/')[0] ?? ''}`
  return wanted.split('/').slice(0, wanted.startsWith('@') ? 2 : 1).join('/')
}

t.test('each file stands in a room', async t => {
  const homeless = sources.filter(file => !/^(test|bench)\//.test(file) && roomOf(file) === undefined)
  t.strictSame(homeless, [])
  t.ok(sources.length > 50, 'and files were found')
})

t.test('a room imports only those it may, and files that are there', async t => {
  const wrong: string[] = []
  for (const { file, wanted } of imports.filter(one => ofTheServer(one) && one.wanted.startsWith('.'))) {
    const target = normalize(join(dirname(file), wanted)).replace(/\.js$/, '.ts')
    if (!existsSync(join(PACKAGE_ROOT, target))) wrong.push(`${file} imports ${target}, which is not there`)
    if (!mayImport(file, target)) wrong.push(`${file} imports ${target}`)
  }
  t.strictSame(wrong.sort(), [])
})

function mayImport (file: string, target: string): boolean {
  const room = roomOf(file)
  if (room === undefined) return false
  if (room === 'modules') return within(target, 'lib/api.ts') || withinOneModule(file, target)
  return within(target, room) || (MAY_IMPORT[room] ?? []).some(other => within(target, other))
}

/** modules/muc/room.ts may import modules/muc/history.ts; modules/carbons.ts nothing of modules. */
function withinOneModule (file: string, target: string): boolean {
  const [, folder, ...rest] = file.split('/')
  return rest.length > 0 && within(target, `modules/${folder ?? ''}`)
}

t.test('a package is used where it is at home, and nowhere else', async t => {
  const wrong = imports.filter(one => ofTheServer(one) && !one.wanted.startsWith('.')).filter(({ file, wanted }) => {
    const homes = HOMES[packageOf(wanted)]
    return homes !== undefined && !homes.some(home => within(file, home))
  })
  t.strictSame(wrong.map(({ file, wanted }) => `${file} imports ${wanted}`).sort(), [])
})

t.test('package.json names what is imported, and nothing that is not', async t => {
  const { dependencies, peerDependencies, devDependencies } = manifest()
  const shipped = [...dependencies, ...peerDependencies] // a peer is installed by who chooses what needs it
  const used = (among: readonly Import[]): Set<string> =>
    new Set(among.map(({ wanted }) => wanted).filter(wanted => !wanted.startsWith('.') && !isBuiltin(wanted)).map(packageOf))
  const server = used(imports.filter(ofTheServer))
  const all = used(imports)
  const types = (name: string): boolean => name.startsWith('@types/') &&
    ['node', ...all, ...HANDED_ON].includes(name.slice('@types/'.length).replace(/^(.+)__/, '@$1/'))

  t.strictSame([...server].filter(name => !shipped.includes(name)), [], 'what the server imports is installed with it')
  t.strictSame([...all].filter(name => !shipped.includes(name) && !devDependencies.includes(name)), [], 'what tests import is installed for them')
  t.strictSame(shipped.filter(name => !server.has(name) && !HANDED_ON.includes(name)), [], 'nothing is shipped that the server does not import')
  t.strictSame(devDependencies.filter(name => !all.has(name) && !peerDependencies.includes(name) && !TOOLS.includes(name) && !types(name)), [], 'no development package is idle')
  t.strictSame(Object.keys(HOMES).filter(name => !name.startsWith('node:') && !shipped.includes(name)), [], 'each package with a home is installed')
})

function manifest (): { dependencies: string[], peerDependencies: string[], devDependencies: string[] } {
  const read = JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')) as Record<string, Record<string, string> | undefined>
  const names = (key: string): string[] => Object.keys(read[key] ?? {})
  return { dependencies: names('dependencies'), peerDependencies: names('peerDependencies'), devDependencies: names('devDependencies') }
}
