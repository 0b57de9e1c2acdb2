/** @xmpp/client, the JavaScript library: logs in, chats, sends requests, and resumes after a lost connection. */
import { client, xml } from '@xmpp/client'
import t from 'tap'
import { device, online, PASSWORD, PATIENCE, trust, type Stanza } from './library.js'
import { missing } from './process.js'
import { AGAINST_PROSODY, startServer } from './server.js'

const skip = AGAINST_PROSODY && missing({ prosody: 'prosody', openssl: 'openssl' })

interface Emitter { on (event: string, listener: () => void): void }
interface Line { destroy (): void }
interface Fast { saveToken (token: unknown): Promise<void>, fetchToken (): Promise<unknown> }
interface Inner { streamManagement: Emitter, socket: { socket?: Line } & Line }

const hears = (body: string) => (stanza: Stanza): boolean => stanza.is('message') && stanza.getChildText('body') === body

t.setTimeout(1_200_000)

t.test('a person can use @xmpp/client', { skip }, async t => {
  const server = await startServer(t)
  for (const local of ['romeo', 'juliet']) await server.addUser(local, PASSWORD)
  trust(t, server)
  const romeo = await device(t, server, 'romeo', { resource: 'orchard', service: `xmpp://${server.domain}:${server.port}` })
  const juliet = await device(t, server, 'juliet', { resource: 'balcony', service: `xmpps://${server.domain}:${server.directPort}` })

  t.test('@xmpp/client logs in over STARTTLS and over direct TLS, with the requested resource', async t => {
    // With Bind 2 (XEP-0386) the server makes a resource that begins with the requested one; Prosody 0.12 binds as in
    // RFC 6120.
    t.match(romeo.full, new RegExp(`^romeo@${server.domain}/orchard(/[\\w-]{12})?$`))
    t.match(juliet.full, new RegExp(`^juliet@${server.domain}/balcony(/[\\w-]{12})?$`))
  })

  t.test('@xmpp/client sends a message to a contact, and gets the answer', async t => {
    await romeo.xmpp.send(xml('message', { to: `juliet@${server.domain}`, type: 'chat' }, xml('body', {}, 'But soft! <&> 🌹')))
    const heard = await juliet.gets(hears('But soft! <&> 🌹'))
    t.equal(heard.attrs['from'], romeo.full)
    await juliet.xmpp.send(xml('message', { to: heard.attrs['from'], type: 'chat' }, xml('body', {}, 'Ay me!')))
    t.equal((await romeo.gets(hears('Ay me!'))).attrs['from'], juliet.full)
  })

  t.test('@xmpp/client asks the server for its features and its roster, and pings it', async t => {
    const { iqCaller } = romeo.xmpp
    const info = await iqCaller.get(xml('query', { xmlns: 'http://jabber.org/protocol/disco#info' }), server.domain, PATIENCE)
    t.ok(info?.getChildren('feature').some((feature: Stanza) => feature.attrs['var'] === 'urn:xmpp:ping'), 'ping is among them')
    const ping = await iqCaller.request(xml('iq', { type: 'get', to: server.domain }, xml('ping', { xmlns: 'urn:xmpp:ping' })), PATIENCE)
    t.equal(ping.attrs['type'], 'result')
    await iqCaller.set(xml('query', { xmlns: 'jabber:iq:roster' }, xml('item', { jid: `juliet@${server.domain}`, name: 'Juliet' })), undefined, PATIENCE)
    const roster = await iqCaller.get(xml('query', { xmlns: 'jabber:iq:roster' }), undefined, PATIENCE)
    t.match(roster?.getChildren('item').map((item: Stanza) => item.attrs), [{ jid: `juliet@${server.domain}`, name: 'Juliet', subscription: 'none' }])
  })

  t.test('@xmpp/client logs in again with its token, in one round trip and with the same address', { skip: AGAINST_PROSODY }, async t => {
    const tokens: unknown[] = []
    const xmpp = client({
      service: `xmpp://${server.domain}:${server.port}`, domain: server.domain, username: 'romeo', password: PASSWORD, resource: 'lane',
    })
    const { fast } = xmpp as unknown as { fast: Fast }
    fast.saveToken = async token => { tokens.push(token) }
    fast.fetchToken = async () => tokens.at(-1)
    xmpp.on('error', error => { t.comment(String(error)) })
    t.teardown(async () => {
      xmpp.reconnect.stop() // after a second stop the library would reconnect
      await xmpp.stop()
    })
    const address = await online(xmpp)
    t.match(tokens, [{ mechanism: 'HT-SHA-256-NONE', token: /^[\w-]{43}$/ }])
    await xmpp.stop()
    t.equal(await online(xmpp), address)
    await server.says(/mechanism\W+HT-SHA-256-NONE/)
    t.notMatch(server.said, (tokens[0] as { token: string }).token)
  })

  t.test('@xmpp/client resumes after a lost connection, and gets what came meanwhile, once', async t => {
    const { streamManagement: sm, socket } = romeo.xmpp as unknown as Inner
    const resumed = new Promise<void>(resolve => { sm.on('resumed', resolve) })
    const line = socket.socket ?? socket
    line.destroy()
    await juliet.xmpp.send(xml('message', { to: romeo.full, type: 'chat' }, xml('body', {}, 'one')))
    await juliet.xmpp.send(xml('message', { to: romeo.full, type: 'chat' }, xml('body', {}, 'two')))
    await resumed
    const bodies: (string | null)[] = []
    for (let n = 0; n < 2; n++) bodies.push((await romeo.gets(stanza => stanza.is('message'))).getChildText('body'))
    t.same(bodies, ['one', 'two'])
    await romeo.xmpp.send(xml('message', { to: juliet.full, type: 'chat' }, xml('body', {}, 'here I am')))
    await juliet.gets(hears('here I am'))
    await server.says(/session resumed/)
  })

  t.test('@xmpp/client resumes after a planned stop of the server, and messages arrive', { skip: AGAINST_PROSODY }, async t => {
    const resumed = [romeo, juliet].map(({ xmpp }) => new Promise<void>(resolve => {
      (xmpp as unknown as { streamManagement: Emitter }).streamManagement.on('resumed', resolve)
    }))
    await server.restart()
    await Promise.all(resumed)
    await juliet.xmpp.send(xml('message', { to: `romeo@${server.domain}`, type: 'chat' }, xml('body', {}, 'to the account')))
    t.equal((await romeo.gets(hears('to the account'))).attrs['from'], juliet.full)
    await romeo.xmpp.send(xml('message', { to: juliet.full, type: 'chat' }, xml('body', {}, 'to the device')))
    await juliet.gets(hears('to the device'))
  })

  t.test('@xmpp/client gets not-authorized for a wrong password', async t => {
    const stranger = client({ service: `xmpp://${server.domain}:${server.port}`, domain: server.domain, username: 'romeo', password: 'wrong' })
    Object.assign(stranger, { timeout: PATIENCE }) // the library gives a slow machine 2 s
    stranger.on('error', () => undefined)
    stranger.reconnect.stop()
    await t.rejects(stranger.start(), { name: 'SASLError', condition: 'not-authorized' })
    await stranger.stop()
  })
})
