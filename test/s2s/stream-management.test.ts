/**
 * Stream management between servers (XEP-0198): a cut connection loses nothing, doubles nothing and causes no false
 * error.
 */
import type { Transport, TransportHandlers } from '../../lib/stream/transport.js'
import type { Device } from '../device.js'
import {
  BIDI, DIALBACK, EXTERNAL, header, message, OURS, scene, SM_FEATURE, SUCCESS, THEIRS, type Line, type Net,
  type Peer, type Town,
} from './stage.js'

const ns = "xmlns='urn:xmpp:sm:3'"

/** The far end of a connection that can be cut, and that can lose what is under way before that. */
class Cable implements Transport {
  /** True if nothing comes through any more, in either direction. */
  isDead = false
  readonly #inner: Transport

  constructor (inner: Transport) { this.#inner = inner }

  get address (): string { return this.#inner.address }
  get tls (): Transport['tls'] { return this.#inner.tls }
  get backlog (): number { return this.#inner.backlog }
  get isClosed (): boolean { return this.#inner.isClosed }

  open (handlers: TransportHandlers): void {
    this.#inner.open({
      data: chunk => { if (!this.isDead) handlers.data(chunk) },
      drained: () => { handlers.drained() },
      closed: reason => { handlers.closed(reason) },
    })
  }

  write (octets: string): void { if (!this.isDead) this.#inner.write(octets) }
  awaitDrain (): void { this.#inner.awaitDrain() }
  pause (): void { this.#inner.pause() }
  resume (): void { this.#inner.resume() }
  startTls (how: Parameters<Transport['startTls']>[0]): ReturnType<Transport['startTls']> { return this.#inner.startTls(how) }
  end (): void { this.#inner.end() }
  destroy (reason?: Error): void { this.#inner.destroy(reason) }

  cut (): void { this.#inner.destroy(new Error('cut')) }
}

interface Verona {
  readonly ours: Town
  readonly theirs: Town
  readonly cables: Cable[]
  readonly romeo: Device
  readonly juliet: Device
}

/** Starts two servers whose connections the scene can cut. */
async function verona (net: Net, domains: readonly string[] = [OURS]): Promise<Verona> {
  const ours = await net.town(domains, { limits: { queue: { stanzas: 1000, size: 200_000, time: 30_000 } } })
  const theirs = await net.town(THEIRS, { limits: { queue: { stanzas: 1000, size: 200_000, time: 30_000 } } })
  const cables: Cable[] = []
  for (const [all, town] of [[domains, ours], [[THEIRS], theirs]] as const) {
    net.settle(all, town.address, transport => {
      const cable = new Cable(transport)
      cables.push(cable)
      town.listener.accept(cable, town.address)
    })
  }
  return { ours, theirs, cables, romeo: await ours.s.device(`romeo@${OURS}/orchard`), juliet: await theirs.s.device(`juliet@${THEIRS}/balcony`) }
}

const chat = (to: string, body: string): string => `<message to='${to}' type='chat' id='${body}'><body>${body}</body></message>`
const bodies = (device: Device): readonly string[] => device.unread.map(stanza => `${stanza.attrs['type'] === 'error' ? '!' : ''}${String(stanza.attrs['id'])}`)
const numbers = (count: number, prefix = ''): readonly string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

scene('a stream is resumed after its connection was cut, and the stanzas in both directions arrive once and in order', async (t, net) => {
  const { ours, theirs, cables, romeo, juliet } = await verona(net)
  await romeo.says(chat(juliet.jid.toString(), 'r0'))
  await juliet.says(chat(romeo.jid.toString(), 'j0'))
  await net.settled()
  for (const cable of cables) cable.isDead = true
  for (const n of [1, 2, 3]) {
    await romeo.says(chat(juliet.jid.toString(), `r${n}`))
    await juliet.says(chat(romeo.jid.toString(), `j${n}`))
  }
  t.match(ours.link(THEIRS), { unacknowledged: 3 }, 'the operator sees how many are unacknowledged')
  for (const cable of cables) cable.cut()
  await romeo.says(chat(juliet.jid.toString(), 'r4'))
  await juliet.says(chat(romeo.jid.toString(), 'j4'))
  await net.pass(1000)
  t.strictSame(bodies(juliet), numbers(5, 'r'))
  t.strictSame(bodies(romeo), numbers(5, 'j'))
  t.equal(net.dialled.length, 2, 'the side that had opened the stream has opened the next one; the other side has waited')
  t.equal(ours.counters.get('resumed'), 1)
  t.match(ours.link(THEIRS), { state: 'established', unacknowledged: 0, queue: 0 })
  t.match(theirs.link(OURS), { state: 'established', unacknowledged: 0, queue: 0 })
})

scene('nothing is lost or doubled if the connection is cut again and again under load', async (t, net) => {
  const { cables, romeo, juliet } = await verona(net)
  let seed = 7
  const chance = (of: number): number => { seed = seed * 48271 % 2147483647; return seed % of }
  for (let n = 0; n < 150; n++) {
    await romeo.says(chat(juliet.jid.toString(), `r${n}`))
    if (n % 2 === 0) await juliet.says(chat(romeo.jid.toString(), `j${n / 2}`))
    if (chance(9) === 0) for (const cable of cables.splice(0)) { cable.isDead = true; cables.push(cable) }
    if (chance(7) === 0) {
      for (const cable of cables.splice(0)) cable.cut()
      await net.pass(chance(3) * 200)
    }
  }
  for (const cable of cables) if (cable.isDead) cable.cut()
  for (let n = 0; n < 20; n++) await net.pass(1000)
  t.strictSame(bodies(juliet), numbers(150, 'r'))
  t.strictSame(bodies(romeo), numbers(75, 'j'))
})

scene('all pairs of domains on one stream are resumed with it', async (t, net) => {
  const { ours, cables, romeo, juliet } = await verona(net, [OURS, 'escalus.test'])
  const prince = await ours.s.device('prince@escalus.test/throne')
  for (const one of [romeo, prince]) {
    await one.says(chat(juliet.jid.toString(), `${one.jid.local}0`))
    await net.settled()
  }
  await juliet.says(chat(prince.jid.toString(), 'answer'))
  await net.settled()
  t.strictSame(bodies(prince), ['answer'])
  t.equal(net.dialled.length, 1, 'the second pair is proven on the stream of the first (XEP-0220 §2.6), and served there both ways')
  for (const cable of cables) cable.isDead = true
  for (const one of [prince, romeo]) await one.says(chat(juliet.jid.toString(), `${one.jid.local}1`))
  for (const cable of cables) cable.cut()
  await net.settled()
  for (const one of [prince, romeo]) await one.says(chat(juliet.jid.toString(), `${one.jid.local}2`))
  await net.pass(1000)
  t.strictSame(bodies(juliet), ['romeo0', 'prince0', 'prince1', 'romeo1', 'prince2', 'romeo2'])
  t.equal(net.dialled.length, 2)
  t.equal(ours.links.report().find(({ local }) => local === 'escalus.test')?.state, 'established')
})

scene('if the other server stays away, unacknowledged stanzas come back as errors, and the rest is sent later', async (t, net) => {
  const { ours, theirs, cables, romeo, juliet } = await verona(net)
  await romeo.says(chat(juliet.jid.toString(), 'r0'))
  await net.settled()
  const places = net.names.get(THEIRS)
  net.names.set(THEIRS, [{ host: 'x', address: '203.0.113.9', port: 5269, tls: 'required', secure: false }]) // nobody there
  for (const cable of cables) cable.isDead = true
  await romeo.says(chat(juliet.jid.toString(), 'r1'))
  for (const cable of cables) cable.cut()
  await net.settled()
  for (let n = 0; n < 59; n++) await net.pass(1000)
  t.strictSame(bodies(romeo), [], 'for a minute it is tried')
  await net.pass(2000)
  t.strictSame(bodies(romeo), ['!r1'])
  t.match(romeo.unread[0]?.toString(), /remote-server-timeout/)
  t.equal(ours.counters.get('unacknowledged'), 1)
  if (places !== undefined) net.names.set(THEIRS, places)
  await romeo.says(chat(juliet.jid.toString(), 'r2'))
  for (let n = 0; n < 20; n++) await net.pass(1000)
  t.strictSame(bodies(juliet), ['r0', 'r2'])
  await net.pass(120_000)
  t.match(theirs.link(OURS), { state: 'established' })
})

scene('a peer that acknowledges nothing for half a minute counts as cut off', async (t, net) => {
  const { cables, romeo, juliet } = await verona(net)
  await romeo.says(chat(juliet.jid.toString(), 'r0'))
  await net.settled()
  for (const cable of cables) cable.isDead = true
  await romeo.says(chat(juliet.jid.toString(), 'r1'))
  for (let n = 0; n < 29; n++) await net.pass(1000)
  t.equal(net.dialled.length, 1)
  for (let n = 0; n < 4; n++) await net.pass(1000)
  t.equal(net.dialled.length, 2, 'a new connection is made, though nobody has closed the old one')
  t.strictSame(bodies(juliet), ['r0', 'r1'], 'the old stream had not ended on the other side, and is replaced')
})

scene('a server that stops acknowledges what it has handled', async (t, net) => {
  const { theirs, ours, romeo, juliet } = await verona(net)
  await romeo.says(chat(juliet.jid.toString(), 'r0'))
  await net.settled()
  const stopped = Promise.all([theirs.links.close(), theirs.listener.close()])
  await net.pass(6000)
  await net.pass(6000)
  await stopped
  t.strictSame(bodies(juliet), ['r0'])
  t.strictSame(bodies(romeo), [])
  t.equal(ours.counters.get('unacknowledged'), undefined, 'handled stanzas are not reported as lost')
})

// ---- As the other server sees us --------------------------------------------------------------

/** Lets Sestina in as a peer that offers stream management. */
async function letIn (net: Net, peer: Peer, offer = SM_FEATURE): Promise<Line> {
  const line = await peer.takes(THEIRS, `${EXTERNAL}${DIALBACK}`)
  line.gets('<auth')
  await line.says(SUCCESS)
  line.gets('<stream:stream')
  await line.says(`${header(THEIRS, { id: `${line.id}-2` })}<stream:features>${DIALBACK}${offer}</stream:features>`)
  return line
}

scene('an acknowledgement is requested, and acknowledged stanzas never come back', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  for (const id of ['1', '2', '3']) await romeo.says(chat(`juliet@${THEIRS}`, id))
  const line = await letIn(net, peer)
  line.gets(/<enable xmlns="urn:xmpp:sm:3" resume="true"\/>.*id="1".*id="2".*id="3".*<r xmlns="urn:xmpp:sm:3"\/>/)
  await line.says(`<enabled ${ns}/><a ${ns} h='2'/>`)
  line.transport.destroy(new Error('cut'))
  await net.settled()
  t.strictSame(bodies(romeo), ['!3'], 'the peer gave no id to resume with: the stanza may have arrived, and comes back')
})

scene('stanzas that the peer reports as not handled are sent again once', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  for (const id of ['1', '2', '3']) await romeo.says(chat(`juliet@${THEIRS}`, id))
  const first = await letIn(net, peer)
  await first.says(`<enabled ${ns} resume='true' id='s1'/>`)
  first.transport.destroy(new Error('cut'))
  await net.settled()
  await romeo.says(chat(`juliet@${THEIRS}`, '4'))
  const second = await letIn(net, peer)
  second.gets('<resume xmlns="urn:xmpp:sm:3" previd="s1" h="0"/>')
  t.equal(second.heard, '', 'nothing is sent before the peer has answered')
  await second.says(`<failed ${ns} h='1'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`)
  t.match(second.gets(/.*<r xmlns="urn:xmpp:sm:3"\/>/), /^<enable [^>]*>.*id="2".*id="3".*id="4"/, 'before later stanzas')
  await second.says(`<enabled ${ns} resume='true' id='s2'/>`)
  second.transport.destroy(new Error('cut'))
  await net.pass(20_000)
  const third = await letIn(net, peer)
  third.gets('previd="s2"')
  await third.says(`<failed ${ns} h='0'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`)
  t.strictSame(bodies(romeo), ['!2', '!3'], 'a stanza that did not get through twice is not sent a third time')
  t.match(third.heard, /id="4"/)
  await third.says(`<enabled ${ns} resume='true' id='s3'/><a ${ns} h='1'/>`)
})

scene('if the peer does not know the stream, all unacknowledged stanzas come back', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  for (const id of ['1', '2', '3']) await romeo.says(chat(`juliet@${THEIRS}`, id))
  const first = await letIn(net, peer)
  await first.says(`<enabled ${ns} resume='true' id='s1'/><a ${ns} h='1'/>`)
  await first.says('</stream:stream>') // closed in order
  const second = await letIn(net, peer)
  second.gets('<resume')
  await second.says(`<failed ${ns}><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`)
  t.strictSame(bodies(romeo), ['!2', '!3'])
  t.match(second.heard, /<enable /)
})

scene('a peer that acknowledges too much, or answers without a request, gets a stream error', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const cases = {
    [`<a ${ns} h='2'/>`]: /<undefined-condition.*<handled-count-too-high xmlns="urn:xmpp:sm:3" h="2" send-count="1"/,
    [`<a ${ns}/>`]: /<invalid-xml/,
    [`<enabled ${ns}/><enabled ${ns}/>`]: /<policy-violation/,
    [`<resumed ${ns} h='0' previd='x'/>`]: /<unsupported-stanza-type/,
  }
  for (const [text, error] of Object.entries(cases)) {
    await romeo.says(chat(`juliet@${THEIRS}`, 'x'))
    const line = await letIn(net, peer)
    await line.says(text)
    t.match(line.heard, error, text)
    line.transport.destroy()
    await net.settled()
  }
})

scene('a peer without stream management gets a ping after the stanzas, and its answer acknowledges them', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'certificate' })
  const peer = await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  await romeo.says(chat(`juliet@${THEIRS}`, '1'))
  const line = await letIn(net, peer, '')
  t.notMatch(line.heard, /<enable/)
  await net.pass(1000)
  const [, id = ''] = /<iq[^>]* id="([^"]+)" from="montague.test" to="capulet.test"><ping xmlns="urn:xmpp:ping"\/><\/iq>$/.exec(line.heard) ?? []
  const back = await peer.enters(ours, THEIRS, OURS)
  await back.says(`<iq type='error' id='${id}' from='${THEIRS}' to='${OURS}'><error type='cancel'/></iq>`)
  t.match(ours.link(THEIRS), { unacknowledged: 0 }, 'an error is an answer as well')
  await romeo.says(chat(`juliet@${THEIRS}`, '2'))
  line.transport.destroy(new Error('cut'))
  await net.settled()
  t.strictSame(bodies(romeo), ['!2'], 'the first one is known to have arrived')
})

scene('the answer to a ping confirms nothing that was sent after the ping, however much was sent meanwhile', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'certificate' })
  const peer = await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  await romeo.says(chat(`juliet@${THEIRS}`, 'first'))
  const line = await letIn(net, peer, '')
  const says = async (from: number, to: number): Promise<void> => {
    for (let n = from; n < to; n += 100) {
      await romeo.says(...Array.from({ length: Math.min(100, to - n) }, (_, i) => chat(`juliet@${THEIRS}`, String(n + i))))
    }
  }
  await says(1, 100)
  const [, id = ''] = /<iq[^>]* id="([^"]+)" from="montague.test" to="capulet.test"><ping xmlns="urn:xmpp:ping"\/><\/iq>/.exec(line.heard) ?? []
  t.not(id, '', 'after a hundred stanzas the peer is asked')
  await says(100, 5000) // the most that may be unacknowledged, which is then forgotten
  await says(5000, 5120)
  const back = await peer.enters(ours, THEIRS, OURS)
  await back.says(`<iq type='result' id='${id}' from='${THEIRS}' to='${OURS}'/>`)
  line.transport.destroy(new Error('cut'))
  await net.settled()
  t.strictSame(bodies(romeo), Array.from({ length: 120 }, (_, n) => `!${5000 + n}`), 'their fate is unknown, and their sender hears of it')
})

