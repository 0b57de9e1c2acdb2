/** Storage for an account and answers to it are bounded in bytes, and bounds that depend on each other fit together. */
import t from 'tap'
import { xml } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import { scenario, type Device, type Scenario } from '../scenario.js'
import { enable, managed } from '../managed.js'
import { SM } from '../stanzas.js'

const KIB = 1024
const MIB = 1024 * KIB
const text = (bytes: number): string => 'x'.repeat(bytes)

// ---- Unacknowledged stanzas --------------------------------------------------------------------------

for (const isSlow of [false, true]) {
  const how = isSlow ? 'reads its new connection slowly' : 'reads'
  t.test(`a device that leaves almost the whole bound unacknowledged, and ${how}, resumes and gets everything once and in order`, async t => {
    const s = await scenario(t, { modules: ['presence', 'message', 'ping', 'stream-management'], settings: { ping: { initialInterval: '1d' } } })
    const romeo = await s.device('romeo@montague.lit/orchard')
    const juliet = await s.device('juliet@capulet.lit/balcony')
    const id = await enable(juliet)
    await juliet.loses('connection')
    const count = 40 // of 200 KiB: more than 7.8 of the 8 MiB that stream-management.bytes allows
    for (let n = 0; n < count; n++) await romeo.says(`<message to='juliet@capulet.lit' type='chat' id='m${n}'><body>${text(200 * KIB)}</body></message>`)
    const { device } = await s.resume('juliet@capulet.lit', `<resume ${SM} previd='${id}' h='0'/>`, { isSlow })
    if (device === undefined) throw new Error('not resumed')
    if (isSlow) {
      t.ok(device.backlog > 0 && device.backlog < MIB, 'the server holds what the device does not read')
      await romeo.says("<message to='juliet@capulet.lit' type='chat' id='later'><body>and this</body></message>")
      await device.reads()
    }
    const messages = device.unread.filter(({ name }) => name === 'message').map(({ attrs }) => attrs['id'])
    t.same(messages, [...Array.from({ length: count }, (_, n) => `m${n}`), ...isSlow ? ['later'] : []])
    t.equal(device.closed, false)
    await device.says(`<a ${SM} h='${messages.length}'/>`)
  })
}

/** Binds devices that turn on stream management and acknowledge nothing. */
async function silent (s: Scenario, ...addresses: readonly string[]): Promise<readonly Device[]> {
  const devices: Device[] = []
  for (const address of addresses) devices.push(await managed(s, address))
  return devices
}

const juliet = parseJid('juliet@capulet.lit')
const MANAGED = ['presence', 'message', 'offline', 'ping', 'stream-management']

t.test('if an account exceeds its bound of unacknowledged stanzas, its session with the most ends and nothing is lost', async t => {
  const s = await scenario(t, {
    modules: MANAGED, settings: { ping: { initialInterval: '1d' }, 'stream-management': { bytes: '1MiB', accountBytes: '512KiB', ackTimeout: '1h' } },
  })
  const [balcony, garden] = await silent(s, 'juliet@capulet.lit/balcony', 'juliet@capulet.lit/garden')
  if (balcony === undefined || garden === undefined) throw new Error('no devices')
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(`<message to='${garden.jid.toString()}' type='chat' id='g'><body>${text(100 * KIB)}</body></message>`)
  for (let n = 0; n < 5; n++) await romeo.says(`<message to='${balcony.jid.toString()}' type='chat' id='b${n}'><body>${text(100 * KIB)}</body></message>`)
  t.equal(balcony.error?.condition, 'resource-constraint')
  t.equal(garden.closed, false, 'the device that holds little stays connected')
  t.same(romeo.unread, [], 'no message bounces')
  const has = [...garden.unread]
  const later = await s.device('juliet@capulet.lit/later', { presence: false })
  await later.says('<presence/>')
  const got = [...has, ...later.unread].flatMap(({ name, attrs }) => name === 'message' ? [attrs['id']] : [])
  t.same(got.sort(), ['b0', 'b1', 'b2', 'b3', 'b4', 'g'], 'the other device gets what the first did not acknowledge, or it waits')
})

t.test('a bound over all accounts takes from the account that holds the most, and from no other', async t => {
  const s = await scenario(t, {
    modules: MANAGED,
    settings: { ping: { initialInterval: '1d' }, offline: { bytes: '64MiB' }, 'stream-management': { bytes: '1MiB', totalBytes: '2MiB', ackTimeout: '1h' } },
  })
  const greedy = await silent(s, 'tybalt@capulet.lit/a', 'tybalt@capulet.lit/b')
  const modest = await silent(s, 'juliet@capulet.lit/a', 'nurse@capulet.lit/a', 'paris@capulet.lit/a')
  const romeo = await s.device('romeo@montague.lit/orchard')
  const send = async (to: Device, times: number): Promise<void> => {
    for (let n = 0; n < times; n++) await romeo.says(`<message to='${to.jid.toString()}' type='chat'><body>${text(100 * KIB)}</body></message>`)
  }
  for (const device of greedy) await send(device, 8)
  for (const device of modest) await send(device, 3)
  t.same(modest.map(({ closed }) => closed), [false, false, false])
  t.ok(greedy.some(({ closed }) => closed))
  t.same(romeo.unread, [])
})

