/** Broadcasts: one stanza of a room to many devices. One body, one commit, one order. */
import t, { type Test } from 'tap'
import { defineModule, entityKind, entityMessage, jidOf, stanza, xml } from '../../lib/api.js'
import type { Jid } from '../../lib/api.js'
import { Turns } from '../../lib/base/turns.js'
import type { MemoryStorage } from '../../lib/storage/memory.js'
import { journal, type Write } from '../../lib/storage/store.js'
import echo from '../echo/room.js'
import { SharedBody } from '../../modules/stream-management/shared-body.js'
import { SharedBytes } from '../../modules/stream-management/shared-bytes.js'
import { enable } from '../managed.js'
import { scenario, startServer, type Device, type Scenario, type Scene } from '../scenario.js'
import { bodies, conditionOf, SM } from '../stanzas.js'

const DOMAIN = 'echo.capulet.lit'
const HALL = `hall@${DOMAIN}`
const MODULES = ['presence', 'roster', 'message', 'disco', 'blocking', 'csi', 'push', 'ping', 'stream-management']
const QUIET = { ping: { initialInterval: '1d' }, 'stream-management': { ackTimeout: '1h' } }
const SCENE: Scene = { modules: MODULES, services: { [DOMAIN]: [echo] }, settings: QUIET }

const says = (body: string, more = ''): string => `<message to='${HALL}' type='groupchat'><body>${body}</body>${more}</message>`
const NO_STORE = "<no-store xmlns='urn:xmpp:hints'/>"
const ack = (h: number): string => `<a ${SM} h='${h}'/>`
const name = (n: number): string => `guest${n}@capulet.lit/phone`

/** The bodies of what came from the room. */
function heard (device: Device): readonly string[] {
  return device.unread.filter(({ attrs }) => String(attrs['from']).startsWith(HALL)).flatMap(element => element.getChildText('body') ?? [])
}

/** A device in the room, with stream management if `isManaged`. Returns the id for resumption. */
async function enters (
  s: Scenario, address: string, isManaged = true,
): Promise<{ readonly device: Device, readonly id: string }> {
  const device = await s.device(address)
  const id = isManaged ? await enable(device) : ''
  await device.says(`<presence to='${HALL}'/>`)
  device.forget()
  return { device, id }
}

/** Counts the commits, and their writes by store, while `work` runs. */
async function counted (
  storage: MemoryStorage, work: () => Promise<void>,
): Promise<{ commits: number, writes: readonly string[] }> {
  const submit = storage.submit.bind(storage)
  const writes: string[] = []
  let commits = 0
  storage.submit = (batch: readonly Write[]): number => {
    commits++
    writes.push(...batch.map(({ store }) => store))
    return submit(batch)
  }
  try {
    await work()
  } finally {
    storage.submit = submit
  }
  return { commits, writes: writes.sort() }
}

/** The stored broadcasts of a host. */
async function stored (storage: MemoryStorage): Promise<number> {
  const store = await storage.open('stream-management.broadcasts', journal<unknown>(1))
  return await store.count('capulet.lit', {})
}

async function resumed (s: Scenario, id: string, h: number, who = 'juliet@capulet.lit'): Promise<Device> {
  const { device, answer } = await s.resume(who, `<resume ${SM} previd='${id}' h='${h}'/>`)
  if (device === undefined) throw new Error(`not resumed: ${answer.toString()}`)
  return device
}

t.test('a room message is one commit with one body, whatever the number of managed occupants', async t => {
  const found: unknown[] = []
  for (const occupants of [2, 20]) {
    const s = await scenario(t, SCENE)
    const guests: Device[] = []
    for (let n = 0; n < occupants; n++) guests.push((await enters(s, name(n))).device)
    found.push(await counted(s.storage, async () => { await guests[0]?.says(says('hark')) }))
    for (const guest of guests) t.same(heard(guest), ['hark'])
  }
  const once = { commits: 1, writes: ['stream-management.broadcasts', 'stream-management.counts'] }
  t.same(found, [once, once])
})

