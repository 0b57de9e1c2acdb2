/** `sestina trace` as an operator uses it: the real process, over the socket of a running server. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { client as xmppClient, xml, type Client } from '@xmpp/client'
import t, { type Test } from 'tap'
import { online } from '../interop/library.js'
import { freePorts, Program } from '../interop/process.js'
import { SESTINA } from '../sestina.js'
import { temporaryFolder } from '../temporary-folder.js'

const PASSWORD = 'wherefore-art-thou'
const BODY = 'a-body-that-only-bodies-show'

t.setTimeout(1_200_000)

interface Place { readonly conf: string, readonly server: Program, readonly romeo: Client }

/** Starts a server on which romeo is online. */
async function place (t: Test): Promise<Place> {
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0' // the certificate is self-signed by the server
  t.teardown(() => { delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'] })
  const [port = 0] = await freePorts(1)
  const conf = join(temporaryFolder(t), 'sestina.toml')
  writeFileSync(conf, `data = "data"\n[log]\nformat = "json"\n[[listen]]\nfor = "clients"\nport = ${port}\naddress = ["127.0.0.1"]\n` +
    '[modules]\nregister = true\n[host.localhost]\n')
  const server = new Program(process.execPath, [SESTINA, 'start', '--conf', conf], { input: '' })
  t.teardown(() => server.stop())
  await server.says(/"msg":"server ready"/)
  const added = new Program(process.execPath, [SESTINA, 'user', 'add', 'romeo@localhost', '--password-stdin', '--conf', conf], { input: `${PASSWORD}\n`, isMeasured: false })
  t.equal(await added.ended, 0, added.said)
  const romeo = xmppClient({ service: `xmpp://127.0.0.1:${port}`, domain: 'localhost', username: 'romeo', password: PASSWORD, resource: 'orchard' })
  romeo.on('error', error => { t.comment(String(error)) })
  t.teardown(async () => {
    romeo.reconnect.stop()
    await romeo.stop()
  })
  await online(romeo)
  await romeo.send(xml('presence'))
  return { conf, server, romeo }
}

/** Starts a trace and waits until it sees what happens. */
async function traces (t: Test, conf: string, ...words: readonly string[]): Promise<Program> {
  const program = new Program(process.execPath, [SESTINA, 'trace', 'romeo@localhost', ...words, '--conf', conf], { input: '' })
  t.teardown(() => program.stop())
  await program.says(/tracing romeo@localhost; end with Ctrl-C/)
  return program
}

const chat = (id: string): Parameters<Client['send']>[0] =>
  xml('message', { to: 'romeo@localhost', type: 'chat', id }, xml('body', {}, BODY))

t.test('a trace shows the way of a message live, and Ctrl-C ends it', async t => {
  const { conf, server, romeo } = await place(t)
  const trace = await traces(t, conf)
  const bodies = await traces(t, conf, '--bodies', '--json')
  await romeo.send(chat('m1'))
  const [, number = ''] = await trace.says(/^\S+Z {2}#(\d+) {2}message chat id m1 from romeo@localhost\/\S+ to romeo@localhost with body$/m)
  await trace.says(new RegExp(`^\\S+Z {2}#${number} {2}\\+\\d+ ms {2}checkFrom {2}next$`, 'm'))
  await trace.says(new RegExp(`#${number} {2}\\+\\d+ ms {2}deliverMessage {2}delivered: romeo@localhost/orchard`))
  await trace.says(new RegExp(`#${number} {2}\\+\\d+ ms {2}commit {2}stored: delivered`))
  await romeo.send(xml('message', { to: 'nobody@localhost', type: 'chat', id: 'm2' }, xml('body', {}, BODY)))
  await trace.says(/mustExist {2}refused: service-unavailable/)
  await bodies.says(new RegExp(`"content":"<message [^\\n]*${BODY}`))
  for (const line of bodies.said.split('\n').filter(line => line.startsWith('{'))) t.type(JSON.parse(line), 'object')
  trace.signal('SIGINT')
  t.equal(await trace.ended, 'SIGINT')
  t.notMatch(trace.said, BODY)
  t.notMatch(server.said, BODY, 'nothing of a trace is logged')
  t.notMatch(server.said, 'checkFrom')
  const stopped = new Program(process.execPath, [SESTINA, 'stop', '--conf', conf], { input: '' })
  t.equal(await stopped.ended, 0)
  t.equal(await bodies.ended, 0, 'a trace ends with its server')
  t.equal(await server.ended, 0)
})

t.test('a trace ends quietly if nobody reads its output any more', async t => {
  const { conf, romeo } = await place(t)
  const trace = spawn(process.execPath, [SESTINA, 'trace', 'romeo@localhost', '--conf', conf], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(trace, 'close')
  let said = ''
  await new Promise<void>(resolve => {
    trace.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (said.includes('Ctrl-C')) resolve()
    })
  })
  await romeo.send(chat('m1'))
  await once(trace.stdout, 'data')
  const closed = once(trace.stdout, 'close')
  trace.stdout.destroy()
  await closed
  await romeo.send(chat('m2'))
  t.match(await ended, [0, null])
  t.equal(said, 'tracing romeo@localhost; end with Ctrl-C\n')
})

t.test('without a server, for an unknown account and without an address, a trace says what is wrong', async t => {
  const { conf, server } = await place(t)
  const says = async (...words: readonly string[]): Promise<readonly [unknown, string]> => {
    const program = new Program(process.execPath, [SESTINA, 'trace', ...words, '--conf', conf], { input: '' })
    return [await program.ended, program.said]
  }
  t.match(await says('nobody@localhost'), [1, /there is no nobody@localhost/])
  t.match(await says('romeo@elsewhere.lit'), [1, /elsewhere.lit is not a host of this server/])
  t.match(await says(), [64, /missing required argument 'address'/])
  t.match(await says('--help'), [0, /--bodies +also show the content/])
  await server.stop()
  t.match(await says('romeo@localhost'), [69, /no server runs with this conf file/])
})
