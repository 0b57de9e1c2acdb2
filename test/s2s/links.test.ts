/**
 * Streams between servers over their lives (shared, idle, cut, dead), with policies and limits; and presence over them.
 */
import {
  BIDI, DIALBACK, dns, EXTERNAL, external, header, message, OURS, scene, STANZAS, SUCCESS, THEIRS, type Line,
  type Net, type Peer, type Town,
} from './stage.js'
import type { Device } from '../device.js'
import type { Policy } from '../../lib/s2s/ground/policy.js'

const SPEAKS_BIDI = "<bidi xmlns='urn:xmpp:bidi'/>"

async function romeoOf (town: Town, resource = 'orchard'): Promise<Device> { return await town.s.device(`romeo@${OURS}/${resource}`) }

/** Authenticates Sestina on its connection to the peer; from now on users' stanzas go out on it. */
async function linked (peer: Peer, domain: string, features = `${EXTERNAL}${DIALBACK}`, more = DIALBACK): Promise<Line> {
  const line = await peer.takes(domain, features)
  line.gets('EXTERNAL')
  await line.says(SUCCESS)
  await line.says(`${header(domain, { id: 'second' })}<stream:features>${more}</stream:features>`)
  return line
}

async function lovers (net: Net, trust: Policy['trust'] = 'certificate'):
Promise<{ readonly ours: Town, readonly theirs: Town, readonly romeo: Device, readonly juliet: Device }> {
  const ours = await net.town(OURS, { trust })
  const theirs = await net.town(THEIRS, { trust })
  const romeo = await romeoOf(ours)
  const juliet = await theirs.s.device(`juliet@${THEIRS}/balcony`)
  await ours.s.contact(`romeo@${OURS}`, `juliet@${THEIRS}`)
  await theirs.s.contact(`juliet@${THEIRS}`, `romeo@${OURS}`)
  for (const device of [romeo, juliet]) await device.says('<presence/>')
  await net.settled()
  for (const device of [romeo, juliet]) device.forget()
  return { ours, theirs, romeo, juliet }
}

// ---- One connection for many ---------------------------------------------------------------------------

scene('three domains of one server share a connection if it reports dialback errors (XEP-0220 §2.6.2), each proven', async (t, net) => {
  const ours = await net.town([OURS, 'garden.montague.test'])
  const romeo = await romeoOf(ours)
  const gardener = await ours.s.device('gardener@garden.montague.test/shed')
  const domains = [THEIRS, `rooms.${THEIRS}`, `files.${THEIRS}`]
  const peer = await net.peer(domains, { shows: dns(...domains) })
  await romeo.says(message('', `juliet@${THEIRS}`, 'one').replace("from=''", ''))
  const line = await linked(peer, THEIRS)
  line.gets('<body>one</body>')
  for (const domain of domains.slice(1)) {
    await romeo.says(`<message to='x@${domain}'><body>to ${domain}</body></message>`)
    t.notMatch(line.heard, '<body>', 'not before it is proven')
    t.match(line.heard, new RegExp(`<db:result [^>]*from=.${OURS}.* to=.${domain}.`))
    await line.says(`<db:result from='${domain}' to='${OURS}' type='valid'/>`)
    line.gets(`<body>to ${domain}</body>`)
  }
  await gardener.says(`<message to='juliet@${THEIRS}'><body>mine</body></message>`)
  await line.says(`<db:result from='${THEIRS}' to='garden.montague.test' type='valid'/>`)
  line.gets('<body>mine</body>')
  t.equal(net.dialled.length, 1)
  t.equal(ours.links.report().length, 4)
})

scene('a domain gets its own connection if its address or certificate differs, or if its server reports no dialback errors', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const peer = await net.peer([THEIRS, `rooms.${THEIRS}`], { shows: dns(THEIRS) })
  const other = await net.peer('verona.test')
  await romeo.says(`<message to='juliet@${THEIRS}'><body>one</body></message>`)
  const line = await linked(peer, THEIRS)
  line.forget()
  await romeo.says("<message to='prince@verona.test'><body>two</body></message>")
  await other.takes('verona.test')
  await romeo.says(`<message id='r' to='hall@rooms.${THEIRS}'><body>three</body></message>`)
  await peer.takes(`rooms.${THEIRS}`)
  await romeo.gets(`<message type='error' id='r'><error><remote-server-not-found xmlns='${STANZAS}'/></error></message>`)
  t.equal(line.heard, '', 'sharing was not tried on the first connection')
})