t.test('the bound over all accounts counts the devices of all hosts together', async t => {
  const s = await scenario(t, {
    modules: MANAGED,
    settings: { ping: { initialInterval: '1d' }, offline: { bytes: '64MiB' }, 'stream-management': { bytes: '1MiB', totalBytes: '1MiB', ackTimeout: '1h' } },
  })
  const [tybalt] = await silent(s, 'tybalt@capulet.lit/a')
  const modest = await silent(s, 'mercutio@montague.lit/a', 'abram@montague.lit/a')
  const romeo = await s.device('romeo@montague.lit/orchard')
  const send = async (to: Device | undefined, times: number): Promise<void> => {
    for (let n = 0; n < times; n++) await romeo.says(`<message to='${to?.jid.toString() ?? ''}' type='chat'><body>${text(100 * KIB)}</body></message>`)
  }
  await send(tybalt, 7)
  for (const device of modest) await send(device, 2)
  t.equal(tybalt?.error?.condition, 'resource-constraint')
  t.same(modest.map(({ closed }) => closed), [false, false])
})

t.test('a long answer does not wait for another device of the account that acknowledges nothing', async t => {
  const s = await scenario(t, {
    modules: MANAGED, settings: { ping: { initialInterval: '1d' }, 'stream-management': { bytes: '1MiB', accountBytes: '1MiB', ackTimeout: '1h' } },
  })
  const [balcony, garden] = await silent(s, 'juliet@capulet.lit/balcony', 'juliet@capulet.lit/garden')
  if (balcony === undefined || garden === undefined) throw new Error('no devices')
  const romeo = await s.device('romeo@montague.lit/orchard')
  for (let n = 0; n < 7; n++) await romeo.says(`<message to='${balcony.jid.toString()}' type='chat'><body>${text(100 * KIB)}</body></message>`)
  const answer = Array.from({ length: 5 }, (_, n) => stanza(xml('message', { id: `a${n}` }, xml('body', {}, text(KIB))), juliet, garden.jid))
  t.equal(s.host('capulet.lit').outlet(juliet).draw(garden.session, answer), true)
  t.same(garden.unread.flatMap(({ attrs }) => attrs['id'] ?? []), ['a0', 'a1', 'a2', 'a3', 'a4'])
})

t.test('if inactive devices exceed a bound over all, the stanzas that wait for the one with the most are sent', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'csi'], settings: { csi: { totalBytes: '64KiB', bytes: '1MiB', stanzas: 10_000 } } })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const nurse = await s.device('nurse@capulet.lit/room')
  for (const device of [juliet, nurse]) await device.says("<inactive xmlns='urn:xmpp:csi:0'/>")
  const state = (to: Device, n: number): string =>
    `<presence to='${to.jid.toString()}' id='${n}'><status>${text(6 * KIB)}</status><show>away</show></presence>`
  await romeo.says(state(nurse, 0))
  const others = await Promise.all(Array.from({ length: 12 }, (_, n) => s.device(`friend${n}@montague.lit/orchard`)))
  for (const [n, other] of others.entries()) await other.says(state(juliet, n))
  t.ok(juliet.unread.length >= 9, 'juliet got what waited for her')
  t.same(nurse.unread, [], "the nurse's stanzas still wait")
})

t.test('the bound over all inactive devices counts all hosts together, also after a reload', async t => {
  const settings = { csi: { totalBytes: '64KiB', bytes: '1MiB', stanzas: 10_000 } }
  const s = await scenario(t, { modules: ['presence', 'message', 'csi'], settings })
  const nurse = await s.device('nurse@capulet.lit/room')
  const romeo = await s.device('romeo@montague.lit/orchard')
  for (const device of [nurse, romeo]) await device.says("<inactive xmlns='urn:xmpp:csi:0'/>")
  const speakers = await Promise.all(Array.from({ length: 12 }, (_, n) => s.device(`friend${n}@capulet.lit/orchard`)))
  const state = (to: Device): string => `<presence to='${to.jid.toString()}'><status>${text(6 * KIB)}</status></presence>`
  for (const speaker of speakers.slice(0, 2)) await speaker.says(state(romeo))
  for (const speaker of speakers.slice(0, 7)) await speaker.says(state(nurse))
  t.same(nurse.unread, [])
  await s.reload('csi', { ...settings.csi, stanzas: 9999 })
  for (const speaker of speakers.slice(7)) await speaker.says(state(nurse))
  t.ok(nurse.unread.length >= 8, 'the nurse, with the most, got what waited for her')
  t.same(romeo.unread, [], 'romeo, on another host, got nothing')
})
