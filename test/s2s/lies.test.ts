/** Peers that lie, stall, flood or speak for others: how Sestina answers them, and that no user notices. */
import { DialbackKeys } from '../../lib/s2s/trust/dialback.js'
import {
  DIALBACK, dns, EXTERNAL, external, header, message, OURS, scene, STANZAS, SUCCESS, THEIRS, type Line,
  type Net, type Peer, type Town,
} from './stage.js'

const EVIL = 'tybalt.test'

function result (from: string, to: string, content: string, more = ''): string {
  return `<db:result from='${from}' to='${to}' ${more}>${content}</db:result>`
}

/** Makes one town, a user who would receive a forged stanza, and a liar. */
async function stage (net: Net, trust: 'certificate' | 'dialback' = 'dialback', more: { readonly shows?: ReturnType<typeof dns> } = {}):
Promise<{ readonly ours: Town, readonly liar: Peer, readonly hears: () => Promise<void> }> {
  const ours = await net.town(OURS, { trust })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const liar = await net.peer(EVIL, more)
  return { ours, liar, hears: async () => { await net.settled(); await romeo.getsNothing() } }
}

// ---- Stanzas in another domain's name --------------------------------------------------------------

scene('a stanza before authentication ends the stream', async (t, net) => {
  const { ours, liar, hears } = await stage(net)
  for (const kind of ['message', 'presence', 'iq']) {
    const line = await liar.opens(ours, EVIL, OURS)
    await line.says(`<${kind} from='tybalt@${EVIL}' to='romeo@${OURS}' type='get' id='1'/>`)
    t.equal(line.error, 'not-authorized')
  }
  await hears()
})

scene('a peer that sends from a domain it has not proven, or without an address, is disconnected', async (t, net) => {
  const { ours, liar, hears } = await stage(net)
  const cases: readonly (readonly [string, string])[] = [
    [message(`juliet@${THEIRS}`, `romeo@${OURS}`, 'I never loved you'), 'invalid-from'],
    [message(`sub.${EVIL}`, `romeo@${OURS}`, 'lies'), 'invalid-from'],
    [message(`romeo@${OURS}`, `romeo@${OURS}`, 'lies'), 'invalid-from'],
    [message(OURS, `romeo@${OURS}`, 'lies'), 'invalid-from'],
    [`<message to='romeo@${OURS}'><body>lies</body></message>`, 'improper-addressing'],
    [`<message from='tybalt@${EVIL}'><body>lies</body></message>`, 'improper-addressing'],
    [message(`tybalt@${EVIL}`, 'paris@elsewhere.test', 'relay this'), 'host-unknown'],
    [`<message from='tybalt@${EVIL}' to='nobody here@@'/>`, 'improper-addressing'],
    [`<nonsense from='tybalt@${EVIL}' to='romeo@${OURS}'/>`, 'unsupported-stanza-type'],
  ]
  for (const [stanza, condition] of cases) {
    const line = await liar.enters(ours, EVIL, OURS)
    await line.says(stanza)
    t.equal(line.error, condition, stanza)
  }
  t.equal(net.dialled.length, 0, 'nothing was relayed')
  await hears()
})

