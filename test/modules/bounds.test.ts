/** What may be kept, and answered, is bounded in bytes; and bounds that depend on each other fit. */
import t from 'tap'
import { scenario, type Device, type Scenario } from '../scenario.js'

const SM = "xmlns='urn:xmpp:sm:3'"
const KIB = 1024
const MIB = 1024 * KIB
const text = (bytes: number): string => 'x'.repeat(bytes)

// ---- What is not acknowledged ------------------------------------------------------------------------

for (const isSlow of [false, true]) {
  const how = isSlow ? 'reads its new connection slowly' : 'reads'
  t.test(`a device that leaves almost all unacknowledged that it may, and ${how}, resumes and gets everything, once and in order`, async t => {
    const s = await scenario(t, { modules: ['presence', 'message', 'ping', 'stream-management'], settings: { ping: { silence: '1d' } } })
    const romeo = await s.device('romeo@montague.lit/orchard')
    const juliet = await s.device('juliet@capulet.lit/balcony')
    await juliet.says(`<enable ${SM} resume='true'/>`)
    const { id } = (await juliet.gets(`<enabled ${SM}/>`)).attrs
    await juliet.loses('connection')
    const count = 40 // of 200 KiB: more than 7.8 of the 8 MiB that stream-management.bytes allows
    for (let n = 0; n < count; n++) await romeo.says(`<message to='juliet@capulet.lit' type='chat' id='m${n}'><body>${text(200 * KIB)}</body></message>`)
    const { device } = await s.resume('juliet@capulet.lit', `<resume ${SM} previd='${id as string}' h='0'/>`, { isSlow })
    if (device === undefined) throw new Error('not resumed')
    if (isSlow) {
      t.ok(device.backlog > 0 && device.backlog < MIB, 'the server keeps what the device does not read')
      await romeo.says("<message to='juliet@capulet.lit' type='chat' id='later'><body>and this</body></message>")
      await device.reads()
    }
    const messages = device.unread.filter(({ name }) => name === 'message').map(({ attrs }) => attrs['id'])
    t.same(messages, [...Array.from({ length: count }, (_, n) => `m${n}`), ...isSlow ? ['later'] : []])
    t.equal(device.closed, false)
    await device.says(`<a ${SM} h='${messages.length}'/>`)
  })
}

/** Devices that have stream management on and acknowledge nothing. */
async function silent (s: Scenario, ...addresses: readonly string[]): Promise<readonly Device[]> {
  const devices: Device[] = []
  for (const address of addresses) {
    const device = await s.device(address)
    await device.says(`<enable ${SM} resume='true'/>`)
    await device.gets(`<enabled ${SM}/>`)
    devices.push(device)
  }
  return devices
}

const MANAGED = ['presence', 'message', 'offline', 'ping', 'stream-management']

t.test('the devices of an account leave no more unacknowledged than the account may: the session with most ends, and nothing is lost', async t => {
  const s = await scenario(t, {
    modules: MANAGED, settings: { ping: { silence: '1d' }, 'stream-management': { bytes: '1MiB', account: '512KiB', patience: '1h' } },
  })
  const [balcony, garden] = await silent(s, 'juliet@capulet.lit/balcony', 'juliet@capulet.lit/garden')
  if (balcony === undefined || garden === undefined) throw new Error('no devices')
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(`<message to='${garden.jid.toString()}' type='chat' id='g'><body>${text(100 * KIB)}</body></message>`)
  for (let n = 0; n < 5; n++) await romeo.says(`<message to='${balcony.jid.toString()}' type='chat' id='b${n}'><body>${text(100 * KIB)}</body></message>`)
  t.equal(balcony.error?.condition, 'resource-constraint')
  t.equal(garden.closed, false, 'the device that holds little goes on')
  t.same(romeo.unread, [], 'no message comes back')
  const has = [...garden.unread]
  const later = await s.device('juliet@capulet.lit/later', { presence: false })
  await later.says('<presence/>')
  const got = [...has, ...later.unread].flatMap(({ name, attrs }) => name === 'message' ? [attrs['id']] : [])
  t.same(got.sort(), ['b0', 'b1', 'b2', 'b3', 'b4', 'g'], 'what the one did not confirm the other gets, or waits')
})

t.test('a bound over all accounts takes from the account that holds most, and from nobody else', async t => {
  const s = await scenario(t, {
    modules: MANAGED,
    settings: { ping: { silence: '1d' }, offline: { bytes: '64MiB' }, 'stream-management': { bytes: '1MiB', all: '2MiB', patience: '1h' } },
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

t.test('what waits for devices that nobody looks at is bounded over all: what waits for the one with most is sent', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'csi'], settings: { csi: { all: '64KiB', bytes: '1MiB', stanzas: 10_000 } } })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const nurse = await s.device('nurse@capulet.lit/room')
  for (const device of [juliet, nurse]) await device.says("<inactive xmlns='urn:xmpp:csi:0'/>")
  const state = (to: Device, n: number): string =>
    `<presence to='${to.jid.toString()}' id='${n}'><status>${text(6 * KIB)}</status><show>away</show></presence>`
  await romeo.says(state(nurse, 0))
  const others = await Promise.all(Array.from({ length: 12 }, (_, n) => s.device(`friend${n}@montague.lit/orchard`)))
  for (const [n, other] of others.entries()) await other.says(state(juliet, n))
  t.ok(juliet.unread.length >= 9, 'what waited for juliet has come')
  t.same(nurse.unread, [], 'what waits for the nurse waits on')
})
