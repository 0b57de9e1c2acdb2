/** The `sestina` command as an operator uses it, with a running server and without one. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { client as xmppClient, xml } from '@xmpp/client'
import t, { type Test } from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { freePorts, missing, Program } from '../interop/process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

const PASSWORD = 'wherefore-art-thou'
const BODY = 'a-body-that-no-log-may-show'

t.setTimeout(1_200_000)
t.jobs = 2 // each waits for one process after the other

interface Place { readonly folder: string, readonly conf: string, readonly port: number }
interface Said { readonly code: number | string, readonly said: string }

async function place (t: Test, log = 'format = "json"'): Promise<Place> {
  const [port = 0] = await freePorts(1)
  const folder = temporaryFolder(t)
  const conf = join(folder, 'sestina.toml')
  writeConf(conf, port, log)
  return { folder, conf, port }
}

function writeConf (conf: string, port: number, log = 'format = "json"', more = ''): void {
  writeFileSync(conf, `data = "data"\n[log]\n${log}\n[[listen]]\nfor = "clients"\nport = ${port}\naddress = ["127.0.0.1"]\n` +
    `[modules]\nroster = true\npresence = true\nmessage = true\n${more.includes('offline') ? '' : 'offline = true\n'}vcard = true\nprivate = true\n` +
    `blocking = true\nregister = true\n${more}[host.localhost]\n`)
}

async function sestina (conf: string, words: readonly string[], input = ''): Promise<Said> {
  const program = new Program(process.execPath, [SESTINA, ...words, '--conf', conf], { input, isMeasured: false })
  const code = await program.ended
  return { code, said: program.said }
}

async function running (t: Test, { conf }: Place): Promise<Program> {
  const server = new Program(process.execPath, [SESTINA, 'start', '--conf', conf], { input: '' })
  t.teardown(() => server.stop())
  await server.says(/"msg":"server ready"/)
  return server
}

const add = (conf: string, name: string): Promise<Said> => sestina(conf, ['user', 'add', `${name}@localhost`, '--password-stdin'], `${PASSWORD}\n`)

t.test('accounts are managed with a running server and without one', { buffered: true }, async t => {
  const here = await place(t)
  const { conf } = here
  t.match(await add(conf, 'romeo'), { code: 0, said: 'romeo@localhost added\n' }, 'no server runs')
  const server = await running(t, here)
  t.match(await add(conf, 'juliet'), { code: 0, said: 'juliet@localhost added\n' })
  t.match(await add(conf, 'juliet'), { code: 1, said: /juliet@localhost exists/ })
  t.match(await sestina(conf, ['user', 'add', 'a@elsewhere.lit', '--password-stdin'], 'x\n'), { code: 1, said: /not a host of this server/ })
  t.match(await sestina(conf, ['user', 'add', 'tybalt@localhost']), { code: 1, said: /no terminal to ask for a password; use --password-stdin/ })
  const { said } = await sestina(conf, ['user', 'list', '--json'])
  t.match(JSON.parse(said), [{ account: 'juliet@localhost' }, { account: 'romeo@localhost' }])
  t.match(await sestina(conf, ['user', 'lock', 'romeo@localhost', 'too', 'loud']), { code: 0, said: /romeo@localhost locked/ })
  t.match(await sestina(conf, ['user', 'show', 'romeo@localhost']), { code: 0, said: /locked/ })
  t.match(await sestina(conf, ['user', 'unlock', 'romeo@localhost']), { code: 0 })
  t.match(await sestina(conf, ['user', 'password', 'romeo@localhost', '--password-stdin'], 'another\n'), { code: 1, said: /the password is too short: it must have at least 8 characters/ })
  t.match(await sestina(conf, ['user', 'password', 'romeo@localhost', '--password-stdin'], 'another secret\n'), { code: 0 })
  t.match(await sestina(conf, ['user', 'remove', 'romeo@localhost']), { code: 1, said: /no terminal to ask for confirmation; use --yes/ })
  t.match(await sestina(conf, ['user', 'show', 'romeo@localhost']), { code: 0 }, 'without a confirmation nothing is removed')
  t.match(await sestina(conf, ['user', 'remove', 'romeo@localhost', '--yes']), { code: 0, said: 'romeo@localhost removed\n' })
  for (const more of [['--yes'], []]) {
    t.match(await sestina(conf, ['user', 'remove', 'romeo@localhost', ...more]), { code: 1, said: 'there is no romeo@localhost\n' }, 'an unknown account needs no confirmation')
  }
  t.match(await sestina(conf, ['user', 'remove', 'nobody']), { code: 1, said: 'nobody is not an account: write name@host\n' })
  t.match(await sestina(conf, ['user', 'remove', 'a@elsewhere.lit']), { code: 1, said: 'elsewhere.lit is not a host of this server\n' })
  t.match(await sestina(conf, ['storage', 'aside']), { code: 0, said: 'none\n' })
  t.match(await sestina(conf, ['session', 'list']), { code: 0, said: 'none\n' })
  t.match(JSON.parse((await sestina(conf, ['status', '--json'])).said), { storage: 'fine', hosts: [{ host: 'localhost', sessions: 0 }] })
  t.match(await sestina(conf, ['hooks']), { code: 0, said: /messageArriving/ })
  t.match(await sestina(conf, ['stop']), { code: 0 })
  t.equal(await server.ended, 0)
  t.match(JSON.parse((await sestina(conf, ['user', 'list', '--json'])).said), [{ account: 'juliet@localhost' }])
  t.match(await sestina(conf, ['status']), { code: 69, said: /no server runs/ })
  for (const words of [['user', 'add'], ['dance'], ['user', 'dance'], ['status', '--wrong']]) {
    t.match(await sestina(conf, words), { code: 64 }, words.join(' '))
  }
})

t.test("the local socket is its owner's alone, and one that is left from a crash does not prevent a start", { buffered: true }, async t => {
  const here = await place(t)
  const first = await running(t, here)
  const socket = join(here.folder, 'data', 'admin.sock')
  t.equal(statSync(socket).mode & 0o777, 0o600)
  t.equal(statSync(join(here.folder, 'data')).mode & 0o777, 0o700)
  first.signal('SIGKILL')
  await first.ended
  t.ok(existsSync(socket))
  t.match(await sestina(here.conf, ['status']), { code: 69 })
  await running(t, here)
  t.match(await sestina(here.conf, ['status']), { code: 0 })
})

t.test('a command to a running server needs no secret of its conf file, and works while the file has mistakes', { buffered: true }, async t => {
  const here = await place(t)
  await running(t, here)
  const postgres = (more = ''): void => {
    writeConf(here.conf, here.port, 'format = "json"\n[storage]\ndriver = "postgres"\nurl = { env = "NO_SUCH_VARIABLE" }', more)
  }
  postgres()
  t.match(await sestina(here.conf, ['status']), { code: 0 })
  t.match(await sestina(here.conf, ['trace', 'nobody@localhost']), { code: 1, said: /there is no nobody@localhost/ })
  t.match(await add(here.conf, 'romeo'), { code: 0, said: 'romeo@localhost added\n' })
  postgres('carbns = true\n')
  t.match(await sestina(here.conf, ['session', 'list']), { code: 0, said: 'none\n' })
  t.match(await sestina(here.conf, ['stop']), { code: 0 })
  t.match(await sestina(here.conf, ['status']), { code: 69, said: /no server runs with this conf file/ })
  t.match(await add(here.conf, 'juliet'), { code: 78, said: /carbns/ }, 'a command that starts a server needs all of it')
  writeFileSync(here.conf, 'data = 5\n')
  t.match(await sestina(here.conf, ['status']), { code: 78, said: /sestina\.toml:1:8: data: 5 is not a path/ })
  writeFileSync(here.conf, 'data = "data"\ninclude = [5]\n')
  t.match(await sestina(here.conf, ['status']), { code: 78, said: /include: 5 is not a file/ })
})

t.test('a conf file is checked before it is used', { buffered: true }, async t => {
  const here = await place(t)
  t.equal(await new Program(process.execPath, [SESTINA, 'check', here.conf], { input: '' }).ended, 0)
  const server = await running(t, here)
  writeConf(here.conf, here.port, 'format = "json"', 'carbns = true\noffline.expire = "1 yeer"\n')
  const wrong = [/sestina\.toml:\d+:\d+: there is no module 'carbns'; did you mean 'carbons'\?/, /sestina\.toml:\d+:\d+: offline\.expire: .*1 yeer/]
  const check = new Program(process.execPath, [SESTINA, 'check', here.conf], { input: '' })
  t.equal(await check.ended, 78)
  const reload = await sestina(here.conf, ['reload'])
  t.not(reload.code, 0)
  const again = new Program(process.execPath, [SESTINA, 'start', '--conf', here.conf], { input: '' })
  t.equal(await again.ended, 78)
  for (const line of wrong) for (const said of [check.said, reload.said, again.said]) t.match(said, line)
  const before = server.said.length
  server.signal('SIGHUP')
  await server.says(/"msg":"conf not reloaded"/, undefined, before)
  const [refused = ''] = /^.*"msg":"conf not reloaded".*$/m.exec(server.said.slice(before)) ?? []
  t.match(JSON.parse(refused), { problems: wrong })
  t.notMatch(refused, 'stack', 'a mistake of the operator is no defect')
  writeConf(here.conf, here.port, 'format = "json"', 'carbons = true\n')
  server.signal('SIGHUP')
  await server.says(/"msg":"conf reloaded"/, undefined, before)
  t.match(await sestina(here.conf, ['reload']), { code: 0, said: 'reloaded\n' })
  const full = new Program(process.execPath, [SESTINA, 'check', here.conf, '--full'], { input: '' })
  t.equal(await full.ended, 0)
  t.match(full.said, /carbons/)
})

t.test('a backup and an export restore everything', { buffered: true }, async t => {
  const here = await place(t)
  const { conf, folder } = here
  const [backup, exported] = [join(folder, 'backup.db'), join(folder, 'accounts.xml')]
  await add(conf, 'romeo')
  const server = await running(t, here)
  t.match(await sestina(conf, ['backup', backup]), { code: 0 })
  t.match(await sestina(conf, ['export', exported]), { code: 0 })
  t.match(readFileSync(exported, 'utf8'), /<user [^>]*name=["']romeo["']/)
  t.notMatch(readFileSync(exported, 'utf8'), PASSWORD)
  t.equal(statSync(exported).mode & 0o777, 0o600, 'the backup holds keys of passwords')
  await sestina(conf, ['user', 'remove', 'romeo@localhost', '--yes'])
  t.match(await sestina(conf, ['import', exported]), { code: 0 })
  t.match((await sestina(conf, ['user', 'list'])).said, /romeo@localhost/)
  await sestina(conf, ['user', 'remove', 'romeo@localhost', '--yes'])
  t.not((await sestina(conf, ['restore', backup])).code, 0, 'not while the server runs')
  await sestina(conf, ['stop'])
  await server.ended
  t.not((await sestina(conf, ['restore', backup])).code, 0, 'not over existing data')
  t.match(await sestina(conf, ['restore', backup, '--overwrite']), { code: 0 })
  t.match((await sestina(conf, ['user', 'list'])).said, /romeo@localhost/)
})

/** Sends text to the server without TLS, as a client does before login. Returns what the server sent. */
async function shout (port: number, text: string): Promise<string> {
  return await new Promise((resolve, reject) => {
    let heard = ''
    const socket = createConnection(port, '127.0.0.1', () => { socket.write(text) })
    socket.setEncoding('utf8').on('data', (chunk: string) => { heard += chunk })
    socket.on('close', () => { resolve(heard) }).on('error', reject)
  })
}

