/** The server of an app (XEP-0357), which is an account of its own: real clients, and the server as an operator starts it. */
import { readFileSync } from 'node:fs'
import tls from 'node:tls'
import { client, xml, type Client } from '@xmpp/client'
import t, { type Test } from 'tap'
import { AGAINST_PROSODY, startServer, type ServerUnderTest } from './server.js'

const PASSWORD = 'a secret of Verona'
const PATIENCE = 20_000
const PUSH = 'urn:xmpp:push:0'
const PUBSUB = 'http://jabber.org/protocol/pubsub'
const MODULES = 'csi = true\nclient-access-management = true\npush = { collapse = "1s" }\n'

type Stanza = Parameters<Client['send']>[0]
interface Device { readonly xmpp: Client, readonly full: string, gets (wanted: (stanza: Stanza) => boolean): Promise<Stanza> }
interface Line { destroy (): void }

/** A device of somebody's, online. */
async function device (t: Test, server: ServerUnderTest, username: string): Promise<Device> {
  const xmpp = client({ service: `xmpp://${server.domain}:${server.port}`, domain: server.domain, username, password: PASSWORD })
  Object.assign(xmpp, { timeout: PATIENCE }) // the library gives a server two seconds, which a busy machine may need
  const came: Stanza[] = []
  const waiting = new Set<() => void>()
  xmpp.on('error', error => { t.comment(String(error)) })
  xmpp.on('stanza', stanza => {
    came.push(stanza)
    for (const look of waiting) look()
  })
  t.teardown(async () => { await xmpp.stop() })
  const full = String(await xmpp.start())
  Object.assign(xmpp, { timeout: 5000 }) // it waits so long for the end of each stream, whatever becomes of that
  await xmpp.send(xml('presence'))
  const gets = async (wanted: (stanza: Stanza) => boolean): Promise<Stanza> => await new Promise((resolve, reject) => {
    const done = (): void => { clearTimeout(timer); waiting.delete(look) }
    const timer = setTimeout(() => { done(); reject(new Error(`${full} did not get it, but ${came.join('\n')}`)) }, PATIENCE)
    const look = (): void => {
      const index = came.findIndex(wanted)
      if (index < 0) return
      done()
      resolve(...came.splice(index, 1) as [Stanza])
    }
    waiting.add(look)
    look()
  })
  return { xmpp, full, gets }
}

/** The library has no setting for it: its connections, made by node:tls as ours are, trust the server's certificate in this test. */
function trust (t: Test, server: ServerUnderTest): void {
  const connect = tls.connect
  const ca = readFileSync(server.certificate)
  tls.connect = ((options: tls.ConnectionOptions) => connect({ ca, ...options })) as typeof tls.connect
  t.teardown(() => { tls.connect = connect })
}

/** The line is gone without a word, and the device does not come back by itself. */
function vanish ({ xmpp }: Device): void {
  const { reconnect, socket } = xmpp as unknown as { reconnect: { stop (): void }, socket: { socket?: Line } & Line }
  reconnect.stop()
  const line = socket.socket ?? socket
  line.destroy()
}

const isPublication = (stanza: Stanza): boolean => stanza.attrs['type'] === 'set' && stanza.getChild('pubsub', PUBSUB) !== undefined
const chat = (to: string, body: string): Stanza => xml('message', { to, type: 'chat', id: body }, xml('body', {}, body))

type Value = string | null | undefined
interface Told { readonly from: unknown, readonly node: unknown, readonly count: Value, readonly secret: Value }

function valueOf (form: Stanza | undefined, name: string): Value {
  return form?.getChildren('field').find((field: Stanza) => field.attrs['var'] === name)?.getChildText('value')
}

function told (publication: Stanza): Told {
  const pubsub = publication.getChild('pubsub', PUBSUB)
  const publish = pubsub?.getChild('publish')
  const form = publish?.getChild('item')?.getChild('notification', PUSH)?.getChild('x', 'jabber:x:data')
  const options = pubsub?.getChild('publish-options')?.getChild('x', 'jabber:x:data')
  return { from: publication.attrs['from'], node: publish?.attrs['node'], count: valueOf(form, 'message-count'), secret: valueOf(options, 'secret') }
}

t.setTimeout(240_000)

t.test("a phone registers its app's server, goes away, and is called back until that server has enough of it", { skip: AGAINST_PROSODY && 'its push is no part of it' }, async t => {
  const server = await startServer(t, MODULES)
  for (const local of ['romeo', 'juliet', 'push']) await server.addUser(local, PASSWORD)
  trust(t, server)
  const juliet = `juliet@${server.domain}`
  const romeo = await device(t, server, 'romeo')
  const app = await device(t, server, 'push')
  const phone = await device(t, server, 'juliet')

  // The library answers each request itself: what this server has to say of the next one stands here.
  const verdicts: (Stanza | true)[] = []
  app.xmpp.iqCallee.set(PUBSUB, 'pubsub', () => verdicts.shift() ?? true)

  const { iqCaller } = phone.xmpp
  const info = await iqCaller.get(xml('query', { xmlns: 'http://jabber.org/protocol/disco#info' }), juliet, PATIENCE)
  t.ok(info?.getChildren('feature').some((feature: Stanza) => feature.attrs['var'] === PUSH), 'an account says that it can be told')
  const options = xml('x', { xmlns: 'jabber:x:data', type: 'submit' },
    xml('field', { var: 'FORM_TYPE' }, xml('value', {}, `${PUBSUB}#publish-options`)),
    xml('field', { var: 'secret' }, xml('value', {}, 'eruio234vzxc2kla-91')))
  await iqCaller.set(xml('enable', { xmlns: PUSH, jid: app.full, node: 'yxs32uqsflafdk3iuqo' }, options), undefined, PATIENCE)
  t.match(await server.asked('push', juliet), [{ service: app.full, online: true, messages: 0, failures: 0 }])

  vanish(phone)
  await romeo.xmpp.send(chat(juliet, 'Juliet!'))
  const first = await app.gets(isPublication)
  t.same(told(first), { from: server.domain, node: 'yxs32uqsflafdk3iuqo', count: '1', secret: 'eruio234vzxc2kla-91' })
  t.notMatch(String(first), /Juliet!|romeo/)

  verdicts.push(xml('error', { type: 'cancel' }, xml('item-not-found', { xmlns: 'urn:ietf:params:xml:ns:xmpp-stanzas' })))
  await romeo.xmpp.send(chat(juliet, 'Are you there?'))
  t.equal(told(await app.gets(isPublication)).count, '2')
  const until = Date.now() + PATIENCE
  let left: unknown = 1
  while (!Array.isArray(left) || left.length > 0) {
    if (Date.now() > until) throw new Error('the registration stays')
    left = await server.asked('push', juliet)
  }
  t.match(server.said, /push disabled/)
  t.match(await server.asked('mam', juliet), { account: juliet, messages: 2 })

  await phone.xmpp.reconnect.reconnect()
  const bodies = [await phone.gets(stanza => stanza.is('message')), await phone.gets(stanza => stanza.is('message'))].map(stanza => stanza.getChildText('body'))
  t.same(bodies, ['Juliet!', 'Are you there?'], 'nothing of what it was called for is lost')
})