scene('if sharing is refused, the domain gets its own connection, and nothing is lost', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const both = [THEIRS, `rooms.${THEIRS}`]
  const peer = await net.peer(both, { shows: dns(...both) })
  await romeo.says(`<message to='juliet@${THEIRS}'><body>one</body></message>`)
  const line = await linked(peer, THEIRS)
  await romeo.says(`<message to='hall@rooms.${THEIRS}'><body>two</body></message>`)
  await line.says(`<db:result from='rooms.${THEIRS}' to='${OURS}' type='error'><error type='cancel'><item-not-found xmlns='${STANZAS}'/></error></db:result>`)
  const own = await linked(peer, `rooms.${THEIRS}`)
  own.gets('<body>two</body>')
  t.equal(line.isClosed, false)
})

scene('on a bidirectional stream only the peer’s domain may send (XEP-0288)', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const peer = await net.peer(THEIRS)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>one</body></message>`)
  const line = await peer.takes(THEIRS, `${EXTERNAL}${BIDI}${DIALBACK}`)
  line.gets('<bidi xmlns="urn:xmpp:bidi"')
  await line.says(SUCCESS)
  await line.says(`${header(THEIRS, { id: 'second' })}<stream:features/>`)
  await line.says(message(`juliet@${THEIRS}`, `romeo@${OURS}`, 'back'))
  await romeo.gets('<message><body>back</body></message>')
  t.match(ours.link(THEIRS), { direction: 'both' })
  await line.says(message('boss@bank.test', `romeo@${OURS}`, 'lies'))
  t.equal(line.error, 'invalid-from')
  await net.settled()
  await romeo.gets("<message type='error'/>") // the first message is not confirmed yet
  await romeo.getsNothing()
})

scene('without bidi, an outgoing stream accepts no stanzas, and an incoming stream carries none out', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const peer = await net.peer(THEIRS)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>one</body></message>`)
  const line = await linked(peer, THEIRS)
  await line.says(message(`juliet@${THEIRS}`, `romeo@${OURS}`, 'back'))
  t.equal(line.error, 'not-authorized')
  const incoming = await peer.enters(ours, THEIRS, OURS)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>two</body></message>`)
  t.notMatch(incoming.heard, 'two')
  ;(await linked(peer, THEIRS)).gets('two')
  const late = await peer.enters(ours, THEIRS, OURS)
  await late.says(SPEAKS_BIDI)
  t.equal(late.error, 'policy-violation', 'bidi has to come before authentication')
})

scene('a peer that asks for bidi gets the queued stanzas on its own stream once it is authenticated', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const peer = await net.peer(THEIRS)
  const line = await peer.opens(ours, THEIRS, OURS)
  await line.says(SPEAKS_BIDI)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>early</body></message>`)
  t.notMatch(line.heard, 'early', 'not before authentication')
  await line.says(external())
  await line.says(header(THEIRS, { to: OURS }))
  t.match(line.heard, 'early')
  line.forget()
  await romeo.says(`<message to='juliet@${THEIRS}'><body>later</body></message>`)
  line.gets('later')
  await line.says(SPEAKS_BIDI)
  t.equal(line.error, 'policy-violation')
})

// ---- Limits ------------------------------------------------------------------------------------------------

scene('the peer’s stanza size limit is kept (XEP-0478); one stanza too large does not end the stream', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const peer = await net.peer(THEIRS)
  const limits = "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes></limits>"
  const long = 'x'.repeat(10_000)
  await romeo.says(`<message id='early' to='juliet@${THEIRS}'><body>${long}</body></message>`)
  const line = await linked(peer, THEIRS, EXTERNAL, limits)
  await romeo.gets(`<message id='early' type='error'><error type='modify'><policy-violation xmlns='${STANZAS}'/></error></message>`)
  await romeo.says(`<message id='late' to='juliet@${THEIRS}'><body>${long}</body></message>`, `<message to='juliet@${THEIRS}'><body>short</body></message>`)
  await romeo.gets("<message id='late' type='error'/>")
  t.notMatch(line.heard, 'xxx')
  line.gets('short')
})