t.test('no log line shows a password, a token or a message; a failed login is one line that fail2ban reads', { buffered: true }, async t => {
  const here = await place(t, 'format = "json"\nlevel = "debug"')
  for (const name of ['romeo', 'juliet']) await add(here.conf, name)
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0' // the certificate is self-signed by the server
  t.teardown(() => { delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'] })
  const server = await running(t, here)
  const online = (username: string, password: string): ReturnType<typeof xmppClient> => {
    const device = xmppClient({ service: `xmpp://127.0.0.1:${here.port}`, domain: 'localhost', username, password })
    Object.assign(device, { timeout: 300_000 })
    device.on('error', () => undefined)
    device.reconnect.stop()
    t.teardown(async () => { await device.stop() })
    return device
  }
  const tokens: string[] = []
  const romeo = online('romeo', PASSWORD)
  const { fast } = romeo as unknown as { fast: { saveToken (token: { token: string }): Promise<void> } }
  fast.saveToken = async ({ token }) => { tokens.push(token) }
  await romeo.start()
  await romeo.send(xml('presence', {}, xml('status', {}, BODY)))
  await romeo.send(xml('message', { to: 'juliet@localhost', type: 'chat' }, xml('subject', {}, BODY), xml('body', {}, BODY)))
  await romeo.iqCaller.set(xml('query', { xmlns: 'jabber:iq:private' }, xml('x', { xmlns: 'urn:x' }, BODY)))
  await romeo.iqCaller.set(xml('query', { xmlns: 'jabber:iq:register' }, xml('username', {}, 'romeo'), xml('password', {}, `${PASSWORD}-new`)))
  await t.rejects(online('juliet', `${PASSWORD}-wrong`).start(), { name: 'SASLError', condition: 'not-authorized' })
  await t.rejects(online('nobody', `${PASSWORD}-wrong`).start(), { name: 'SASLError', condition: 'not-authorized' })
  await shout(here.port, `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>` +
    `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${Buffer.from(`\0juliet\0${PASSWORD}`).toString('base64')}</auth>`)
  await sestina(here.conf, ['user', 'password', 'juliet@localhost', '--password-stdin'], `${PASSWORD}-other\n`)
  await sestina(here.conf, ['stop'])
  t.equal(await server.ended, 0)

  t.equal(tokens.length, 1)
  const secrets = [PASSWORD, BODY, ...tokens, Buffer.from(`\0juliet\0${PASSWORD}`).toString('base64')]
  for (const line of server.said.split('\n')) for (const secret of secrets) t.notOk(line.includes(secret), line)
  const page = readFileSync(join(PACKAGE_ROOT, 'docs', 'operating.md'), 'utf8')
  const [, rule = ''] = /^failregex = (.+)$/m.exec(page) ?? []
  const failed = server.said.split('\n').filter(line => new RegExp(rule.replace('<ADDR>', '127\\.0\\.0\\.1')).test(line))
  t.equal(failed.length, 2)
  t.match(failed[0], /"account":"juliet@localhost"/)
})

t.test('systemd accepts the unit', { buffered: true, skip: missing({ 'systemd-analyze': 'systemd' }) }, async t => {
  const unit = readFileSync(join(PACKAGE_ROOT, 'docs', 'sestina.service'), 'utf8').replace(/^ExecStart=.*$/m, `ExecStart=${process.execPath} ${SESTINA} start`)
  const file = join(temporaryFolder(t, { 'sestina.service': unit }), 'sestina.service')
  const { stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8' })
  t.same(stderr.split('\n').filter(line => line.includes('sestina.service')), [])
})
