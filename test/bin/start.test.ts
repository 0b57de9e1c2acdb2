/** The output at the first start of a server: the next steps, or what prevents the start. */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PACKAGE_ROOT, VERSION } from '../../lib/base/package.js'
import { explain } from '../../bin/explain.js'
import { greeting } from '../../bin/greeting.js'
import { freePorts, Program } from '../interop/process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

t.setTimeout(1_200_000)

/** Creates a folder with a conf file that has one listener on this port. */
function conf (t: Test, port: number, more = ''): string {
  const file = join(temporaryFolder(t), 'sestina.toml')
  writeFileSync(file, `data = "data"\n${more}\n[[listen]]\nfor = "clients"\nport = ${port}\naddress = ["127.0.0.1"]\n[modules]\nroster = true\n[host.localhost]\n`)
  return file
}

const starting = (file: string): Program => new Program(process.execPath, [SESTINA, 'start', '--conf', file], { input: '' })

t.test('a first start says how to add a user, how to connect and how to stop; a second one says which process holds the data folder', async t => {
  const [port = 0] = await freePorts(1)
  const file = conf(t, port, '[log]\nformat = "pretty"')
  const first = starting(file)
  t.teardown(() => first.stop())
  const [said] = await first.says(/^Sestina [^]*Ctrl-C$/m)
  t.equal(said.split('\n')[0], `Sestina ${VERSION} serves localhost`)
  t.match(said, /^ {2}add a user {2}npx sestina user add you@localhost --conf \S+sestina\.toml$/m)
  t.match(said, new RegExp(`^ {2}connect .*you@localhost, port ${port} \\(STARTTLS\\)$`, 'm'))
  t.match(said, /self-signed.*Dino refuses it/)
  await first.says(/: server ready/) // the log and the greeting may come by different pipes
  const steps = ['server starting', 'storage opened', 'certificate made', 'listener started', 'server ready'].map(step => first.said.indexOf(`: ${step}`))
  t.ok(steps.every((at, n) => at > (steps[n - 1] ?? 0)), `one line for each step, in order: ${steps.join(' ')}`)
  t.match(readFileSync(join(PACKAGE_ROOT, 'README.md'), 'utf8'), 'npx sestina user add romeo@localhost', 'the README calls the command by the same name')
  for (const line of first.said.split('\n')) t.match(line, /^(\[\d\d:\d\d:\d\d\] |Sestina | {2}|$)/, 'one line for each event')

  const second = starting(file)
  t.equal(await second.ended, 1)
  t.match(second.said, /data folder .* is held by process \d+ since/)

  first.signal('SIGINT')
  t.equal(await first.ended, 0, 'Ctrl-C ends it in order')
  t.match(first.said, /stopped\n$/)
})

t.test('with the format json the output is lines of JSON only', async t => {
  const [port = 0] = await freePorts(1)
  const server = starting(conf(t, port, '[log]\nformat = "json"'))
  t.teardown(() => server.stop())
  await server.says(/"msg":"server ready"/)
  server.signal('SIGTERM')
  t.equal(await server.ended, 0)
  for (const line of server.said.trim().split('\n')) t.type(JSON.parse(line), 'object')
})

t.test('a port that another program uses is named', async t => {
  const other = createServer()
  await new Promise<void>(resolve => { other.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => new Promise(resolve => { other.close(resolve) }))
  const address = other.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const server = starting(conf(t, port))
  t.equal(await server.ended, 1)
  t.match(server.said, new RegExp(`^port ${port} on 127\\.0\\.0\\.1 is in use by another program \\(find it: sudo ss -ltnp 'sport = :${port}'\\): stop it`, 'm'))
  t.notMatch(server.said, /^ +at /m)
})

t.test('a folder that may not be written is named', async t => {
  const file = conf(t, 1)
  const data = join(file, '..', 'data')
  mkdirSync(data)
  chmodSync(data, 0o500)
  // Root may write everywhere, so as root only the wording is checked.
  const said = process.getuid?.() === 0 ? explain(Object.assign(new Error('x'), { code: 'EACCES', path: data })) : await refusal(file)
  t.match(said, /no permission to write or read .*data/)
})

async function refusal (file: string): Promise<string> {
  const server = starting(file)
  await server.ended
  return server.said
}

t.test('other obstacles to a start are explained in words', async t => {
  const failed = (fields: object): string => explain(Object.assign(new Error('as Node puts it'), fields))
  t.match(failed({ code: 'EACCES', syscall: 'listen', port: 222 }), /port 222.*CAP_NET_BIND_SERVICE/)
  t.match(failed({ code: 'EADDRNOTAVAIL', syscall: 'listen', port: 5222, address: '192.0.2.1' }), /does not have the address 192\.0\.2\.1/)
  t.match(failed({ code: 'ENOSPC', path: '/data/x' }), /disk is full: \/data\/x/)
  t.equal(failed({ code: 'ENOENT', path: '/data/x' }), 'as Node puts it')
  t.equal(explain('a word'), 'a word')
})

t.test('a user with a certificate is not told about a self-signed one', async t => {
  const said = greeting({ version: '1.0.0', domains: ['montague.lit', 'capulet.lit'], listening: [{ port: 5223, tls: 'direct' }, { port: 5223, tls: 'direct' }],
    fingerprint: undefined, command: words => `sestina ${words}` })
  t.match(said, /serves montague\.lit, capulet\.lit\n/)
  t.match(said, /sestina user add you@montague\.lit\n/)
  t.match(said, /port 5223 \(TLS\)\n/)
  t.notMatch(said, /self-signed/)
})

t.test('an old Node is reported before anything else, in syntax that the old Node can parse', async t => {
  const engine = join(PACKAGE_ROOT, 'bin', 'engine.cjs')
  const as = (version: string): { readonly status: number | null, readonly stderr: string } => {
    const script = `Object.defineProperty(process.versions, 'node', { value: '${version}' }); require(${JSON.stringify(engine)})`
    return spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' })
  }
  for (const old of ['12.22.9', '18.20.4', '20.18.3']) {
    const { status, stderr } = as(old)
    t.equal(status, 1, old)
    t.match(stderr, new RegExp(`needs Node 20\\.19 or later, and this is Node ${old.replaceAll('.', '\\.')}`))
  }
  for (const fine of ['20.19.0', '22.1.0', '100.0.0']) t.equal(as(fine).status, 0, fine)
})

t.test('npx finds the command of a checkout', t => {
  const { stdout, stderr, status } = spawnSync('npx', ['--no-install', '--', 'sestina', '--version'], { cwd: PACKAGE_ROOT, encoding: 'utf8' })
  t.equal(status, 0, stderr)
  t.match(stdout, VERSION)
  t.end()
})
