/**
 * Stanzas on their way to another server when Sestina stops or crashes: they are sent after the next start, or come
 * back.
 */
import t from 'tap'
import { randomIds } from '../../lib/base/ids.js'
import { takeNoMore } from '../../lib/s2s/federation.js'
import { Outbox, type Left } from '../../lib/s2s/queue/outbox.js'
import type { MemoryStorage } from '../../lib/storage/memory.js'
import { journal, type NewEntry } from '../../lib/storage/store.js'
import type { Device } from '../device.js'
import { scenario } from '../scenario.js'
import {
  EXTERNAL, header, message, OURS, scene, SM_FEATURE, STANZAS, THEIRS, type Line, type Net, type Peer,
  type Town, type TownHow,
} from './stage.js'
import { SM } from '../stanzas.js'

const MODULES = ['roster', 'presence', 'message', 'disco', 'stream-management']

const NOTHING: Left = { queued: [], unsure: [], streams: [], ended: [] }
let lives = 0

/** Starts the server once; Romeo's session has stream management, and survives a restart. */
async function life (net: Net, storage?: MemoryStorage, how: TownHow = {}): Promise<Town> {
  const kept = storage === undefined ? {} : { storage }
  return await net.town(OURS, { ...how, scene: { modules: MODULES, ids: `life${++lives}`, ...kept } })
}

interface Managed { readonly device: Device, readonly id: string }

async function managed (town: Town): Promise<Managed> {
  const device = await town.s.device(`romeo@${OURS}/orchard`)
  await device.says(`<enable ${SM} resume='true'/>`)
  const enabled = await device.gets(`<enabled ${SM}/>`)
  return { device, id: String(enabled.attrs['id']) }
}

/** Resumes the same session after a start. */
async function resumed (town: Town, { id }: Managed): Promise<Device> {
  const { device, answer } = await town.s.resume(`romeo@${OURS}`, `<resume ${SM} previd='${id}' h='0'/>`)
  if (device === undefined) throw new Error(`not resumed: ${answer.toString()}`)
  return device
}

/** Stops as the process does: saves sessions, ends streams. Returns the storage. */
async function stops (net: Net, town: Town): Promise<MemoryStorage> {
  const closing = (async () => {
    await town.s.server.stop(() => takeNoMore(town.links, [town.listener]))
    await town.links.close()
    await town.listener.close()
    await town.world.outbox.close(town.links.resumables.handled())
  })()
  for (let n = 0; n < 3; n++) await net.pass(2500)
  await closing
  return town.s.storage.remains()
}

async function left (town: Town, storage = town.s.storage.remains()): Promise<Left> {
  const outbox = await Outbox.open({ storage, clock: town.s.clock, ids: randomIds, log: town.s.log })
  return await outbox.left(domain => domain === OURS)
}

async function starts (net: Net, storage: MemoryStorage): Promise<Town> {
  const town = await life(net, storage)
  town.links.recall(await left(town, storage))
  await net.settled()
  return town
}

