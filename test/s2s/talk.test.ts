/** Users of two servers talk: how the servers find, authenticate and serve each other. */
import { DIALBACK, DnsError, EXTERNAL, NoServer, OURS, SUCCESS, THEIRS, header, message, scene, type Net, type Town } from './stage.js'
import type { Device } from '../device.js'

interface Lovers { readonly romeo: Device, readonly juliet: Device }

async function lovers (net: Net, ours: Town, theirs: Town): Promise<Lovers> {
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const juliet = await theirs.s.device(`juliet@${THEIRS}/balcony`)
  await net.settled()
  return { romeo, juliet }
}

scene('message, iq and presence go both ways on one connection, each server authenticated by its certificate', async (t, net) => {
  const ours = await net.town(OURS)
  const theirs = await net.town(THEIRS, { scene: { modules: ['roster', 'presence', 'message', 'ping'] } })
  const { romeo, juliet } = await lovers(net, ours, theirs)
  await romeo.says(message('romeo@montague.test/orchard', 'juliet@capulet.test', 'But soft!', "type='chat' id='m1'"))
  await net.settled()
  await juliet.gets("<message from='romeo@montague.test/orchard' to='juliet@capulet.test' type='chat' id='m1'><body>But soft!</body></message>")
  await juliet.says("<message to='romeo@montague.test/orchard' type='chat'><body>O Romeo</body></message>")
  await net.settled()
  await romeo.gets("<message from='juliet@capulet.test/balcony'><body>O Romeo</body></message>")

  await romeo.says("<iq type='get' id='p1' to='capulet.test'><ping xmlns='urn:xmpp:ping'/></iq>")
  await net.settled()
  await romeo.gets("<iq type='result' id='p1' from='capulet.test'/>")

  await romeo.says("<presence type='subscribe' to='juliet@capulet.test'/>")
  await net.settled()
  await juliet.gets("<presence type='subscribe' from='romeo@montague.test'/>")
  await juliet.says("<presence type='subscribed' to='romeo@montague.test'/>")
  await net.settled()
  romeo.forget()
  await juliet.says('<presence><show>away</show></presence>')
  await net.settled()
  await romeo.gets("<presence from='juliet@capulet.test/balcony'><show>away</show></presence>")

  t.equal(net.dialled.length, 1, 'one connection serves both directions')
  t.match(ours.link(THEIRS), { direction: 'both', state: 'established', security: 'EXTERNAL', queue: 0 })
  t.match(theirs.link(OURS), { direction: 'both', state: 'established', security: 'EXTERNAL' })
})

scene('stanzas between servers are counted by kind, alike on both sides', async (t, net) => {
  const ours = await net.town(OURS)
  const theirs = await net.town(THEIRS, { scene: { modules: ['roster', 'presence', 'message', 'ping'] } })
  const { romeo } = await lovers(net, ours, theirs)
  await romeo.says("<message to='juliet@capulet.test' type='chat'><body>But soft!</body></message>", "<message to='juliet@capulet.test'><body>It is the east</body></message>")
  await romeo.says("<presence to='juliet@capulet.test'/>", "<iq type='get' id='p1' to='capulet.test'><ping xmlns='urn:xmpp:ping'/></iq>")
  await net.settled()
  const lines = (town: Town) => town.s.server.pipeline.traffic.lines().filter(({ peers }) => peers === 'servers')
  const counts = (town: Town, of: 'in' | 'out') => Object.fromEntries(lines(town).map(line => [line.kind, line[of]]))
  t.match(counts(ours, 'out'), { 'chat': 1, 'groupchat': 0, 'other message': 1, 'presence': 1, 'iq': 1 })
  t.match(counts(theirs, 'out'), { 'chat': 0, 'other message': 0, 'presence': 0, 'iq': 1 })
  for (const kind of ['chat', 'other message', 'presence', 'iq', 'nonza'] as const) {
    const [sent, taken] = [lines(ours), lines(theirs)].map(all => all.find(line => line.kind === kind))
    t.same([taken?.in, taken?.inBytes], [sent?.out, sent?.outBytes], kind)
    t.same([sent?.in, sent?.inBytes], [taken?.out, taken?.outBytes], kind)
  }
})

scene('if certificates prove nothing, dialback does, with one connection in each direction', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback', trusted: false })
  const theirs = await net.town(THEIRS, { trust: 'dialback', trusted: false })
  const { romeo, juliet } = await lovers(net, ours, theirs)
  await romeo.says("<message to='juliet@capulet.test'><body>But soft!</body></message>")
  await net.settled()
  await juliet.gets('<message><body>But soft!</body></message>')
  await juliet.says("<message to='romeo@montague.test'><body>O Romeo</body></message>")
  await net.settled()
  await romeo.gets('<message><body>O Romeo</body></message>')
  t.match(ours.link(THEIRS), { direction: 'out', security: 'dialback' })
  t.equal(net.dialled.length, 2)
  t.match(ours.listener.counts, { connections: 1, established: 1 })
})

scene('direct TLS starts with the first byte (XEP-0368)', async (t, net) => {
  const ours = await net.town(OURS)
  const theirs = await net.town(THEIRS, { listener: { tls: 'direct' } })
  const { romeo, juliet } = await lovers(net, ours, theirs)
  await romeo.says("<message to='juliet@capulet.test'><body>But soft!</body></message>")
  await net.settled()
  await juliet.gets('<message><body>But soft!</body></message>')
  t.match(ours.link(THEIRS), { security: 'EXTERNAL' })
})

