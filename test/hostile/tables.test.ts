/** Single tables and queues, each filled by its own interface, because a real attack would take too long. */
import t from 'tap'
import { PendingRequests } from '../../lib/host/iq.js'
import { Transfers, type TransfersHome } from '../../lib/host/pipeline/transfers.js'
import { S2sAcks, type ManagedHome } from '../../lib/s2s/acks/acks.js'
import { waiting, type QueuedStanza } from '../../lib/s2s/ground/queued-stanza.js'
import { KeyChecks, type KeyChecksOwner } from '../../lib/s2s/queue/key-checks.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, Stanza } from '../../lib/xmpp/stanza.js'
import { AppServers } from '../../modules/push/app-servers.js'
import { FakeClock } from '../fake-clock.js'
import { parseElement } from '../parse.js'

const MIB = 1024 * 1024

t.test("the server's own requests that wait are bounded for each peer and over all", async t => {
  const pending = new PendingRequests(new FakeClock())
  const refused: number[] = []
  const ask = (peer: string, n: number): void => { pending.wait(parseJid(peer), `q${n}`, 1000).catch(() => { refused.push(n) }) }
  for (let n = 0; n < 40; n++) ask('silent@evil.lit/x', n)
  await Promise.resolve()
  t.equal(pending.count, 32)
  t.equal(refused.length, 8)
  for (let n = 0; pending.count < 100_000; n++) ask(`x${n}@evil.lit`, n)
  ask('one@more.lit', 0)
  await Promise.resolve()
  t.equal(pending.count, 100_000)
  t.equal(refused.length, 9)
})

t.test('the stanzas that are stored on their way are bounded for each sender, in number and bytes, and over all', t => {
  const transfers = (): Transfers => new Transfers({} as unknown as TransfersHome)
  const many = transfers()
  let rows = 0
  while (many.reserve('romeo', 10)) rows++
  t.equal(rows, 1000)
  many.giveBack('romeo', 10)
  t.ok(many.reserve('romeo', 10), 'and again after one has arrived')
  const large = transfers()
  let bytes = 0
  for (let n = 0; n < 40; n++) while (large.reserve(`sender${n}`, 64 * 1024)) bytes += 64 * 1024
  t.equal(bytes, 32 * MIB)
  t.ok(large.reserve('juliet', 32 * 1024), 'a sender with little has room')
  t.notOk(large.reserve('juliet', 1024))
  t.end()
})

t.test('notifications that wait for an app server are bounded, and those of others are not refused', t => {
  const servers = new AppServers()
  const never = (): Promise<void> => new Promise(() => {})
  let taken = 0
  while (taken < 20_000 && servers.run('push.evil.lit', never)) taken++
  t.equal(taken, 10_016)
  t.ok(servers.run('push.honest.lit', never))
  t.end()
})

t.test('what other servers have not acknowledged is bounded for each stream, in number and bytes, and over all', t => {
  const stanza = (size: number): QueuedStanza => {
    const element = parseElement(`<message><body>${'x'.repeat(size)}</body></message>`)
    const to = parseJid('juliet@evil.lit')
    return waiting(addressed(new Stanza('message', element, parseJid('romeo@montague.lit'), to), to), 0)
  }
  let isFree = true
  const home: ManagedHome = {
    clock: new FakeClock(), ping: () => true, mayWait: () => isFree, waits () {}, done () {},
  }
  const fill = (size: number): S2sAcks => {
    const acks = new S2sAcks(home, true)
    acks.countSent()
    for (let n = 0; n < 10_000 && acks.hasRoom; n++) acks.send(stanza(size))
    return acks
  }
  t.equal(fill(1).unacknowledged, 5000)
  const { bytes } = fill(100_000)
  t.ok(bytes >= 4 * MIB && bytes < 4.2 * MIB, `${bytes} bytes`)
  isFree = false
  const little = fill(10_000).bytes
  t.ok(little >= 64 * 1024 && little < 80 * 1024, `${little} bytes, while others leave no room`)
  t.end()
})

t.test('the dialback keys that are being checked are bounded for the callers of one network, and over all', async t => {
  const never = { outgoing: () => new Promise(() => {}) }
  const checks = new KeyChecks({
    isClosed: false, trouble: () => undefined, linkOf: () => never, idle () {},
  } as unknown as KeyChecksOwner)
  const refused: string[] = []
  const check = (n: number, caller: string): void => {
    checks.verify('a.lit', `n${n}.lit`, 'id', 'key', caller).catch((error: unknown) => { refused.push(`${caller} ${String(error)}`) })
  }
  for (let n = 0; n < 60; n++) check(n, '198.51.100.1')
  await Promise.resolve()
  t.equal(refused.splice(0).length, 10)
  for (let n = 0; n < 500; n++) check(n, `203.0.${Math.trunc(n / 200)}.${n % 200}`)
  await Promise.resolve()
  t.equal(refused.length, 50)
})