scene('a peer that never answers pings counts as having everything; one that stops answering them is disconnected', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  await romeo.says(chat(`juliet@${THEIRS}`, '1'))
  const line = await letIn(net, peer, '')
  await net.pass(1000)
  await net.pass(30_000)
  t.notOk(line.isClosed)
  t.match(ours.link(THEIRS), { unacknowledged: 0, state: 'established' })
  line.transport.destroy(new Error('cut'))
  await net.settled()
  t.strictSame(bodies(romeo), [])
  await romeo.says(chat(`juliet@${THEIRS}`, '2'))
  const again = await letIn(net, peer, '')
  await net.pass(1000)
  const [, id = ''] = /<iq[^>]* id="([^"]+)" from="montague.test"/.exec(again.heard) ?? []
  const back = await peer.enters(ours, THEIRS, OURS)
  await back.says(`<iq type='result' id='${id}' from='${THEIRS}' to='${OURS}'/>`)
  await romeo.says(chat(`juliet@${THEIRS}`, '3'))
  await net.pass(1000)
  await net.pass(30_000)
  t.ok(again.isClosed)
  t.strictSame(bodies(romeo), ['!3'])
})

// ---- As we see the other server -----------------------------------------------------------------

scene('a stanza from a peer is acknowledged when it is stored, and not before', async (t, net) => {
  const ours = await net.town(OURS, { scene: { modules: ['message', 'offline'] } })
  const peer = await net.peer(THEIRS)
  await ours.s.account(`romeo@${OURS}`)
  const line = await peer.enters(ours, THEIRS, OURS)
  await line.says(`<enable ${ns} resume='true'/>`)
  line.gets(/<enabled xmlns="urn:xmpp:sm:3" id="[\w-]{24}" resume="true" max="75"\/>/)
  ours.s.storage.hold()
  await line.says(message(`juliet@${THEIRS}/balcony`, `romeo@${OURS}`, 'stored', "type='chat'"))
  await line.says(`${message(`juliet@${THEIRS}/balcony`, `nobody@${OURS}`, 'refused')}<r ${ns}/>`)
  t.match(line.gets(/<a [^>]*>/), 'h="0"')
  t.equal(line.heard.includes('<a '), false)
  ours.s.storage.release()
  await net.settled()
  t.match(line.gets(/<a [^>]*>/), 'h="2"', 'all that came before the request')
})

