/** Registrations for push notifications: how they begin. */
import t from 'tap'
import { MemoryStorage } from '../../../lib/storage/memory.js'
import { records } from '../../../lib/storage/store.js'
import { parseJid } from '../../../lib/xmpp/jid.js'
import { Registrations, type Stored } from '../../../modules/push/registrations.js'
import { scenario } from '../../scenario.js'
import { conditionOf } from '../../stanzas.js'
import { APP, App, away, chat, disable, enable, JULIET, MODULES, PUSHED, QUIET, registered, SECRET, stage } from './stage.js'

t.test('an account announces push, and an operator can limit the app servers', async t => {
  const { phone } = await stage(t, { push: { services: ['app.lit'] } })
  const info = await phone.asks("<iq type='get' id='i' to='juliet@capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
  t.match(info.toString(), /<feature var="urn:xmpp:push:0"\/>/)
  t.equal(conditionOf(await phone.asks(enable("jid='evil.lit' node='n'"))), 'not-allowed')
})

t.test('an invalid request to enable or disable is refused', async t => {
  const { s, phone, romeo } = await stage(t, { push: { registrations: 3 } })
  const form = (type: string): string => `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>${type}</value></field></x>`
  const rows: readonly (readonly [string, string])[] = [
    [enable("node='n'"), 'bad-request'],
    [enable("jid='' node='n'"), 'bad-request'],
    [enable("jid='@app.lit'"), 'jid-malformed'],
    [enable(`jid='app.lit' node='${'n'.repeat(1025)}'`), 'not-acceptable'],
    [enable("jid='app.lit'", form('urn:x')), 'bad-request'],
    [enable("jid='app.lit'", "<x xmlns='jabber:x:data' type='submit'/>"), 'bad-request'],
    [enable("jid='app.lit'", SECRET + SECRET), 'bad-request'],
    [enable("jid='app.lit'", SECRET.replace('234', '2'.repeat(8192))), 'not-acceptable'],
    [disable("node='n'"), 'bad-request'],
    [disable("jid='a b@app.lit'"), 'jid-malformed'],
  ]
  for (const [request, condition] of rows) t.equal(conditionOf(await phone.asks(request)), condition, request)
  t.equal(conditionOf(await romeo.asks(enable().replace('<iq ', "<iq to='juliet@capulet.lit' "))), 'service-unavailable', "a user cannot enable push for another's account")
  t.equal((await registered(s)).length, 1)
  for (const node of ['1', '2']) t.equal((await phone.asks(enable(`jid='app.lit' node='${node}'`))).attrs['type'], 'result')
  t.equal(conditionOf(await phone.asks(enable("jid='app.lit' node='3'"))), 'resource-constraint')
  t.equal((await phone.asks(enable("jid='app.lit' node='2'", SECRET))).attrs['type'], 'result', 'an enabled node may be enabled again')
  t.equal((await phone.asks(disable("jid='nobody.lit'"))).attrs['type'], 'result', 'a node that is not enabled may be disabled')
  t.equal((await registered(s)).length, 3)
})

t.test('disabling a node, or all nodes of a service, stops its notifications', async t => {
  const { s, romeo, phone, app } = await stage(t)
  for (const attributes of [`jid='${APP}' node='m'`, `jid='${APP}'`]) await phone.asks(enable(attributes))
  t.equal((await phone.asks(disable(`jid='${APP}' node='n'`))).attrs['type'], 'result')
  t.equal((await registered(s)).length, 2)
  await phone.loses('connection')
  await romeo.says(chat('one'))
  const heard = [await app.hears(), await app.hears()]
  t.same(heard.map(({ node }) => node), ['m', undefined], 'the node may be left out')
  await app.hearsNothing()
  const tablet = await s.device('juliet@capulet.lit/tablet')
  await tablet.asks(disable(`jid='${APP}'`))
  t.same(await registered(s), [])
  await tablet.loses('connection')
  await s.pass('1m')
  await romeo.says(chat('two'))
  await app.hearsNothing()
})

t.test('the publish options go unchanged with each notification; the last request for a node counts', async t => {
  const { romeo, phone, app } = await stage(t)
  await phone.asks(enable(undefined, SECRET.replace('eruio', 'former')))
  await phone.asks(enable(undefined, SECRET))
  await phone.loses('connection')
  await romeo.says(chat('one'))
  const { element } = await app.hears()
  const options = element.getChild('pubsub')?.getChild('publish-options')?.getChild('x', 'jabber:x:data')
  t.equal(options?.attrs['type'], 'submit')
  t.same(options?.getChildren('field').map(field => [field.attrs['var'], field.getChildText('value')]), [
    ['FORM_TYPE', 'http://jabber.org/protocol/pubsub#publish-options'], ['secret', 'eruio & 234'],
  ])
  await app.hearsNothing()
})

t.test('registrations survive a restart and a reload', async t => {
  const first = await away(t)
  await first.s.reload('push', { collapse: '2s' })
  await first.romeo.says(chat('one'))
  t.same(await first.app.takes(), PUSHED)
  await first.s.end()
  const s = await scenario(t, { modules: MODULES, settings: QUIET, storage: first.s.storage, hosts: ['capulet.lit'], ids: 'next' })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const app = new App(await s.device(APP))
  await romeo.says(chat('two'))
  t.same(await app.takes(), PUSHED)
})

t.test('an account without registrations costs one look-up', async t => {
  const storage = new MemoryStorage()
  const store = await storage.open('push.registrations', records<Stored>(1, undefined, { byHost: true }))
  const mercutio = parseJid('mercutio@capulet.lit')
  await store.put(JULIET.toString(), 'k', { id: '1', service: 'app.lit', device: '/phone', seen: 0 })
  await store.put('nurse@montague.lit', 'k', { id: '2', service: 'app.lit', device: '/phone', seen: 0 })
  const registrations = new Registrations(store)
  t.type(registrations.of(mercutio), Promise, 'until it is known which accounts have registered')
  await registrations.learn('capulet.lit')
  t.equal((registrations.of(mercutio) as ReadonlyMap<string, unknown>).size, 0)
  t.equal((registrations.of(parseJid('nurse@montague.lit')) as ReadonlyMap<string, unknown>).size, 0, 'another host looks after its own accounts')
  t.equal((await registrations.of(JULIET)).size, 1)
})