scene('the server announces its limits; before authentication they are small, in bytes and in elements', async (t, net) => {
  const ours = await net.town(OURS)
  const peer = await net.peer(THEIRS)
  const line = await peer.opens(ours, THEIRS, OURS)
  t.match(line.heard, '<max-bytes>10000</max-bytes>')
  await line.says(external())
  await line.says(header(THEIRS, { to: OURS }))
  t.match(line.heard, '<max-bytes>262144</max-bytes>')
  const large = await peer.opens(ours, THEIRS, OURS)
  await large.says(`<db:result from='${THEIRS}' to='${OURS}'>${'x'.repeat(10_001)}`)
  t.equal(large.error, 'policy-violation')
  const many = await peer.opens(ours, THEIRS, OURS)
  await many.says(`<db:result from='${THEIRS}' to='${OURS}'>${'<x/>'.repeat(65)}`)
  t.equal(many.error, 'policy-violation')
})

scene('a proven domain that floods users with messages and requests is throttled; contacts at that domain are not', async (t, net) => {
  const ours = await net.town(OURS, { scene: {
    modules: ['roster', 'presence', 'message', 'limits'], settings: { limits: { strangerMessagesPerMinute: 10, subscriptionRequestsPerMinute: 5 } },
  } })
  const romeo = await romeoOf(ours)
  await ours.s.contact(`romeo@${OURS}`, `juliet@${THEIRS}`)
  const peer = await net.peer(THEIRS)
  const line = await peer.enters(ours, THEIRS, OURS)
  for (let n = 0; n < 30; n++) await line.says(message(`spam${n}@${THEIRS}`, `romeo@${OURS}`, `buy ${n}`))
  t.equal(romeo.unread.filter(({ name }) => name === 'message').length, 10)
  romeo.forget()
  await line.says(message(`juliet@${THEIRS}`, `romeo@${OURS}`, 'it is me'))
  await romeo.gets('<message><body>it is me</body></message>')
  for (let n = 0; n < 30; n++) await line.says(`<presence type='subscribe' from='spam${n}@${THEIRS}' to='romeo@${OURS}'/>`)
  t.equal(romeo.unread.filter(({ name }) => name === 'presence').length, 5)
  t.equal(line.error, undefined)
  const other = await net.peer('verona.test')
  await (await other.enters(ours, 'verona.test', OURS)).says(message('prince@verona.test', `romeo@${OURS}`, 'order'))
  romeo.forget(romeo.unread.find(({ name }) => name === 'presence'))
  t.ok(romeo.unread.some(({ attrs }) => attrs['from'] === 'prince@verona.test'), 'another domain has its own limit')
})

scene('a remote room that a user has joined is not throttled; a room that the user has left is', async (t, net) => {
  const ours = await net.town(OURS, { scene: { modules: ['roster', 'presence', 'message', 'limits'], settings: { limits: { strangerMessagesPerMinute: 10 } } } })
  const romeo = await romeoOf(ours)
  const rooms = `rooms.${THEIRS}`
  const peer = await net.peer(rooms)
  await romeo.says(`<presence to='hall@${rooms}/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
  const line = await peer.enters(ours, rooms, OURS)
  const talk = async (): Promise<number> => {
    romeo.forget()
    for (let n = 0; n < 30; n++) await line.says(message(`hall@${rooms}/tybalt`, `romeo@${OURS}/orchard`, String(n), "type='groupchat'"))
    return romeo.unread.length
  }
  t.equal(await talk(), 30)
  await romeo.says(`<presence type='unavailable' to='hall@${rooms}/romeo'/>`)
  t.equal(await talk(), 5) // as many as it leaves for others of its domain
})

scene('messages to a slow server come back with an error and take no memory', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const peer = await net.peer(THEIRS)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>one</body></message>`)
  const line = await linked(peer, THEIRS)
  line.transport.pause()
  for (let n = 0; n < 12; n++) await romeo.says(`<message id='m${n}' to='juliet@${THEIRS}'><body>${'x'.repeat(4000)}</body></message>`)
  const errors = romeo.unread.filter(({ attrs }) => attrs['type'] === 'error')
  t.ok(errors.length >= 5 && errors.length < 12, `${errors.length} came back`)
  await romeo.gets(`<message type='error'><error type='wait'><resource-constraint xmlns='${STANZAS}'/></error></message>`)
})

