import t, { type Test } from 'tap'
import { keyOf as clientKeyOf } from '../../lib/auth/clients.js'
import { messagesDisplayed } from '../../lib/host/events.js'
import { clientOf } from '../../lib/host/slots.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { records } from '../../lib/storage/store.js'
import { xml, type Element } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza, type Addressed } from '../../lib/xmpp/stanza.js'
import { Registrations, type Stored } from '../../modules/push/registrations.js'
import { asks } from '../admin/world.js'
import { elsewhere } from '../elsewhere.js'
import { scenario, type Device, type Scenario, type Scene } from '../scenario.js'
import { ACTIVE, conditionOf, ENABLE, INACTIVE, SM } from '../stanzas.js'

const APP = 'push@app.lit/service'
const JULIET = parseJid('juliet@capulet.lit')
const MODULES = ['roster', 'presence', 'message', 'carbons', 'mam', 'offline', 'disco', 'stream-management', 'csi', 'push']
const QUIET = { 'stream-management': { ackTimeout: '1h' } }
const SECRET = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field><field var='secret'><value>eruio &amp; 234</value></field></x>"
const SUMMARY = { 'FORM_TYPE': 'urn:xmpp:push:summary', 'pending-subscription-count': '0' }
const PUSHED = { ...SUMMARY, 'message-count': '1' }
const counted = (messages: number): Record<string, string> => ({ ...SUMMARY, 'message-count': String(messages) })

const enable = (attributes = `jid='${APP}' node='n'`, content = ''): string => `<iq type='set' id='e'><enable xmlns='urn:xmpp:push:0' ${attributes}>${content}</enable></iq>`
const disable = (attributes: string): string => `<iq type='set' id='d' to='juliet@capulet.lit'><disable xmlns='urn:xmpp:push:0' ${attributes}/></iq>`
const chat = (text: string, more = ''): string => `<message to='juliet@capulet.lit' type='chat'><body>${text}</body>${more}</message>`
const toPhone = (content: string, type = 'chat'): string => `<message to='juliet@capulet.lit/phone' type='${type}'>${content}</message>`
const PROPOSE = "<message to='juliet@capulet.lit' type='chat'><propose xmlns='urn:xmpp:jingle-message:0' id='c'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose><store xmlns='urn:xmpp:hints'/></message>"

interface Stage { readonly s: Scenario, readonly romeo: Device, readonly phone: Device, readonly app: App }
type Settings = Readonly<Record<string, unknown>>

interface Published {
  readonly id: string
  readonly node: string | undefined
  readonly form: Readonly<Record<string, string>>
  readonly element: Element
}

/** An app server, which is an account of its own. */
class App {
  readonly device: Device
  readonly #host: string

  constructor (device: Device, host = 'capulet.lit') {
    this.device = device
    this.#host = host
  }

  /** Returns the next notification without answering it. */
  async hears (): Promise<Published> {
    const element = await this.device.gets(`<iq type='set' from='${this.#host}' to='${APP}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish><item><notification xmlns='urn:xmpp:push:0'/></item></publish></pubsub></iq>`)
    const publish = element.getChild('pubsub')?.getChild('publish')
    const fields = publish?.getChild('item')?.getChild('notification')?.getChild('x')?.getChildren('field') ?? []
    const form = Object.fromEntries(fields.map(field => [String(field.attrs['var']), field.getChildText('value') ?? '']))
    return { id: String(element.attrs['id']), node: publish?.attrs['node'] as string | undefined, form, element }
  }

  /** Answers the next notification and returns its form. */
  async takes (): Promise<Readonly<Record<string, string>>> {
    const { id, form } = await this.hears()
    await this.answers(id)
    return form
  }

  async answers (id: string): Promise<void> { await this.device.says(`<iq type='result' id='${id}' to='${this.#host}'/>`) }

