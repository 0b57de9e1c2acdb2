/** Clients of the web against the started server: @xmpp/client and strophe.js over WebSocket and BOSH. */
import t, { type Test } from 'tap'
import { client, xml } from '@xmpp/client'
import { WebSocket } from 'ws'
import { device, online, PASSWORD, trust, type Stanza } from './library.js'
import { startServer } from './server.js'
import { freePorts } from './process.js'
import { StropheClient } from './strophe.js'
import { FetchRequest } from './xhr.js'

t.setTimeout(1_200_000)
const hears = (body: string) => (stanza: Stanza): boolean => stanza.is('message') && stanza.getChildText('body') === body

/** Starts a server with two listeners for the web: with TLS, and without. */
async function webServer (t: Test) {
  const [secure = 0, plain = 0] = await freePorts(2)
  const listen = (port: number, more: string): string => `[[listen]]\nfor = "web"\nport = ${port}\naddress = ["127.0.0.1"]\n${more}\n`
  const server = await startServer(t, '', listen(secure, '') + listen(plain, 'tls = "none"'))
  for (const local of ['romeo', 'juliet']) await server.addUser(local, PASSWORD)
  trust(t, server)
  return { server, secure, plain }
}

t.test('people can use clients of the web', async t => {
  const { server, secure, plain } = await webServer(t)
  // Node 20 has no WebSocket of its own, and the libraries use that of a browser.
  const before: unknown = Reflect.get(globalThis, 'WebSocket')
  Reflect.set(globalThis, 'WebSocket', WebSocket)
  t.teardown(() => { Reflect.set(globalThis, 'WebSocket', before) })
  const juliet = await device(t, server, 'juliet', { resource: 'balcony', service: `xmpp://${server.domain}:${server.port}` })

  for (const [name, service] of [['wss', `wss://${server.domain}:${secure}/xmpp-websocket`], ['ws', `ws://${server.domain}:${plain}/xmpp-websocket`]] as const) {
    t.test(`@xmpp/client logs in over ${name} and chats with a client on TCP`, async t => {
      const romeo = await device(t, server, 'romeo', { resource: name, service })
      await romeo.xmpp.send(xml('message', { to: juliet.full, type: 'chat' }, xml('body', {}, `But soft! <&> 🌹 ${name}`)))
      t.equal((await juliet.gets(hears(`But soft! <&> 🌹 ${name}`))).attrs['from'], romeo.full)
      await juliet.xmpp.send(xml('message', { to: romeo.full, type: 'chat' }, xml('body', {}, 'Ay me!')))
      t.equal((await romeo.gets(hears('Ay me!'))).attrs['from'], juliet.full)
    })
  }

  t.test('@xmpp/client over WebSocket resumes after a planned stop of the server, and gets what came meanwhile', async t => {
    const romeo = await device(t, server, 'romeo', { resource: 'lane', service: `wss://${server.domain}:${secure}/xmpp-websocket` })
    const resumed = new Promise<void>(resolve => {
      (romeo.xmpp as unknown as { streamManagement: { on (event: string, listener: () => void): void } }).streamManagement.on('resumed', resolve)
    })
    await server.restart()
    await resumed
    await juliet.xmpp.send(xml('message', { to: romeo.full, type: 'chat' }, xml('body', {}, 'after the stop')))
    await romeo.gets(hears('after the stop'))
    await server.says(/session resumed/)
  })

  t.test('@xmpp/client over WebSocket gets not-authorized for a wrong password', async t => {
    const stranger = client({ service: `wss://${server.domain}:${secure}/xmpp-websocket`, domain: server.domain, username: 'romeo', password: 'wrong' })
    stranger.on('error', () => undefined)
    stranger.reconnect.stop()
    await t.rejects(online(stranger), { name: 'SASLError', condition: 'not-authorized' })
    await stranger.stop()
  })

  t.test('strophe.js logs in over WebSocket, gets its roster and chats', async t => {
    const romeo = await StropheClient.open(t, `wss://${server.domain}:${secure}/xmpp-websocket`)
    const full = await romeo.logsIn(`romeo@${server.domain}/strophe`, PASSWORD)
    t.match(await romeo.asks('jabber:iq:roster'), /^<iq [^>]*type="result"/)
    romeo.says('message', juliet.full, 'by strophe')
    t.equal((await juliet.gets(hears('by strophe'))).attrs['from'], full)
    await juliet.xmpp.send(xml('message', { to: full, type: 'chat' }, xml('body', {}, 'to strophe')))
    await romeo.gets(/<body>to strophe<\/body>/)
    await romeo.leaves()
  })

  t.test('strophe.js logs in over BOSH, gets its roster, chats, and leaves', async t => {
    Reflect.set(globalThis, 'XMLHttpRequest', FetchRequest)
    t.teardown(() => { Reflect.deleteProperty(globalThis, 'XMLHttpRequest') })
    const romeo = await StropheClient.open(t, `http://${server.domain}:${plain}/http-bind`)
    const full = await romeo.logsIn(`romeo@${server.domain}/bosh`, PASSWORD)
    t.match(await romeo.asks('jabber:iq:roster'), /^<iq [^>]*type="result"/)
    for (const text of ['one', 'two', 'three']) romeo.says('message', juliet.full, text)
    for (const text of ['one', 'two', 'three']) t.equal((await juliet.gets(hears(text))).attrs['from'], full)
    await juliet.xmpp.send(xml('message', { to: full, type: 'chat' }, xml('body', {}, 'to strophe by BOSH')))
    await romeo.gets(/<body>to strophe by BOSH<\/body>/)
    await romeo.leaves()
  })

  t.test('a client finds WebSocket and BOSH by host-meta.json', async t => {
    const answer = await fetch(`http://${server.domain}:${plain}/.well-known/host-meta.json`)
    t.equal(answer.status, 200)
    t.same(await answer.json(), { links: [
      { rel: 'urn:xmpp:alt-connections:websocket', href: `wss://${server.domain}:${secure}/xmpp-websocket` },
      { rel: 'urn:xmpp:alt-connections:xbosh', href: `https://${server.domain}:${secure}/http-bind` },
    ] })
    t.equal(await (await fetch(`http://${server.domain}:${plain}/health`)).text(), 'ok\n')
  })
})
