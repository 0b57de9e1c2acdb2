/** Broadcasts to other servers: for each domain one entry in the queue and one row, for each address one stanza. */
import { randomIds } from '../../lib/base/ids.js'
import type { Jid } from '../../lib/api.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { journal } from '../../lib/storage/store.js'
import { Outbox, type Left } from '../../lib/s2s/queue/outbox.js'
import { xml } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import { SM } from '../stanzas.js'
import { EXTERNAL, OURS, scene, SM_FEATURE, SUCCESS, THEIRS, header, type Line, type Net, type Peer, type Town } from './stage.js'

const MODULES = ['roster', 'presence', 'message', 'disco']
const ROOM = parseJid(`room@${OURS}`)
const at = (n: number, domain = THEIRS): Jid => parseJid(`guest${n}@${domain}/phone`)
const guests = (count: number): readonly Jid[] => Array.from({ length: count }, (_, n) => at(n))

/** Sends a message of the room, after its batch is stored. */
async function tells (town: Town, body: string, to: readonly Jid[]): Promise<void> {
  const host = town.s.host(OURS)
  const batch = new PendingBatch()
  host.outlet(ROOM).broadcast(batch, stanza(xml('message', { type: 'groupchat', id: body }, xml('body', {}, body)), ROOM, ROOM), to)
  await host.commit(batch)
}

async function start (net: Net): Promise<Town> { return await net.town(OURS, { scene: { modules: MODULES } }) }

async function left (town: Town): Promise<Left> {
  const storage = town.s.storage.remains()
  const outbox = await Outbox.open({ storage, clock: town.s.clock, ids: randomIds, log: town.s.log })
  return await outbox.left(domain => domain === OURS)
}

/** The number of rows of waiting stanzas. */
async function rows (town: Town): Promise<number> {
  const store = await town.s.storage.remains().open('federation.outbox', journal<unknown>(1))
  return await store.count(OURS, {})
}

/** The recipients of what was said in the room, in the order in which they came. */
function told (line: Line, body: string): readonly string[] {
  return line.heard.split('<message').filter(text => text.includes(`<body>${body}</body>`)).map(text => / to="([^"]*)"/.exec(text)?.[1] ?? '')
}

/** Lets Sestina in as the peer; with stream management it acknowledges nothing until the scene does. */
async function lets (peer: Peer, isAcknowledging = false): Promise<Line> {
  const line = await peer.takes(THEIRS, isAcknowledging ? `${EXTERNAL}${SM_FEATURE}` : EXTERNAL)
  await line.says(SUCCESS)
  await line.says(`${header(THEIRS, { id: 'again' })}<stream:features>${isAcknowledging ? SM_FEATURE : ''}</stream:features>`)
  if (isAcknowledging) await line.says(`<enabled ${SM}/>`)
  return line
}

scene('each address of a domain gets its stanza, in order, from one entry and one row', async (t, net) => {
  const ours = await start(net)
  const peer = await net.peer(THEIRS)
  await tells(ours, 'one', guests(50))
  await tells(ours, 'two', guests(2))
  t.match(ours.link(THEIRS), { queue: 2 }, 'more than the ten stanzas that may wait')
  t.equal(await rows(ours), 2)
  const line = await lets(peer)
  await net.settled()
  t.same(told(line, 'one'), guests(50).map(String))
  t.same(told(line, 'two'), guests(2).map(String))
  await tells(ours, 'three', guests(3))
  await net.settled()
  t.same(told(line, 'three'), guests(3).map(String))
  t.ok(line.heard.indexOf('<body>two</body>') < line.heard.indexOf('<body>three</body>'))
})

scene('a broadcast is stored until each address has it, and after a crash each stanza returns', async (t, net) => {
  const ours = await start(net)
  const peer = await net.peer(THEIRS)
  await tells(ours, 'one', guests(3))
  const line = await lets(peer, true)
  await net.settled()
  t.same((await left(ours)).unsure.map(({ stanza: { to } }) => to.toString()), guests(3).map(String))
  await line.says(`<a ${SM} h='2'/>`)
  await net.pass(1000)
  t.equal(await rows(ours), 1, 'one address is missing')
  await line.says(`<a ${SM} h='3'/>`)
  await net.pass(1000)
  t.equal(await rows(ours), 0)
})

scene('if the other server cannot be reached, each stanza returns to the room, and the row goes', async (t, net) => {
  const ours = await start(net)
  const returned: string[] = []
  const { pipeline } = ours.s.server
  const back = pipeline.returnToSender.bind(pipeline)
  pipeline.returnToSender = (one, error) => {
    returned.push(`${one.to.toString()} ${error.condition}`)
    back(one, error)
  }
  await tells(ours, 'one', [at(1, 'nowhere.test'), at(2, 'nowhere.test')])
  await net.settled()
  await net.pass(1000)
  t.same(returned, ['guest1@nowhere.test/phone remote-server-not-found', 'guest2@nowhere.test/phone remote-server-not-found'])
  t.equal(await rows(ours), 0)
})

scene('after a stop, what waited is sent by the next start, each stanza once', async (t, net) => {
  const ours = await start(net)
  net.silent.add('203.0.113.1:5269')
  net.names.set(THEIRS, [{ host: THEIRS, address: '203.0.113.1', port: 5269, tls: 'required', secure: false }])
  await tells(ours, 'one', guests(3))
  await ours.links.close()
  await ours.s.storage.flush()
  const { queued, unsure } = await left(ours)
  t.same(queued.map(({ stanza: { to } }) => to.toString()), guests(3).map(String))
  t.same(unsure, [])
  t.ok(queued.every(({ octets }, n) => octets.includes(`to="${at(n).toString()}"`) && octets.includes('<body>one</body>')))
})

scene('a broadcast to several domains and to devices here is one commit', async (t, net) => {
  const ours = await start(net)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  await net.peer(THEIRS)
  await net.peer('verona.test')
  const before = ours.s.storage.submitted
  await tells(ours, 'one', [...guests(2), at(1, 'verona.test'), romeo.jid])
  t.equal(ours.s.storage.submitted - before, 1)
  t.equal(await rows(ours), 2)
  await romeo.gets("<message type='groupchat'><body>one</body></message>")
})
