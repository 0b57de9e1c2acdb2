/** The bounds of one session, and of commands: each is reached by itself, while all others are far away. */
import t from 'tap'
import { Drawing, type Recipient } from '../../lib/host/drawing.js'
import { Input } from '../../lib/host/input.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, Stanza, type Addressed } from '../../lib/xmpp/stanza.js'
import { Runs } from '../../modules/ad-hoc-commands/runs.js'
import { FakeClock } from '../fake-clock.js'
import { managed } from '../managed.js'
import { parseElement } from '../parse.js'
import { scenario } from '../scenario.js'

const KIB = 1024
const MIB = 1024 * KIB
const ROMEO = 'romeo@montague.lit/orchard'
const JULIET = 'juliet@capulet.lit/balcony'
const text = (bytes: number): string => 'x'.repeat(bytes)

t.test('the bytes that a session has not acknowledged are bounded by themselves, and no message is lost', async t => {
  const s = await scenario(t, {
    modules: ['presence', 'message', 'offline', 'ping', 'stream-management'],
    settings: { ping: { initialInterval: '1d' }, 'stream-management': { bytes: '128KiB', stanzas: 10_000, ackTimeout: '1h' } },
  })
  const juliet = await managed(s, JULIET)
  const romeo = await s.device(ROMEO)
  const send = async (n: number): Promise<void> => {
    await romeo.says(`<message to='juliet@capulet.lit' type='chat' id='m${n}'><body>${text(20 * KIB)}</body></message>`)
  }
  for (let n = 0; n < 6; n++) await send(n)
  t.equal(juliet.closed, false)
  for (let n = 6; n < 9; n++) await send(n)
  t.equal(juliet.error?.condition, 'resource-constraint')
  const later = await s.device('juliet@capulet.lit/later', { presence: false })
  await later.says('<presence/>')
  const got = later.unread.flatMap(({ name, attrs }) => name === 'message' ? [attrs['id']] : [])
  t.same(got, Array.from({ length: 9 }, (_, n) => `m${n}`))
})

t.test('the bytes that wait for an inactive device are bounded by themselves', async t => {
  const s = await scenario(t, {
    modules: ['presence', 'message', 'csi'], settings: { csi: { bytes: '64KiB', stanzas: 10_000, totalBytes: '64MiB' } },
  })
  const juliet = await s.device(JULIET)
  await juliet.says("<inactive xmlns='urn:xmpp:csi:0'/>")
  const speak = async (n: number): Promise<void> => {
    const friend = await s.device(`friend${n}@montague.lit/x`)
    await friend.says(`<presence to='${JULIET}'><status>${text(10 * KIB)}</status></presence>`)
  }
  for (let n = 0; n < 6; n++) await speak(n)
  t.same(juliet.unread, [])
  await speak(6)
  t.equal(juliet.unread.length, 7)
})

t.test('the stanzas of a device that wait for their turn are bounded in number, and in bytes', async t => {
  const never = new Promise<void>(() => {})
  const fills = (bytes: number): number => {
    const input = new Input({ defect () {}, failed () {} }, undefined)
    input.waits(never)
    for (let n = 1; n < 10_000; n++) if (input.after(bytes, () => {}) instanceof Promise) return n
    return Infinity
  }
  t.equal(fills(1), 100, 'stanzas')
  t.equal(fills(16 * KIB), 4, 'stanzas of 16 KiB')
})

t.test('the bytes that wait after a long answer are bounded: then the answer ends', async t => {
  const message = (to: string, bytes: number): Addressed => {
    const jid = parseJid(to)
    return addressed(new Stanza('message', parseElement(`<message><body>${text(bytes)}</body></message>`), parseJid(ROMEO), jid), jid)
  }
  let drained = (): void => {}
  const slow: Recipient = {
    isGone: false, hasRoom: false, waits: () => new Promise(resolve => { drained = () => { resolve(true) } }),
  }
  let isStopped = false
  function * pieces (): Generator<Addressed> {
    try {
      for (;;) yield message(JULIET, 1)
    } finally {
      isStopped = true
    }
  }
  const sent: Addressed[] = []
  const drawing = new Drawing(slow, pieces(), stanza => { sent.push(stanza) })
  const over = drawing.run()
  for (let n = 0; n < 10; n++) drawing.follow(message(JULIET, 100 * KIB))
  drained()
  await new Promise(resolve => { setImmediate(resolve) })
  drawing.follow(message(JULIET, 100 * KIB))
  drained()
  t.equal(await Promise.race([over, new Promise(resolve => { setImmediate(resolve, 'still waits') })]), false)
  t.same(sent, [])
  t.equal(drawing.take().length, 11, 'what waited is sent then')
  t.equal(isStopped, false, 'no piece was taken')
})

t.test('the commands that run are bounded in bytes for one account, and over all', t => {
  let ids = 0
  const runs = new Runs(new FakeClock(), { next: () => `id${++ids}` }, asker => asker.bare.toString())
  const host = parseJid('capulet.lit')
  const start = (account: number, bytes: number): string => {
    const run = { ...runs.make('n', parseJid(`u${account}@capulet.lit/x`), host), bytes }
    runs.keep(run)
    return run.id
  }
  const modest = start(0, 0)
  for (let n = 0; n < 100; n++) start(1, 0)
  t.equal(runs.size, 17, '16 of one account')
  for (let n = 0; n < 4; n++) start(2, 30 * KIB)
  t.equal(runs.size, 18, 'one that is large')
  for (let account = 3; account < 300; account++) for (let n = 0; n < 16; n++) start(account, 0)
  t.ok(runs.bytes <= 16 * MIB, `${runs.bytes} bytes`)
  t.ok(runs.bytes > 15 * MIB)
  t.equal(runs.find(modest, 'n', parseJid('u0@capulet.lit/x'), host).id, modest, 'an account with little loses nothing')
  t.end()
})
