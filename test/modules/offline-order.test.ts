/** While stored messages are delivered piece by piece, a new message comes after them (RFC 6121 §8.5.2). */
import t, { type Test } from 'tap'
import { enable } from '../managed.js'
import { scenario, type Device, type Scenario } from '../scenario.js'
import { SM } from '../stanzas.js'

const MODULES = ['presence', 'message', 'offline', 'carbons', 'ping', 'stream-management']
const SETTINGS = { offline: { bytes: '64MiB', keep: 1000 }, ping: { initialInterval: '1d' } }
const COUNT = 40
const message = (id: string, size = 1): string => `<message to='juliet@capulet.lit' type='chat' id='${id}'><body>${'x'.repeat(size)}</body></message>`
/** Of 200 KiB each: 8 MiB, twice as much as a device may leave unacknowledged before it gets more. */
const STORED = Array.from({ length: COUNT }, (_, n) => `m${n}`)

interface Play { readonly s: Scenario, readonly romeo: Device }

async function stored (t: Test, settings = SETTINGS): Promise<Play> {
  const s = await scenario(t, { modules: MODULES, settings })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  for (const id of STORED) await romeo.says(message(id, 200 * 1024))
  return { s, romeo }
}

/** Binds a device of juliet with stream management, which has acknowledged nothing of what it got. */
async function slow (s: Scenario, resource: string): Promise<{ readonly juliet: Device, readonly id: string }> {
  const juliet = await s.device(`juliet@capulet.lit/${resource}`, { presence: false })
  const id = await enable(juliet)
  await juliet.asks("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
  await juliet.says('<presence/>')
  await s.settled()
  return { juliet, id }
}

const ids = (device: Device): string[] => device.unread.flatMap(({ name, attrs }) => name === 'message' ? [String(attrs['id'])] : [])
/** The answer to the device's one request counts, too. */
const stanzas = (device: Device): number => 1 + device.unread.filter(({ name }) => ['message', 'presence', 'iq'].includes(name)).length
const acknowledges = async (device: Device): Promise<void> => { await device.says(`<a xmlns='urn:xmpp:sm:3' h='${stanzas(device)}'/>`) }
async function acknowledgesAll (s: Scenario, device: Device): Promise<void> {
  for (let n = 0; n < 10; n++) {
    await acknowledges(device)
    await s.settled()
  }
}

t.test('a new message comes after all stored ones, although the device acknowledges slowly', async t => {
  const { s, romeo } = await stored(t)
  const { juliet } = await slow(s, 'balcony')
  t.ok(ids(juliet).length < COUNT, 'the rest waits for the device')
  await romeo.says(message('new1'))
  await acknowledges(juliet)
  await romeo.says(message('new2'), "<message to='juliet@capulet.lit/balcony' type='chat' id='new3'><body>x</body></message>")
  await acknowledgesAll(s, juliet)
  await romeo.says(message('new4'))
  t.same(ids(juliet), [...STORED, 'new1', 'new2', 'new3', 'new4'])
  await juliet.loses('connection')
  await s.pass('1h')
  const next = await s.device('juliet@capulet.lit/chamber', { presence: false })
  await next.says('<presence/>')
  t.same(ids(next), ['new4'], 'only the last message was not acknowledged')
  t.same(romeo.unread, [])
})

t.test('a new message comes after all stored ones, although the device reads slowly', async t => {
  const { s, romeo } = await stored(t)
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  juliet.stopsReading()
  await juliet.says('<presence/>')
  await romeo.says(message('new'))
  for (let n = 0; n < 20; n++) await juliet.reads()
  t.same(ids(juliet), [...STORED, 'new'])
})

t.test('a chat state is never stored, and does not wait for stored messages', async t => {
  const { s, romeo } = await stored(t)
  const { juliet } = await slow(s, 'balcony')
  await romeo.says("<message to='juliet@capulet.lit' type='chat' id='state'><active xmlns='http://jabber.org/protocol/chatstates'/></message>")
  t.equal(ids(juliet).at(-1), 'state')
})

t.test('each device gets new messages once, if a second one gets the rest of the stored ones', async t => {
  const { s, romeo } = await stored(t)
  const { juliet } = await slow(s, 'balcony')
  const first = ids(juliet).length
  await romeo.says(message('before'))
  const next = await s.device('juliet@capulet.lit/chamber', { presence: false })
  next.stopsReading()
  await next.says('<presence/>')
  await romeo.says(message('both'))
  for (let n = 0; n < 20; n++) await next.reads()
  await romeo.says(message('after'))
  await next.reads()
  t.same(ids(next), [...STORED.slice(first), 'both', 'after'], 'the new device gets the stored messages, not the one that the other device waits for')
  t.same(ids(juliet), ['before', 'both', 'after'])
})

t.test('if the device that gets the stored messages ends, another device gets the rest, before new messages', async t => {
  const { s, romeo } = await stored(t)
  const { juliet } = await slow(s, 'balcony')
  const next = await s.device('juliet@capulet.lit/chamber', { presence: false })
  next.stopsReading()
  await next.says('<presence/>')
  await romeo.says(message('new'))
  await acknowledges(juliet)
  t.equal(ids(juliet).includes('new'), true, 'the first device waits for nothing')
  await next.loses('connection')
  await acknowledgesAll(s, juliet)
  const got = ids(juliet)
  t.equal(got[0], 'new')
  t.ok(got.length > 5, 'the rest came')
  t.same(got.slice(1), STORED.slice(1 - got.length), 'each of them once, and in order')
})

t.test('after a restart, new messages come after those that are still stored', async t => {
  const { s, romeo } = await stored(t)
  const { juliet, id } = await slow(s, 'balcony')
  const first = ids(juliet).length
  await romeo.says(message('before'))
  await s.server.stop()
  const restarted = await scenario(t, { modules: MODULES, settings: SETTINGS, hosts: ['capulet.lit', 'montague.lit'], storage: s.storage, ids: 'next' })
  const paris = await restarted.device('romeo@montague.lit/hall')
  await paris.says(message('after'))
  const { device } = await restarted.resume('juliet@capulet.lit', `<resume ${SM} previd='${id}' h='${stanzas(juliet)}'/>`)
  if (device === undefined) throw new Error('not resumed')
  const before = stanzas(juliet)
  for (let n = 0; n < 10; n++) {
    await device.says(`<a xmlns='urn:xmpp:sm:3' h='${before + stanzas(device) - 1}'/>`)
    await restarted.settled()
  }
  t.same(ids(device), [...STORED.slice(first), 'before', 'after'])
})

for (const [end, title] of [
  ['stopped', 'after the server was stopped, each device gets the messages that wait for it, and none that it has'],
  ['killed', 'after the server was killed, each device gets the messages that wait for it, and none that it has'],
] as const) {
  t.test(title, async t => {
    const { s, romeo } = await stored(t)
    const all = [...STORED, ...Array.from({ length: 30 }, (_, n) => `more${n}`)]
    for (const id of all.slice(COUNT)) await romeo.says(message(id, 200 * 1024))
    const balcony = await slow(s, 'balcony')
    const first = ids(balcony.juliet).length
    const before = stanzas(balcony.juliet) - 1
    balcony.juliet.forget()
    const chamber = await slow(s, 'chamber')
    const second = ids(chamber.juliet).length
    t.ok(second > 0 && first + second < all.length, 'the second device gets more of them, and the rest waits for it')
    await romeo.says(message('new'))
    t.equal(ids(balcony.juliet).at(-1), 'new', 'the first device waits for nothing')
    t.notOk(ids(chamber.juliet).includes('new'))
    if (end === 'stopped') await s.server.stop()
    const storage = end === 'stopped' ? s.storage : s.storage.remains()
    const next = await scenario(t, { modules: MODULES, settings: SETTINGS, hosts: ['capulet.lit', 'montague.lit'], storage, ids: 'next' })
    const got: string[][] = []
    for (const [{ juliet, id }, more] of [[balcony, before], [chamber, 0]] as const) {
      const h = more + stanzas(juliet)
      const { device } = await next.resume('juliet@capulet.lit', `<resume ${SM} previd='${id}' h='${h}'/>`)
      if (device === undefined) throw new Error('not resumed')
      for (let n = 0; n < 10; n++) {
        await device.says(`<a xmlns='urn:xmpp:sm:3' h='${h + stanzas(device) - 1}'/>`)
        await next.settled()
      }
      got.push(ids(device))
    }
    t.same(got, [all.slice(first + second), ['new']])
    t.same((await next.traces('juliet@capulet.lit')).filter(store => store.startsWith('offline')), [], 'and nothing stays stored')
  })
}

t.test('after a reload of the module, new messages come after those that are still stored', async t => {
  const { s, romeo } = await stored(t)
  const { juliet } = await slow(s, 'balcony')
  await romeo.says(message('before'))
  await s.reload('offline')
  await romeo.says(message('after'))
  await acknowledgesAll(s, juliet)
  t.same(ids(juliet), [...STORED, 'before', 'after'])
})

t.test('debts of devices that are not there after a restart are forgotten', async t => {
  const { s, romeo } = await stored(t)
  await s.device('juliet@capulet.lit/balcony', { presence: false })
  const juliet = await s.device('juliet@capulet.lit/chamber', { presence: false })
  juliet.stopsReading()
  await juliet.says('<presence/>')
  await romeo.says(message('new'))
  t.ok((await s.traces('juliet@capulet.lit')).includes('offline.debts'))
  const next = await scenario(t, { modules: MODULES, settings: SETTINGS, hosts: ['capulet.lit', 'montague.lit'], storage: s.storage.remains(), ids: 'next' })
  await next.settled()
  t.same(await next.traces('juliet@capulet.lit'), ['offline.messages'])
  const again = await next.device('juliet@capulet.lit/chamber', { presence: false })
  await again.says('<presence/>')
  for (let n = 0; n < 20; n++) await next.settled()
  t.equal(ids(again).at(-1), 'new')
})

t.test('no message overtakes stored ones, also if the store is full; a device that takes far too little loses its session', async t => {
  const settings = { ...SETTINGS, offline: { bytes: '9MiB', keep: 1000 } }
  const { s, romeo } = await stored(t, settings)
  const { juliet } = await slow(s, 'balcony')
  const later = Array.from({ length: 30 }, (_, n) => `new${n}`)
  for (const id of later) await romeo.says(message(id, 200 * 1024))
  await acknowledgesAll(s, juliet)
  t.same(ids(juliet), [...STORED, ...later])
  t.same(romeo.unread, [])
  const none = await stored(t, settings)
  const deaf = await slow(none.s, 'balcony')
  for (let n = 0; n < 90; n++) await none.romeo.says(message(`flood${n}`, 200 * 1024))
  t.ok(deaf.juliet.closed)
  t.match(deaf.juliet.error, { condition: 'resource-constraint' })
  const wasGot = ids(deaf.juliet)
  t.same(wasGot, STORED.slice(0, wasGot.length), 'and got nothing out of order')
  t.ok(none.romeo.unread.length > 0 && none.romeo.unread.every(({ attrs }) => attrs['type'] === 'error'), 'what has no room is refused, as for a device that is not there')
})