scene('a stanza that cannot be stored is answered with an error, and counts as handled', async (t, net) => {
  const ours = await net.town(OURS, { scene: { modules: ['message', 'offline'] } })
  const peer = await net.peer(THEIRS)
  await ours.s.account(`romeo@${OURS}`)
  const line = await peer.enters(ours, THEIRS, OURS)
  await line.says(`<enable ${ns}/>`)
  line.gets('<enabled xmlns="urn:xmpp:sm:3"/>')
  ours.s.storage.failing = new Error('the disk is full')
  await line.says(message(`juliet@${THEIRS}/balcony`, `romeo@${OURS}`, 'stored', "type='chat' id='1'"))
  await line.says(`<r ${ns}/>`)
  t.match(line.gets(/<a [^>]*>/), 'h="1"')
  ours.s.storage.failing = undefined
  const answers = await letIn(net, peer)
  t.match(answers.heard, /<message[^>]*type="error".*resource-constraint/)
})

scene('stream management elements in a wrong order are refused', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const early = await peer.opens(ours, THEIRS, OURS)
  await early.says(`<enable ${ns}/>`)
  early.gets(/<failed xmlns="urn:xmpp:sm:3"><unexpected-request/)
  const cases = {
    [`<enable ${ns}/><enable ${ns}/>`]: /<stream:error><policy-violation/,
    [`<r ${ns}/>`]: /<stream:error><policy-violation/,
    [`<a ${ns} h='0'/>`]: /<stream:error><policy-violation/,
    [`<enable ${ns}/><frobnicate ${ns}/>`]: /<stream:error><unsupported-stanza-type/,
    [`<resume ${ns} previd='x'/>`]: /<failed[^>]*><bad-request/,
    [`<resume ${ns} previd='x' h='0'/>`]: /<failed xmlns="urn:xmpp:sm:3"><item-not-found/,
    [`<enable ${ns}/><resume ${ns} previd='x' h='0'/>`]: /<failed[^>]*><unexpected-request/,
  }
  for (const [text, answer] of Object.entries(cases)) {
    const line = await peer.enters(ours, THEIRS, OURS)
    await line.says(text)
    t.match(line.heard, answer, text)
    line.transport.destroy()
  }
})

