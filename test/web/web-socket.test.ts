/** Clients over WebSocket (RFC 7395), on real connections: the handshake, the stream, its bounds, and resumption. */
import t from 'tap'
import { Ranges } from '../../lib/base/reach.js'
import type { AnyModule } from '../../lib/host/module.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import message from '../../modules/message.js'
import presence from '../../modules/presence/index.js'
import roster from '../../modules/roster/index.js'
import streamManagement from '../../modules/stream-management/index.js'
import { auth, DOMAIN, openFrame, PASSWORD } from '../c2s/stage.js'
import { SM } from '../stanzas.js'
import { until, webStage } from './stage.js'

const MODULES = [roster, presence, message, streamManagement] as unknown as readonly AnyModule[]
const CLOSE = '<close xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>'
const to = (address: string, text: string): string => `<message xmlns='jabber:client' to='${address}' type='chat'><body>${text}</body></message>`
const SCHEME = { direct: 'wss', none: 'ws' } as const

for (const tls of ['direct', 'none'] as const) {
  t.test(`over ${SCHEME[tls]} a client logs in, chats and closes its stream, and the WebSocket is closed after it`, async t => {
    const { webSocket, listener } = await webStage(t, { modules: MODULES, web: { tls } })
    const romeo = await webSocket()
    t.equal(romeo.web.protocol, 'xmpp')
    t.equal(romeo.web.extensions, '', 'nothing is compressed')
    if (tls === 'direct') await romeo.logsIn()
    else {
      // PLAIN is only for TLS
      romeo.says(openFrame())
      t.notMatch(await romeo.gets(/<\/stream:features>/), 'PLAIN<')
      romeo.says(CLOSE)
      await romeo.end()
      t.same([romeo.frames.at(-1), romeo.code], [CLOSE, 1000])
      return
    }
    t.match(listener.clients.counts, { connections: 1, established: 1 })
    const juliet = await webSocket()
    await juliet.logsIn('juliet', 'balcony')
    juliet.says(to(`romeo@${DOMAIN}/orchard`, 'one'))
    const heard = await romeo.gets(/<body>one<\/body>/)
    t.match(heard, /^<message xmlns="jabber:client" /)
    romeo.says(CLOSE)
    await romeo.end()
    t.same([romeo.frames.at(-1), romeo.code], [CLOSE, 1000])
  })
}

t.test('no login is bound to the TLS of a WebSocket, because a browser cannot see it', async t => {
  const { webSocket } = await webStage(t, { web: { tls: 'direct' } })
  const client = await webSocket()
  client.says(openFrame())
  const features = await client.gets(/<\/stream:features>/)
  t.match(features, 'SCRAM-SHA-256<')
  t.notMatch(features, /-PLUS|sasl-cb|starttls/)
})

t.test('the handshake is refused for another path, subprotocol or protocol, and for pages that are not listed', async t => {
  const { webSocket, ask, line } = await webStage(t, { web: { origins: ['https://chat.example'] } })
  t.equal((await webSocket({ path: '/other' })).status, 404)
  t.equal((await webSocket({ protocols: [] })).status, 400)
  t.equal((await webSocket({ protocols: ['chat'] })).status, 400)
  t.equal((await webSocket({ protocols: ['chat', 'xmpp'], origin: 'https://chat.example' })).web.protocol, 'xmpp')
  t.equal((await webSocket({ origin: 'https://evil.example' })).status, 403)
  t.equal((await webSocket()).status, undefined, 'a client that is no page may connect')
  t.equal((await ask('/xmpp-websocket')).status, 404)
  const old = await line()
  old.says('GET /xmpp-websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n')
  t.match(await old.end(), /^HTTP\/1\.1 400 /)
  const version = await line()
  version.says('GET /xmpp-websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n')
  t.match(await version.end(), /^HTTP\/1\.1 (400|426) /)
})

t.test('without TLS only this machine and what listed proxies forward from TLS may log in', async t => {
  const { webSocket, s } = await webStage(t, { web: { proxies: { ranges: new Ranges(['127.0.0.2']), header: 'x-forwarded-for' } } })
  const via = (proto: string) => webSocket({ localAddress: '127.0.0.2', headers: { 'x-forwarded-for': '198.51.100.7', ...proto === '' ? {} : { 'x-forwarded-proto': proto } } })
  const secure = await via('https')
  await secure.logsIn()
  t.match(s.logged('login succeeded'), [{ fields: { address: '198.51.100.7', mechanism: 'PLAIN' } }])
  for (const proto of ['http', '']) {
    const open = await via(proto)
    open.says(openFrame())
    t.match(await open.end(), /<policy-violation /)
  }
})

