/**
 * Where the conf file and the data are stored: never inside the package, and never where a user has put other files.
 */
import { appendFileSync, chmodSync, cpSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { freePorts, Program, run } from '../interop/process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

const PASSWORD = 'wherefore-art-thou'

t.setTimeout(1_200_000)

interface Said { readonly code: number | string, readonly said: string }

/** Runs the command in a folder, with the user's settings in `user`. */
async function sestina (t: Test, cwd: string, words: readonly string[], input = '', command: readonly [string, ...string[]] = [process.execPath, SESTINA]): Promise<Said> {
  const [path, ...above] = command
  const env = { XDG_CONFIG_HOME: join(cwd, 'user'), SESTINA_CONF: '', HOME: cwd }
  const program = new Program('/usr/bin/env', ['-u', 'SESTINA_CONF', path, ...above, ...words], { cwd, env, input, isMeasured: false })
  t.teardown(() => { program.signal('SIGKILL') })
  return { code: await program.ended, said: program.said }
}

t.test('without a conf file the command says where it looked and how to create one', async t => {
  const said = await sestina(t, temporaryFolder(t), ['user', 'list'])
  t.equal(said.code, 78)
  t.match(said.said, /there is no conf file: none was named, and there is none at sestina\.toml, .*user\/sestina\/sestina\.toml, \/etc\/sestina\/sestina\.toml\. `sestina init` makes one/)
})

t.test('init creates a conf file, a data folder and the first administrator; then the command finds them', async t => {
  const cwd = temporaryFolder(t, { user: {} })
  const made = ['init', 'user/sestina', '--domain', 'Example.org', '--admin', 'romeo', '--password-stdin']
  t.match(await sestina(t, cwd, ['init', 'user/sestina']), { code: 1, said: /there is no terminal to ask at; use --domain/ })
  for (const [domain, said] of [['https://Example.org', /'https:\/\/Example\.org' is not a domain: .* not allowed/], ['a@example.org', /'a@example\.org' is not a domain: write only the part after the @/]] as const) {
    t.match(await sestina(t, cwd, ['init', 'user/sestina', '--domain', domain, '--admin', 'romeo', '--password-stdin'], `${PASSWORD}\n`), { code: 1, said })
  }
  t.match(await sestina(t, cwd, ['init', 'user/sestina', '--domain', 'example.org', '--admin', 'romeo@other.example', '--password-stdin'], `${PASSWORD}\n`), { code: 1, said: /'romeo@other\.example' is not at example\.org/ })
  t.match(await sestina(t, cwd, made, 'abc\n'), { code: 1, said: /the password is too short: it must have at least 8 characters/ })
  t.notOk(existsSync(join(cwd, 'user', 'sestina')), 'nothing is written before all answers are fine')
  t.match(await sestina(t, cwd, made, `${PASSWORD}\n`), { code: 0, said: /administrator: romeo@example\.org\nstart the server: npx sestina start --conf / })
  t.match(await sestina(t, cwd, made, `${PASSWORD}\n`), { code: 1, said: /sestina\.toml exists already; nothing was changed/ })
  const conf = join(cwd, 'user', 'sestina', 'sestina.toml')
  t.equal(statSync(join(cwd, 'user', 'sestina', 'data')).mode & 0o777, 0o700)
  const listed = await sestina(t, cwd, ['user', 'list'])
  t.match(listed, { code: 0, said: /romeo@example\.org/ })
  t.ok(listed.said.startsWith(`conf file: ${conf}\n`), 'the path of a default conf file is printed')
  t.match(readFileSync(conf, 'utf8'), /\[host\."example\.org"\]\nadmins = \["romeo@example\.org"\]/)
  t.match(readFileSync(conf, 'utf8'), /\[host\."conference\.example\.org"\]\nservice = "muc"\n/)

  // The ports of the default may be in use on this machine.
  const [port] = await freePorts(1)
  appendFileSync(conf, `[[listen]]\nfor = "clients"\nport = ${port}\naddress = ["127.0.0.1"]\n`)
  for (const [path, mode] of [[conf, 0o666], [join(cwd, 'user', 'sestina'), 0o777]] as const) {
    const before = statSync(path).mode
    chmodSync(path, mode)
    t.match(await sestina(t, cwd, ['user', 'list']), { code: 78, said: /it was found and not named, and other users may write .*: chmod go-w / })
    t.match(await sestina(t, cwd, ['check', conf]), { code: 0 }, 'the caller chooses the path')
    chmodSync(path, before)
  }
})

t.test('a repeated global install keeps the accounts', async t => {
  const cwd = temporaryFolder(t, { user: {}, packed: {}, prefix: {} })
  const prefix = join(cwd, 'prefix')
  // Installs this build with its real files. The packages that it needs are those of this checkout, so no network is
  // needed.
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', join(cwd, 'packed')], { cwd: PACKAGE_ROOT, isMeasured: false })
  const { version } = JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')) as { version: string }
  await run('tar', ['xzf', `sestina-${version}.tgz`], { cwd: join(cwd, 'packed') })
  const manifest = join(cwd, 'packed', 'package', 'package.json')
  const { dependencies, peerDependencies, devDependencies, ...rest } = JSON.parse(readFileSync(manifest, 'utf8')) as Record<string, unknown>
  writeFileSync(manifest, JSON.stringify(rest))
  await run('tar', ['czf', 'bare.tgz', 'package'], { cwd: join(cwd, 'packed') })
  symlinkSync(join(PACKAGE_ROOT, 'node_modules'), join(prefix, 'node_modules'))
  const install = (): Promise<string> =>
    run('npm', ['install', '--global', '--prefix', prefix, '--offline', '--ignore-scripts', '--no-audit', '--no-fund', join(cwd, 'packed', 'bare.tgz')], { isMeasured: false })
  const installed = (...words: readonly string[]): Promise<Said> => sestina(t, cwd, words, `${PASSWORD}\n`, [join(prefix, 'bin', 'sestina')])

  await install()
  t.match(await installed('user', 'add', 'romeo@localhost', '--password-stdin'), { code: 78, said: /there is no conf file/ }, 'nothing is written into the package')
  t.match(await installed('init', 'user/sestina', '--domain', 'localhost', '--admin', 'romeo', '--password-stdin'), { code: 0 })
  await install()
  t.match(await installed('user', 'list'), { code: 0, said: /romeo@localhost/ })

  const inside = join(prefix, 'lib', 'node_modules', 'sestina', 'conf', 'sestina.toml')
  t.ok(existsSync(inside))
  const refused = await installed('start', '--conf', inside)
  t.equal(refused.code, 78)
  t.match(refused.said, /conf\/data is inside an installed package, and the next install of it removes all accounts and messages\. Move it, and set data to the new folder: mkdir -p ~\/\.config\/sestina && mv '.*sestina\.toml' '.*conf\/data' ~\/\.config\/sestina\//)
  t.notOk(existsSync(join(prefix, 'lib', 'node_modules', 'sestina', 'conf', 'data')))
})

t.test('in a checkout the command finds the conf file in the folder conf', async t => {
  const cwd = temporaryFolder(t, { conf: {} })
  mkdirSync(join(cwd, 'conf'), { recursive: true })
  cpSync(join(PACKAGE_ROOT, 'conf', 'sestina.toml'), join(cwd, 'conf', 'sestina.toml'))
  chmodSync(join(cwd, 'conf'), 0o755)
  chmodSync(join(cwd, 'conf', 'sestina.toml'), 0o644)
  t.match(await sestina(t, cwd, ['user', 'list']), { code: 0, said: /none\n$/ })
})
