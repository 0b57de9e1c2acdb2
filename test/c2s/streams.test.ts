import { KINDS } from '../../lib/stream/traffic.js'
import message from '../../modules/message.js'
import ping from '../../modules/ping/index.js'
import presence from '../../modules/presence/index.js'
import roster from '../../modules/roster/index.js'
import streamManagement from '../../modules/stream-management/index.js'
import { auth, bind, DOMAIN, header, PASSWORD, SASL, scene, STARTTLS } from './stage.js'

const LONG = 100_000

// ---- Limits and time ------------------------------------------------------------------------

scene('before login elements have to be small and simple; afterwards the limits of the listener apply', { listener: { stanza: 20_000 } }, async (t, s) => {
  for (const text of [`<auth xmlns='${SASL}' mechanism='PLAIN'>${'A'.repeat(10_100)}`, `<auth xmlns='${SASL}'>${'<a/>'.repeat(70)}`, '<a '.padEnd(10_100, 'x')]) {
    const client = s.connect({ secure: true })
    await client.opens()
    await client.says(text)
    t.equal(client.error, 'policy-violation', text.slice(0, 50))
    t.ok(client.isClosed)
  }
  const client = await s.bound('orchard')
  await client.says(`<message to='romeo@${DOMAIN}'><body>${'x'.repeat(15_000)}</body></message>`)
  t.equal(client.error, undefined)
  await client.says(`<message><body>${'x'.repeat(20_000)}`)
  t.equal(client.error, 'policy-violation')
})

scene('an endless stanza is refused at its limit, however slowly it arrives', {}, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  let said = 0
  await client.says('<auth>')
  for (; said < 12_000 && !client.isClosed; said += 1000) await client.says('x'.repeat(1000))
  t.equal(client.error, 'policy-violation')
  t.ok(said <= 11_000)
})

scene('the whole negotiation has one time limit', {}, async (t, s) => {
  const silent = s.connect()
  const talker = s.connect()
  await talker.opens()
  const guesser = s.connect({ secure: true })
  await guesser.opens()
  await guesser.says(`<auth xmlns='${SASL}' mechanism='PLAIN'/>`)
  await s.pass(20_000)
  await talker.says(STARTTLS, header())
  const bound = await s.bound('orchard')
  await s.pass(9_999)
  t.notOk(silent.isClosed || talker.isClosed || guesser.isClosed)
  await s.pass(1)
  for (const client of [silent, talker, guesser]) {
    t.equal(client.error, 'connection-timeout')
    t.ok(client.isClosed)
  }
  await s.pass(LONG)
  t.notOk(bound.isClosed)
})

scene('a silent client gets whitespace keepalives, and in the end connection-timeout', { limits: { keepalive: 10_000, idle: 35_000 } }, async (t, s) => {
  const client = await s.bound('orchard')
  await s.pass(10_000)
  t.equal(client.heard, ' ')
  await s.pass(5_000)
  await client.says(' ')
  await s.pass(9_999)
  t.equal(client.heard, ' ', 'the client has sent something meanwhile')
  await s.pass(1)
  t.equal(client.heard, '  ')
  await s.pass(24_999)
  t.notOk(client.isClosed)
  await s.pass(1)
  t.equal(client.error, 'connection-timeout')
  t.equal(s.host.sessions.count, 0)
})