scene('an invalid address costs its sender an error, and the stream goes on', async (t, net) => {
  const { ours, liar, hears } = await stage(net)
  const line = await liar.enters(ours, EVIL, OURS)
  const long = 'x'.repeat(1100)
  await line.says(`<iq type='get' id='q' from='tybalt@${EVIL}/street' to='${long}@${OURS}'><ping xmlns='urn:xmpp:ping'/></iq>`)
  t.equal(line.error, undefined)
  const back = await liar.takes(EVIL, `${EXTERNAL}${DIALBACK}`) // the answer goes out on a stream that Sestina opens
  await back.says(SUCCESS)
  await back.says(`${header(EVIL, { id: 'x' })}<stream:features/>`)
  t.match(back.heard, /<iq [^>]*id=["']q["']/)
  t.match(back.heard, /jid-malformed/)
  await line.says(`<message from='${long}@${EVIL}' to='romeo@${OURS}'/><iq type='result' id='r' from='tybalt@${EVIL}' to='${long}@${OURS}'/>`)
  t.equal(line.error, undefined)
  t.equal(ours.counters.get('malformed'), 3)
  await hears()
})

scene('a peer has to prove itself to each hosted domain (CVE-2018-10847)', async (t, net) => {
  const ours = await net.town([OURS, 'garden.montague.test'], { trust: 'dialback' })
  await ours.s.device(`romeo@${OURS}/orchard`)
  const gardener = await ours.s.device('gardener@garden.montague.test/shed')
  const liar = await net.peer(EVIL)
  const line = await liar.enters(ours, EVIL, OURS)
  await line.says(message(`tybalt@${EVIL}`, 'gardener@garden.montague.test', 'lies'))
  t.equal(line.error, 'invalid-from')
  // A new stream on the same connection, to another host or from another domain.
  for (const [from, to, condition] of [[EVIL, 'garden.montague.test', 'not-authorized'], [THEIRS, OURS, 'invalid-from']] as const) {
    const other = await liar.opens(ours, EVIL, OURS)
    await other.says(external())
    other.gets('<success')
    await other.says(header(from, { to }))
    t.equal(other.error, condition)
  }
  await net.settled()
  await gardener.getsNothing()
})

scene('a stream is refused at once if it is from a hosted domain or an account, or to a domain that is not hosted', async (t, net) => {
  const { ours, liar } = await stage(net)
  for (const [from, to, condition] of [
    [OURS, OURS, 'invalid-from'], [`tybalt@${EVIL}`, OURS, 'invalid-from'], [EVIL, 'elsewhere.test', 'host-unknown'],
    [EVIL, `romeo@${OURS}`, 'host-unknown'], [EVIL, undefined, 'improper-addressing'],
  ] as const) {
    const line = liar.dials(ours)
    await line.says(header(from, to === undefined ? {} : { to }))
    t.equal(line.error, condition, `${from} ${String(to)}`)
  }
})

scene('before TLS only starttls is accepted', async (t, net) => {
  const { ours, liar, hears } = await stage(net)
  for (const said of [
    external(), result(EVIL, OURS, 'key'), message(`tybalt@${EVIL}`, `romeo@${OURS}`, 'lies'), "<bidi xmlns='urn:xmpp:bidi'/>",
    "<db:verify from='tybalt.test' to='montague.test' id='x'>key</db:verify>",
  ]) {
    const line = liar.dials(ours)
    await line.says(header(EVIL, { to: OURS }))
    await line.says(said)
    t.equal(line.error, 'policy-violation', said)
  }
  const twice = await liar.opens(ours, EVIL, OURS)
  await twice.says("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
  t.equal(twice.error, 'policy-violation')
  await hears()
})

// ---- EXTERNAL --------------------------------------------------------------------------------------------

scene('EXTERNAL is offered only for a domain that the certificate is for', async (t, net) => {
  const { ours, liar } = await stage(net, 'certificate')
  const right = await liar.opens(ours, EVIL, OURS)
  t.match(right.heard, 'EXTERNAL')
  for (const from of [THEIRS, `sub.${EVIL}`, undefined]) {
    const line = await liar.opens(ours, from, OURS)
    t.notMatch(line.heard, 'EXTERNAL')
    await line.says(external())
    t.match(line.heard, 'invalid-mechanism')
  }
  const stranger = await net.peer('stranger.test', { trusted: false })
  t.notMatch((await stranger.opens(ours, 'stranger.test', OURS)).heard, 'EXTERNAL', 'not if no trusted authority issued it')
  const bare = await net.peer('bare.test', { shows: 'nothing' })
  t.notMatch((await bare.opens(ours, 'bare.test', OURS)).heard, 'EXTERNAL', 'not without a certificate')
})

scene('an authorization identity is the stream’s domain, or none', async (t, net) => {
  const { ours, liar } = await stage(net)
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  for (const [identity, answer] of [
    ['=', 'success'], ['', 'success'], [base64(EVIL), 'success'], [base64(EVIL.toUpperCase()), 'success'], [base64(THEIRS), 'invalid-authzid'],
    [base64(`tybalt@${EVIL}`), 'incorrect-encoding'], ['%%%', 'incorrect-encoding'], [base64('\u0000'), 'incorrect-encoding'],
  ] as const) {
    const line = await liar.opens(ours, EVIL, OURS)
    await line.says(external(identity))
    t.match(line.heard, `<${answer}`, identity)
  }
  const line = await liar.opens(ours, EVIL, OURS)
  await line.says("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>")
  t.match(line.heard, 'invalid-mechanism')
  await line.says("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
  t.match(line.heard, 'aborted')
  for (let n = 0; n < 14; n++) await line.says(external('%'))
  t.equal(line.error, 'policy-violation', 'attempts are limited')
  const again = await liar.enters(ours, EVIL, OURS)
  await again.says(external())
  t.equal(again.error, 'policy-violation')
})

// ---- Dialback: the receiving side -----------------------------------------------------------------------------

scene('a false key is verified at the server that DNS names, and refused', async (t, net) => {
  const { ours, liar, hears } = await stage(net)
  const capulet = await net.peer(THEIRS)
  const line = await liar.opens(ours, THEIRS, OURS)
  const id = line.streamId
  line.forget()
  await line.says(result(THEIRS, OURS, 'a key by guess'))
  const asked = await capulet.takes(THEIRS)
  t.match(asked.heard, new RegExp(`<db:verify [^>]*id=.${id}.[^>]*>a key by guess</db:verify>`))
  await asked.says(`<db:verify from='${THEIRS}' to='${OURS}' id='${id}' type='invalid'/>`)
  t.match(line.heard, /<db:result [^>]*type=.invalid./)
  t.ok(line.heard.endsWith('</stream:stream>'), 'a peer that lies about its only domain is disconnected')
  t.match(ours.logged('dialback refused'), [{ from: THEIRS, reason: 'wrong key' }])
  t.equal(ours.counters.get('refused', { reason: 'false key' }), 1)
  await hears()
})

scene('answers to no request are ignored on every stream (XEP-0220 §6)', async (t, net) => {
  const { ours, liar, hears } = await stage(net)
  const lies = [
    `<db:result from='${THEIRS}' to='${OURS}' type='valid'/>`, `<db:result from='${OURS}' to='${THEIRS}' type='valid'/>`,
    `<db:verify from='${THEIRS}' to='${OURS}' id='stream-1' type='valid'/>`, `<db:verify from='${THEIRS}' to='${OURS}' type='valid'/>`,
    `<db:result from='${THEIRS}' to='${OURS}' type='error'/>`,
  ]
  const incoming = await liar.opens(ours, THEIRS, OURS)
  for (const lie of lies) await incoming.says(lie)
  await incoming.says(message(`juliet@${THEIRS}`, `romeo@${OURS}`, 'lies'))
  t.equal(incoming.error, 'not-authorized')

  // On a stream that Sestina opened to the liar.
  const romeo = await ours.s.device(`romeo@${OURS}/vault`)
  await romeo.says(`<message to='tybalt@${EVIL}'><body>Peace</body></message>`)
  const outgoing = await liar.takes(EVIL)
  for (const lie of lies) await outgoing.says(lie)
  t.notMatch(outgoing.heard, 'Peace', 'such an answer does not authenticate Sestina')
  await outgoing.says(message(`juliet@${THEIRS}`, `romeo@${OURS}`, 'lies'))
  t.equal(outgoing.error, 'not-authorized')
  await romeo.gets(`<message type='error' from='tybalt@${EVIL}'/>`)
  await hears()
})

scene('the answer about a key counts only on the stream and from the domain that was asked', async (t, net) => {
  const { ours, liar, hears } = await stage(net)
  const capulet = await net.peer(THEIRS)
  // Sestina has also opened a stream to the liar, who says there that the key of another domain is right.
  const romeo = await ours.s.device(`romeo@${OURS}/vault`)
  await romeo.says(`<message to='tybalt@${EVIL}'><body>Peace</body></message>`)
  const outgoing = await liar.takes(EVIL)
  const line = await liar.opens(ours, THEIRS, OURS)
  const id = line.streamId
  await line.says(result(THEIRS, OURS, 'a key by guess'))
  const asked = await capulet.takes(THEIRS)
  for (const where of [line, outgoing]) await where.says(`<db:verify from='${THEIRS}' to='${OURS}' id='${id}' type='valid'/>`)
  t.notMatch(line.heard, 'type="valid"')
  // An answer with another id, or with the domains swapped, does not count.
  await asked.says(`<db:verify from='${THEIRS}' to='${OURS}' id='other' type='valid'/><db:verify from='${OURS}' to='${THEIRS}' id='${id}' type='valid'/>`)
  await asked.says(`<db:verify from='${EVIL}' to='${OURS}' id='${id}' type='valid'/>`)
  t.notMatch(line.heard, 'type="valid"')
  await asked.says(`<db:verify from='${THEIRS}' to='${OURS}' id='${id}' type='valid'/>`)
  t.match(line.heard, 'type="valid"')
  await hears()
})

scene('a key is valid for one stream, one pair of domains and one direction, and needs the secret to make (XEP-0185)', async (t, net) => {
  const { ours, liar } = await stage(net)
  const { keys } = ours
  const right = keys.key(EVIL, OURS, 'stream-9')
  const asks = async (key: string, { from = EVIL, to = OURS, id = 'stream-9' } = {}): Promise<string> => {
    const line = await liar.opens(ours, from, OURS)
    line.forget()
    await line.says(`<db:verify from='${from}' to='${to}' id='${id}'>${key}</db:verify>`)
    return /type=.(valid|invalid|error)/.exec(line.heard)?.[1] ?? line.error ?? 'nothing'
  }
  t.equal(await asks(right), 'valid')
  t.equal(await asks(` ${right}\n`), 'valid', 'white space around the key is ignored')
  t.equal(await asks(right, { id: 'stream-8' }), 'invalid', 'replayed on another stream')
  t.equal(await asks(right, { from: THEIRS }), 'invalid', 'used by another domain')
  t.equal(await asks(keys.key(OURS, EVIL, 'stream-9')), 'invalid', 'in the other direction')
  t.equal(await asks(new DialbackKeys(Buffer.from('another secret')).key(EVIL, OURS, 'stream-9')), 'invalid')
  t.equal(await asks(''), 'invalid')
  t.equal(await asks('f'.repeat(9000)), 'invalid')
  t.equal(await asks(right, { to: 'elsewhere.test' }), 'error', 'for a domain that is not hosted here')
  t.not(new DialbackKeys().key(EVIL, OURS, 'x'), new DialbackKeys().key(EVIL, OURS, 'x'), 'each process has its own secret')
})

scene('each domain of a peer is proven on its own; unproven ones may not send, and the stream goes on', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const peer = await net.peer([THEIRS, `rooms.${THEIRS}`], { shows: dns(THEIRS, `rooms.${THEIRS}`) })
  await net.peer('bank.test')
  const line = await peer.opens(ours, THEIRS, OURS)
  await line.says(result(THEIRS, OURS, 'x'))
  line.gets(/<db:result [^>]*type=.valid./) // its certificate proves it
  await line.says(message(`juliet@${THEIRS}`, `romeo@${OURS}`, 'one'))
  await romeo.gets('<message><body>one</body></message>')
  await line.says(result(`rooms.${THEIRS}`, OURS, 'x'))
  line.gets(/<db:result [^>]*from=.montague\.test. [^>]*to=.rooms\.capulet\.test. [^>]*type=.valid./)
  await line.says(message(`hall@rooms.${THEIRS}/juliet`, `romeo@${OURS}`, 'two'))
  await romeo.gets('<message><body>two</body></message>')
  for (const [from, to, condition] of [
    [OURS, OURS, 'not-allowed'], [THEIRS, 'elsewhere.test', 'item-not-found'], ['nowhere.test', OURS, 'remote-server-not-found'],
  ] as const) {
    await line.says(result(from, to, 'key'))
    t.match(line.heard, new RegExp(`<db:result [^>]*type=.error.>.*<${condition}`))
    line.forget()
  }
  await line.says(result(THEIRS, OURS, 'again'))
  t.match(line.heard, /type=.valid./, 'a proven domain stays proven')
  t.equal(line.error, undefined)
  await line.says(message('boss@bank.test', `romeo@${OURS}`, 'lies'))
  t.equal(line.error, 'invalid-from')
  await net.settled()
  await romeo.getsNothing()
})

scene('if the policy requires a certificate, a valid dialback key without one proves nothing', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'certificate' })
  const theirs = await net.town(THEIRS, { trust: 'dialback', trusted: false })
  const juliet = await theirs.s.device(`juliet@${THEIRS}/balcony`)
  await juliet.says(`<message to='romeo@${OURS}' id='m'><body>O</body></message>`)
  await net.settled()
  await juliet.gets(`<message type='error' id='m'><error type='cancel'><remote-server-not-found xmlns='${STANZAS}'/></error></message>`)
  t.equal(ours.counters.get('accepted'), undefined)
})