// ---- Policies --------------------------------------------------------------------------------------------------

scene('each domain has its own policy: dialback suffices for one, another is refused in both directions', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const policies: Readonly<Record<string, Policy>> = { 'old.test': { trust: 'dialback' }, 'spam.test': { trust: 'refuse' } }
  ours.policy = (_, remote) => policies[remote] ?? { trust: 'certificate' }
  const old = await net.peer('old.test', { trusted: false })
  await romeo.says("<message to='x@old.test'><body>hello</body></message>")
  const line = await old.takes('old.test')
  await line.says(`<db:result from='old.test' to='${OURS}' type='valid'/>`)
  line.gets('<body>hello</body>')

  const spam = await net.peer('spam.test')
  await romeo.says("<message id='s' to='x@spam.test'><body>hello</body></message>")
  await romeo.gets(`<message type='error' id='s'><error><not-allowed xmlns='${STANZAS}'/></error></message>`)
  const dialled = spam.dials(ours)
  await dialled.says(header('spam.test', { to: OURS }))
  t.equal(dialled.error, 'policy-violation')
  const nameless = await spam.opens(ours, undefined, OURS)
  await nameless.says(`<db:result from='spam.test' to='${OURS}'>key</db:result>`)
  t.match(nameless.heard, /type=.error.>.*policy-violation/)
  // A changed policy also applies to open streams.
  ours.policy = () => ({ trust: 'refuse' })
  await romeo.says("<message id='t' to='x@old.test'><body>again</body></message>")
  await romeo.gets("<message type='error' id='t'/>")
})

scene('an IP address is not dialled if a certificate is required, as it cannot have one', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  net.names.set('192.0.2.7', [{ host: '192.0.2.7', address: '192.0.2.7', port: 5269, tls: 'required', secure: false }])
  await romeo.says("<message id='m' to='192.0.2.7'><body>hello</body></message>")
  await net.settled()
  await romeo.gets(`<message type='error' id='m'><error><remote-server-not-found xmlns='${STANZAS}'/></error></message>`)
  t.equal(net.dialled.length, 0)
})

scene('of several servers of a domain, one with a wrong certificate is skipped', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const wrong = await net.peer('wrong.test')
  const peer = await net.peer(THEIRS)
  const place = (address: string): { host: string, address: string, port: number, tls: 'required', secure: boolean } =>
    ({ host: address, address, port: 5269, tls: 'required', secure: false })
  net.names.set(THEIRS, [place(wrong.address), place(peer.address)])
  await romeo.says(`<message to='juliet@${THEIRS}'><body>hello</body></message>`)
  await wrong.takes(THEIRS)
  ;(await linked(peer, THEIRS)).gets('<body>hello</body>')
  t.equal(ours.counters.get('bounced'), undefined)
})

// ---- Dead domains --------------------------------------------------------------------------------------------------

scene('a dead domain is retried after longer and longer delays with some jitter, up to five minutes', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  net.names.set('dead.test', [{ host: 'x', address: '203.0.113.9', port: 5269, tls: 'required', secure: false }])
  const writes = async (): Promise<void> => {
    await romeo.says("<message id='m' to='x@dead.test'><body>hello?</body></message>")
    await net.settled()
    await romeo.gets(`<message type='error' id='m'><error type='wait'><remote-server-timeout xmlns='${STANZAS}'/></error></message>`)
  }
  const rests: number[] = []
  for (let times = 0; times < 9; times++) {
    const before = net.dialled.length
    let waited = 0
    do {
      await writes()
      if (net.dialled.length > before) break
      await net.pass(2500)
      waited += 2500
    } while (waited < 400_000)
    rests.push(waited)
  }
  t.same(rests, [0, 5000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000])
  t.match(ours.links.report(), [{ remote: 'dead.test', state: 'resting', queue: 0 }])
})