scene('with the module ping there are no whitespace keepalives, and the features state the interval (XEP-0478)', { limits: { keepalive: 10_000 }, modules: [ping] }, async (t, s) => {
  const client = s.connect({ secure: true })
  await client.opens()
  t.match(client.heard, /<idle-seconds>30<\/idle-seconds>/, 'a client that has not logged in by then is disconnected')
  client.forget()
  await client.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await client.until('<success')
  await client.opens()
  t.match(client.heard, /<idle-seconds>240<\/idle-seconds>/)
  const bound = await s.bound('orchard')
  await s.pass(239_999)
  t.equal(bound.heard, '')
  await s.pass(1)
  t.match(bound.heard, /<ping xmlns=["']urn:xmpp:ping["']\/>/)
  // The line seems to be alive: the socket accepts what is written, but nothing comes back.
  await s.pass(59_999)
  t.notOk(bound.isClosed)
  await s.pass(1)
  t.equal(bound.error, 'connection-timeout')
  t.equal(s.host.sessions.count, 0)
})

scene('traffic in both directions is counted by kind, to the byte', { modules: [ping, presence, roster, message, streamManagement] }, async (t, s) => {
  const { clients } = s.server.pipeline.traffic
  const shown = (of: 'in' | 'out'): Record<string, readonly [number, number]> => {
    const counts = KINDS.map((kind, index) => [kind, clients[of].of(index)] as const)
    return Object.fromEntries(counts.filter(([, [count]]) => count > 0))
  }
  const client = await s.bound('orchard')
  t.same(Object.keys(shown('in')), ['stream'], 'all before the session')
  const before = shown('in')['stream']
  const jid = `romeo@${DOMAIN}/orchard`
  const said = {
    'chat': `<message to='${jid}' type='chat'><body>ü</body></message>`,
    'groupchat': `<message to='room@${DOMAIN}' type="groupchat" id='1'/>`,
    'other message': `<message to='${jid}'><body>type="chat"</body></message>`,
    'presence': '<presence><show>away</show></presence>',
    'iq': `<iq type='get' id='p' to='${DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>`,
    'nonza': "<enable xmlns='urn:xmpp:sm:3' resume='true'/>",
    'keepalive': ' \n',
  }
  const sizes = Object.fromEntries(Object.entries(said).map(([kind, text]) => [kind, [1, Buffer.byteLength(text)]]))
  for (const text of Object.values(said)) await client.says(text)
  t.same(shown('in'), { ...sizes, stream: before })
  const out = shown('out')
  // The group chat message comes back as an error, a message of type error. Stream management sends no `<r/>` yet.
  t.same(Object.fromEntries(Object.entries(out).map(([kind, [count]]) => [kind, count])), {
    'chat': 1, 'other message': 2, 'presence': 1, 'iq': 1, 'nonza': 1, 'stream': out['stream']?.[0],
  })
  const bytes = (of: readonly (readonly [number, number])[]): number => of.reduce((sum, [, size]) => sum + size, 0)
  t.equal(bytes(Object.entries(out).filter(([kind]) => kind !== 'stream').map(([, counts]) => counts)), Buffer.byteLength(client.heard))
  client.forget()
  await client.says(said.chat)
  await client.says('</stream:stream>')
  const after = shown('out')
  t.equal(after['chat']?.[0], 2)
  t.equal(after['nonza']?.[0], 2, 'the client gets the answers')
  t.equal(bytes(Object.values(after)) - bytes(Object.values(out)), Buffer.byteLength(client.heard))
  t.equal(bytes(Object.values(shown('in'))), client.saidBytes)
})

scene('a client that does not read is not read, and is disconnected in the end', {}, async (t, s) => {
  const client = await s.bound('orchard')
  const [session] = s.host.sessions.all()
  client.transport.pause()
  session?.write('x'.repeat(300_000))
  await s.settled()
  await client.says("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
  t.equal(client.stream.backlog, 300_000, 'nothing was answered')
  client.transport.resume()
  await s.settled()
  t.match(client.heard, /id=["']p["']/)
  client.transport.pause()
  for (let count = 0; count < 100; count++) session?.write('x'.repeat(100_000))
  await s.settled()
  t.equal(s.host.sessions.count, 0)
  await s.pass(5000)
  t.ok(client.isClosed, 'the client is disconnected although it accepts nothing')
})

scene('a client that sends faster than the rate of the listener is read later, and loses nothing', { listener: { rate: 1000 } }, async (t, s) => {
  const client = await s.bound('orchard')
  const ping = (id: string): string => `<iq type='get' id='${id}'><ping xmlns='urn:xmpp:ping'/></iq>`
  await client.says(`<message><body>${'x'.repeat(20_000)}</body></message>`)
  await client.says(ping('late'))
  t.notMatch(client.heard, /late/)
  await s.pass(5_000)
  t.notMatch(client.heard, /late/)
  await s.pass(30_000)
  t.match(client.heard, /late/)
})

scene('too many handshakes wait, and more of them are refused', { handshakes: 5 }, async (t, s) => {
  const clients = Array.from({ length: 20 }, () => s.connect())
  for (const client of clients) await client.says(header() + STARTTLS)
  t.equal(clients.filter(client => client.heard.includes('<proceed')).length, 5)
  t.equal(clients.filter(client => client.isClosed).length, 5)
  await s.pass(10_000)
  t.equal(clients.filter(client => client.heard.includes('<proceed')).length, 15)
})

// ---- The end of a stream --------------------------------------------------------------------

scene('a client that disconnects in any state leaves nothing', {}, async (t, s) => {
  const script = [header(), STARTTLS, header(), auth('PLAIN', `\0romeo\0${PASSWORD}`), header(), bind('orchard'), '<presence/>']
  for (let steps = 0; steps <= script.length; steps++) {
    for (const how of ['cut', 'close', 'middle'] as const) {
      const client = s.connect()
      for (const text of script.slice(0, steps)) {
        await client.says(text)
        if (text.includes('<auth')) await client.until('<success')
      }
      if (how === 'middle') await client.says('<mess')
      if (how === 'close') client.transport.end()
      else client.transport.destroy()
      await s.settled()
      t.equal(s.host.sessions.count, 0)
      t.equal(client.stream.state.at, 'closed')
    }
  }
  t.equal(s.gone, s.clients.length)
  t.equal(s.clock.timers, 0)
})

scene("a server that closes a stream waits for the client's closing tag, but only for a while", {}, async (t, s) => {
  const [polite, rude] = [await s.bound('a'), await s.bound('b')]
  for (const session of [...s.host.sessions.all()]) session.close()
  await polite.says('<presence/></stream:stream>')
  t.equal(polite.heard, '</stream:stream>')
  t.ok(polite.isClosed)
  await s.pass(4999)
  t.notOk(rude.isClosed)
  await s.pass(1)
  t.ok(rude.isClosed)
  t.equal(s.host.sessions.count, 0)
})

scene('stanzas that wait for their turn are handled before a later end of the stream', {}, async (t, s) => {
  const client = await s.bound('orchard')
  const { host } = s
  const real = host.receive.bind(host)
  const handled: string[] = []
  const go: (() => void)[] = []
  host.receive = async (session, element, source) => {
    await new Promise<void>(resolve => { go.push(resolve) })
    handled.push(String(element.attrs['id']))
    return real(session, element, source)
  }
  await client.says(Array.from({ length: 100 }, (_, id) => `<message id='${id}'/>`).join('') + '</stream:stream>')
  for (let turn = 0; turn < 100; turn++) {
    t.equal(go.length, turn + 1, 'one at a time')
    go[turn]?.()
    await s.settled()
  }
  t.same(handled, Array.from({ length: 100 }, (_, id) => String(id)))
  t.ok(client.isClosed)
})

scene('a request that waits for earlier stanzas is answered before the stream ends', { modules: [roster] }, async (t, s) => {
  const client = await s.bound('orchard')
  s.storage.hold()
  await client.says("<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit'/></query></iq>" +
    "<iq type='get' id='2'><query xmlns='jabber:iq:roster'/></iq></stream:stream>")
  t.notOk(client.isClosed)
  s.storage.release()
  await s.settled()
  t.match(client.heard, /id="2".*<\/stream:stream>$/s)
})

scene('a stanza before a stream error of the server is the last one handled', {}, async (t, s) => {
  const client = await s.bound('orchard')
  await client.says("<message from='juliet@capulet.lit'/><iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
  t.equal(client.error, 'invalid-from')
  t.notMatch(client.heard, /id=.p/)
})

scene('a defect in the host ends the stream with internal-server-error, without details', {}, async (t, s) => {
  s.expected.push('defect')
  const client = await s.bound('orchard')
  s.host.receive = () => { throw new Error('secret inside') }
  await client.says('<presence/>')
  t.equal(client.error, 'internal-server-error')
  t.notMatch(client.heard, /secret/)
  t.equal(s.logged('defect').length, 1)
})
