/** docs/writing-a-module.md has the signatures in force, and its package outside the tree works as it is printed. */
import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { PACKAGE_ROOT } from '../lib/base/package.js'
import { freePorts, Program } from './interop/process.js'
import { temporaryFolder } from './temporary-folder.js'

const read = (path: string): string => readFileSync(join(PACKAGE_ROOT, path), 'utf8')
const PAGE = read('docs/writing-a-module.md')

/** Returns the signatures of all functions that lib/api.ts exports by name, in its order, without their bodies. */
function functions (): readonly string[] {
  return [...read('lib/api.ts').matchAll(/^export \{([^}]+)\} from '\.\/(.+)\.js'/gm)].flatMap(([, names = '', file = '']) => {
    const source = ts.createSourceFile(file, read(`lib/${file}.ts`), ts.ScriptTarget.Latest, true)
    const found = new Map(source.statements.filter(ts.isFunctionDeclaration).map(one => [one.name?.text, one]))
    return names.split(',').flatMap(name => {
      const one = found.get(name.trim())
      return one === undefined ? [] : [signatureOf(one, source)]
    })
  })
}

function signatureOf (one: ts.FunctionDeclaration, source: ts.SourceFile): string {
  const text = source.text.slice(one.getStart(), one.body?.getStart() ?? one.end)
  return text.replace(/^export (?:async )?function /, '').replace(/\s+/g, ' ').trim()
}

/** Returns the members of `host`, without comments. */
function members (): string {
  const [, body = ''] = /^export interface ModuleHost<[^]*?> \{\n([^]*?)^\}/m.exec(read('lib/host/module.ts')) ?? []
  return uncommented(body).replace(/^ {2}/gm, '')
}

/** Returns the declarations of a handler of requests, without comments. */
function requests (): string {
  const [found = ''] = /^export interface Request [^]*?(?=\n\/\*\* The iq handlers)/m.exec(read('lib/host/iq.ts')) ?? []
  return uncommented(found).replace(/^export /gm, '').replace(/\n\n+/g, '\n')
}

function uncommented (text: string): string { return text.replace(/^ *\/\*\*[^]*?\*\/\n/gm, '') }

t.test('a signature is one declaration, and ends before the body of the function', t => {
  const wrong = functions().filter(one => /\breturn\b|\bfunction\b|\bexport\b|\/\*|\{ *$/.test(one))
  t.strictSame(wrong, [])
  t.ok(functions().includes("isIq (stanza: Stanza): stanza is Stanza<'iq'>"), 'a function in one line')
  t.ok(functions().includes('urgencyRules ({ urgentNamespaces, delayedNamespaces }: Extra): readonly Rule[]'), 'a brace before the body')
  t.end()
})

t.test('the page has the signature of each function, of each member of `host`, and of the handlers of requests', async t => {
  t.ok(functions().length > 20)
  t.ok(PAGE.includes('```ts\n' + functions().join('\n') + '\n```'), `the functions are:\n${functions().join('\n')}`)
  t.ok(PAGE.includes('```ts\n' + members() + '```'), `the members are:\n${members()}`)
  t.ok(PAGE.includes('```ts\n' + requests() + '```'), `the handlers of requests are:\n${requests()}`)
})

t.test('the modules outside the tree, as printed, are compiled, tested, installed and started', async t => {
  const folder = temporaryFolder(t)
  chmodSync(folder, 0o755)
  const [, section = ''] = PAGE.split('## A module outside the tree')
  const files = [...section.matchAll(/^`([^`\n]+)`:\n\n```\w+\n([^]*?)^```/gm)]
  const [port] = await freePorts(1)
  const listen = `[[listen]]\nfor = "clients"\nport = ${port}\naddress = ["127.0.0.1"]\n[modules]`
  for (const [, path = '', text = ''] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true, mode: 0o755 })
    writeFileSync(join(folder, path), path === 'sestina.toml' ? text.replace('[modules]', listen) : text, { mode: 0o644 })
  }
  const dice = join(folder, 'sestina-module-dice')
  mkdirSync(join(dice, 'node_modules'))
  symlinkSync(PACKAGE_ROOT, join(dice, 'node_modules', 'sestina'))
  symlinkSync(join(PACKAGE_ROOT, 'node_modules', '@types'), join(dice, 'node_modules', '@types'))
  const run = async (name: string, words: readonly string[], cwd = dice): Promise<void> => {
    const program = new Program(name, words, { cwd, input: '', env: { npm_config_cache: join(folder, 'cache') } })
    t.equal(await program.ended, 0, program.said)
  }
  await run(process.execPath, [join(PACKAGE_ROOT, 'node_modules', 'typescript', 'bin', 'tsc')])
  await run(process.execPath, ['--enable-source-maps', '--test', 'dist/dice.test.js'])
  // With --offline, npm fails if it would look for a package such as `sestina` elsewhere.
  await run('npm', ['pack', '--pack-destination', folder])
  const installed = join(folder, 'installed')
  mkdirSync(installed)
  // Without a package.json here, npm would install into the nearest folder above that has one.
  writeFileSync(join(installed, 'package.json'), '{ "private": true }')
  await run('npm', ['install', '--prefix', installed, '--offline', '--no-audit', '--no-fund', join(folder, 'sestina-module-dice-1.0.0.tgz')], installed)
  t.ok(existsSync(join(installed, 'node_modules', 'sestina-module-dice', 'dist', 'dice.js')))

  const server = new Program(process.execPath, [join(PACKAGE_ROOT, 'dist', 'bin', 'sestina.js'), 'start', '--conf', join(folder, 'sestina.toml')], { input: '' })
  t.teardown(() => server.stop())
  await server.says(/server ready/)
  const hooks = new Program(process.execPath, [join(PACKAGE_ROOT, 'dist', 'bin', 'sestina.js'), 'hooks', '--conf', join(folder, 'sestina.toml')], { input: '' })
  await hooks.ended
  t.match(hooks.said, 'words')
})
