/** The conf file's settings about other servers, as a running server obeys them. */
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Logger } from '../../lib/base/logger.js'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { findModules, start, type Running } from '../../lib/main.js'
import { temporaryFolder } from '../temporary-folder.js'

const quiet: Logger = { isDebugging: false, debug () {}, info () {}, warn () {}, error () {}, with: () => quiet }

interface Raised { readonly running: Running, change (conf: string): Promise<void> }

async function raised (t: Test, conf: string): Promise<Raised> {
  const folder = temporaryFolder(t)
  const file = join(folder, 'sestina.toml')
  const write = (more: string): void => {
    writeFileSync(file, `data = "data"\n[storage]\ndriver = "memory"\n[[listen]]\nfor = "clients"\nport = 0\naddress = ["127.0.0.1"]\n${more}`)
  }
  write(conf)
  const running = await start({ file, modules: await findModules(join(PACKAGE_ROOT, 'dist', 'modules')), log: quiet, env: () => undefined })
  t.teardown(() => running.stop())
  return { running, change: async conf => { write(conf); await running.reload() } }
}

const SERVERS = '[[listen]]\nfor = "servers"\nport = 0\naddress = ["127.0.0.1"]\n'
const HOSTS = `
[host."all.test"]
[host."closed.test"]
federation = "off"
[host."picky.test"]
federation = "listed"
partners = ["partner.test", "BÜCHER.test"]
`

void t.test('each host has its federation setting, each domain its trust setting; a reload applies both', async t => {
  const { running, change } = await raised(t, `${SERVERS}
[federation.domain."old.test"]
trust = "dialback"
[federation.domain."spam.test"]
trust = "refuse"
[federation.domain."inside.test"]
allowPrivateAddresses = true
[federation.domain."lan.test"]
host = "10.0.0.7"
tls = "direct"
${HOSTS}`)
  const policy = (local: string, remote: string): unknown => running.federation?.world.policy(local, remote)
  t.same(policy('all.test', 'any.test'), { trust: 'certificate' })
  t.same(policy('all.test', 'old.test'), { trust: 'dialback' })
  t.same(policy('all.test', 'spam.test'), { trust: 'refuse' })
  t.same(policy('all.test', 'sub.spam.test'), { trust: 'certificate' }, 'a subdomain is another domain')
  t.same(policy('all.test', 'lan.test'), { trust: 'certificate', byHand: { host: '10.0.0.7', port: undefined, tls: 'direct' } })
  t.same(policy('all.test', 'inside.test'), { trust: 'certificate', isPrivate: true })
  t.same(policy('closed.test', 'any.test'), { trust: 'refuse' })
  t.same(policy('closed.test', 'old.test'), { trust: 'refuse' })
  t.same(policy('picky.test', 'any.test'), { trust: 'refuse' })
  t.same(policy('picky.test', 'partner.test'), { trust: 'certificate' })
  t.same(policy('picky.test', 'bücher.test'), { trust: 'certificate' })

  await change(`${SERVERS}
[federation]
trust = "refuse"
queue = { stanzas = 7 }
[federation.domain."friend.test"]
trust = "certificate"
${HOSTS}`)
  t.same(policy('all.test', 'any.test'), { trust: 'refuse' })
  t.same(policy('all.test', 'old.test'), { trust: 'refuse' })
  t.same(policy('all.test', 'friend.test'), { trust: 'certificate' })
  t.equal(running.federation?.world.limits.queue.stanzas, 7)
})

void t.test('the conf lists the private ranges that may be dialled for any domain; the server never dials its own listeners', async t => {
  const { running, change } = await raised(t, `${SERVERS}[host."all.test"]\n[federation]\nprivate = ["10.0.0.0/8", "fd00::1"]\n`)
  const objection = (address: string, port = 5269): string | undefined =>
    running.federation?.world.dialer.objection({ host: 'x.test', address, port, tls: 'required', secure: false })
  t.equal(objection('10.0.0.7'), undefined)
  t.equal(objection('fd00::1'), undefined)
  t.match(objection('192.168.0.1'), 'a private address')
  t.equal(objection('9.9.9.9'), undefined)
  for (const { address, port } of running.listening) t.match(objection(address, port), 'a listener of this server')
  await change(`${SERVERS}[host."all.test"]\n`)
  t.match(objection('10.0.0.7'), 'a private address')
  await t.rejects(change(`${SERVERS}[host."all.test"]\n[federation]\nprivateRanges = ["10.0.0.0/40"]\n`), /is not a range of IP addresses/)
})

void t.test('federation runs only if there is a listener for servers, and stops with the server', async t => {
  const { running } = await raised(t, '[host."all.test"]\n')
  t.equal(running.federation, undefined)
  const both = (await raised(t, `${SERVERS}[host."all.test"]\n`)).running
  const { port = 0 } = both.listening.find(listening => listening.for === 'servers') ?? {}
  const socket = connect(port, '127.0.0.1')
  let heard = ''
  const isOver = new Promise<void>(resolve => { socket.on('error', () => {}).on('close', () => { resolve() }) })
  const isGreeted = new Promise<void>(resolve => {
    socket.on('data', data => {
      heard += data.toString()
      if (heard.includes('<starttls')) resolve()
    })
  })
  socket.write("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' from='a.test' to='all.test'>")
  await isGreeted
  await both.stop()
  await isOver
  t.match(heard, 'system-shutdown')
})
