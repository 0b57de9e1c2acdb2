import fc from 'fast-check'
import t, { type Test } from 'tap'
import { heartbeats } from '../../lib/host/services.js'
import { HostNetwork, Networks } from '../../modules/ping/networks.js'
import { neighbourhoodOf } from '../../lib/base/network.js'
import { scenario, type Arriving, type Device, type Scenario } from '../scenario.js'
import { SM } from '../stanzas.js'

const HOST = 'montague.lit'
const MODULES = ['presence', 'message', 'offline', 'stream-management', 'csi', 'ping']
const SECOND = 1000
const MINUTE = 60 * SECOND
const DAY = 24 * 60 * MINUTE
const BOUNDS = { shortest: MINUTE, first: 4 * MINUTE, longest: 30 * MINUTE }

interface Settings { readonly [module: string]: Readonly<Record<string, unknown>> }

const stage = async (t: Test, settings: Settings = {}): Promise<Scenario> =>
  await scenario(t, { modules: MODULES, settings })

/** How long a device at this address may be silent before it is pinged, in seconds. */
const silenceAt = (s: Scenario, address: string): number =>
  (s.host(HOST).service(heartbeats)?.silenceAt(address) ?? NaN) / SECOND

/** Answers what the device got: pings, and `<r/>` of stream management. Returns the number of pings. */
async function answers (device: Device): Promise<number> {
  const asked = device.unread.filter(({ name, attrs, children }) => name === 'r' || name === 'iq' && attrs['type'] === 'get' && children.length === 1)
  const stanzas = device.unread.filter(({ name }) => name !== 'r').length
  heard.set(device, (heard.get(device) ?? 0) + stanzas)
  device.forget()
  for (const { name, attrs } of asked) {
    await device.says(name === 'r' ? `<a ${SM} h='${heard.get(device) ?? 0}'/>` : `<iq type='result' id='${String(attrs['id'])}' to='${HOST}'/>`)
  }
  return asked.filter(({ name }) => name === 'iq').length
}
const heard = new Map<Device, number>()

/** Lets `ms` milliseconds pass and answers every ping. Returns the number of pings. */
async function lives (s: Scenario, ms: number, ...devices: readonly Device[]): Promise<number> {
  let pings = 0
  for (let left = ms; left > 0; left -= 5 * SECOND) {
    await s.pass('5s')
    for (const device of devices) pings += await answers(device)
  }
  return pings
}

// ---- Learning about a network ---------------------------------------------------------------------

/**
 * True if a NAT with a timeout of `seconds` is learnt within ten connections, and the interval then stays within
 * bounds.
 */
function isLearnt (seconds: number, others: readonly number[]): boolean {
  const most = seconds * SECOND
  const network = new HostNetwork('192.0.2.0/24', BOUNDS)
  const noise = [...others]
  let [now, connections, late] = [0, 1, 0]
  /** One silence of a device, which reconnects if it was cut off. */
  const silence = (): boolean => {
    // Between them, other devices are silent for all lengths until something is sent to them. They survive the silences
    // that the NAT allows.
    const other = (noise.pop() ?? 0) * SECOND
    if (other <= most && other <= network.interval) network.survived(other)
    const length = network.next(now) ?? network.interval
    now += length
    if (length <= most) network.survived(length)
    else network.died(length, now)
    return length <= most
  }
  // Until no more is tried: then everything is learnt.
  for (let tries = 0; tries < 100; tries++) if (!silence()) connections++
  const began = now
  for (let tries = 0; tries < 300; tries++) {
    if (network.interval < 0.7 * most || network.interval > most) return false
    if (!silence()) late++
  }
  return connections <= 10 && late <= (now - began) / DAY + 1
}

t.test('a NAT with a timeout of N seconds is learnt within ten connections: then the interval stays between 0.7 N and N', t => {
  const [least, most] = [BOUNDS.shortest / SECOND, BOUNDS.longest / SECOND]
  const wrong = Array.from({ length: most - least + 1 }, (_, n) => least + n).filter(seconds => !isLearnt(seconds, []))
  t.same(wrong, [])
  const others = fc.array(fc.integer({ min: 0, max: 1900 }), { maxLength: 300 })
  fc.assert(fc.property(fc.integer({ min: least, max: most }), others, isLearnt), { numRuns: 300, seed: 42 })
  t.end()
})