  async refuses (id: string, condition: string, type = 'cancel'): Promise<void> {
    await this.device.says(`<iq type='error' id='${id}' to='${this.#host}'><error type='${type}'><${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
  }

  async hearsNothing (): Promise<void> { await this.device.getsNothing() }
}

interface How { readonly push?: Settings, readonly modules?: Scene['modules'], readonly storage?: MemoryStorage, readonly settings?: Scene['settings'] }

/** Binds Romeo, Juliet's phone, which registers for push, and the app server of the phone. */
async function stage (t: Test, how: How = {}): Promise<Stage> {
  const { push = {}, modules = MODULES, storage, settings = {} } = how
  const s = await scenario(t, {
    modules, settings: { ...QUIET, ...settings, push }, ...storage === undefined ? {} : { storage },
  })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const app = new App(await s.device(APP))
  const phone = await s.device('juliet@capulet.lit/phone')
  t.equal((await phone.asks(enable())).attrs['type'], 'result')
  return { s, romeo, phone, app }
}

/** As `stage`; then the phone loses its connection and its session ends. */
async function away (t: Test, how: How = {}): Promise<Stage> {
  const all = await stage(t, how)
  await all.phone.loses('connection')
  return all
}

/** As `stage`, with stream management on the phone. */
async function managed (t: Test, how: How = {}): Promise<Stage & { readonly id: string }> {
  const all = await stage(t, how)
  await all.phone.says(ENABLE)
  return { ...all, id: String((await all.phone.gets(`<enabled ${SM}/>`)).attrs['id']) }
}

const counterOf = (s: Scenario, name: string): number => s.host('capulet.lit').counters.get(`push.${name}`) ?? 0
const registered = async (s: Scenario): Promise<readonly Record<string, unknown>[]> =>
  await s.host('capulet.lit').commands.get('push')?.(['juliet@capulet.lit']) as readonly Record<string, unknown>[]

// ---- Registering ------------------------------------------------------------------------------------

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

// ---- When a device is notified --------------------------------------------------------------------------

t.test('a message to a device that is gone notifies its app server once: by default with the number of messages and nothing else', async t => {
  const { s, romeo, app } = await away(t)
  await romeo.says(chat('Juliet!'))
  const { node, form, element, id } = await app.hears()
  t.equal(node, 'n')
  t.same(form, PUSHED)
  t.notMatch(element.toString(), /Juliet|romeo/)
  await app.answers(id)
  await s.pass('10m')
  await app.hearsNothing()
  await romeo.getsNothing()
  t.equal(counterOf(s, 'sent'), 1)
})

t.test('a device that was notified and did not connect is notified again after a while, once for all new messages', async t => {
  const { s, romeo, app } = await away(t)
  await romeo.says(chat('one'))
  t.same(await app.takes(), PUSHED)
  await romeo.says(chat('two'), chat('three'))
  await s.pass('29s')
  await app.hearsNothing()
  await romeo.says(chat('four'))
  await s.pass('1s')
  t.same(await app.takes(), counted(4))
  await s.pass('1h')
  await app.hearsNothing()
  const back = await s.device('juliet@capulet.lit/phone')
  await back.loses('connection')
  await romeo.says(chat('five'))
  t.same(await app.takes(), PUSHED, 'the device was connected and got the messages')
  await (await s.device('juliet@capulet.lit/phone')).loses('connection')
  await romeo.says(chat('six'))
  await app.hearsNothing()
  await s.pass('1s')
  t.same(await app.takes(), PUSHED, 'a device that connects is notified sooner the next time')
})

t.test('a connected device is not notified, even if it is not available', async t => {
  const { s, romeo, phone, app } = await stage(t)
  await romeo.says(chat('one'))
  await phone.says("<presence type='unavailable'/>")
  await romeo.says(chat('two'))
  await s.pass('1m')
  await app.hearsNothing()
  t.equal(counterOf(s, 'spared'), 0, 'nothing is prepared')
})

t.test('a hibernating device is notified, and what it gets after it resumes is no longer counted', async t => {
  const { s, romeo, phone, app, id } = await managed(t)
  await phone.loses('connection')
  await romeo.says(chat('one'))
  t.same(await app.takes(), PUSHED)
  await romeo.says(chat('two'))
  const { device } = await s.resume('juliet@capulet.lit', `<resume ${SM} previd='${id}' h='0'/>`)
  t.equal(counterOf(s, 'spared'), 1)
  await device?.says(`<a ${SM} h='2'/>`)
  await device?.loses('connection')
  await romeo.says(chat('three'))
  await s.pass('1s')
  t.same(await app.takes(), PUSHED)
  await s.pass('1h')
  await app.hearsNothing()
})

t.test('a lost connection notifies the device of unacknowledged messages, unless it resumes within moments', async t => {
  const { s, romeo, phone, app, id } = await managed(t)
  await romeo.says(chat('one'), toPhone("<received xmlns='urn:xmpp:receipts' id='r'/>"), chat('two'))
  await phone.loses('connection')
  await s.pass('2s')
  const { device } = await s.resume('juliet@capulet.lit', `<resume ${SM} previd='${id}' h='1'/>`)
  await s.pass('1m')
  await app.hearsNothing()
  await device?.loses('connection')
  await s.pass('3s')
  t.same(await app.takes(), PUSHED, 'the first message was acknowledged, and a receipt is not important')
  await s.pass('1h')
  await app.hearsNothing()
  t.same((await registered(s)).map(({ messages, online }) => [messages, online]), [[1, false]], 'the session has ended, and the message is not counted twice')
})

t.test('after a restart, hibernating devices with unacknowledged messages are notified', async t => {
  const first = await managed(t)
  await first.romeo.says(chat('one'), chat('two'))
  await first.s.end()
  const s = await scenario(t, { modules: MODULES, settings: QUIET, storage: first.s.storage, ids: 'next' })
  const app = new App(await s.device(APP))
  await s.raise(['capulet.lit'])
  await s.settled()
  await s.pass('3s')
  t.same(await app.takes(), counted(2))
})

t.test('a session that ends with unacknowledged messages notifies its device as well', async t => {
  const { s, romeo, phone, app } = await managed(t)
  await romeo.says(chat('one'), chat('two'))
  phone.session.close()
  await s.pass('3s')
  t.same(await app.takes(), counted(2))
})

t.test('an inactive device is notified once, and again after it was active', async t => {
  const { s, romeo, phone, app } = await managed(t)
  await phone.says(INACTIVE)
  await romeo.says(chat('one'))
  t.same(await app.takes(), PUSHED)
  await romeo.says(chat('two'))
  await phone.says(ACTIVE)
  await s.pass('1m')
  await app.hearsNothing()
  await romeo.says(chat('three'))
  await app.hearsNothing()
  await phone.says(INACTIVE)
  await romeo.says(chat('four'))
  t.same(await app.takes(), PUSHED)
  await phone.says(ACTIVE, INACTIVE)
  await romeo.says(chat('five'))
  await s.pass('1s')
  t.same(await app.takes(), PUSHED, 'the device was active, and the earlier messages were seen')
  await phone.loses('connection')
  await s.pass('1m')
  t.same(await app.takes(), counted(5), 'the device had not acknowledged them either')
})

t.test('a message notifies its device once, not again when the connection breaks or the session ends', async t => {
  for (const modules of [MODULES, MODULES.filter(name => name !== 'mam')]) {
    const { s, romeo, phone, app } = await managed(t, { modules })
    await phone.says(INACTIVE)
    await romeo.says(chat('one').replace('<message ', "<message id='m' "))
    t.same(await app.takes(), PUSHED)
    await phone.loses('connection')
    await s.pass('1m')
    await romeo.says(chat('two'))
    t.same(await app.takes(), counted(2))
    await s.pass('1h')
    await app.hearsNothing()
    t.same((await registered(s)).map(({ messages }) => messages), [2])
  }
})

t.test('an operator can limit notifications of a hibernating device to unacknowledged messages, or turn them off', async t => {
  const { s, romeo, phone, app } = await managed(t, { push: { inactive: 'unacknowledged' } })
  await phone.says(INACTIVE)
  await romeo.says(chat('one'))
  await phone.says(`<a ${SM} h='1'/>`)
  await s.pass('1m')
  await app.hearsNothing()
  await romeo.says(chat('two'))
  await s.pass('3s')
  t.same(await app.takes(), PUSHED)
  await s.reload('push', { inactive: 'never' })
  await romeo.says(chat('three'))
  await s.pass('1m')
  await app.hearsNothing()
  await phone.loses('connection')
  await s.pass('3s')
  t.same(await app.takes(), counted(2), 'the unacknowledged message')
})

t.test("unimportant messages, the user's own messages and messages that are stored nowhere notify nobody", async t => {
  const { s, romeo, phone, app, id } = await managed(t, { modules: [...MODULES, 'blocking'] })
  const paris = await s.device('paris@montague.lit/street')
  await phone.asks("<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='paris@montague.lit'/></block></iq>")
  const laptop = await s.device('juliet@capulet.lit/laptop')
  await phone.loses('connection')
  await romeo.says(
    "<message to='juliet@capulet.lit' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    "<message to='juliet@capulet.lit' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='m'/></message>",
    "<message to='juliet@capulet.lit' type='chat'><received xmlns='urn:xmpp:receipts' id='m'/></message>",
    "<message to='juliet@capulet.lit/phone' type='error' id='x'><body>it</body><error type='cancel'/></message>",
    "<message to='juliet@capulet.lit' type='chat'><ringing xmlns='urn:xmpp:jingle-message:0' id='c'/></message>",
    "<message to='juliet@capulet.lit' type='headline'><event xmlns='http://jabber.org/protocol/pubsub#event'/></message>",
    "<presence to='juliet@capulet.lit/phone'/>",
  )
  await s.pass('10s')
  await app.hearsNothing()
  await laptop.says("<message to='romeo@montague.lit' type='chat'><body>mine</body></message>", chat('a note to myself'))
  await paris.says(chat('from a blocked one'), "<presence to='juliet@capulet.lit' type='subscribe'/>")
  await s.pass('10m')
  await app.hearsNothing()
  t.equal(counterOf(s, 'sent'), 0)
  const { device } = await s.resume('juliet@capulet.lit', `<resume ${SM} previd='${id}' h='0'/>`)
  device?.session.close()
  laptop.session.close()
  await s.pass('10m')
  app.device.forget()
  await romeo.says(chat('this goes nowhere', "<no-store xmlns='urn:xmpp:hints'/>"))
  await s.pass('10m')
  await app.hearsNothing()
})

t.test('a message that another device got notifies a device that finds it in the archive, and no other', async t => {
  const { s, romeo, app } = await away(t)
  const laptop = await s.device('juliet@capulet.lit/laptop', { presence: false })
  await laptop.says(ENABLE)
  const toLaptop = (more = ''): string => `<message to='juliet@capulet.lit/laptop' type='chat'><body>one</body>${more}</message>`
  await romeo.says(toLaptop())
  t.same(await app.takes(), PUSHED)
  await s.pass('1m')
  await romeo.says(toLaptop("<no-permanent-store xmlns='urn:xmpp:hints'/>"))
  await s.pass('1m')
  await app.hearsNothing()
  await laptop.says(`<a ${SM} h='2'/>`)
  await romeo.says(toLaptop())
  t.same(await app.takes(), counted(2))
  await (await s.device('juliet@capulet.lit/phone', { presence: '<presence><priority>-1</priority></presence>' })).loses('connection')
  laptop.session.close()
  await s.pass('1m')
  await app.hearsNothing()
})

t.test('a carbon (XEP-0280) notifies the hibernating device that it waits for, also without an archive', async t => {
  const { s, romeo, phone, app } = await managed(t, { modules: MODULES.filter(name => name !== 'mam') })
  await s.device('juliet@capulet.lit/laptop', { presence: false })
  const toLaptop = (text: string): string => `<message to='juliet@capulet.lit/laptop' type='chat' id='${text}'><body>${text}</body></message>`
  await phone.loses('connection')
  await romeo.says(toLaptop('one'))
  await s.pass('1m')
  await app.hearsNothing()
  const tablet = await s.device('juliet@capulet.lit/tablet')
  await tablet.asks("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
  await tablet.asks(enable(`jid='${APP}' node='tablet'`))
  await tablet.says(ENABLE)
  await romeo.says(toLaptop('two'))
  await tablet.loses('connection')
  await romeo.says(toLaptop('three'))
  const heard = await app.hears()
  t.same([heard.node, heard.form['message-count']], ['tablet', '2'], 'the unacknowledged message counts too')
  await app.hearsNothing()
})

t.test('unacknowledged messages of a device whose session ended notify the other devices while they wait for the account', async t => {
  const { s, romeo, app } = await away(t, { modules: MODULES.filter(name => name !== 'mam') })
  const laptop = await s.device('juliet@capulet.lit/laptop')
  await laptop.says(ENABLE)
  await romeo.says("<message to='juliet@capulet.lit/laptop' type='chat'><body>one</body></message>")
  await app.hearsNothing()
  laptop.session.close()
  t.same(await app.takes(), PUSHED)
})

t.test('a subscription request notifies, with the number of requests that wait', async t => {
  const { s, romeo, app } = await away(t)
  await romeo.says("<presence to='juliet@capulet.lit' type='subscribe'/>")
  t.same(await app.takes(), { ...counted(0), 'pending-subscription-count': '1' })
  await s.pass('1m')
  const laptop = await s.device('juliet@capulet.lit/laptop')
  const paris = await s.device('paris@montague.lit/street')
  await paris.says("<presence to='juliet@capulet.lit' type='subscribe'/>")
  for (const name of ['paris', 'romeo']) await laptop.says(`<presence to='${name}@montague.lit' type='subscribed'/>`)
  await s.pass('1m')
  await app.hearsNothing()
})

t.test('a call notifies at once, however recent the last notification', async t => {
  const { s, romeo, app } = await away(t)
  await s.device('juliet@capulet.lit/laptop')
  await romeo.says(chat('may I call?'))
  await s.pass('3s')
  t.same(await app.takes(), PUSHED)
  await s.pass('1s')
  await romeo.says(PROPOSE)
  t.same(await app.takes(), counted(2))
})

t.test('in rooms a device is notified of messages that are addressed to it', async t => {
  const { s, phone, app } = await managed(t)
  const room = await s.device('friar@rooms.lit/desk')
  await phone.says("<presence to='friar@rooms.lit/Jule'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
  await phone.loses('connection')
  const says = async (text: string, more = ''): Promise<void> => {
    await room.says(`<message to='juliet@capulet.lit/phone' type='groupchat'><body>${text}</body>${more}</message>`)
    await s.pass('1m')
  }
  await says('good morrow')
  await says('Julep is a drink')
  await says('jule, there was talk', "<delay xmlns='urn:xmpp:delay' from='elsewhere.lit' stamp='2026-01-01T00:00:00Z'/>")
  await app.hearsNothing()
  await says('good morrow, jule!')
  t.same(await app.takes(), PUSHED)
  await says('who', "<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:juliet@capulet.lit'/>")
  t.same(await app.takes(), counted(2))
  await s.reload('push', { rooms: 'all' })
  await says('good morrow')
  t.same(await app.takes(), PUSHED)
  await s.reload('push', { rooms: 'never' })
  await says('good morrow, jule!')
  await app.hearsNothing()
})

t.test('a stanza that an operator declared important for inactive devices (XEP-0352) is important here', async t => {
  const { romeo, app } = await away(t, { settings: { csi: { urgentNamespaces: ['urn:alarm'], delayedNamespaces: ['urn:advert'] } } })
  await romeo.says(chat('buy', "<x xmlns='urn:advert'/>"))
  await app.hearsNothing()
  await romeo.says("<message to='juliet@capulet.lit'><bell xmlns='urn:alarm'/></message>")
  t.same(await app.takes(), PUSHED)
})

t.test('an operator decides what app servers get to know', async t => {
  const { s, romeo, app } = await away(t, { push: { content: 'bodies' } })
  await romeo.says(chat(`But soft!${'!'.repeat(1000)}`))
  const all = await app.takes()
  t.match(all, { ...PUSHED, 'last-message-sender': 'romeo@montague.lit/orchard', 'last-message-body': /^But soft!+$/ })
  t.equal(all['last-message-body']?.length, 500)
  await s.pass('1m')
  await romeo.says(chat('not for your eyes', "<encryption xmlns='urn:xmpp:eme:0' namespace='x'/>"))
  t.same(await app.takes(), { ...counted(2), 'last-message-sender': 'romeo@montague.lit/orchard' }, 'the fallback body of an encrypted message says nothing')
  await s.reload('push', { content: 'senders' })
  await romeo.says(chat('three'))
  t.same(await app.takes(), { ...PUSHED, 'last-message-sender': 'romeo@montague.lit/orchard' })
  await s.reload('push', { content: 'nothing' })
  await romeo.says(chat('four'))
  t.same(await app.takes(), {})
})

// ---- Read on another device ---------------------------------------------------------------------------------

t.test('while another device is active a message waits a moment, and notifies nobody if it is read there', async t => {
  const { s, romeo, app } = await away(t)
  const laptop = await s.device('juliet@capulet.lit/laptop')
  const one = chat('one').replace('<message ', "<message id='m1' ")
  await romeo.says(one)
  await s.pass('2s')
  await app.hearsNothing()
  await laptop.says("<message to='romeo@montague.lit' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/></message>")
  await s.pass('1m')
  await app.hearsNothing()
  t.equal(counterOf(s, 'read'), 1)
  await romeo.says(one.replace('m1', 'm2'), one.replace('m1', 'm3'))
  await laptop.says("<message to='romeo@montague.lit' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='m2'/></message>")
  await s.pass('3s')
  t.same(await app.takes(), PUSHED, 'the second message was not read')
  await s.pass('1m')
  await romeo.says(one.replace('m1', 'm4'))
  await laptop.says("<message to='romeo@montague.lit' type='chat'><body>yes?</body></message>")
  await s.pass('1m')
  await app.hearsNothing()
})

t.test('a module that knows that a message was read (XEP-0490) can report it', async t => {
  const { s, romeo, app } = await away(t)
  const paris = await s.device('paris@montague.lit/street')
  const laptop = await s.device('juliet@capulet.lit/laptop')
  await romeo.says(chat('one'), chat('two'))
  await paris.says(chat('three'))
  const ids = laptop.unread.map(element => element.getChild('stanza-id')?.attrs['id'] as string)
  const contact = parseJid('romeo@montague.lit')
  s.host('capulet.lit').tell(messagesDisplayed, { account: JULIET, contact, id: ids[1] })
  s.host('capulet.lit').tell(messagesDisplayed, { account: JULIET, contact, id: 'unknown' })
  await s.pass('3s')
  t.same(await app.takes(), PUSHED, 'a message from another contact was not read')
  await s.pass('1m')
  await romeo.says(chat('four'))
  s.host('capulet.lit').tell(messagesDisplayed, { account: JULIET, contact, id: undefined })
  s.host('capulet.lit').tell(messagesDisplayed, { account: JULIET, contact: parseJid('paris@montague.lit'), id: undefined })
  await s.pass('1m')
  await app.hearsNothing()
})

// ---- Errors and ends of registrations ---------------------------------------------------------------------------

for (const condition of ['item-not-found', 'forbidden', 'not-allowed', 'conflict', 'service-unavailable', 'undefined-condition']) {
  t.test(`an app server that answers ${condition} ends its registration`, async t => {
    const { s, romeo, app } = await away(t)
    await romeo.says(chat('one'))
    await app.refuses((await app.hears()).id, condition)
    t.same(await registered(s), [])
    t.equal(counterOf(s, 'disabled'), 1)
    await romeo.getsNothing()
    await s.pass('1m')
    await romeo.says(chat('two'))
    await app.hearsNothing()
    t.notOk((await s.traces(JULIET.toString())).includes('push.registrations'))
  })
}

t.test('an app server that does not exist is notified only once', async t => {
  const { s, romeo, phone } = await stage(t)
  await phone.asks(disable(`jid='${APP}'`))
  for (const jid of ['nowhere.lit', 'app.lit', 'nobody@app.lit', 'push@app.lit/gone', 'capulet.lit']) await phone.asks(enable(`jid='${jid}'`))
  await phone.loses('connection')
  await romeo.says(chat('one'))
  await s.settled()
  t.same(await registered(s), [])
})

t.test('an app server on another server is addressed by the host, and only it can answer', async t => {
  const { s, romeo, phone } = await stage(t)
  const sent: Addressed[] = []
  const { router, pipeline } = s.server
  router.remote = elsewhere(stanza => { sent.push(stanza) })
  await phone.asks(disable(`jid='${APP}'`))
  await phone.asks(enable("jid='push.elsewhere.lit' node='n'"))
  await phone.loses('connection')
  await romeo.says(chat('one'))
  t.same(sent.map(({ from, to, kind, type }) => [from.toString(), to.toString(), kind, type]), [['capulet.lit', 'push.elsewhere.lit', 'iq', 'set']])
  for (const [from, left] of [['evil.elsewhere.lit', 1], ['push.elsewhere.lit', 0]] as const) {
    const error = xml('error', { type: 'cancel' }, xml('item-not-found', { xmlns: 'urn:ietf:params:xml:ns:xmpp-stanzas' }))
    pipeline.route(stanza(xml('iq', { type: 'error', id: sent[0]?.id }, error), parseJid(from), parseJid('capulet.lit')))
    await s.settled()
    t.equal((await registered(s)).length, left, from)
  }
})

t.test('after temporary errors a notification is sent again with growing delays, and too many errors end the registration', async t => {
  const { s, romeo, app } = await away(t, { push: { failures: 4 } })
  await romeo.says(chat('one'))
  await app.refuses((await app.hears()).id, 'resource-constraint', 'wait')
  await romeo.says(chat('two'))
  for (const [wait, rest] of [['29s', '1s'], ['59s', '1s']] as const) {
    await s.pass(wait)
    await app.hearsNothing()
    await s.pass(rest)
    await app.refuses((await app.hears()).id, 'internal-server-error')
  }
  t.same((await registered(s)).map(({ failures, messages }) => [failures, messages]), [[3, 2]])
  await s.pass('2m')
  await app.hears()
  await s.pass('31s') // a missing answer counts as an error
  t.same(await registered(s), [])
  await s.pass('1h')
  await app.hearsNothing()
})

t.test('an answer resets the delay after errors', async t => {
  const { s, romeo, app } = await away(t, { push: { failures: 2 } })
  for (let n = 0; n < 3; n++) {
    await romeo.says(chat('one'))
    await app.refuses((await app.hears()).id, 'service-unavailable', 'wait')
    await s.pass('30s')
    await app.takes()
    await s.pass('1m')
  }
  t.equal((await registered(s)).length, 1)
})

t.test('enabling again resets the delay after errors', async t => {
  const { s, romeo, app } = await away(t, { push: { failures: 2 } })
  for (let n = 0; n < 3; n++) {
    await romeo.says(chat('one'))
    await s.pass('1s')
    await app.refuses((await app.hears()).id, 'remote-server-timeout', 'wait')
    const phone = await s.device('juliet@capulet.lit/phone')
    await phone.asks(enable())
    await phone.loses('connection')
  }
  t.equal((await registered(s)).length, 1)
})

t.test('an error to a node that was enabled again meanwhile is ignored', async t => {
  const { s, romeo, app } = await away(t)
  await romeo.says(chat('one'))
  const { id } = await app.hears()
  const phone = await s.device('juliet@capulet.lit/phone')
  await phone.asks(enable())
  await app.refuses(id, 'item-not-found')
  t.equal((await registered(s)).length, 1)
})

const withdrawn = (to: string, node: string, attributes: string): string =>
  `<message to='${to}'><pubsub xmlns='http://jabber.org/protocol/pubsub' node='${node}'><affiliation ${attributes}/></pubsub></message>`

t.test('an app server can withdraw a node with a message, and nobody else can', async t => {
  const { s, romeo, phone, app } = await stage(t)
  await phone.asks(enable(`jid='${APP}' node='m'`))
  await romeo.says(withdrawn('juliet@capulet.lit', 'n', "jid='juliet@capulet.lit' affiliation='none'"))
  await phone.gets("<message from='romeo@montague.lit/orchard'/>")
  await app.device.says(
    withdrawn('juliet@capulet.lit', 'n', "jid='juliet@capulet.lit' affiliation='publish-only'"),
    withdrawn('juliet@capulet.lit', 'n', "jid='romeo@montague.lit' affiliation='none'"),
    withdrawn('juliet@capulet.lit', 'x', "jid='juliet@capulet.lit' affiliation='none'"),
  )
  t.equal((await registered(s)).length, 2)
  phone.forget()
  await app.device.says(withdrawn('juliet@capulet.lit', 'n', "jid='juliet@capulet.lit' affiliation='none'"))
  t.equal((await registered(s)).length, 1)
  await app.device.says(withdrawn('juliet@capulet.lit', 'm', "jid='capulet.lit' affiliation='outcast'"))
  t.same(await registered(s), [])
  await phone.getsNothing()
  await app.hearsNothing()
})

t.test('the registrations of a device end with its access, and those of others stay', async t => {
  const { s, romeo, phone, app } = await stage(t, { modules: [...MODULES, 'client-access-management'] })
  const { clients } = s.host('capulet.lit')
  await clients.visited(JULIET, { id: 'tablet', software: '', device: 'tablet' }, { by: 'certificate', lifetime: 1 })
  const tablet = await s.device('juliet@capulet.lit/tablet')
  tablet.session.put(clientOf, clientKeyOf('tablet'))
  await tablet.asks(enable(`jid='${APP}' node='tablet'`))
  await tablet.loses('connection')
  const id = [...await clients.of(JULIET)].map(([, client]) => client.id)[0] ?? ''
  t.equal((await registered(s)).length, 2)
  t.equal((await phone.asks(`<iq type='set' id='r'><revoke xmlns='urn:xmpp:cam:0' id='${id}'/></iq>`)).attrs['type'], 'result')
  t.equal((await registered(s)).length, 1)

  const laptop = await s.device('juliet@capulet.lit/laptop')
  t.match((await laptop.asks("<iq type='set' id='r'><revoke xmlns='urn:xmpp:cam:0' id='session:phone'/></iq>")).toString(), /password-reset-required/)
  t.same(await registered(s), [], 'a session of an unknown client')
  await romeo.says(chat('one'))
  await s.pass('1m')
  await app.hearsNothing()
})

t.test('a new password ends the registrations of the clients that need it to log in again', async t => {
  const { s, phone } = await stage(t)
  const tablet = await s.device('juliet@capulet.lit/tablet')
  await tablet.asks(enable("jid='app.lit' node='tablet'"))
  await phone.loses('connection')
  await s.host('capulet.lit').setPassword(JULIET, 'another', tablet.session)
  t.same((await registered(s)).map(({ service }) => service), ['app.lit'])
})

t.test('a removed account leaves no registrations', async t => {
  const { s, romeo, app } = await away(t)
  await romeo.says(chat('one'), chat('two'))
  await app.takes()
  await s.host('capulet.lit').removeAccount(JULIET)
  t.same(await s.traces(JULIET.toString()), [])
  await s.account('juliet@capulet.lit')
  await romeo.says(chat('three'))
  await s.pass('1h')
  await app.hearsNothing()
})

t.test('an operator sees the registrations of an account, on each host its own', async t => {
  const { s, romeo, app } = await away(t)
  await romeo.says(chat('one'))
  await app.takes()
  const rows = await asks(s.server, 'push', ['Juliet@capulet.lit/phone'])
  t.same(rows, [{ service: APP, seen: '2026-01-01T00:00:00Z', online: false, messages: 1, failures: 0 }])
  t.same(await asks(s.server, 'push', ['romeo@montague.lit']), [])
  await t.rejects(asks(s.server, 'push', ['nobody@capulet.lit']), /there is no nobody@capulet.lit/)
  await t.rejects(asks(s.server, 'push', ['a@elsewhere.lit']), /there is no a@elsewhere.lit/)
  await t.rejects(asks(s.server, 'push', []), /push ADDRESS/)
  await t.rejects(asks(s.server, 'push', ['a@b@c']), /domain has the character/)
})

t.test('a registration ends if its device does not connect for a long time', async t => {
  const { s, romeo, app } = await away(t, { push: { expire: '10d' } })
  await s.pass('9d')
  const phone = await s.device('juliet@capulet.lit/phone')
  await phone.loses('connection')
  await s.pass('9d')
  await romeo.says(chat('one'))
  await app.takes()
  const again = await s.device('juliet@capulet.lit/phone')
  await s.pass('40d')
  await again.loses('connection')
  await romeo.says(chat('two'))
  t.same(await app.takes(), PUSHED, 'the device was connected until now')
  await s.pass('11d')
  await romeo.says(chat('three'))
  await app.hearsNothing()
  t.same(await registered(s), [])
})

// ---- Rate limits -------------------------------------------------------------------------------------------------

t.test('an account has a bound of notifications an hour; one more comes later, and once', async t => {
  const { s, romeo, app } = await away(t, { push: { notificationsPerHour: 2, collapse: '1s' } })
  for (const messages of [1, 2]) {
    await romeo.says(chat('more'))
    t.same(await app.takes(), counted(messages))
    await s.pass('1s')
  }
  await romeo.says(chat('three'), chat('four'))
  await app.hearsNothing()
  for (let minutes = 0; minutes < 29; minutes++) await s.pass('1m')
  await app.hearsNothing()
  await s.pass('2m')
  t.same(await app.takes(), counted(4))
  t.ok(counterOf(s, 'postponed') > 0)
})

t.test('an app server has a bound of unanswered notifications over all accounts; the others wait', async t => {
  const { s, romeo, app } = await stage(t)
  for (let n = 0; n < 20; n++) {
    const device = await s.device(`citizen${n}@capulet.lit/phone`)
    await device.asks(enable(`jid='${APP}' node='${n}'`))
    await device.loses('connection')
  }
  for (let n = 0; n < 20; n++) await romeo.says(chat('hear ye').replace('juliet', `citizen${n}`))
  t.equal(app.device.unread.length, 16)
  const heard: string[] = []
  while (app.device.unread.length > 0) {
    const { id, node = '' } = await app.hears()
    heard.push(node)
    await app.answers(id)
  }
  t.equal(new Set(heard).size, 20)
})
