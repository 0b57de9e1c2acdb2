import fc from 'fast-check'
import t, { type Test } from 'tap'
import { heartbeats } from '../../lib/host/services.js'
import { Network, Networks } from '../../modules/ping/networks.js'
import { neighbourhoodOf } from '../../lib/base/network.js'
import { scenario, type Arriving, type Device, type Scenario } from '../scenario.js'

const HOST = 'montague.lit'
const MODULES = ['presence', 'message', 'offline', 'stream-management', 'csi', 'ping']
const SM = "xmlns='urn:xmpp:sm:3'"
const SECOND = 1000
const MINUTE = 60 * SECOND
const DAY = 24 * 60 * MINUTE
const BOUNDS = { shortest: MINUTE, first: 4 * MINUTE, longest: 30 * MINUTE }

interface Settings { readonly [module: string]: Readonly<Record<string, unknown>> }

const stage = async (t: Test, settings: Settings = {}): Promise<Scenario> => await scenario(t, { modules: MODULES, settings })

/** How long a device at this address may be silent before it is asked, in seconds. */
const silenceAt = (s: Scenario, address: string): number => (s.host(HOST).service(heartbeats)?.silenceAt(address) ?? NaN) / SECOND

/** It answers what it has got: pings, and questions of stream management. How many there were. */
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

/** Time passes, and what asks is answered. How many pings there were. */
async function lives (s: Scenario, ms: number, ...devices: readonly Device[]): Promise<number> {
  let pings = 0
  for (let left = ms; left > 0; left -= 5 * SECOND) {
    await s.pass('5s')
    for (const device of devices) pings += await answers(device)
  }
  return pings
}

// ---- What is learnt of a network ------------------------------------------------------------------

/** Whether a box that forgets after so many seconds is learnt within ten connections, and the interval stays where it should. */
function isLearnt (seconds: number, others: readonly number[]): boolean {
  const most = seconds * SECOND
  const network = new Network('192.0.2.0/24', BOUNDS)
  const noise = [...others]
  let [now, connections, late] = [0, 1, 0]
  /** One silence of a device, which comes back when it was cut off. */
  const silence = (): boolean => {
    // Between, others end silences of all lengths by what is sent to them: those that the box lets live are survived.
    const other = (noise.pop() ?? 0) * SECOND
    if (other <= most && other <= network.interval) network.survived(other)
    const length = network.next(now) ?? network.interval
    now += length
    if (length <= most) network.survived(length)
    else network.died(length, now)
    return length <= most
  }
  // Until nothing more is tried: all that is learnt is learnt.
  for (let tries = 0; tries < 100; tries++) if (!silence()) connections++
  const began = now
  for (let tries = 0; tries < 300; tries++) {
    if (network.interval < 0.7 * most || network.interval > most) return false
    if (!silence()) late++
  }
  return connections <= 10 && late <= (now - began) / DAY + 1
}

t.test('a box that forgets after N seconds is learnt within ten connections: from then on the interval stays between 0.7 N and N', t => {
  const [least, most] = [BOUNDS.shortest / SECOND, BOUNDS.longest / SECOND]
  const wrong = Array.from({ length: most - least + 1 }, (_, n) => least + n).filter(seconds => !isLearnt(seconds, []))
  t.same(wrong, [])
  const others = fc.array(fc.integer({ min: 0, max: 1900 }), { maxLength: 300 })
  fc.assert(fc.property(fc.integer({ min: least, max: most }), others, isLearnt), { numRuns: 300 })
  t.end()
})

t.test('after a silence that was survived 30 seconds more are tried; after one that was not, it is the last good one again', t => {
  const network = new Network('x', BOUNDS)
  t.equal(network.next(0), undefined, 'what was never survived is tried first')
  network.survived(4 * MINUTE)
  t.equal(network.next(0), 4.5 * MINUTE)
  t.equal(network.interval, 4 * MINUTE)
  network.survived(4.5 * MINUTE)
  t.equal(network.interval, 4.5 * MINUTE)
  t.equal(network.died(5 * MINUTE, 0), false)
  t.equal(network.interval, 4.5 * MINUTE)
  t.equal(network.next(DAY - 1), undefined, 'not again for a day')
  t.equal(network.next(DAY), 5 * MINUTE)
  network.survived(30 * MINUTE)
  t.equal(network.next(DAY), undefined, 'not beyond the bounds')
  network.survived(2 * DAY)
  t.equal(network.interval, 30 * MINUTE)
  t.end()
})

t.test('one connection that died where others lived shows nothing; two do, unless silences are survived meanwhile, or a day passes', t => {
  const good = (): Network => {
    const network = new Network('x', BOUNDS)
    network.survived(20 * MINUTE)
    return network
  }
  const one = good()
  t.equal(one.died(20 * MINUTE, 0), false)
  t.equal(one.interval, 20 * MINUTE)
  one.survived(20 * MINUTE)
  t.equal(one.died(20 * MINUTE, 1), false, 'that made up for it')
  t.equal(one.died(19 * MINUTE, 2), true)
  t.equal(one.interval, 10 * MINUTE)
  t.equal(one.next(3), undefined, 'to be shown first')
  one.survived(10 * MINUTE)
  t.equal(one.next(3), 10.5 * MINUTE)
  const late = good()
  late.died(20 * MINUTE, 0)
  t.equal(late.died(20 * MINUTE, DAY), false, 'a day later')
  const short = good()
  for (let n = 0; n < 10; n++) t.equal(short.died(MINUTE - 1, n), false, 'shorter than anything that could be done about')
  const fresh = new Network('x', BOUNDS)
  t.equal(fresh.died(4 * MINUTE, 0), true, 'what was never survived')
  t.equal(fresh.interval, 2 * MINUTE)
  const doubtful = good()
  doubtful.fell(20 * MINUTE, 0)
  t.equal(doubtful.next(1), 20.5 * MINUTE)
  doubtful.fell(20.5 * MINUTE, 1)
  t.equal(doubtful.next(2), undefined, 'nothing is tried while nobody knows')
  t.equal(doubtful.next(2 + 60 * MINUTE), 20.5 * MINUTE)
  const lucky = good()
  lucky.died(25 * MINUTE, 0)
  t.equal(lucky.next(1), 20.5 * MINUTE)
  lucky.survived(26 * MINUTE)
  t.equal(lucky.next(1), 26.5 * MINUTE, 'it was survived after all')
  t.end()
})