scene('a stanza that cannot be delivered comes back as the right error with its own id', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  net.names.set('silent.test', [{ host: 'silent.test', address: '203.0.113.1', port: 5269, tls: 'required', secure: false }])
  net.silent.add('203.0.113.1:5269')
  net.names.set('refusing.test', [{ host: 'refusing.test', address: '203.0.113.2', port: 5269, tls: 'required', secure: false }])
  net.names.set('dnsless.test', new DnsError('the DNS server did not answer'))
  net.names.set('decided.test', new NoServer('no XMPP server, says DNS'))
  const cases = {
    'nowhere.test': ['remote-server-not-found', 'cancel'],
    'decided.test': ['remote-server-not-found', 'cancel'],
    'dnsless.test': ['remote-server-timeout', 'wait'],
    'refusing.test': ['remote-server-timeout', 'wait'],
    'silent.test': ['remote-server-timeout', 'wait'],
  }
  for (const [domain, [condition, type]] of Object.entries(cases)) {
    await romeo.says(`<message to='friar@${domain}' id='to-${domain}'><body>Help!</body></message>`)
    await net.pass(domain === 'silent.test' ? 21_000 : 0)
    await romeo.gets(`<message type='error' from='friar@${domain}' id='to-${domain}'><error type='${type}'>
      <${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
    await romeo.says(`<iq type='get' to='friar@${domain}' id='iq'><ping xmlns='urn:xmpp:ping'/></iq>`)
    await net.settled()
    await romeo.gets(`<iq type='error' id='iq' from='friar@${domain}'><error type='${type}'/></iq>`)
  }
  const bounced = [...ours.counters].filter(({ metric }) => metric === 'bounced').map(({ labels, value }) => [labels['condition'], value])
  t.same(Object.fromEntries(bounced), { 'remote-server-not-found': 4, 'remote-server-timeout': 6 })
})

scene('presence and errors to an unreachable server are dropped, and errors never loop', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  for (const stanza of [
    "<presence to='friar@nowhere.test'/>", "<presence type='unavailable' to='friar@nowhere.test/cell'/>", "<presence type='probe' to='friar@nowhere.test'/>",
    "<message type='error' to='friar@nowhere.test'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
    "<iq type='result' id='r' to='friar@nowhere.test'/>",
    "<iq type='error' id='e' to='friar@nowhere.test'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
  ]) await romeo.says(stanza)
  await net.pass(60_000)
  await romeo.getsNothing()
  t.ok((ours.counters.get('dropped') ?? 0) >= 5)
  t.equal(ours.counters.get('bounced'), undefined)
  // Joining a room is a request, and the user waits for the answer (XEP-0045 §7.2).
  await romeo.says("<presence id='enter' to='hall@rooms.nowhere.test/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
  await net.settled()
  await romeo.gets("<presence type='error' id='enter' from='hall@rooms.nowhere.test/romeo'><error type='cancel'/></presence>")
})

scene('a queue is bounded in stanzas, bytes and seconds, and keeps its order', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  for (let n = 1; n <= 11; n++) await romeo.says(`<message to='juliet@capulet.test' id='m${n}'><body>${n}</body></message>`)
  await romeo.gets(`<message type='error' id='m11'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
  t.match(ours.link(THEIRS), { state: 'connecting', queue: 10 })
  const line = await peer.takes(THEIRS, `${EXTERNAL}${DIALBACK}`)
  line.gets('mechanism="EXTERNAL"')
  await line.says(SUCCESS)
  await line.says(`${header(THEIRS, { id: 'again' })}<stream:features>${DIALBACK}</stream:features>`)
  t.same([...line.heard.matchAll(/<body>(\d+)</g)].map(([, n]) => Number(n)), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  t.match(ours.link(THEIRS), { state: 'established', queue: 0, bytes: 0 })
})

scene('an iq answer has reserved room in a full queue, at most one tenth of it', async (t, net) => {
  const ours = await net.town(OURS)
  await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  for (let n = 1; n <= 10; n++) await romeo.says(`<message to='juliet@capulet.test' id='m${n}'><body>${n}</body></message>`)
  await romeo.says("<iq type='get' id='question' to='juliet@capulet.test'><query xmlns='urn:x'/></iq>")
  await romeo.gets("<iq type='error' id='question'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
  await romeo.says("<iq type='result' id='one' to='juliet@capulet.test/balcony'/>")
  t.match(ours.link(THEIRS), { queue: 11 })
  await romeo.says("<iq type='result' id='two' to='juliet@capulet.test/balcony'/>")
  await romeo.getsNothing()
  t.match(ours.link(THEIRS), { queue: 11 })
})

scene('a queue is bounded in bytes', async (t, net) => {
  const ours = await net.town(OURS)
  await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const long = 'x'.repeat(9000)
  for (let n = 1; n <= 3; n++) await romeo.says(`<message to='juliet@capulet.test' id='m${n}'><body>${long}</body></message>`)
  await romeo.gets(`<message type='error' id='m3'><error><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
  t.match(ours.link(THEIRS), { queue: 2 })
})

scene('a stanza that waits too long comes back; later ones wait on', async (t, net) => {
  const queue = { stanzas: 10, size: 20_000, time: 30_000 }
  const ours = await net.town(OURS, { limits: { negotiation: 120_000, queue } })
  await net.peer(THEIRS)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  await romeo.says("<message to='juliet@capulet.test' id='early'><body>1</body></message>")
  await net.pass(20_000)
  await romeo.says("<message to='juliet@capulet.test' id='late'><body>2</body></message>")
  await net.pass(10_000)
  await romeo.gets("<message type='error' id='early'><error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
  await romeo.getsNothing()
  t.match(ours.link(THEIRS), { queue: 1 })
  await net.pass(20_000)
  await romeo.gets("<message type='error' id='late'/>")
  t.match(ours.link(THEIRS), { queue: 0 })
})