scene('dialback does not loop: two servers that prove themselves to each other make one connection each', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback', trusted: false })
  const theirs = await net.town(THEIRS, { trust: 'dialback', trusted: false })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const juliet = await theirs.s.device(`juliet@${THEIRS}/balcony`)
  for (let n = 0; n < 5; n++) {
    await romeo.says(`<message to='juliet@${THEIRS}'><body>${n}</body></message>`)
    await juliet.says(`<message to='romeo@${OURS}'><body>${n}</body></message>`)
  }
  await net.settled()
  t.equal(net.dialled.length, 2)
  t.equal(juliet.unread.length, 5)
  t.equal(romeo.unread.length, 5)
})

scene('the dialback keys that a peer may have verified at a time are limited, and after too many failures it is disconnected', async (t, net) => {
  const { ours, liar } = await stage(net)
  for (let n = 0; n < 40; n++) {
    net.names.set(`d${n}.test`, [{ host: 'x', address: '203.0.113.1', port: 5269, tls: 'required', secure: false }])
  }
  net.silent.add('203.0.113.1:5269')
  const line = await liar.opens(ours, EVIL, OURS)
  for (let n = 0; n < 16; n++) await line.says(result(`d${n}.test`, OURS, 'key'))
  t.equal(net.dialled.length, 16)
  await line.says(result('d1.test', OURS, 'another key'))
  t.match(line.heard, 'resource-constraint', 'one key at a time for a pair')
  t.equal(ours.counters.get('refused', { reason: 'resource-constraint' }), 1)
  for (let n = 16; n < 40; n++) await line.says(result(`d${n}.test`, OURS, 'key'))
  t.equal(net.dialled.length, 16, 'nobody else is dialled')
  t.equal(line.error, 'policy-violation')
  await net.pass(21_000)
})