t.test('after a silence that a connection survived, 30 seconds more are tried; after a lost connection, the last good one again', t => {
  const network = new HostNetwork('x', BOUNDS)
  t.equal(network.next(0), undefined, 'a silence that was never survived is tried first')
  network.survived(4 * MINUTE)
  t.equal(network.next(0), 4.5 * MINUTE)
  t.equal(network.interval, 4 * MINUTE)
  network.survived(4.5 * MINUTE)
  t.equal(network.interval, 4.5 * MINUTE)
  t.equal(network.died(5 * MINUTE, 0), false)
  t.equal(network.interval, 4.5 * MINUTE)
  t.equal(network.next(DAY - 1), undefined, 'no other try within a day')
  t.equal(network.next(DAY), 5 * MINUTE)
  network.survived(30 * MINUTE)
  t.equal(network.next(DAY), undefined, 'the interval stays within its bounds')
  network.survived(2 * DAY)
  t.equal(network.interval, 30 * MINUTE)
  t.end()
})

t.test('one lost connection among others that live proves nothing; two do, unless silences are survived between them or a day passes', t => {
  const good = (): HostNetwork => {
    const network = new HostNetwork('x', BOUNDS)
    network.survived(20 * MINUTE)
    return network
  }
  const one = good()
  t.equal(one.died(20 * MINUTE, 0), false)
  t.equal(one.interval, 20 * MINUTE)
  one.survived(20 * MINUTE)
  t.equal(one.died(20 * MINUTE, 1), false, 'the survived silence makes up for the loss')
  t.equal(one.died(19 * MINUTE, 2), true)
  t.equal(one.interval, 10 * MINUTE)
  t.equal(one.next(3), undefined, 'a first loss')
  one.survived(10 * MINUTE)
  t.equal(one.next(3), 10.5 * MINUTE)
  const late = good()
  late.died(20 * MINUTE, 0)
  t.equal(late.died(20 * MINUTE, DAY), false, 'a day later')
  const short = good()
  for (let n = 0; n < 10; n++) t.equal(short.died(MINUTE - 1, n), false, 'a silence below the minimum interval')
  const fresh = new HostNetwork('x', BOUNDS)
  t.equal(fresh.died(4 * MINUTE, 0), true, 'a silence that was never survived')
  t.equal(fresh.interval, 2 * MINUTE)
  const doubtful = good()
  doubtful.fell(20 * MINUTE, 0)
  t.equal(doubtful.next(1), 20.5 * MINUTE)
  doubtful.fell(20.5 * MINUTE, 1)
  t.equal(doubtful.next(2), undefined, 'nothing is tried before the loss is confirmed')
  t.equal(doubtful.next(2 + 60 * MINUTE), 20.5 * MINUTE)
  const lucky = good()
  lucky.died(25 * MINUTE, 0)
  t.equal(lucky.next(1), 20.5 * MINUTE)
  lucky.survived(26 * MINUTE)
  t.equal(lucky.next(1), 26.5 * MINUTE, 'the silence was survived after all')
  t.end()
})

t.test('neighbourhoods are /24 and /48, and their number is bounded', t => {
  const rows: readonly (readonly [string, string])[] = [
    ['192.0.2.77', '192.0.2.0/24'], ['::ffff:192.0.2.77', '192.0.2.0/24'], ['2001:db8:1:2::3', '2001:db8:1::/48'], ['fe80::1%eth0', 'fe80:0:0::/48'], ['', ''], ['x', 'x'],
  ]
  for (const [address, network] of rows) t.equal(neighbourhoodOf(address), network)
  const networks = new Networks(BOUNDS, 3)
  networks.at('192.0.2.1').survived(20 * MINUTE)
  t.equal(networks.at('192.0.2.200').interval, 20 * MINUTE)
  t.equal(networks.at('2001:db8:1:2::3'), networks.at('2001:db8:1:ffff::1'))
  t.not(networks.at('2001:db8:1::3'), networks.at('2001:db8:2::3'))
  for (let n = 0; n < 100; n++) networks.at(`198.51.${n}.1`)
  t.equal(networks.size, 3)
  t.equal(networks.at('192.0.2.1').interval, 4 * MINUTE, 'the neighbourhood that was not used for the longest time is forgotten')
  t.end()
})

// ---- Scenes ---------------------------------------------------------------------------------------

const NATS = [[60, false], [90, true], [130, false], [280, true], [600, false], [899, false]] as const
for (const [nat, resumes] of NATS) {
  t.test(`a device behind a NAT with a timeout of ${nat} s${resumes ? ', which resumes its session,' : ''} is cut off at most ten times`, async t => {
    const s = await stage(t)
    const where = { address: '192.0.2.9', nat: `${nat}s` } as const satisfies Arriving
    let id = ''
    let connections = 0
    const comes = async (before?: Device): Promise<Device> => {
      connections++
      if (id !== '' && before !== undefined) {
        const h = heard.get(before) ?? 0
        const resumed = await s.resume(`romeo@${HOST}`, `<resume ${SM} previd='${id}' h='${h}'/>`, where)
        if (resumed.device === undefined) throw new Error(resumed.answer.toString())
        heard.set(resumed.device, h)
        return resumed.device
      }
      const device = await s.device(`romeo@${HOST}/orchard`, where)
      if (!resumes) return device
      await device.says(`<enable ${SM} resume='true'/>`)
      id = String((await device.gets(`<enabled ${SM}/>`)).attrs['id'])
      heard.set(device, 0)
      return device
    }
    let device = await comes()
    for (let hours = 0; hours < 8 && connections < 20; hours += 1 / 60) {
      await lives(s, MINUTE, device)
      if (device.isDark) device = await comes(device)
    }
    t.ok(connections <= 10, `${connections} connections`)
    const learnt = silenceAt(s, '192.0.2.1')
    t.ok(learnt >= 0.7 * nat && learnt <= nat, `learnt: ${learnt} s`)
    const before = connections
    for (let hours = 0; hours < 4; hours += 1 / 60) {
      await lives(s, MINUTE, device)
      if (device.isDark) device = await comes(device)
    }
    t.equal(connections, before, 'from then on the connection lives')
  })
}

