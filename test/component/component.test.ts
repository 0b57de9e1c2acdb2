/** External components (XEP-0114) on real connections: the handshake, stanzas in both directions, and absence. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { ComponentListener } from '../../lib/component/listener.js'
import { NS } from '../../lib/xml/namespaces.js'
import { scenario, type Device } from '../scenario.js'
import { conditionOf } from '../stanzas.js'
import { Line } from '../web/stage.js'

const GATEWAY = 'irc.capulet.lit'
const SECRET = 'the secret in /irc'
const LIMITS = {
  negotiation: 30_000, keepalive: 300_000, unauthenticated: { stanza: 10_000, elements: 64 }, connections: 100,
}
const open = (to = GATEWAY, namespace: string = NS.COMPONENT): string => `<?xml version='1.0'?><stream:stream xmlns='${namespace}' xmlns:stream='${NS.STREAM}' to='${to}'>`

async function stage (t: Test, settings: Readonly<Record<string, unknown>> = {}) {
  const s = await scenario(t, {
    modules: ['presence', 'message', 'disco'],
    services: { [GATEWAY]: ['disco', 'component'] },
    settings: { component: { secret: { file: 'irc' }, name: 'IRC', ...settings } },
  })
  const { pipeline, doors } = s.server
  const listener = new ComponentListener({
    clock: s.clock, ids: { next: () => `stream-${++count}` }, log: s.log, pipeline, doors, host: domain => s.server.host(domain), limits: () => LIMITS,
    certificates: { contextFor: () => { throw new Error('no TLS here') } },
  }, { tls: 'none', stanza: 262_144, rate: 1_048_576 })
  let count = 0
  const port = await listener.listen('127.0.0.1', 0)
  const lines: Line[] = []
  t.teardown(async () => {
    for (const line of lines) line.destroy()
    await listener.close()
  })
  const line = async (): Promise<Line> => {
    const socket = connect(port, '127.0.0.1')
    lines.push(new Line(socket))
    await once(socket, 'connect')
    return lines[lines.length - 1] as Line
  }
  const component = async (): Promise<Line> => {
    const made = await line()
    made.says(open())
    const [, id = ''] = /\bid=["']([^"']+)/.exec(await made.gets(/<stream:stream [^>]*>/)) ?? []
    made.says(`<handshake>${createHash('sha1').update(id + SECRET).digest('hex')}</handshake>`)
    await made.gets(/<handshake\/>/)
    return made
  }
  return { s, listener, line, component, romeo: await s.device('romeo@capulet.lit/orchard') }
}

const items = async (device: Device): Promise<string> => (await device.asks(`<iq type='get' to='capulet.lit' id='i'><query xmlns='${NS.DISCO_ITEMS}'/></iq>`)).toString()
const says = (to: string, body: string): string => `<message to='${to}' type='chat'><body>${body}</body></message>`

t.test('a component proves its secret, and stanzas go both ways as between hosts', async t => {
  const { s, component, romeo } = await stage(t)
  const gateway = await component()
  await romeo.says(says(`lysander@${GATEWAY}`, 'How now?'))
  const heard = await gateway.gets(/<\/message>/)
  t.match(heard, /^<message [^>]*from="romeo@capulet.lit\/orchard"/)
  t.match(heard, new RegExp(`to="lysander@${GATEWAY}"`))
  t.notMatch(heard, 'jabber:client', 'its content is in the namespace of the stream')
  gateway.says(`<message from='lysander@${GATEWAY}/x' to='romeo@capulet.lit' type='chat' id='m'><body>The course of true love</body></message>`)
  while (romeo.unread.length === 0) await s.settled()
  await romeo.gets(`<message from='lysander@${GATEWAY}/x' to='romeo@capulet.lit' type='chat' id='m'><body>The course of true love</body></message>`)
  const answered = romeo.asks(`<iq type='get' to='${GATEWAY}' id='q'><query xmlns='${NS.DISCO_INFO}'/></iq>`)
  await gateway.gets(/<\/iq>/)
  gateway.says(`<iq type='result' from='${GATEWAY}' to='romeo@capulet.lit/orchard' id='q'><query xmlns='${NS.DISCO_INFO}'><identity category='gateway' type='irc'/></query></iq>`)
  t.match((await answered).toString(), '<identity category="gateway" type="irc"/>', 'the component itself answers disco')
  gateway.says(`<iq type='get' from='${GATEWAY}' to='capulet.lit' id='p'><query xmlns='${NS.DISCO_INFO}'/></iq>`)
  t.match(await gateway.gets(/<\/iq>/), /category="server"/)
})

t.test('a wrong secret, an unknown domain, another namespace and early stanzas end the stream', async t => {
  const { s, line } = await stage(t)
  const wrong = async (header: string, more = ''): Promise<string> => {
    const made = await line()
    made.says(header)
    if (more !== '') made.says(more)
    return await made.end()
  }
  t.match(await wrong(open(), `<handshake>${'0'.repeat(40)}</handshake>`), /not-authorized/)
  t.match(await wrong(open(), '<handshake/>'), /not-authorized/)
  t.match(await wrong(open(), `<message from='${GATEWAY}' to='romeo@capulet.lit'/>`), /not-authorized/)
  t.match(await wrong(open('capulet.lit')), /<stream:stream [^>]*>.*host-unknown.*<\/stream:stream>/)
  t.match(await wrong(open(`user@${GATEWAY}`)), /host-unknown/)
  t.match(await wrong(open(GATEWAY, NS.CLIENT)), /invalid-namespace/)
  t.match(s.lines.find(({ event }) => event === 'component refused'), { level: 'warn', fields: { domain: GATEWAY } })
})

t.test('a connection that proves nothing in time ends', async t => {
  const { s, line } = await stage(t)
  const made = await line()
  made.says(open())
  await made.gets(/<stream:stream [^>]*>/)
  s.clock.pass(30_000)
  t.match(await made.end(), /connection-timeout/)
})

t.test('a component speaks for its own domain alone, and must write both addresses', async t => {
  const { component } = await stage(t)
  const cases: readonly (readonly [string, RegExp])[] = [
    ["<message from='juliet@capulet.lit' to='romeo@capulet.lit'/>", /invalid-from/], [`<message from='x@sub.${GATEWAY}' to='romeo@capulet.lit'/>`, /invalid-from/],
    ["<message from='@' to='romeo@capulet.lit'/>", /invalid-from/], ["<message to='romeo@capulet.lit'/>", /improper-addressing/],
    [`<message from='${GATEWAY}'/>`, /improper-addressing/], ['<handshake/>', /unsupported-stanza-type/],
  ]
  for (const [stanza, condition] of cases) {
    const gateway = await component()
    gateway.says(stanza)
    t.match(await gateway.end(), condition, stanza)
  }
})

t.test('a recipient that cannot be read is told to the user of the component, and the stream goes on', async t => {
  const { component } = await stage(t)
  const gateway = await component()
  gateway.says(`<message from='lysander@${GATEWAY}/x' to='@' id='bad'/>`)
  t.match(await gateway.gets(/<\/message>/), /id="bad".*jid-malformed/)
  gateway.says(`<iq type='get' from='${GATEWAY}' to='capulet.lit' id='p'><ping xmlns='urn:xmpp:ping'/></iq>`)
  await gateway.gets(/id="p"/)
})

t.test('while the component is away, messages and requests get an error of type wait, presence none, and the service is not listed', async t => {
  const { s, component, romeo } = await stage(t)
  t.notMatch(await items(romeo), GATEWAY)
  await romeo.says(says(`lysander@${GATEWAY}`, 'Are you there?'))
  const error = await romeo.gets("<message type='error'/>")
  t.equal(conditionOf(error), 'remote-server-timeout')
  t.match(error.toString(), /<error type="wait">/)
  t.equal(conditionOf(await romeo.asks(`<iq type='get' to='${GATEWAY}' id='q'><query xmlns='${NS.DISCO_INFO}'/></iq>`)), 'remote-server-timeout')
  await romeo.says(`<presence to='${GATEWAY}'/>`, `<presence to='lysander@${GATEWAY}' type='unavailable'/>`)
  await romeo.getsNothing()
  await romeo.says(`<presence to='#verona@${GATEWAY}/romeo'/>`)
  t.equal(conditionOf(await romeo.gets("<presence type='error'/>")), 'remote-server-timeout', 'who enters a room waits for an answer')

  const gateway = await component()
  t.match(await items(romeo), `<item jid="${GATEWAY}" name="IRC"/>`)
  gateway.says('</stream:stream>')
  await gateway.end()
  while ((await items(romeo)).includes(GATEWAY)) await s.settled()
  await romeo.says(says(`lysander@${GATEWAY}`, 'And now?'))
  t.equal(conditionOf(await romeo.gets("<message type='error'/>")), 'remote-server-timeout')
})

t.test('each sender has one of the connections, and keeps it while others come and go', async t => {
  const { s, component } = await stage(t, { connections: 3 })
  const gateways = [await component(), await component(), await component()]
  const senders = await Promise.all(Array.from({ length: 24 }, async (_, n) => await s.device(`user${n}@capulet.lit/x`)))
  /** Returns, for each sender, the number of the connection that its messages take. */
  const placesOf = async (text: string, among: readonly Line[]): Promise<readonly number[]> => {
    const places: number[] = []
    for (const [n, sender] of senders.entries()) {
      await sender.says(says(`x@${GATEWAY}`, `${text}-${n}.`))
      while (!among.some(({ heard }) => heard.includes(`${text}-${n}.`))) await new Promise(resolve => { setImmediate(resolve) })
      places.push(gateways.findIndex(({ heard }) => heard.includes(`${text}-${n}.`)))
    }
    return places
  }
  const before = await placesOf('one', gateways)
  t.same(new Set(before), new Set([0, 1, 2]), 'all connections are used')
  t.same(await placesOf('two', gateways), before)
  const [first, ...others] = gateways
  first?.says('</stream:stream>')
  await first?.end()
  while (s.lines.filter(({ event }) => event === 'component gone').length === 0) await s.settled()
  const after = await placesOf('three', others)
  t.same(after.filter((_, n) => before[n] !== 0), before.filter(place => place !== 0), 'only the senders of the one that is gone move')
  t.notOk(after.includes(0))
})

