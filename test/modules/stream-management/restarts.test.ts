/** Managed sessions across restarts and crashes of the server. */
import t from 'tap'
import { OutgoingOrder, type Item } from '../../../modules/stream-management/outgoing-order.js'
import { scenario } from '../../scenario.js'
import { enable } from '../../managed.js'
import { CARBONS, SM } from '../../stanzas.js'
import { a, bodies, managedCouple, MODULES, r, resume, resumed, stage, toJuliet } from './stage.js'

t.test('a planned restart keeps every session with its presence, slots and unacknowledged stanzas', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  const romeoId = await enable(romeo)
  await juliet.says(CARBONS, '<presence><show>chat</show></presence>')
  await romeo.says(toJuliet('one'), toJuliet('two'), "<presence to='juliet@capulet.lit/balcony'><status>near</status></presence>")
  juliet.forget()
  await s.end()
  t.ok(juliet.closed)
  t.equal(juliet.error, undefined, 'no stream error and no </stream:stream>')
  await juliet.gets(a(2))

  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage })
  const session = next.host('capulet.lit').sessions.of(juliet.jid.bare)[0]
  t.equal(session?.connection, 'waiting')
  t.equal(session?.presence?.element.getChildText('show'), 'chat')
  const again = await resumed(next, id, 2, 2)
  t.same(bodies(again), ['one', 'two'])
  t.match(again.unread.map(element => element.name), ['message', 'message', 'presence', 'r'], 'presence survives too')
  again.forget()
  const romeoAgain = await resumed(next, romeoId, 0, 3, 'romeo@montague.lit')
  await romeoAgain.says("<message to='juliet@capulet.lit/elsewhere' type='chat'><body>three</body></message>")
  t.same(bodies(again), ['three'])
  const chamber = await next.device('juliet@capulet.lit/chamber')
  await chamber.says("<message to='romeo@montague.lit' type='chat'><body>four</body></message>")
  t.ok(bodies(again).includes('four'), 'carbons are still enabled')
  await romeoAgain.says("<presence type='unavailable'/>")
  t.ok(again.unread.some(element => element.attrs['type'] === 'unavailable'), 'the recipients of directed presence are known')
})

t.test('after a crash a session resumes with all its messages, each once', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await romeo.says(toJuliet('one'), "<presence to='juliet@capulet.lit/balcony'/>", toJuliet('two'), "<presence to='juliet@capulet.lit/balcony'/>", toJuliet('three'))
  await juliet.says("<message to='romeo@montague.lit' type='chat'><body>mine</body></message>", r)
  await s.pass('1s')
  t.same(bodies(juliet), ['one', 'two', 'three'])
  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage.remains() })
  // The device handled one message, a presence and a second message; and another presence that is lost now.
  const again = await resumed(next, id, 4, 1)
  t.same(bodies(again), ['three'])
  t.same(again.unread.filter(({ name }) => name === 'presence').map(({ attrs }) => attrs['type']), ['unavailable'], 'he is unavailable')
  again.forget()
  await again.says(a(6))
  await again.getsNothing()
  const other = await next.device('romeo@montague.lit/orchard')
  await other.says(toJuliet('four'))
  const last = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: next.storage.remains() })
  t.same(bodies(await resumed(last, id, 6)), ['four'])
})

t.test('a crash right after a device has become available loses neither its presence nor its carbons', async t => {
  const hosts = ['montague.lit', 'capulet.lit']
  const s = await stage(t)
  await s.device('juliet@capulet.lit/balcony')
  const chamber = await s.device('juliet@capulet.lit/chamber', { presence: false })
  const id = await enable(chamber)
  await chamber.says(CARBONS)
  chamber.forget()
  const before = await scenario(t, { modules: MODULES, hosts, storage: s.storage.remains() })
  t.notOk(before.host('capulet.lit').sessions.at(chamber.jid)?.available)
  await chamber.says('<presence><priority>1</priority></presence>')
  const next = await scenario(t, { modules: MODULES, hosts, storage: s.storage.remains() })
  const romeo = await next.device('romeo@montague.lit/orchard')
  const balcony = await next.device('juliet@capulet.lit/balcony')
  await romeo.says(toJuliet('bare'))
  await balcony.says("<message to='romeo@montague.lit' type='chat'><body>copied</body></message>")
  const again = await resumed(next, id, 0, 2)
  t.same(bodies(again), ['bare', 'copied'])
})

t.test('the answer that carbons are on comes after that is stored, and on a full disk it is an error', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await enable(juliet)
  await s.pass('2s')
  s.storage.hold()
  await juliet.says(CARBONS)
  await juliet.getsNothing()
  s.storage.release()
  await s.settled()
  await juliet.gets("<iq type='result' id='c'/>")
  s.storage.failing = new Error('the disk is full')
  await juliet.says("<iq type='set' id='off'><disable xmlns='urn:xmpp:carbons:2'/></iq>", '<presence><priority>2</priority></presence>')
  t.match(juliet.unread.filter(({ name }) => name === 'iq'), [{ attrs: { type: 'error', id: 'off' } }])
  t.equal(juliet.session.priority, 2, 'presence is taken all the same')
  s.storage.failing = undefined
  await s.pass('2s')
  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage.remains() })
  t.equal(next.host('capulet.lit').sessions.at(juliet.jid)?.priority, 2, 'and stored within a second')
})