t.test('without stream management nothing is written for a room message', async t => {
  const s = await scenario(t, SCENE)
  const { device } = await enters(s, name(0), false)
  await enters(s, name(1), false)
  t.same(await counted(s.storage, async () => { await device.says(says('hark')) }), { commits: 0, writes: [] })
  t.same(heard(device), ['hark'])
})

t.test('all occupants get the same order, with and without stream management, whatever is stored', async t => {
  const s = await scenario(t, SCENE)
  const { device: juliet } = await enters(s, 'juliet@capulet.lit/balcony')
  const { device: romeo } = await enters(s, 'romeo@montague.lit/orchard', false)
  const { device: nurse } = await enters(s, 'nurse@capulet.lit/room', false)
  s.storage.hold()
  const ping = (id: string): string => `<iq to='${HALL}/orchard' type='get' id='${id}'><x xmlns='urn:x'/></iq>`
  await juliet.says(says('1'), says('2', NO_STORE))
  await romeo.says(says('3'), ping('p'), says('4', NO_STORE))
  await nurse.says(says('5'))
  t.same(heard(romeo), [], 'nothing is sent before it is stored')
  s.storage.release()
  await s.settled()
  // Romeo's 4 waits for the answer to his request (RFC 6120 §10.1).
  for (const device of [juliet, romeo, nurse]) t.same(heard(device), ['1', '2', '3', '5', '4'])
  const answer = romeo.unread.findIndex(({ attrs }) => attrs['id'] === 'p')
  t.equal(romeo.unread[answer + 1]?.getChildText('body'), '4', 'the answer has its place between the messages')
})