scene('a server that does not answer about a key is given up after 30 seconds', async (t, net) => {
  const { ours, liar } = await stage(net)
  const capulet = await net.peer(THEIRS)
  await liar.enters(ours, EVIL, OURS)
  const line = await liar.enters(ours, EVIL, OURS)
  await line.says(result(THEIRS, OURS, 'key'))
  await capulet.takes(THEIRS)
  await net.pass(31_000)
  t.match(line.heard, /<db:result [^>]*type=.error.>.*remote-server-timeout/)
})

// ---- Dialback: the originating side -------------------------------------------------------------------------

scene('a server’s answer to the dialback key decides what the sender gets: delivery, an error, or a timeout', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const answers: readonly (readonly [string, string, string])[] = [
    ['yes.test', "type='valid'/>", ''],
    ['no.test', "type='invalid'/>", 'remote-server-not-found'],
    ['error.test', `type='error'><error type='cancel'><item-not-found xmlns='${STANZAS}'/></error></db:result>`, 'remote-server-not-found'],
    ['odd.test', "type='error'/>", 'remote-server-not-found'],
  ]
  for (const [domain, answer, condition] of answers) {
    const peer = await net.peer(domain)
    await romeo.says(`<message to='x@${domain}' id='m'><body>hello</body></message>`)
    const line = await peer.takes(domain)
    t.equal(line.key, ours.keys.key(domain, OURS, line.id))
    await line.says(`<db:result from='${domain}' to='${OURS}' ${answer}`)
    if (condition === '') t.match(line.heard, '<body>hello</body>')
    else await romeo.gets(`<message type='error' id='m' from='x@${domain}'><error><${condition} xmlns='${STANZAS}'/></error></message>`)
  }
  const mute = await net.peer('mute.test')
  await romeo.says("<message to='x@mute.test' id='m'><body>hello</body></message>")
  await mute.takes('mute.test')
  await net.pass(31_000)
  await romeo.gets(`<message type='error' id='m'><error type='wait'><remote-server-timeout xmlns='${STANZAS}'/></error></message>`)
})