t.test('after two crashes while the device is away, stanzas that were never sent are sent', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await romeo.says(toJuliet('one'), "<presence to='juliet@capulet.lit/balcony'/>", toJuliet('two'))
  await juliet.loses('connection')
  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage.remains() })
  const other = await next.device('romeo@montague.lit/orchard')
  await other.says(toJuliet('three'))
  const last = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: next.storage.remains() })
  t.same(bodies(await resumed(last, id, 3)), ['three'])
})

t.test('sessions that cannot be resumed leave their messages to the account, also after a crash', async t => {
  const s = await stage(t)
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(`<enable ${SM}/>`)
  await romeo.says(toJuliet('one'))
  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage.remains() })
  await next.settled()
  t.equal(next.host('capulet.lit').sessions.count, 0)
  t.same(await next.traces('juliet@capulet.lit'), ['offline.messages'])
  const later = await next.device('juliet@capulet.lit/chamber', { presence: false })
  await later.says('<presence/>')
  t.same(bodies(later), ['one'])
})

t.test('an ended session and a removed account leave no rows', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await romeo.says(toJuliet('one'))
  await juliet.says(a(1))
  juliet.session.close()
  await s.settled()
  t.same(await s.traces('juliet@capulet.lit'), [])
  const again = await s.device('juliet@capulet.lit/balcony')
  t.not(await enable(again), id)
  await romeo.says(toJuliet('two'))
  await s.host('capulet.lit').removeAccount(again.jid.bare)
  await s.settled()
  t.same(await s.traces('juliet@capulet.lit'), [])
})

t.test('the resume timeout starts anew after a restart', async t => {
  const s = await stage(t)
  const { juliet, id } = await managedCouple(s)
  await juliet.loses('connection')
  await s.end()
  const next = await scenario(t, { modules: MODULES, hosts: ['capulet.lit'], storage: s.storage })
  await next.pass('14m')
  t.equal(next.host('capulet.lit').sessions.count, 1)
  await next.pass('2m')
  t.equal(next.host('capulet.lit').sessions.count, 0)
  t.match((await resume(next, id, 0)).answer.toString(), /item-not-found/)
})

t.test('after a planned restart and two crashes a message keeps the number that the device has counted', async t => {
  const hosts = ['montague.lit', 'capulet.lit']
  const s = await stage(t)
  const { id } = await managedCouple(s)
  await s.end()
  const second = await scenario(t, { modules: MODULES, hosts, storage: s.storage, ids: 'second' })
  const romeo = await second.device('romeo@montague.lit/other')
  await romeo.says("<presence to='juliet@capulet.lit/balcony'/>", toJuliet('one'))
  const third = await scenario(t, { modules: MODULES, hosts, storage: second.storage.remains(), ids: 'third' })
  t.same(bodies(await resumed(third, id, 0)), ['one'])
  const fourth = await scenario(t, { modules: MODULES, hosts, storage: third.storage.remains(), ids: 'fourth' })
  t.same(bodies(await resumed(fourth, id, 1)), [])
})

t.test('a crash right after a session was resumed, after a planned restart, makes neither its count impossible nor loses a message', async t => {
  const hosts = ['montague.lit', 'capulet.lit']
  const nearby = "<presence to='juliet@capulet.lit/balcony'/>"
  const s = await stage(t)
  const { id } = await managedCouple(s)
  await s.end()
  const second = await scenario(t, { modules: MODULES, hosts, storage: s.storage, ids: 'second' })
  const juliet = await resumed(second, id, 0)
  const romeo = await second.device('romeo@montague.lit/other')
  await romeo.says(nearby, nearby, toJuliet('one'), nearby)
  t.same(juliet.unread.filter(({ name }) => name !== 'r').length, 4)
  // The presences are stored nowhere: the device alone knows that it got the first of them, and not the message.
  const third = await scenario(t, { modules: MODULES, hosts, storage: second.storage.remains(), ids: 'third' })
  t.same(bodies(await resumed(third, id, 1)), ['one'])
  // Now the device got all.
  const other = await scenario(t, { modules: MODULES, hosts, storage: second.storage.remains(), ids: 'other' })
  t.same(bodies(await resumed(other, id, 4)), [])
})

t.test('after a crash, outbound sequence numbers are stored before <resumed/>, so that they survive a second crash', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await juliet.loses('connection')
  await romeo.says("<presence to='juliet@capulet.lit/balcony'/>", toJuliet('one'))
  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage.remains(), ids: 'next' })
  const again = await resumed(next, id, 0)
  t.same(bodies(again), ['one'])
  const last = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: next.storage.remains(), ids: 'last' })
  t.same(bodies(await resumed(last, id, 1)), [])
})

t.test('a session that ends during a write still holds every unsent stanza', async t => {
  const left: string[] = []
  const item = (octets: string): Item => ({
    octets, handed: undefined, at: 0, row: undefined, seq: undefined, confirmed: () => {}, state: 'ready', isPatient: true,
  })
  const outbound = new OutgoingOrder({
    // the session ends once
    write: () => { if (left.length === 0) left.push(...outbound.take().map(({ octets }) => octets)) },
    moved: () => {},
    hasRoom: () => true,
    drained: () => false,
  }, { confirmed: 0, isHeld: false, isVague: false })
  for (const octets of ['<a/>', '<b/>', '<c/>']) outbound.place(item(octets))
  outbound.rouse()
  t.same(left, ['<a/>', '<b/>', '<c/>'])
})