t.test('the clients of a proxy are counted by their own addresses', async t => {
  const { webSocket, listener } = await webStage(t, { limits: { connections: 2 }, web: { proxies: { ranges: new Ranges(['127.0.0.2']), header: 'x-forwarded-for' } } })
  const from = (address: string) => webSocket({ localAddress: '127.0.0.2', headers: { 'x-forwarded-for': address, 'x-forwarded-proto': 'https' } })
  const statuses = []
  for (const address of ['198.51.100.7', '198.51.100.7', '198.51.100.7', '198.51.100.8']) statuses.push((await from(address)).status)
  t.same(statuses, [undefined, undefined, 503, undefined])
  t.match([...listener.clients.turnedAway], [{ labels: { reason: 'too many from one network' }, value: 1 }])
})

t.test('a message may come in fragments; a binary one, and one that is too long, end the stream with an error', async t => {
  const { webSocket, listener } = await webStage(t, { modules: MODULES, web: { tls: 'direct', stanza: 20_000 } })
  const client = await webSocket()
  const open = openFrame()
  client.web.send(open.slice(0, 20), { fin: false })
  client.web.send(open.slice(20, 30), { fin: false })
  client.web.send(open.slice(30), { fin: true })
  await client.gets(/<\/stream:features>/)
  client.web.send(Buffer.from('<a/>'))
  t.match(await client.end(), /<bad-format .*<close /)

  const guest = await webSocket()
  guest.says(openFrame())
  await guest.gets(/<\/stream:features>/)
  guest.says(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${'x'.repeat(11_000)}</auth>`)
  t.match(await guest.end(), /<policy-violation .*<close /, 'just beyond the bound of strangers')

  const stranger = await webSocket()
  stranger.says(openFrame())
  await stranger.gets(/<\/stream:features>/)
  stranger.web.send('x'.repeat(100_000), { fin: false })
  t.match(await stranger.end(), /<policy-violation .*<close /, 'a message that never ends')

  const romeo = await webSocket()
  await romeo.logsIn()
  romeo.says(to(`juliet@${DOMAIN}`, 'x'.repeat(30_000)))
  t.match(await romeo.end(), /<policy-violation .*<close /)
  const again = await webSocket()
  await again.logsIn()
  again.says(to(`juliet@${DOMAIN}`, 'x'.repeat(400_000)))
  await again.end()
  t.equal(again.code, 1009)
  await until(() => listener.clients.counts.connections === 0)
})

t.test('what is no WebSocket frame ends the connection, and its session', async t => {
  const { webSocket, listener } = await webStage(t, { modules: MODULES, web: { tls: 'direct' } })
  const romeo = await webSocket()
  await romeo.logsIn()
  const raw = Reflect.get(romeo.web, '_socket') as { write (bytes: Uint8Array): void }
  raw.write(Buffer.from([0x81, 0x02, 0x41, 0x41])) // not masked
  await romeo.end()
  t.equal(romeo.code, 1002)
  await until(() => listener.clients.counts.connections === 0)
})

t.test('pings are answered and show that the client is there; a client that does not read its answers gets no more', async t => {
  const { s, webSocket } = await webStage(t, { modules: MODULES, web: { tls: 'direct' }, limits: { keepalive: 60_000, idle: 120_000 } })
  const romeo = await webSocket()
  await romeo.logsIn()
  let asked = 0
  romeo.web.on('ping', () => { asked++ })
  for (let n = 1; n <= 3; n++) {
    s.clock.pass(50_000)
    romeo.web.ping()
    await until(() => romeo.pongs === n)
  }
  t.equal(asked, 0, 'a client that pings is not asked')
  s.clock.pass(70_000)
  await until(() => asked === 1)
  const [device] = [...s.host.sessions.of(parseJid(`romeo@${DOMAIN}`))]
  await until(() => device?.lastRead === s.clock.now()) // the library has answered with a pong
  s.clock.pass(50_000)
  await s.settled()
  t.equal(romeo.isClosed, false)
})

t.test('a silent client that answers no ping is disconnected', async t => {
  const { s, webSocket } = await webStage(t, { web: { tls: 'direct' }, limits: { keepalive: 60_000, idle: 120_000 } })
  const romeo = await webSocket({ autoPong: false })
  await romeo.logsIn()
  s.clock.pass(120_000)
  t.match(await romeo.end(), /<connection-timeout /)
})

t.test('a client that sends without reading is not read any more, and all it sent arrives once it reads', async t => {
  const { webSocket } = await webStage(t, { modules: MODULES, web: { tls: 'direct', rate: 100_000_000 } })
  const romeo = await webSocket()
  await romeo.logsIn()
  romeo.web.pause()
  const big = 'x'.repeat(100_000)
  const count = 400 // more than the system holds for a connection
  for (let n = 0; n < count; n++) romeo.says(to(`romeo@${DOMAIN}/orchard`, `${n} ${big}`))
  let before = -1
  for (;;) { // until the server takes no more
    const now = romeo.web.bufferedAmount
    if (now === before) break
    before = now
    for (let n = 0; n < 200; n++) await new Promise(resolve => { setImmediate(resolve) })
  }
  t.ok(before > 0, 'the server stopped reading')
  romeo.web.resume()
  await until(() => romeo.frames.filter(frame => frame.startsWith('<message')).length === count)
  const order = romeo.frames.filter(frame => frame.startsWith('<message')).map(frame => Number(/<body>(\d+) /.exec(frame)?.[1]))
  t.same(order, Array.from({ length: count }, (_, n) => n))
})

t.test('long and short elements arrive whole, whatever the length of their frame', async t => {
  const { webSocket } = await webStage(t, { modules: MODULES, web: { tls: 'direct' } })
  const romeo = await webSocket()
  await romeo.logsIn()
  for (const length of [1, 50, 200, 1000, 65_300, 65_400, 65_536, 150_000]) {
    const text = 'ü'.repeat(length >> 1)
    romeo.says(to(`romeo@${DOMAIN}/orchard`, text))
    const heard = await romeo.gets(/<\/message>$/)
    t.ok(heard.includes(`<body>${text}</body>`), String(length))
  }
})

t.test('a client that vanishes is resumed on another WebSocket, and loses nothing', async t => {
  const { webSocket } = await webStage(t, { modules: MODULES, web: { tls: 'direct' } })
  const romeo = await webSocket()
  await romeo.logsIn()
  romeo.says("<presence xmlns='jabber:client'/>")
  romeo.says(`<enable ${SM} resume='true'/>`)
  const id = /<enabled [^>]*\bid="([^"]+)"/.exec(await romeo.gets(/<enabled/))?.[1] ?? ''
  romeo.web.terminate()
  const juliet = await webSocket()
  await juliet.logsIn('juliet', 'balcony')
  juliet.says(to(`romeo@${DOMAIN}/orchard`, 'meanwhile'))
  const again = await webSocket()
  again.says(openFrame())
  await again.gets(/<\/stream:features>/)
  again.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await again.gets(/<success/)
  again.says(openFrame())
  again.says(`<resume ${SM} previd='${id}' h='0'/>`)
  t.match(await again.gets(/<body>meanwhile<\/body>/), /<resumed /)
})

t.test('at a stop, a client without a session is told so, and the WebSocket is closed', async t => {
  const { webSocket, listener } = await webStage(t)
  const client = await webSocket()
  client.says(openFrame())
  await client.gets(/<\/stream:features>/)
  listener.rest()
  t.match(await client.end(), /<system-shutdown .*<close /)
  await listener.close()
})

t.test('of pings that come together the last one is answered, and no number of pings is a message', async t => {
  const { webSocket } = await webStage(t, { web: { tls: 'direct' } })
  const guest = await webSocket()
  guest.says(openFrame())
  await guest.gets(/<\/stream:features>/)
  let last = ''
  guest.web.on('pong', (data: Buffer) => { last = data.toString() })
  const raw = Reflect.get(guest.web, '_socket') as { write (bytes: Uint8Array): void }
  const ping = (text: string): Buffer => Buffer.from([0x89, 0x80 + text.length, 0, 0, 0, 0, ...Buffer.from(text)])
  raw.write(Buffer.concat([...Array.from({ length: 1000 }, () => ping('')), ping('last')]))
  await until(() => last === 'last')
  t.ok(guest.pongs < 100, `${guest.pongs} answers`)
  for (let n = 1; n <= 20; n++) {
    raw.write(Buffer.concat([...Array.from({ length: 100 }, () => ping('x'.repeat(100))), ping(`${n}`)]))
    await until(() => last === `${n}` || guest.isClosed)
  }
  guest.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await guest.gets(/<success/)
})

t.test('a stanza may be as large as the conf says', async t => {
  const { webSocket } = await webStage(t, { modules: MODULES, web: { tls: 'direct', stanza: 3_000_000, rate: 100_000_000 } })
  const romeo = await webSocket()
  await romeo.logsIn()
  romeo.says(`<iq xmlns='jabber:client' type='get' id='large' to='${DOMAIN}'><q xmlns='urn:q'>${'x'.repeat(1_500_000)}</q></iq>`)
  t.match(await romeo.gets(/<\/iq>/), /id="large".*service-unavailable/)
})