t.test('one device of a neighbourhood at a time tries a longer silence, and the result holds for all', async t => {
  const s = await stage(t)
  const romeo = await s.device(`romeo@${HOST}/orchard`, { address: '2001:db8:1:2::3', nat: '330s' })
  const juliet = await s.device(`juliet@${HOST}/balcony`, { address: '2001:db8:1:3::4', nat: '330s' })
  const paris = await s.device(`paris@${HOST}/street`, { address: '2001:db8:2:3::4', nat: '330s' })
  await lives(s, 240 * SECOND, romeo, juliet)
  t.equal(silenceAt(s, '2001:db8:1::1'), 240)
  await lives(s, 60 * MINUTE, romeo, juliet)
  t.same([romeo, juliet].filter(device => device.isDark).length, 1, 'one connection was lost, the other lives')
  t.same([romeo, juliet].filter(device => device.closed).length, 1)
  t.equal(paris.isDark, false, 'the device that was pinged and did not answer')
  t.equal(silenceAt(s, '2001:db8:1::1'), 330)
  t.equal(silenceAt(s, '2001:db8:2::1'), 240)
})

t.test('a device that would lose something tries nothing if another one would not', async t => {
  const s = await stage(t)
  const plain = await s.device(`romeo@${HOST}/orchard`)
  const phone = await s.device(`romeo@${HOST}/phone`)
  await phone.says(`<enable ${SM} resume='true'/>`)
  await phone.gets(`<enabled ${SM}/>`)
  heard.set(phone, 0)
  const pings = { plain: 0, phone: 0 }
  const silence = async (ms: number): Promise<typeof pings> => {
    for (let left = ms; left > 0; left -= 5 * SECOND) {
      await s.pass('5s')
      pings.plain += await answers(plain)
      pings.phone += await answers(phone)
    }
    return pings
  }
  t.same(await silence(240 * SECOND), { plain: 1, phone: 1 })
  t.same(await silence(245 * SECOND), { plain: 2, phone: 1 }, 'the phone tries more')
  t.same(await silence(25 * SECOND), { plain: 2, phone: 2 })
  t.equal(silenceAt(s, '192.0.2.1'), 270)
  phone.session.close()
  await silence(60 * MINUTE)
  t.equal(silenceAt(s, '192.0.2.1'), 270)
  await silence(30 * MINUTE)
  t.ok(silenceAt(s, '192.0.2.1') > 300, 'an hour after the phone left')
})

t.test('a device that is switched off is noticed in time and does not count against its neighbourhood, also if it returns later or elsewhere', async t => {
  const s = await stage(t)
  const nurse = await s.device(`nurse@${HOST}/house`, { address: '192.0.2.1' })
  await lives(s, 40 * MINUTE, nurse)
  const learnt = silenceAt(s, '192.0.2.1')
  t.ok(learnt > 400)
  const romeo = await s.device(`romeo@${HOST}/orchard`, { address: '192.0.2.2' })
  for (let n = 0; n < 4; n++) {
    const juliet = await s.device(`juliet@${HOST}/balcony`, { address: '192.0.2.3' })
    juliet.vanishes()
    for (let minutes = 0; minutes < 17; minutes++) await lives(s, MINUTE, nurse, romeo)
    t.ok(juliet.closed, 'within longest and patience')
    t.equal(juliet.error?.condition, 'connection-timeout')
    if (n % 2 === 0) await lives(s, 40 * MINUTE, nurse, romeo)
    else await s.device(`juliet@${HOST}/balcony`, { address: '198.51.100.1' })
  }
  t.ok(silenceAt(s, '192.0.2.1') >= learnt)
  t.equal(s.host(HOST).counters.get('ping.cut'), undefined)
})

