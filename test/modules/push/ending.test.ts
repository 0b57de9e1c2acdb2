/** Errors of app servers, the ends of registrations, and limits of notifications. */
import t from 'tap'
import { keyOf as clientKeyOf } from '../../../lib/auth/clients.js'
import { clientOf } from '../../../lib/host/slots.js'
import { xml } from '../../../lib/xml/element.js'
import { parseJid } from '../../../lib/xmpp/jid.js'
import { stanza, type Addressed } from '../../../lib/xmpp/stanza.js'
import { asks } from '../../admin/world.js'
import { elsewhere } from '../../elsewhere.js'
import { APP, away, chat, counted, counterOf, disable, enable, JULIET, MODULES, PUSHED, registered, stage } from './stage.js'

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