t.test('networks are /24 and /48, and no more are known than there is room for', t => {
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
  t.equal(networks.at('192.0.2.1').interval, 4 * MINUTE, 'what was not met for longest is forgotten')
  t.end()
})

// ---- Scenes ---------------------------------------------------------------------------------------

for (const [nat, resumes] of [[60, false], [90, true], [130, false], [280, true], [600, false], [899, false]] as const) {
  t.test(`a device behind a box that forgets after ${nat} s${resumes ? ', which resumes its session,' : ''} is cut off ten times at most`, async t => {
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
    t.equal(connections, before, 'and lives from then on')
  })
}

t.test('of several devices in a network one tries a longer silence at a time, and what it learns is for all', async t => {
  const s = await stage(t)
  const romeo = await s.device(`romeo@${HOST}/orchard`, { address: '2001:db8:1:2::3', nat: '330s' })
  const juliet = await s.device(`juliet@${HOST}/balcony`, { address: '2001:db8:1:3::4', nat: '330s' })
  const paris = await s.device(`paris@${HOST}/street`, { address: '2001:db8:2:3::4', nat: '330s' })
  await lives(s, 240 * SECOND, romeo, juliet)
  t.equal(silenceAt(s, '2001:db8:1::1'), 240)
  await lives(s, 60 * MINUTE, romeo, juliet)
  t.same([romeo, juliet].filter(device => device.isDark).length, 1, 'one has died of it, the other lives')
  t.same([romeo, juliet].filter(device => device.closed).length, 1)
  t.equal(paris.isDark, false, 'who was asked, and has not answered')
  t.equal(silenceAt(s, '2001:db8:1::1'), 330)
  t.equal(silenceAt(s, '2001:db8:2::1'), 240)
})

t.test('who would lose something tries nothing where there is somebody who would not', async t => {
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
  t.ok(silenceAt(s, '192.0.2.1') > 300, 'an hour after it left')
})

t.test('a device that is switched off is noticed in time, and is no fault of its network, also where it comes back much later, or elsewhere', async t => {
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

t.test('who comes back from the same network, twice, shows that it is another now; connections there are asked sooner at once', async t => {
  const s = await stage(t, { ping: { shortest: '1m', silence: '10m' } })
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

t.test('a session that can be resumed outlives its connection, and is asked more rarely than others in its network', async t => {
  const s = await stage(t, { ping: { silence: '2m', longest: '4m', resumable: '6m', patience: '20s' } })
  const plain = await s.device(`romeo@${HOST}/orchard`)
  const phone = await s.device(`romeo@${HOST}/phone`)
  await phone.says(`<enable ${SM} resume='true'/>`)
  const id = String((await phone.gets(`<enabled ${SM}/>`)).attrs['id'])
  await lives(s, 120 * MINUTE, plain, phone)
  t.equal(silenceAt(s, '192.0.2.1'), 240, 'as others are told')
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

t.test('a dead connection is noticed in time though the server goes on writing to it', async t => {
  const s = await stage(t)
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  const juliet = await s.device(`juliet@${HOST}/balcony`)
  juliet.vanishes()
  for (let n = 0; n < 5; n++) {
    await lives(s, MINUTE, romeo)
    await romeo.says(`<message to='juliet@${HOST}'><body>${n}</body></message>`)
  }
  await lives(s, 10 * SECOND, romeo)
  t.equal(juliet.error?.condition, 'connection-timeout', 'who acknowledges nothing, with whatever it gets')
  const nurse = await s.device(`nurse@${HOST}/house`)
  await nurse.says(`<enable ${SM} resume='true'/>`)
  await lives(s, 3 * MINUTE, romeo, nurse)
  nurse.vanishes()
  await romeo.says(`<message to='nurse@${HOST}'><body>come</body></message>`)
  await lives(s, 2 * MINUTE, romeo)
  t.equal(nurse.session.connection, 'waiting', 'who acknowledges is asked with what it gets')
})

t.test('what stream management asks and hears teaches too', async t => {
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

t.test('where the module is set up anew, or off, connections are watched as they should be', async t => {
  const s = await stage(t)
  const romeo = await s.device(`romeo@${HOST}/orchard`)
  await s.pass('3m')
  await s.reload('ping', { silence: '5m' })
  await s.pass('1m')
  await romeo.getsNothing()
  await s.pass('1m')
  await romeo.gets("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
  romeo.session.close()
  await s.pass('1h')
})

t.test('a connection that the system has given up, for nobody took what it sent, has died in silence too', async t => {
  const s = await stage(t)
  for (const [code, is] of [['ECONNRESET', 240], ['ETIMEDOUT', 120]] as const) {
    const romeo = await s.device(`romeo@${HOST}/orchard`)
    await s.pass('240s')
    romeo.session.close(Object.assign(new Error(code), { code }))
    await s.device(`romeo@${HOST}/orchard`)
    t.equal(silenceAt(s, '192.0.2.1'), is, code)
  }
})