scene('a dead domain that opens a stream counts as alive, and its queue is sent at once', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const peer = await net.peer(THEIRS)
  const places = net.names.get(THEIRS) ?? []
  net.names.set(THEIRS, [])
  await romeo.says(`<message id='m' to='juliet@${THEIRS}'><body>one</body></message>`)
  await romeo.gets("<message type='error' id='m'/>")
  net.names.set(THEIRS, places)
  await romeo.says(`<message id='m' to='juliet@${THEIRS}'><body>two</body></message>`)
  await romeo.gets("<message type='error' id='m'/>")
  await peer.enters(ours, THEIRS, OURS)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>three</body></message>`)
  ;(await linked(peer, THEIRS)).gets('three')
})

scene('five hundred dead domains do not delay a live one, and leave no state', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const peer = await net.peer(THEIRS)
  net.silent.add('203.0.113.9:5269')
  for (let n = 0; n < 500; n++) {
    net.names.set(`d${n}.test`, [{ host: 'x', address: '203.0.113.9', port: 5269, tls: 'required', secure: false }])
  }
  for (let n = 0; n < 500; n++) await romeo.says(`<message id='d${n}' to='x@d${n}.test'><body>hello?</body></message>`)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>hello</body></message>`)
  ;(await linked(peer, THEIRS)).gets('hello')
  await net.pass(21_000)
  t.equal(romeo.unread.length, 500, 'each message to the others came back')
  for (let n = 0; n < 500; n++) await romeo.says(`<message id='d${n}' to='x@d${n}.test'><body>hello?</body></message>`)
  t.equal(romeo.unread.length, 1000, 'the second time they came back at once')
  t.equal(ours.links.report().filter(({ state }) => state !== 'resting').length, 1)
})

// ---- Idle, cut, restarted ----------------------------------------------------------------------------------------

scene('claims of domains that cannot be found leave no state', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const peer = await net.peer(THEIRS)
  for (let times = 0; times < 4; times++) {
    const line = await peer.opens(ours, THEIRS, OURS)
    for (let n = 0; n < 15; n++) await line.says(`<db:result from='n${times}-${n}.test' to='${OURS}'>key</db:result>`)
    t.match(line.heard, 'remote-server-not-found')
  }
  t.same(ours.links.report(), [])
})

scene('an idle stream is closed in order, and opened again if it is needed', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const peer = await net.peer(THEIRS)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>one</body></message>`)
  const line = await linked(peer, THEIRS)
  await net.pass(590_000)
  t.notMatch(line.heard, '</stream:stream>')
  await net.pass(60_000)
  t.match(line.heard, '</stream:stream>')
  await line.says('</stream:stream>')
  t.equal(ours.link(THEIRS), undefined)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>two</body></message>`)
  ;(await linked(peer, THEIRS)).gets('two')
})