scene('a stream is resumed only by a peer authenticated for the same domain', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const thief = await net.peer('thief.test')
  const line = await peer.enters(ours, THEIRS, OURS)
  await line.says(`<enable ${ns} resume='true'/>`)
  const [, id = ''] = /id="([^"]+)"/.exec(line.gets(/<enabled[^>]*>/)) ?? []
  await line.says(message(`juliet@${THEIRS}/x`, OURS, 'one', "type='headline'"))
  const stolen = await thief.enters(ours, 'thief.test', OURS)
  await stolen.says(`<resume ${ns} previd='${id}' h='0'/>`)
  stolen.gets(/<failed xmlns="urn:xmpp:sm:3"><item-not-found/)
  t.notOk(line.isClosed)
  const again = await peer.enters(ours, THEIRS, OURS)
  await again.says(`<resume ${ns} previd='${id}' h='0'/>`)
  again.gets(`<resumed xmlns="urn:xmpp:sm:3" previd="${id}" h="1"/>`)
  t.equal(line.error, 'conflict', 'the old stream was still open')
  await again.says(`<r ${ns}/>`)
  again.gets('h="1"')
  await again.says('</stream:stream>')
  t.match(again.heard, /<a xmlns="urn:xmpp:sm:3" h="1"\/><\/stream:stream>$/, 'the final element is the handled count')
  const late = await peer.enters(ours, THEIRS, OURS)
  await late.says(`<resume ${ns} previd='${id}' h='0'/>`)
  late.gets(/<failed xmlns="urn:xmpp:sm:3" h="1"><item-not-found/)
  const later = await thief.enters(ours, 'thief.test', OURS)
  await later.says(`<resume ${ns} previd='${id}' h='0'/>`)
  later.gets(/<failed xmlns="urn:xmpp:sm:3"><item-not-found/)
})