/** Lets Sestina in as the peer, which acknowledges nothing until the scene does. */
async function lets (peer: Peer, enabled = `<enabled ${SM}/>`): Promise<Line> {
  const line = await peer.takes(THEIRS, `${EXTERNAL}${SM_FEATURE}`)
  await line.says("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
  await line.says("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' " +
    `from='${THEIRS}' id='again'><stream:features>${SM_FEATURE}</stream:features>`)
  await line.says(enabled)
  return line
}

const words = (id: string, more = ''): string => `<message id='${id}' to='juliet@${THEIRS}'><body>${id}</body>${more}</message>`
const ids = (items: Left['queued']): readonly (string | undefined)[] => items.map(({ stanza }) => stanza.id)

scene('a message is stored until the other server acknowledges it', async (t, net) => {
  const ours = await life(net)
  const peer = await net.peer(THEIRS)
  const { device } = await managed(ours)
  await device.says(words('m1'), words('m2'))
  t.strictSame(ids((await left(ours)).unsure), ['m1', 'm2'], 'while it waits')
  const line = await lets(peer)
  t.strictSame(ids((await left(ours)).unsure), ['m1', 'm2'], 'while it is on its way')
  line.gets('<body>m2</body>')
  await line.says(`<a ${SM} h='1'/>`)
  await net.pass(1000)
  t.strictSame(ids((await left(ours)).unsure), ['m2'])
  await line.says(`<a ${SM} h='2'/>`)
  await net.pass(1000)
  t.strictSame(ids((await left(ours)).unsure), [])
})

scene('a message that comes back is no longer stored', async (t, net) => {
  const ours = await life(net)
  const { device } = await managed(ours)
  await device.says(`<message id='m' to='friar@nowhere.test'><body>?</body></message>`)
  await net.settled()
  await device.gets("<message id='m' type='error'/>")
  await net.pass(1000)
  t.strictSame(await left(ours), NOTHING)
})

scene('only messages with content are stored, and none with no-store', async (t, net) => {
  const ours = await life(net)
  const { device } = await managed(ours)
  net.silent.add('203.0.113.1:5269')
  net.names.set(THEIRS, [{ host: THEIRS, address: '203.0.113.1', port: 5269, tls: 'required', secure: false }])
  await device.says(
    words('no', "<no-store xmlns='urn:xmpp:hints'/>"), words('for now', "<no-permanent-store xmlns='urn:xmpp:hints'/>"),
    `<message to='juliet@${THEIRS}'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`,
    `<message to='juliet@${THEIRS}' type='error'><error type='cancel'><gone xmlns='${STANZAS}'/></error></message>`,
    `<presence to='juliet@${THEIRS}'/>`, `<iq type='get' id='iq' to='${THEIRS}'><query xmlns='jabber:iq:version'/></iq>`,
    words('yes', "<active xmlns='http://jabber.org/protocol/chatstates'/>"),
    `<message id='receipt' to='juliet@${THEIRS}'><received xmlns='urn:xmpp:receipts' id='x'/></message>`,
  )
  t.strictSame(ids((await left(ours)).unsure), ['for now', 'yes', 'receipt'])
})

scene('stanzas that wait when the server stops are sent after its next start, in order, requests and presence included', async (t, net) => {
  const ours = await life(net)
  const peer = await net.peer(THEIRS)
  const romeo = await managed(ours)
  await romeo.device.says(words('m1'), `<iq type='get' id='iq' to='${THEIRS}'><query xmlns='jabber:iq:version'/></iq>`,
    `<presence to='juliet@${THEIRS}/balcony'/>`, words('m2'))
  const storage = await stops(net, ours)
  peer.waiting.length = 0
  const after = await starts(net, storage)
  const line = await lets(peer)
  line.gets('<body>m1</body>')
  line.gets(/<iq [^>]*id="iq"[^>]*from="romeo@montague.test\/orchard"/)
  line.gets('<presence')
  line.gets('<body>m2</body>')
  await line.says(`<a ${SM} h='4'/>`)
  await net.pass(1000)
  t.strictSame(await left(after), NOTHING)
  const device = await resumed(after, romeo)
  await device.getsNothing()
})

scene('a stanza that waited too long over a restart comes back to the resumed session', async (t, net) => {
  const ours = await life(net)
  const romeo = await managed(ours)
  net.silent.add('203.0.113.1:5269')
  net.names.set(THEIRS, [{ host: THEIRS, address: '203.0.113.1', port: 5269, tls: 'required', secure: false }])
  await romeo.device.says(words('m1'))
  const storage = await stops(net, ours)
  const after = await starts(net, storage)
  await net.pass(40_000)
  const device = await resumed(after, romeo)
  await device.gets(`<message id='m1' type='error'><error type='wait'><remote-server-timeout xmlns='${STANZAS}'/></error></message>`)
  await net.pass(1000)
  t.strictSame(await left(after), NOTHING)
})

scene('a stanza sent without acknowledgement before a stop comes back after the start, as it may have arrived', async (t, net) => {
  const ours = await life(net)
  const peer = await net.peer(THEIRS)
  const romeo = await managed(ours)
  await romeo.device.says(words('m1'), words('m2'), `<iq type='get' id='iq' to='${THEIRS}'><query xmlns='jabber:iq:version'/></iq>`)
  const line = await lets(peer)
  await line.says(`<a ${SM} h='1'/>`)
  const after = await starts(net, await stops(net, ours))
  const device = await resumed(after, romeo)
  await device.gets(`<message id='m2' type='error'><error type='wait'><remote-server-timeout xmlns='${STANZAS}'/></error></message>`)
  await device.gets("<iq id='iq' type='error'><error type='wait'/></iq>")
  await device.gets(`<r ${SM}/>`)
  await device.getsNothing()
  t.equal(peer.waiting.length, 0, 'nothing is sent twice')
})

scene('before the server stops, peers get the time to acknowledge', async (t, net) => {
  const ours = await life(net)
  const peer = await net.peer(THEIRS)
  const romeo = await managed(ours)
  await romeo.device.says(words('m1'))
  const line = await lets(peer)
  const stopping = stops(net, ours)
  await line.says(`<a ${SM} h='1'/>`)
  t.strictSame(await left(ours, await stopping), NOTHING)
})

scene('stanzas on their way when the server crashed come back to their sender after the next start', async (t, net) => {
  const ours = await life(net)
  const peer = await net.peer(THEIRS)
  const romeo = await managed(ours)
  await romeo.device.says(words('m1'))
  await lets(peer)
  await romeo.device.says(words('m2'))
  await net.pass(1500) // sessions are saved within a second
  const after = await starts(net, ours.s.storage.remains())
  const device = await resumed(after, romeo)
  for (const id of ['m1', 'm2']) {
    await device.gets(`<message id='${id}' type='error'><error type='wait'><remote-server-timeout xmlns='${STANZAS}'/></error></message>`)
  }
  await device.gets(`<r ${SM}/>`)
  await device.getsNothing()
  t.equal(after.counters.get('bounced'), 2)
})

// ---- Streams across a restart (XEP-0198 §5) -----------------------------------------------------------

const RESUMABLE = `<enabled ${SM} resume='true' id='of-theirs'/>`

interface Interrupted { readonly after: Town, readonly line: Line, readonly device: () => Promise<Device> }

/** Makes an outgoing stream on which the peer acknowledged one of three stanzas, then stops and starts the server. */
async function interrupted (net: Net): Promise<Interrupted> {
  const ours = await life(net)
  const peer = await net.peer(THEIRS)
  const romeo = await managed(ours)
  await romeo.device.says(words('m1'), `<presence to='juliet@${THEIRS}/balcony'/>`, words('m2'))
  const line = await lets(peer, RESUMABLE)
  line.gets('<body>m2</body>')
  await line.says(`<a ${SM} h='1'/>`)
  const storage = await stops(net, ours)
  if (line.heard.includes('</stream:stream>')) throw new Error('it was closed')
  const after = await starts(net, storage)
  return { after, line: await lets(peer, ''), device: () => resumed(after, romeo) }
}

scene('an outgoing stream is resumed after a restart, and only what had not arrived is sent again', async (t, net) => {
  const { after, line, device } = await interrupted(net)
  line.gets(/<resume [^>]*previd="of-theirs"[^>]*>/)
  t.notMatch(line.heard, /m2/)
  await line.says(`<resumed ${SM} previd='of-theirs' h='2'/>`)
  line.gets('<body>m2</body>')
  t.notMatch(line.heard, /<presence|m1/)
  await line.says(`<a ${SM} h='3'/>`)
  await net.pass(1000)
  t.strictSame(await left(after), NOTHING)
  await (await device()).getsNothing()
})

scene('if the peer refuses to resume but gives its count, only what had not arrived is sent again', async (t, net) => {
  const { line, device } = await interrupted(net)
  await line.says(`<failed ${SM} h='2'><item-not-found xmlns='${STANZAS}'/></failed>`)
  line.gets('<enable ')
  await line.says(`<enabled ${SM}/>`)
  line.gets('<body>m2</body>')
  await (await device()).getsNothing()
})

scene('if the peer does not know the stream, what it had not acknowledged comes back', async (t, net) => {
  const { after, line, device } = await interrupted(net)
  await line.says(`<failed ${SM}><item-not-found xmlns='${STANZAS}'/></failed>`)
  const romeo = await device()
  await romeo.gets("<presence type='error'/>") // as an answer to a user who joins a room
  await romeo.gets(`<message id='m2' type='error'><error type='wait'><remote-server-timeout xmlns='${STANZAS}'/></error></message>`)
  await net.pass(1000)
  t.strictSame(await left(after), NOTHING)
})

scene('after too long a stop no outgoing stream is resumed', async (t, net) => {
  const ours = await life(net)
  const peer = await net.peer(THEIRS)
  const romeo = await managed(ours)
  await romeo.device.says(words('m1'))
  await lets(peer, RESUMABLE)
  const storage = await stops(net, ours)
  const after = await life(net, storage)
  after.s.clock.pass(120_000)
  after.links.recall(await left(after, storage))
  await net.settled()
  t.equal(peer.waiting.length, 0)
  await (await resumed(after, romeo)).gets("<message id='m1' type='error'/>")
})

scene('an incoming stream is resumed after a restart, in both directions', async (t, net) => {
  const ours = await life(net)
  const peer = await net.peer(THEIRS)
  const romeo = await managed(ours)
  const enters = async (town: Town): Promise<Line> => {
    const line = await peer.opens(town, THEIRS, OURS)
    await line.says("<bidi xmlns='urn:xmpp:bidi'/><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
    line.gets('<success')
    await line.says(header(THEIRS, { to: OURS }))
    return line
  }
  const line = await enters(ours)
  await line.says(`<enable ${SM} resume='true'/>`)
  const [, id = ''] = /id="([\w-]{24})"/.exec(line.gets(/<enabled [^>]*>/)) ?? []
  await line.says(message(`juliet@${THEIRS}`, romeo.device.jid.toString(), 'j1'))
  await romeo.device.says(words('m1'), words('m2'))
  line.gets('<body>m2</body>')
  await line.says(`<a ${SM} h='1'/>`)
  const storage = await stops(net, ours)
  line.gets(`<a xmlns="urn:xmpp:sm:3" h="1"/>`)
  t.notMatch(line.heard, /<\/stream:stream>/)

  const after = await starts(net, storage)
  const device = await resumed(after, romeo)
  await device.says(words('m3'))
  const back = await enters(after)
  t.notMatch(back.heard, /m3/, 'later stanzas wait for earlier ones')
  await back.says(`<resume ${SM} previd='${id}' h='1'/>`)
  back.gets(/<resumed [^>]*h="1"/)
  back.gets('<body>m2</body>')
  back.gets('<body>m3</body>')
  await back.says(message(`juliet@${THEIRS}`, romeo.device.jid.toString(), 'j2'))
  await device.gets('<message><body>j1</body></message>')
  t.equal(peer.waiting.length, 0, 'Sestina has not dialled the peer')
})

scene('after a restart a peer whose stream had ended gets its handled count, and nobody else does', async (t, net) => {
  const ours = await life(net)
  const peer = await net.peer(THEIRS)
  await ours.s.device(`romeo@${OURS}/orchard`)
  const line = await peer.enters(ours, THEIRS, OURS)
  await line.says(`<enable ${SM} resume='true'/>`)
  const [, id = ''] = /id="([\w-]{24})"/.exec(line.gets(/<enabled [^>]*>/)) ?? []
  for (const words of ['one', 'two']) await line.says(message(`juliet@${THEIRS}`, `romeo@${OURS}`, words))
  await line.says('</stream:stream>')
  line.gets(`<a xmlns="urn:xmpp:sm:3" h="2"/>`)
  const after = await starts(net, await stops(net, ours))
  const again = await peer.enters(after, THEIRS, OURS)
  await again.says(`<resume ${SM} previd='${id}' h='0'/>`)
  again.gets(/<failed [^>]*h="2"/)
  const stranger = await (await net.peer('tybalt.test')).enters(after, 'tybalt.test', OURS)
  await stranger.says(`<resume ${SM} previd='${id}' h='0'/>`)
  t.notMatch(stranger.gets(/<failed [^>]*>/), /h=/)
})

void t.test('an unreadable stored stanza is logged and skipped; stanzas of a host that is gone are deleted', async t => {
  const s = await scenario(t, { modules: ['message'], hosts: [OURS] })
  const rows = await s.storage.open('federation.outbox', journal<unknown>(1))
  const row = (id: string, text: string): NewEntry<unknown> => ({ id, at: 0, with: THEIRS, value: { text } })
  s.storage.submit([
    rows.appending(OURS, row('a', '<message')),
    rows.appending(OURS, row('b', `<message from='romeo@${OURS}' to='juliet@${THEIRS}' id='b'/>`)),
    rows.appending('gone.test', row('c', `<message from='romeo@gone.test' to='juliet@${THEIRS}'/>`)),
  ])
  await s.settled()
  s.expectedErrors.push(['stored item unreadable', 'not one element'])
  const outbox = await Outbox.open({ storage: s.storage, clock: s.clock, ids: randomIds, log: s.log })
  const found = await outbox.left(domain => domain === OURS)
  t.strictSame([ids(found.queued), ids(found.unsure)], [[], ['b']])
  await s.settled()
  t.strictSame(await rows.owners({ limit: 10 }), [OURS])
  t.equal((await rows.page(OURS, { limit: 10 })).entries.length, 1)
})