scene('stanzas wait for a server that was reachable a moment ago, and are not lost', async (t, net) => {
  const ours = await net.town(OURS)
  const romeo = await romeoOf(ours)
  const peer = await net.peer(THEIRS)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>one</body></message>`)
  const line = await linked(peer, THEIRS)
  const places = net.names.get(THEIRS) ?? []
  net.names.set(THEIRS, [{ host: 'x', address: '203.0.113.9', port: 5269, tls: 'required', secure: false }])
  await line.says("<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
  await romeo.gets("<message type='error'/>") // nobody can tell whether the first message has arrived
  await romeo.says(`<message to='juliet@${THEIRS}'><body>two</body></message>`)
  await net.pass(5000)
  await romeo.getsNothing()
  t.match(ours.link(THEIRS), { state: 'waiting', queue: 1 })
  net.names.set(THEIRS, places)
  await net.pass(10_000)
  ;(await linked(peer, THEIRS)).gets('two')
  await romeo.getsNothing()
})

// ---- Presence -----------------------------------------------------------------------------------------------------

scene('recipients of directed presence elsewhere get unavailable, also if the connection is cut', async (t, net) => {
  const { romeo, juliet, theirs } = await lovers(net)
  const nurse = await theirs.s.device(`nurse@${THEIRS}/kitchen`)
  await romeo.says(`<presence to='nurse@${THEIRS}/kitchen'/>`)
  await net.settled()
  await nurse.gets(`<presence from='romeo@${OURS}/orchard'/>`)
  await romeo.loses('connection')
  await net.settled()
  await nurse.gets(`<presence type='unavailable' from='romeo@${OURS}/orchard'/>`)
  await juliet.gets(`<presence type='unavailable' from='romeo@${OURS}/orchard'/>`)
  await juliet.getsNothing()
  t.pass()
})

scene('a user who comes back probes remote contacts, and gets the presence of each', async (t, net) => {
  const { romeo, juliet, ours } = await lovers(net)
  await romeo.loses('connection')
  await net.settled()
  await juliet.says('<presence><show>dnd</show></presence>')
  await net.settled()
  const again = await ours.s.device(`romeo@${OURS}/orchard`, { presence: false })
  await again.says('<presence/>')
  await net.settled()
  await again.getsInAnyOrder(`<presence from='romeo@${OURS}/orchard'/>`, `<presence from='juliet@${THEIRS}/balcony'><show>dnd</show></presence>`)
  await juliet.loses('connection')
  await net.settled()
  await again.gets(`<presence type='unavailable' from='juliet@${THEIRS}/balcony'/>`)
  const third = await ours.s.device(`romeo@${OURS}/garden`, { presence: false })
  await third.says('<presence/>')
  await net.settled()
  t.ok(third.unread.some(({ attrs }) => attrs['type'] === 'unavailable' && attrs['from'] === `juliet@${THEIRS}`), 'no ghost is left')
})

scene('after an hour without a connection each side gets the other’s current presence, and no ghost is left', async (t, net) => {
  const { ours, theirs, romeo, juliet } = await lovers(net)
  const vault = await romeoOf(ours, 'vault')
  await net.settled()
  for (const device of [romeo, juliet]) device.forget()
  // The connection between the two is cut, and neither can reach the other.
  const places = [OURS, THEIRS].map(domain => [domain, net.names.get(domain) ?? []] as const)
  for (const [domain] of places) net.names.set(domain, [{ host: 'x', address: '203.0.113.9', port: 5269, tls: 'required', secure: false }])
  net.cut()
  await net.settled()
  await vault.loses('connection')
  await romeo.says('<presence><show>away</show></presence>')
  await juliet.says('<presence><status>Wherefore</status></presence>')
  for (let minute = 0; minute < 60; minute++) await net.pass(60_000)
  romeo.forget()
  juliet.forget()
  for (const [domain, place] of places) net.names.set(domain, place)
  await romeo.says(`<message to='juliet@${THEIRS}'><body>I am back</body></message>`)
  await net.pass(31_000)
  const heard = (device: Device, from: string): unknown => device.unread.filter(({ name, attrs }) => name === 'presence' && attrs['from'] === from).at(-1)
  t.match(heard(juliet, `romeo@${OURS}/orchard`), { attrs: { from: `romeo@${OURS}/orchard` } })
  t.match(JSON.stringify((heard(juliet, `romeo@${OURS}/orchard`) as { children?: unknown } | undefined)?.children, ['name', 'children']), 'away')
  t.match(heard(juliet, `romeo@${OURS}/vault`), { attrs: { type: 'unavailable' } })
  t.match(JSON.stringify((heard(romeo, `juliet@${THEIRS}/balcony`) as { children?: unknown } | undefined)?.children, ['name', 'children']), 'Wherefore')
  // The presence is sent once.
  romeo.forget()
  juliet.forget()
  await net.pass(120_000)
  await romeo.getsNothing()
  await juliet.getsNothing()
  t.ok(theirs.logged('s2s link closed'))
})

scene('no unavailable is sent for a user who left and came back while the other server was away', async (t, net) => {
  const { ours, juliet, romeo } = await lovers(net)
  const places = net.names.get(THEIRS) ?? []
  net.names.set(THEIRS, [{ host: 'x', address: '203.0.113.9', port: 5269, tls: 'required', secure: false }])
  net.cut()
  for (let minute = 0; minute < 12; minute++) await net.pass(60_000)
  await romeo.loses('connection')
  await net.pass(60_000)
  net.names.set(THEIRS, places)
  const again = await romeoOf(ours)
  await again.says(`<message to='juliet@${THEIRS}'><body>I am back</body></message>`)
  await net.pass(31_000)
  const said = juliet.unread.filter(({ name, attrs }) => name === 'presence' && attrs['from'] === `romeo@${OURS}/orchard`)
  t.ok(said.length > 0)
  t.notOk(said.at(-1)?.attrs['type'])
})

scene('when this server stops, remote contacts get unavailable', async (t, net) => {
  const { ours, juliet } = await lovers(net)
  await ours.s.server.stop()
  await net.settled()
  await juliet.gets(`<presence type='unavailable' from='romeo@${OURS}/orchard'/>`)
  t.pass()
})