t.test('two reconnects from the same neighbourhood after lost connections shorten the interval of its other connections at once', async t => {
  const s = await stage(t, { ping: { minInterval: '1m', initialInterval: '10m' } })
  const nurse = await s.device(`nurse@${HOST}/house`, { address: '192.0.2.1' })
  await lives(s, 10 * MINUTE, nurse)
  t.equal(silenceAt(s, '192.0.2.1'), 600)
  for (const is of [600, 145]) {
    const romeo = await s.device(`romeo@${HOST}/orchard`, { address: '192.0.2.2' })
    await lives(s, 290 * SECOND, nurse)
    romeo.vanishes()
    await s.device(`romeo@${HOST}/orchard`, { address: '192.0.2.3' })
    t.equal(romeo.error?.condition, 'conflict')
    t.equal(silenceAt(s, '192.0.2.1'), is)
  }
  await s.pass('1ms')
  await nurse.gets("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
})

t.test('a session that can be resumed outlives its connection, and is pinged less often than others in its neighbourhood', async t => {
  const s = await stage(t, { ping: { initialInterval: '2m', maxInterval: '4m', maxResumableInterval: '6m', pongTimeout: '20s' } })
  const plain = await s.device(`romeo@${HOST}/orchard`)
  const phone = await s.device(`romeo@${HOST}/phone`)
  await phone.says(`<enable ${SM} resume='true'/>`)
  const id = String((await phone.gets(`<enabled ${SM}/>`)).attrs['id'])
  await lives(s, 120 * MINUTE, plain, phone)
  t.equal(silenceAt(s, '192.0.2.1'), 240, 'the interval of the others')
  const pings = { plain: 0, phone: 0 }
  for (let n = 0; n < 60; n++) {
    pings.plain += await lives(s, 30 * SECOND, plain)
    pings.phone += await lives(s, 30 * SECOND, phone)
  }
  t.same(pings, { plain: 15, phone: 10 })
  phone.vanishes()
  await lives(s, 390 * SECOND, plain)
  t.equal(phone.session.connection, 'waiting')
  t.equal(phone.error?.condition, 'connection-timeout')
  const { device } = await s.resume(`romeo@${HOST}`, `<resume ${SM} previd='${id}' h='${heard.get(phone) ?? 0}'/>`)
  t.ok(device)
})

t.test('a dead connection is noticed in time although the server keeps writing to it', async t => {
  const s = await stage(t)
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  const juliet = await s.device(`juliet@${HOST}/balcony`)
  juliet.vanishes()
  for (let n = 0; n < 5; n++) {
    await lives(s, MINUTE, romeo)
    await romeo.says(`<message to='juliet@${HOST}'><body>${n}</body></message>`)
  }
  await lives(s, 10 * SECOND, romeo)
  t.equal(juliet.error?.condition, 'connection-timeout', 'a device that acknowledges nothing is asked with each stanza')
  const nurse = await s.device(`nurse@${HOST}/house`)
  await nurse.says(`<enable ${SM} resume='true'/>`)
  await lives(s, 3 * MINUTE, romeo, nurse)
  nurse.vanishes()
  await romeo.says(`<message to='nurse@${HOST}'><body>come</body></message>`)
  await lives(s, 2 * MINUTE, romeo)
  t.equal(nurse.session.connection, 'waiting', 'a device that acknowledges is asked with the next stanza')
})

t.test('the requests and answers of stream management teach the interval too', async t => {
  const s = await stage(t)
  const romeo = await s.device(`romeo@${HOST}/orchard`, { address: '198.51.100.1' })
  const phone = await s.device(`juliet@${HOST}/phone`)
  await phone.says(`<enable ${SM} resume='true'/>`)
  await phone.gets(`<enabled ${SM}/>`)
  heard.set(phone, 0)
  await lives(s, 4 * MINUTE, phone, romeo)
  t.equal(silenceAt(s, '192.0.2.1'), 240)
  await lives(s, 265 * SECOND, romeo)
  await romeo.says(`<message to='juliet@${HOST}'><body>now</body></message>`)
  await answers(phone)
  t.equal(silenceAt(s, '192.0.2.1'), 265, 'between two pings')
})

t.test('a reload or a stop of the module leaves the connections watched as they should be', async t => {
  const s = await stage(t)
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  await s.pass('3m')
  await s.reload('ping', { initialInterval: '5m' })
  await s.pass('1m')
  await romeo.getsNothing()
  await s.pass('1m')
  await romeo.gets("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
  romeo.session.close()
  await s.pass('1h')
})

t.test('a connection that the system gave up because its data was not acknowledged counts as lost in silence', async t => {
  const s = await stage(t)
  for (const [code, is] of [['ECONNRESET', 240], ['ETIMEDOUT', 120]] as const) {
    const romeo = await s.device(`romeo@${HOST}/orchard`)
    await s.pass('240s')
    romeo.session.close(Object.assign(new Error(code), { code }))
    await s.device(`romeo@${HOST}/orchard`)
    t.equal(silenceAt(s, '192.0.2.1'), is, code)
  }
})