// ---- Peers that stall ------------------------------------------------------------------------------------------

scene('a peer that dials in and stalls in any state is disconnected after the negotiation timeout', async (t, net) => {
  const { ours, liar } = await stage(net)
  const starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
  const states: Readonly<Record<string, () => Promise<Line>>> = {
    'connected': () => Promise.resolve(liar.dials(ours)),
    'half a header': async () => { const line = liar.dials(ours); await line.says("<stream:stream xmlns='jabber:ser"); return line },
    'a header': async () => { const line = liar.dials(ours); await line.says(header(EVIL, { to: OURS })); return line },
    'half an element': async () => { const line = liar.dials(ours); await line.says(`${header(EVIL, { to: OURS })}<startt`); return line },
    'before TLS': async () => { const line = liar.dials(ours); await line.says(header(EVIL, { to: OURS })); await line.says(starttls); return line },
    'within TLS': () => liar.opens(ours, EVIL, OURS),
    'authenticated by EXTERNAL, and no new stream': async () => { const line = await liar.opens(ours, EVIL, OURS); await line.says(external()); return line },
    'waiting for a key': async () => { const line = await liar.opens(ours, undefined, OURS); await line.says(result('slow.test', OURS, 'x')); return line },
  }
  net.names.set('slow.test', [{ host: 'x', address: '203.0.113.1', port: 5269, tls: 'required', secure: false }])
  net.silent.add('203.0.113.1:5269')
  for (const [name, reach] of Object.entries(states)) {
    const line = await reach()
    t.equal(ours.listener.counts.connections, 1, name)
    await net.pass(29_000)
    // A space now and then is no progress.
    await line.says(' ')
    await net.pass(12_000)
    t.equal(ours.listener.counts.connections, 0, `${name}: disconnected`)
  }
})

