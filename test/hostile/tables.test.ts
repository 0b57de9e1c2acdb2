/** Single tables and queues, each filled by its own interface, because a real attack would take too long. */
import t from 'tap'
import { Throttle } from '../../lib/auth/throttle.js'
import { PendingRequests } from '../../lib/host/iq.js'
import { Lanes } from '../../lib/host/pipeline/lanes.js'
import { TransferRoom } from '../../lib/host/pipeline/transfer-room.js'
import { S2sAcks, type ManagedHome } from '../../lib/s2s/acks/acks.js'
import { waiting, type QueuedStanza } from '../../lib/s2s/ground/queued-stanza.js'
import type { FederationContext } from '../../lib/s2s/queue/context.js'
import { DomainQueues } from '../../lib/s2s/queue/domain-queues.js'
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
  const KIB = 1024
  const fill = (room: TransferRoom, sender: readonly string[], bytes: number): number => {
    let rows = 0
    while (room.take(sender, bytes) === 'taken') rows++
    return rows
  }
  const many = new TransferRoom()
  t.equal(fill(many, ['romeo'], 10), 1000)
  t.equal(many.take(['romeo'], 10), 'later')
  many.giveBack(['romeo'], 10)
  t.equal(many.take(['romeo'], 10), 'taken', 'and again after one has arrived')
  const large = new TransferRoom()
  t.equal(fill(large, ['romeo'], 64 * KIB), 16, '1 MiB of one sender')
  let all = 16
  for (let n = 0; n < 40; n++) all += fill(large, [`sender${n}`], 64 * KIB)
  t.equal(all * 64 * KIB, 32 * MIB)
  t.equal(large.take(['juliet'], 32 * KIB), 'taken', 'a sender with little has room')
  t.equal(large.take(['juliet'], KIB), 'later')
  t.end()
})

t.test('a user of another domain fills half of the room for stanzas on their way, and the domain as much as one sender', t => {
  for (const [bytes, most] of [[10, 1000], [16 * 1024, 64]] as const) {
    const room = new TransferRoom()
    const fill = (user: string): number => {
      let rows = 0
      while (room.take(['evil.lit', user], bytes) === 'taken') rows++
      return rows
    }
    t.equal(fill('spam'), most / 2)
    t.equal(room.take(['evil.lit', 'spam'], bytes), 'never')
    t.equal(fill('rosaline'), most / 4)
    let others = 0
    for (let n = 0; n < 1000; n++) others += fill(`x${n}`)
    t.equal(others, most / 4)
    t.equal(room.take(['evil.lit', 'last'], bytes), 'later', 'all of its users wait')
    t.equal(room.take(['honest.lit', 'paris'], bytes), 'taken')
  }
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

t.test('what other servers have not acknowledged leaves no room once all streams together hold 64 MiB', t => {
  const clock = new FakeClock()
  const queues = new DomainQueues({ clock } as unknown as FederationContext, () => 0.5)
  queues.waits(64 * MIB - 1000)
  t.ok(queues.mayWait(1000))
  t.notOk(queues.mayWait(1001))
  t.end()
})

t.test('the stanzas that wait for accounts are bounded for each account, for each sender and site, and over all', t => {
  const lanes = new Lanes({ storage: { after () {}, settled: 0, submitted: 0 }, turns: undefined, defect () {} })
  const never = new Promise<void>(() => {})
  const fill = (account: string, sender: (n: number) => readonly string[], senders = 1): number => {
    if (!lanes.isBusy(account)) lanes.begin(account, never)
    let bytes = 0
    for (let n = 0; n < senders; n++) {
      while (lanes.after(account, { bytes: 63 * 1024, sender: sender(n) }, () => {})) bytes += 64 * 1024
    }
    return bytes
  }
  const evil = (n: number): readonly string[] => ['evil.lit', `u${n}@evil.lit`]
  t.equal(fill('romeo', evil), 2 * MIB, 'one user of another domain, for one account')
  t.equal(fill('romeo', n => evil(n + 1), 50), 2 * MIB, 'all other users of it')
  let flood = 4 * MIB
  for (let n = 0; n < 50; n++) flood += fill(`account${n}`, evil, 50)
  t.ok(flood > 32 * MIB && flood < 45 * MIB, `${flood} bytes of one domain for many accounts, each of which has 256 KiB`)
  const honest = fill('romeo', () => ['honest.lit', 'u@honest.lit'])
  t.ok(honest >= MIB, `${honest} bytes of another domain for the same account`)
  let all = flood + honest
  for (let n = 0; n < 50; n++) all += fill(`account${n}`, m => [`d${n}-${m}.lit`], 20)
  t.ok(all > 60 * MIB && all < 72 * MIB, `${all} bytes of all`)
  t.equal(fill('modest', () => ['last.lit']), 256 * 1024, 'an account with little has room')
  t.end()
})

t.test('the networks, clients and failures that logins are measured by are bounded', t => {
  const throttle = new Throttle({ clock: new FakeClock(), delay: 1000, forget: 600_000, entries: 10, free: 0 })
  const address = (n: number): string => `203.0.${Math.trunc(n / 200)}.${n % 200}`
  const delay = (account: string, n: number): number => throttle.delayFor({ account, address: address(n) })
  for (let n = 0; n < 11; n++) throttle.failed({ account: `a${n}`, address: address(n) })
  t.same([delay('other', 0), delay('other', 10)], [0, 1000], 'networks in which logins have failed')
  // One who has logged in from a network is not delayed by failures of others there.
  for (let n = 0; n < 17; n++) throttle.succeeded({ account: 'juliet', address: address(n) })
  throttle.failed({ account: 'mallory', address: address(0) })
  throttle.failed({ account: 'mallory', address: address(16) })
  t.same([delay('juliet', 0), delay('juliet', 16)], [1000, 0], 'networks of one account')
  const long = 'x'.repeat(1000)
  for (let n = 0; n < 5000; n++) throttle.succeeded({ account: `${long}${n}`, address: address(16) })
  t.same([delay(`${long}0`, 16), delay(`${long}4999`, 16)], [1000, 0], 'characters of all accounts')
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
