/** Checks who may import whom, and where a package may be used. The tables are the architecture. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { PACKAGE_ROOT } from '../lib/base/package.js'

/** The layers that each room of s2s may import besides the rooms below it. */
const BELOW_S2S = ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/auth', 'lib/host', 'lib/storage']

/** The layers, and for each the layers that it may import. The first that holds a file is the file's. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'lib/base': [],
  'lib/xml': ['lib/base'],
  'lib/xmpp': ['lib/base', 'lib/xml'],
  'lib/config': ['lib/base'],
  'lib/storage': ['lib/base', 'lib/xmpp'],
  'lib/stream': ['lib/base', 'lib/xml', 'lib/xmpp'],
  'lib/auth': ['lib/base', 'lib/xmpp', 'lib/storage'],
  // The way of a stanza knows what it uses of a host, not the host, its modules or the server.
  'lib/host/pipeline': [
    'lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/storage', 'lib/host/archive-queries.ts', 'lib/host/arrivals.ts',
    'lib/host/cost.ts', 'lib/host/delivery-tracker.ts', 'lib/host/entity.ts', 'lib/host/events.ts', 'lib/host/forged.ts', 'lib/host/iq.ts',
    'lib/host/lasting.ts', 'lib/host/loaded-entity.ts', 'lib/host/order.ts', 'lib/host/router.ts', 'lib/host/session.ts', 'lib/host/sessions.ts',
  ],
  'lib/host': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/auth', 'lib/storage', 'lib/config'],
  'lib/pubsub': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/storage', 'lib/host'],
  'lib/c2s': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/auth', 'lib/host'],
  'lib/s2s/ground': BELOW_S2S,
  'lib/s2s/connect': [...BELOW_S2S, 'lib/s2s/ground'],
  'lib/s2s/trust': [...BELOW_S2S, 'lib/s2s/ground', 'lib/s2s/connect'],
  'lib/s2s/acks': [...BELOW_S2S, 'lib/s2s/ground'],
  'lib/s2s/streams': [...BELOW_S2S, 'lib/s2s/ground', 'lib/s2s/connect', 'lib/s2s/trust', 'lib/s2s/acks'],
  'lib/s2s/queue': [
    ...BELOW_S2S, 'lib/s2s/ground', 'lib/s2s/connect', 'lib/s2s/trust', 'lib/s2s/acks', 'lib/s2s/streams',
  ],
  'lib/s2s': BELOW_S2S,
  'lib/web': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/host', 'lib/c2s'],
  'lib/component': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/auth', 'lib/host'],
  'lib/admin': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/auth', 'lib/storage', 'lib/config', 'lib/host'],
  'lib/api.ts': ['lib/base', 'lib/xml', 'lib/xmpp', 'lib/stream', 'lib/host', 'lib/pubsub', 'lib/storage', 'lib/config'],
  'lib/main.ts': ['lib'],
  'lib/check.ts': ['lib'],
  'lib/plans.ts': ['lib'],
  'modules': ['lib/api.ts'],
  'bin': ['lib/base', 'lib/main.ts', 'lib/check.ts', 'lib/admin', 'lib/config'],
}

/** The folders or files in which a package or a module of Node may be used. */
const ALLOWED_IN: Readonly<Record<string, readonly string[]>> = {
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
  'chokidar': ['lib/stream', 'bin'],
  '@peculiar/asn1-schema': ['lib/auth', 'lib/stream', 'lib/s2s'],
  '@peculiar/asn1-x509': ['lib/auth', 'lib/stream', 'lib/s2s'],
  'dns-packet': ['lib/s2s/connect', 'lib/s2s/ground'],
  'fastify': ['lib/web'],
  'ws': ['lib/web'],
  '@fastify/send': ['modules/upload'],
  'content-disposition': ['modules/upload'],
  'commander': ['bin'],
  '@clack/prompts': ['bin'],
  'cli-table3': ['bin'],
  'picocolors': ['bin'],
  'node:net': ['lib/stream', 'lib/c2s', 'lib/s2s', 'lib/component', 'lib/admin', 'lib/config', 'lib/web'],
  'node:tls': ['lib/stream', 'lib/c2s', 'lib/s2s', 'lib/auth'],
  'node:dgram': ['lib/s2s/connect'],
  'node:dns': ['lib/s2s/connect/resolve.ts', 'bin'],
  'node:worker_threads': ['lib/storage/sqlite'],
  'node:http': ['lib/web'],
  'node:child_process': ['bin'],
}

/**
 * Packages whose exports another package passes on. @xmpp/xml exports the elements of ltx; package.json pins the
 * version.
 */
const RE_EXPORTED = ['ltx']
const TOOLS = ['@commitlint/cli', '@stylistic/eslint-plugin', 'cspell', 'eslint', 'knip', 'tsx', 'typescript', 'typescript-eslint']

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

function layerOf (file: string): string | undefined {
  return Object.keys(MAY_IMPORT).find(room => within(file, room))
}