t.test('each recipient gets its own address and nothing else of its own', async t => {
  const s = await scenario(t, SCENE)
  const { device: juliet } = await enters(s, 'juliet@capulet.lit/balcony & \u00f6<more>')
  const { device: romeo } = await enters(s, 'romeo@montague.lit/orchard', false)
  const octets: string[] = []
  for (const device of [juliet, romeo]) device.overhear(text => { if (text.startsWith('<message')) octets.push(text) })
  await romeo.says("<message to='hall@echo.capulet.lit' type='groupchat' id='i'><body>\u00e6 &amp; \u{1f600}</body><x xmlns='urn:x' a='&lt;'/></message>")
  t.same([juliet, romeo].map(device => device.unread.at(-1)?.attrs['to'] ?? device.unread[0]?.attrs['to']), [juliet.jid.toString(), romeo.jid.toString()])
  const [first = '', second = ''] = octets.map(text => text.replace(/ to="[^"]*"/, ''))
  t.equal(first, second)
})

t.test('an occupant without a session, and one who blocks the room, are refused in the usual way', async t => {
  const errors: (string | undefined)[] = []
  const watching = defineModule({
    name: 'watching', at: 'services',
    setup (host) {
      host.on(entityMessage, ({ message }) => {
        if (message.type === 'error') errors.push(`${message.from.toString()} ${conditionOf(message.element)}`)
      })
    },
  })
  const s = await scenario(t, { ...SCENE, services: { [DOMAIN]: [echo, watching] } })
  const { device: juliet } = await enters(s, 'juliet@capulet.lit/balcony')
  const { device: romeo } = await enters(s, 'romeo@montague.lit/orchard')
  const { device: nurse } = await enters(s, 'nurse@capulet.lit/room')
  // The room does not learn that the device is gone: only its session ends.
  const gone = s.host(DOMAIN).entities.kind(entityKind<{ occupants: Map<string, Jid> }>('echo room'))
  await nurse.says("<presence type='unavailable'/>")
  nurse.session.close()
  await s.settled()
  gone.of(jidOf('hall', DOMAIN))?.occupants.set('nurse', nurse.jid)
  await romeo.asks(`<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='${DOMAIN}'/></block></iq>`)
  // Whoever blocks a room leaves it; here the room does not notice.
  gone.of(jidOf('hall', DOMAIN))?.occupants.set('romeo', romeo.jid)
  await juliet.says(says('who?'))
  t.same(heard(juliet), ['who?'])
  t.same(heard(romeo), [])
  t.same(errors.sort(), ['nurse@capulet.lit/room service-unavailable', 'romeo@montague.lit/orchard service-unavailable'])
})

t.test('after a crash a device gets what it is owed as it was numbered, with the rest of its stanzas, once', async t => {
  const s = await startServer(SCENE)
  const { device: juliet, id } = await enters(s, 'juliet@capulet.lit/balcony')
  const { device: romeo } = await enters(s, 'romeo@montague.lit/orchard', false)
  const chat = (body: string): string => `<message to='juliet@capulet.lit/balcony' type='chat'><body>${body}</body></message>`
  await romeo.says(says('1'), chat('2'), says('3', NO_STORE), says('4'), chat('5'), says('6'))
  t.same(bodies(juliet), ['1', '2', '3', '4', '5', '6'])
  t.equal(await stored(s.storage), 3)
  await juliet.says(ack(1))
  const rest = s.storage.remains()
  await s.end()
  const later = { ...SCENE, hosts: ['capulet.lit', 'montague.lit'], storage: rest, ids: 'later' }
  const next = await startServer(later)
  const device = await resumed(next, id, 2)
  t.same(bodies(device), ['4', '5', '6'], 'no-store: it is lost')
  // The third stanza was lost, so the numbers of those after it have changed.
  await device.says(ack(3))
  await next.pass('2s')
  const last = await scenario(t, { ...later, storage: rest.remains(), ids: 'last' })
  await next.end()
  const again = await resumed(last, id, 3)
  t.same(bodies(again), ['5', '6'], 'nothing twice')
  await again.says(ack(5))
  await last.pass('1s')
  await last.pass('1s')
  t.equal(await stored(last.storage), 0)
})

t.test('after a planned stop a device gets what it is owed, once, and bodies that nobody is owed are gone', async t => {
  const s = await startServer(SCENE)
  const { device: juliet, id } = await enters(s, 'juliet@capulet.lit/balcony')
  const { device: romeo } = await enters(s, 'romeo@montague.lit/orchard', false)
  await romeo.says(says('1'), says('2'), says('3'))
  await juliet.says(ack(1))
  await s.end()
  const next = await scenario(t, { ...SCENE, hosts: ['capulet.lit', 'montague.lit'], storage: s.storage, ids: 'next' })
  const device = await resumed(next, id, 1)
  t.same(bodies(device), ['2', '3'])
  await device.says(ack(3))
  await next.pass('1s')
  await next.pass('1s')
  t.equal(await stored(s.storage), 0)
})

t.test('acknowledged broadcasts leave nothing, in memory and on the disk', async t => {
  const s = await scenario(t, SCENE)
  const { device: juliet } = await enters(s, 'juliet@capulet.lit/balcony')
  const { device: nurse } = await enters(s, 'nurse@capulet.lit/room')
  await nurse.says(says('1'), says('2'))
  t.equal(await stored(s.storage), 2)
  await juliet.says(ack(2))
  await nurse.says(ack(1))
  await s.pass('1s')
  await s.pass('1s')
  t.equal(await stored(s.storage), 1, 'one of two is owed to one of two')
  await nurse.loses('connection')
  await s.pass('16m')
  await s.pass('1s')
  await s.pass('1s')
  t.equal(await stored(s.storage), 0)
})

t.test('if the disk fails, nobody gets the message, and later ones keep their numbers', async t => {
  const s = await startServer(SCENE)
  const { device: juliet, id } = await enters(s, 'juliet@capulet.lit/balcony')
  const { device: romeo } = await enters(s, 'romeo@montague.lit/orchard', false)
  s.storage.hold()
  await romeo.says(says('1'), says('2'))
  s.storage.failing = new Error('the disk is full')
  s.storage.release()
  await s.settled()
  s.storage.failing = undefined
  await romeo.says(says('3'), says('4'))
  t.same(heard(juliet), ['3', '4'])
  t.same(heard(romeo), ['3', '4'])
  const next = await scenario(t, { ...SCENE, hosts: ['capulet.lit', 'montague.lit'], storage: s.storage.remains(), ids: 'later' })
  t.same(bodies(await resumed(next, id, 1)), ['4'])
  await s.end()
})

t.test('a message that waits for its commit while an earlier one fails gets a new number, also on the disk', async t => {
  const s = await startServer(SCENE)
  const { device: juliet, id } = await enters(s, 'juliet@capulet.lit/balcony')
  const { device: romeo } = await enters(s, 'romeo@montague.lit/orchard', false)
  const submit = s.storage.submit.bind(s.storage)
  let fails = 1
  // The first batch fails, the others are stored.
  s.storage.submit = (writes: readonly Write[]): number => {
    const isFirst = fails-- > 0
    if (isFirst) throw new Error('no room')
    return submit(writes)
  }
  await romeo.says(says('1'), says('2'), says('3'))
  s.storage.submit = submit
  t.same(heard(juliet), ['2', '3'])
  await s.pass('2s')
  const next = await scenario(t, { ...SCENE, hosts: ['capulet.lit', 'montague.lit'], storage: s.storage.remains(), ids: 'later' })
  t.same(bodies(await resumed(next, id, 1)), ['3'])
  await s.end()
})

t.test('the module that keeps bodies may be set up again, or turned off, while devices are owed some', async t => {
  const s = await startServer(SCENE)
  const { device: juliet, id } = await enters(s, 'juliet@capulet.lit/balcony')
  const { device: romeo } = await enters(s, 'romeo@montague.lit/orchard', false)
  await romeo.says(says('1'), says('2'))
  await s.reload('stream-management')
  await romeo.says(says('3'))
  await juliet.loses('connection')
  const device = await resumed(s, id, 1)
  t.same(bodies(device), ['2', '3'])
  await device.says(ack(3))
  await s.pass('1s')
  await s.pass('1s')
  t.equal(await stored(s.storage), 0)
  await romeo.says(says('4'))
  await s.end()
  const modules = MODULES.filter(module => module !== 'stream-management')
  const next = await scenario(t, { ...SCENE, modules, settings: {}, hosts: ['capulet.lit', 'montague.lit'], storage: s.storage, ids: 'next' })
  await next.settled()
  t.equal(await stored(s.storage), 0, 'sessions that cannot be resumed are owed nothing')
})

t.test('what an inactive device may wait for waits, and one that is away is notified of mentions', async t => {
  const s = await scenario(t, SCENE)
  const { device: juliet } = await enters(s, 'juliet@capulet.lit/balcony')
  const { device: romeo } = await enters(s, 'romeo@montague.lit/orchard')
  await juliet.says("<inactive xmlns='urn:xmpp:csi:0'/>")
  await romeo.says(`<message to='${HALL}' type='groupchat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>`)
  await juliet.getsNothing()
  await romeo.says(says('now'))
  t.same(heard(juliet), ['now'])
})

// ---- Many recipients ------------------------------------------------------------------------------------------

t.test('the bodies in memory are bounded: the sessions that hold the oldest one end', t => {
  const bytes = new SharedBytes()
  bytes.most = 250
  const all = [1, 2, 3].map(n => new SharedBody(`b${n}`, n, { head: 'x'.repeat(50), tail: 'y'.repeat(50) }, true))
  const ended: string[] = []
  bytes.join(body => {
    ended.push(body.id)
    while (body.holders > 0) bytes.leave(body)
  })
  const [first, second, third] = all
  if (first === undefined || second === undefined || third === undefined) throw new Error('three bodies')
  for (const body of [first, second, first]) bytes.hold(body)
  t.equal(bytes.bytes, 200, 'each body counts once')
  bytes.hold(third)
  t.same(ended, ['b1'])
  t.equal(bytes.bytes, 200)
  for (const body of [second, third]) bytes.leave(body)
  t.equal(bytes.bytes, 0)
  t.end()
})

interface Crowd { readonly names: readonly Jid[] }

/**
 * A room that tells a device that joins who is there, and all others that it has joined. `draws` gets a promise for
 * each device, which resolves when it has been told of all.
 */
function crowded (
  t: Test, names: (n: number) => Jid, count: number, draws: Promise<void>[],
): ReturnType<typeof defineModule> {
  const crowds = entityKind<Crowd>('crowd')
  return defineModule({
    name: 'crowd', at: 'services', requires: ['disco'],
    setup (host) {
      host.entities(crowds, {
        load: () => ({ names: Array.from({ length: count }, (_, n) => names(n)) }),
        bytes: () => 100,
        info: () => ({ identities: [{ category: 'conference', type: 'text' }] }),
        presence ({ names }, { stanza: { from, to, type }, batch }) {
          if (type !== 'available') return
          const outlet = host.outlet(to.bare)
          outlet.broadcast(batch, stanza(xml('presence'), to, from), names)
          batch.committed(() => {
            const pieces = function * (): Generator<ReturnType<typeof stanza>> {
              for (const jid of names) yield stanza(xml('presence'), jidOf(to.local, to.domain, jid.local), from)
            }
            draws.push(Promise.resolve(outlet.draw(from, pieces())).then(isSent => { t.ok(isSent, 'all presence is sent') }))
          })
        },
      })
    },
  })
}

t.test('joining a room of 5,000 keeps a managed session, which gets as much as it acknowledges', async t => {
  const away = (n: number): Jid => jidOf(`guest${n}`, 'montague.lit', 'phone')
  const draws: Promise<void>[] = []
  const s = await scenario(t, { ...SCENE, services: { [DOMAIN]: [crowded(t, away, 5000, draws)] }, debug: false })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await enable(juliet)
  juliet.overhear(() => {})
  await juliet.says(`<presence to='${HALL}/juliet'/>`)
  let count = 0
  for (let turns = 0; count < 5000 && turns < 100; turns++) {
    const got = juliet.unread.filter(({ name }) => name === 'presence').length
    t.ok(got <= 1000, 'at most half of the bound is unacknowledged')
    count += got
    juliet.forget()
    await juliet.says(ack(count))
  }
  t.equal(count, 5000)
  await Promise.all(draws)
  t.equal(juliet.closed, false)
})

t.test('a broadcast to many takes several turns of the event loop, and what comes later waits for it', async t => {
  let now = 0
  // Each look at the clock says that the turn is used up.
  const turns = new Turns(() => now += 1000)
  const here = (n: number): Jid => jidOf(`guest${n}`, 'capulet.lit', 'phone')
  const draws: Promise<void>[] = []
  const s = await scenario(t, { ...SCENE, services: { [DOMAIN]: [crowded(t, here, 400, draws)] }, turns, debug: false })
  const devices: Device[] = []
  for (let n = 0; n < 100; n++) devices.push(await s.device(name(n)))
  const { device: nurse } = await enters(s, 'nurse@capulet.lit/room', false)
  // That others have entered is told in several turns, too.
  while (draws.length < 1 || devices.some(device => device.unread.length < 1)) await s.settled()
  await Promise.all(draws.splice(0))
  for (const device of devices) device.forget()
  let turn = 0
  let tick = setImmediate(function next () {
    turn++
    tick = setImmediate(next)
  })
  const given = new Map<number, number>()
  for (const device of devices) device.overhear(() => { given.set(turn, (given.get(turn) ?? 0) + 1) })
  await nurse.says(`<presence to='${HALL}/nurse'/>`, `<presence to='${HALL}/nurse'/>`)
  while (devices.some(device => device.unread.length < 2)) await s.settled()
  await Promise.all(draws)
  clearImmediate(tick)
  t.equal(draws.length, 2)
  t.ok(devices.every(device => device.unread.length === 2), 'each gets both')
  t.ok(Math.max(...given.values()) <= 64, `at most two slices of the list in one turn: ${[...given.values()].join(' ')}`)
})