scene('a dialled server that stalls in any state costs the waiting senders an error and nothing else', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const features = (what: string): string => `<stream:features>${what}</stream:features>`
  const starttls = features("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
  const states: Readonly<Record<string, (peer: Peer, domain: string) => Promise<unknown>>> = {
    'nothing': peer => peer.next(),
    'a header': async (peer, domain) => { await (await peer.next()).says(header(domain, { id: 'x' })) },
    'half its features': async (peer, domain) => { await (await peer.next()).says(`${header(domain, { id: 'x' })}<stream:features>`) },
    'no proceed': async (peer, domain) => { await (await peer.next()).says(`${header(domain, { id: 'x' })}${starttls}`) },
    'no answer to EXTERNAL': (peer, domain) => peer.takes(domain, EXTERNAL),
    'no stream after success': async (peer, domain) => { await (await peer.takes(domain, EXTERNAL)).says(SUCCESS) },
    'no answer to dialback': (peer, domain) => peer.takes(domain),
  }
  let n = 0
  for (const [name, play] of Object.entries(states)) {
    const domain = `s${++n}.test`
    const peer = await net.peer(domain)
    await romeo.says(`<message to='x@${domain}' id='m'><body>hello</body></message>`)
    await play(peer, domain)
    await net.pass(31_000)
    await romeo.gets(`<message type='error' id='m' from='x@${domain}'><error type='wait'><remote-server-timeout xmlns='${STANZAS}'/></error></message>`)
    t.match(ours.link(domain), { queue: 0, bytes: 0 }, name)
  }
})

