/**
 * The app server of push notifications (XEP-0357) is an ordinary account here: with real clients, and the server as an
 * operator starts it.
 */
import { xml } from '@xmpp/client'
import t from 'tap'
import { device, PASSWORD, PATIENCE, trust, type Device, type Stanza } from './library.js'
import { AGAINST_PROSODY, startServer } from './server.js'

const PUSH = 'urn:xmpp:push:0'
const PUBSUB = 'http://jabber.org/protocol/pubsub'
const MODULES = 'client-access-management = true\npush = { collapse = "1s" }\n'

interface Line { destroy (): void }

/** Cuts the connection without a word, and keeps the device from reconnecting. */
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

t.setTimeout(1_200_000)

const skip = AGAINST_PROSODY && 'push is no part of it'

t.test('a phone registers its app server, goes offline, and gets push notifications until that server rejects them', { skip }, async t => {
  const server = await startServer(t, MODULES)
  for (const local of ['romeo', 'juliet', 'push']) await server.addUser(local, PASSWORD)
  trust(t, server)
  const service = `xmpp://${server.domain}:${server.port}`
  const juliet = `juliet@${server.domain}`
  const romeo = await device(t, server, 'romeo', { service })
  const app = await device(t, server, 'push', { service })
  const phone = await device(t, server, 'juliet', { service })

  // The library answers each request itself: this is the list of answers to the next publications.
  const verdicts: (Stanza | true)[] = []
  app.xmpp.iqCallee.set(PUBSUB, 'pubsub', () => verdicts.shift() ?? true)

  const { iqCaller } = phone.xmpp
  const info = await iqCaller.get(xml('query', { xmlns: 'http://jabber.org/protocol/disco#info' }), juliet, PATIENCE)
  t.ok(info?.getChildren('feature').some((feature: Stanza) => feature.attrs['var'] === PUSH), 'an account announces support for push notifications')
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
  await server.says(/push disabled/)
  t.match(await server.asked('mam', juliet), { account: juliet, messages: 2 })

  phone.xmpp.reconnect.reconnect().catch((error: unknown) => { t.comment(String(error)) })
  const bodies = [await phone.gets(stanza => stanza.is('message')), await phone.gets(stanza => stanza.is('message'))].map(stanza => stanza.getChildText('body'))
  t.same(bodies, ['Juliet!', 'Are you there?'], 'no message that a notification announced is lost')
})