t.test('the connections of a component are bounded', async t => {
  const { component, line } = await stage(t, { connections: 1 })
  await component()
  const second = await line()
  second.says(open())
  const [, id = ''] = /\bid=["']([^"']+)/.exec(await second.gets(/<stream:stream [^>]*>/)) ?? []
  second.says(`<handshake>${createHash('sha1').update(id + SECRET).digest('hex')}</handshake>`)
  t.match(await second.end(), /conflict/)
})

t.test('a component that does not read has a bounded queue, and senders are told to wait', async t => {
  const { s, component, romeo } = await stage(t, { queue: '64KiB' })
  const gateway = await component()
  gateway.socket.pause()
  const large = 'x'.repeat(200_000)
  let sent = 0
  for (; romeo.unread.length === 0 && sent < 500; sent++) await romeo.says(says(`x@${GATEWAY}`, large))
  const error = await romeo.gets("<message type='error'/>")
  t.equal(conditionOf(error), 'resource-constraint', `after ${sent} messages`)
  t.match(error.toString(), /<error type="wait">/)
  gateway.socket.resume()
  while (gateway.heard.length < (sent - 1) * large.length) await new Promise(resolve => { setImmediate(resolve) })
  await s.settled()
  romeo.forget()
  await romeo.says(says(`x@${GATEWAY}`, 'better'))
  await gateway.gets(/better/)
})

t.test('a reload of the module keeps the connection, and turning it off ends it', async t => {
  const { s, component, romeo } = await stage(t)
  const gateway = await component()
  await s.reload('component', { secret: { file: 'other' }, name: 'Chat' })
  t.match(await items(romeo), `<item jid="${GATEWAY}" name="Chat"/>`)
  await romeo.says(says(`x@${GATEWAY}`, 'still here'))
  await gateway.gets(/still here/)
  await s.offers({})
  t.match(await gateway.end(), /host-gone/)
})

t.test('nothing that only this server may say gets through from a component', async t => {
  const { s, component, romeo } = await stage(t)
  const gateway = await component()
  const forged = `<message from='lysander@${GATEWAY}' to='romeo@capulet.lit/orchard' type='chat'><body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' by='romeo@capulet.lit' id='1'/></message>`
  gateway.says(forged)
  while (romeo.unread.length === 0) await s.settled()
  t.notMatch((await romeo.gets('<message><body>hi</body></message>')).toString(), 'stanza-id')
})