scene('a dialled server that breaks the protocol is treated as unreachable, and the sender gets the error at once', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const cases: Readonly<Record<string, readonly [string | undefined, string]>> = {
    'no TLS': ['<stream:features/>', 'remote-server-not-found'],
    'TLS refused': ["<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features><failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", 'remote-server-not-found'],
    'no features': ["<message from='x@y' to='z'/>", 'remote-server-timeout'],
    'no XML': ['<<<', 'remote-server-timeout'],
    'an unknown host': ["<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>", 'remote-server-not-found'],
    'a server that stops': ["<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>", 'remote-server-timeout'],
    'the end of the stream': ['</stream:stream>', 'remote-server-timeout'],
    'too many features': [`<stream:features>${'<x/>'.repeat(1000)}</stream:features>`, 'remote-server-timeout'],
    'an endless feature': [`<stream:features>${'x'.repeat(20_000)}`, 'remote-server-timeout'],
    'a closed connection': [undefined, 'remote-server-timeout'],
  }
  let n = 0
  for (const [name, [says, condition]] of Object.entries(cases)) {
    const domain = `b${++n}.test`
    const peer = await net.peer(domain)
    await romeo.says(`<message to='x@${domain}' id='m'><body>hello</body></message>`)
    const line = await peer.next()
    if (says === undefined) line.transport.destroy()
    else await line.says(`${header(domain, { id: 'x' })}${says}`)
    await net.settled()
    const error = await romeo.gets(`<message type='error' id='m' from='x@${domain}'/>`)
    t.match(JSON.stringify(error.getChild('error')?.getChildElements().map(({ name }) => name)), condition, name)
  }
})

scene('at most 50 handshakes a second from one network and 100 in all are served; later ones wait (CVE-2021-32920)', async (t, net) => {
  const { ours, liar } = await stage(net)
  const lines: Line[] = []
  for (let n = 0; n < 160; n++) {
    const line = liar.dials(ours, n < 60 ? '192.0.2.1' : `192.0.2.${n % 5 + 2}`)
    lines.push(line)
    line.transport.write(`${header(EVIL, { to: OURS })}<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`)
  }
  await net.settled()
  const ready = (from = 0, to = 160): number => lines.slice(from, to).filter(({ heard }) => heard.includes('<proceed')).length
  t.equal(ready(), 100)
  t.equal(ready(0, 60), 50)
  await net.pass(50)
  t.equal(ready(), 105)
  await net.pass(50)
  t.equal(ready(), 110)
  await net.pass(1000)
  t.equal(ready(), 160)
})