/** Reduces an import to its package: 'node:fs/promises' to 'node:fs', 'a/b.js' to 'a', '@a/b/c.js' to '@a/b'. */
function packageOf (wanted: string): string {
  if (isBuiltin(wanted)) return `node:${wanted.replace(/^node:/, '').split('/')[0] ?? ''}`
  return wanted.split('/').slice(0, wanted.startsWith('@') ? 2 : 1).join('/')
}

t.test('each file is in a layer', async t => {
  const homeless = sources.filter(file => !/^(test|bench)\//.test(file) && layerOf(file) === undefined)
  t.strictSame(homeless, [])
  t.ok(sources.length > 50, 'files were found')
})

t.test('a layer imports only the layers that it may import, and only files that exist', async t => {
  const wrong: string[] = []
  for (const { file, wanted } of imports.filter(one => ofTheServer(one) && one.wanted.startsWith('.'))) {
    const target = normalize(join(dirname(file), wanted)).replace(/\.js$/, '.ts')
    if (!existsSync(join(PACKAGE_ROOT, target))) wrong.push(`${file} imports ${target}, which is not there`)
    if (!mayImport(file, target)) wrong.push(`${file} imports ${target}`)
  }
  t.strictSame(wrong.sort(), [])
})

t.test('no files import each other in a circle, not even for types', async t => {
  const targets = new Map<string, string[]>()
  for (const { file, wanted } of imports.filter(one => ofTheServer(one) && one.wanted.startsWith('.'))) {
    const target = normalize(join(dirname(file), wanted)).replace(/\.js$/, '.ts')
    targets.set(file, [...targets.get(file) ?? [], target])
  }
  t.strictSame(circleIn(new Map([['a', ['b']], ['b', ['c']], ['c', ['b']]])), ['b', 'c', 'b'], 'a planted circle is found')
  t.strictSame(circleIn(targets), [])
})

/** Returns the files of a circle, the first of them at the end again; an empty list if there is none. */
function circleIn (targets: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const done = new Set<string>()
  const look = (file: string, way: readonly string[]): readonly string[] => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file]
    if (done.has(file)) return []
    for (const target of targets.get(file) ?? []) {
      const circle = look(target, [...way, file])
      if (circle.length > 0) return circle
    }
    done.add(file)
    return []
  }
  for (const file of targets.keys()) {
    const circle = look(file, [])
    if (circle.length > 0) return circle
  }
  return []
}

function mayImport (file: string, target: string): boolean {
  const room = layerOf(file)
  if (room === undefined) return false
  if (room === 'modules') return within(target, 'lib/api.ts') || withinOneModule(file, target)
  return within(target, room) || (MAY_IMPORT[room] ?? []).some(other => within(target, other))
}

/**
 * True if both files belong to one module. modules/muc/room.ts may import modules/muc/history.ts; modules/carbons.ts
 * may import nothing from modules.
 */
function withinOneModule (file: string, target: string): boolean {
  const [, folder, ...rest] = file.split('/')
  return rest.length > 0 && within(target, `modules/${folder ?? ''}`)
}

t.test('a package is used only in its folders', async t => {
  const wrong = imports.filter(one => ofTheServer(one) && !one.wanted.startsWith('.')).filter(({ file, wanted }) => {
    const homes = ALLOWED_IN[packageOf(wanted)]
    return homes !== undefined && !homes.some(home => within(file, home))
  })
  t.strictSame(wrong.map(({ file, wanted }) => `${file} imports ${wanted}`).sort(), [])
})

t.test('package.json lists every imported package and no other', async t => {
  const { dependencies, peerDependencies, devDependencies } = manifest()
  // an operator who needs a peer dependency, such as pg, installs it
  const shipped = [...dependencies, ...peerDependencies]
  const used = (among: readonly Import[]): Set<string> =>
    new Set(among.map(({ wanted }) => wanted).filter(wanted => !wanted.startsWith('.') && !isBuiltin(wanted)).map(packageOf))
  const server = used(imports.filter(ofTheServer))
  const all = used(imports)
  const types = (name: string): boolean => name.startsWith('@types/') &&
    ['node', ...all, ...RE_EXPORTED].includes(name.slice('@types/'.length).replace(/^(.+)__/, '@$1/'))

  t.strictSame([...server].filter(name => !shipped.includes(name)), [], 'every package that the server imports is a dependency')
  t.strictSame([...all].filter(name => !shipped.includes(name) && !devDependencies.includes(name)), [], 'every package that tests import is a development dependency')
  t.strictSame(shipped.filter(name => !server.has(name) && !RE_EXPORTED.includes(name)), [], 'the server imports every dependency')
  t.strictSame(devDependencies.filter(name => !all.has(name) && !peerDependencies.includes(name) && !TOOLS.includes(name) && !types(name)), [], 'every development dependency is used')
  t.strictSame(Object.keys(ALLOWED_IN).filter(name => !name.startsWith('node:') && !shipped.includes(name)), [], 'each package with a home is installed')
})

function manifest (): { dependencies: string[], peerDependencies: string[], devDependencies: string[] } {
  const read = JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')) as Record<string, Record<string, string> | undefined>
  const names = (key: string): string[] => Object.keys(read[key] ?? {})
  return { dependencies: names('dependencies'), peerDependencies: names('peerDependencies'), devDependencies: names('devDependencies') }
}