scene('stanzas for a peer whose stream was cut wait for it to resume; if it comes back without resuming, they come back as errors', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const enters = async (): Promise<Line> => {
    const line = await peer.opens(ours, THEIRS, OURS)
    t.match(line.heard, BIDI.slice(0, 5))
    await line.says("<bidi xmlns='urn:xmpp:bidi'/><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
    line.gets('<success')
    await line.says(header(THEIRS, { to: OURS }))
    return line
  }
  const line = await enters()
  await line.says(`<enable ${ns} resume='true'/>`)
  await romeo.says(chat(`juliet@${THEIRS}`, '1'))
  line.gets('id="1"')
  line.transport.destroy(new Error('cut'))
  await net.settled()
  await romeo.says(chat(`juliet@${THEIRS}`, '2'))
  t.equal(peer.waiting.length, 0, 'Sestina does not dial yet')
  const back = await enters()
  t.notMatch(back.heard, /<message/)
  await back.says(`<enable ${ns} resume='true'/>`)
  t.strictSame(bodies(romeo), ['!1'])
  back.gets('id="2"')
  back.transport.destroy(new Error('cut'))
  await net.settled()
  await romeo.says(chat(`juliet@${THEIRS}`, '3'))
  await net.pass(5000)
  t.equal(peer.waiting.length, 1, 'nobody came: Sestina dials')
  const line3 = await letIn(net, peer)
  line3.gets('id="3"')
  await line3.says(`<enabled ${ns}/><a ${ns} h='1'/>`)
  for (let n = 0; n < 4; n++) await net.pass(30_000)
  t.strictSame(bodies(romeo), ['!1', '!2'], 'in the end the other one comes back too')
})
