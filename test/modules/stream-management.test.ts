import t, { type Test } from 'tap'
import type { Element } from '../../lib/xml/element.js'
import { OutgoingOrder, type Item } from '../../modules/stream-management/outgoing-order.js'
import { scenario, Device, type Scenario } from '../scenario.js'
import { couple, type Couple } from '../couple.js'
import { enable } from '../managed.js'
import { CARBONS, ENABLE, SM } from '../stanzas.js'

const MODULES = ['presence', 'message', 'carbons', 'offline', 'ping', 'stream-management']
const body = (text: string): string => `<message><body>${text}</body></message>`
const toJuliet = (text: string, more = ''): string => `<message to='juliet@capulet.lit' type='chat'><body>${text}</body>${more}</message>`
const a = (h: number): string => `<a ${SM} h='${h}'/>`
const r = `<r ${SM}/>`

async function stage (
  t: Test, settings: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
): Promise<Scenario> {
  return await scenario(t, { modules: MODULES, settings: { ping: { initialInterval: '1d' }, ...settings } })
}

async function managedCouple (s: Scenario): Promise<Couple & { readonly id: string }> {
  const { romeo, juliet } = await couple(s)
  return { romeo, juliet, id: await enable(juliet) }
}

async function resume (s: Scenario, id: string, h: number, who = 'juliet@capulet.lit'): Promise<{ readonly device?: Device, readonly answer: Element }> {
  return await s.resume(who, `<resume ${SM} previd='${id}' h='${h}'/>`)
}

async function resumed (s: Scenario, id: string, h: number, has?: number, who?: string): Promise<Device> {
  const { device, answer } = await resume(s, id, h, who)
  if (device === undefined) throw new Error(`not resumed: ${answer.toString()}`)
  if (has !== undefined && answer.attrs['h'] !== String(has)) throw new Error(`resumed with ${answer.toString()}, not ${has}`)
  return device
}

/** The bodies that a device got, in order, those of carbons included. */
const bodies = (device: Device): string[] => device.unread.flatMap(element => {
  const carbon = element.getChild('received') ?? element.getChild('sent')
  const message = carbon?.getChild('forwarded')?.getChild('message') ?? element
  const text = message.getChildText('body')
  return text === null ? [] : [text]
})

// ---- Requests for acknowledgements (§4) ----------------------------------------------------------

t.test('a device that acknowledges too few stanzas is asked again with the next stanza, and not in a loop', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await managedCouple(s)
  await romeo.says(toJuliet('one'))
  await juliet.gets(body('one'))
  await juliet.gets(r)
  for (let answer = 0; answer < 3; answer++) {
    await juliet.says(a(0))
    await juliet.getsNothing()
  }
  await romeo.says(toJuliet('two'))
  await juliet.gets(body('two'))
  await juliet.gets(r)
  await juliet.says(a(1))
  await juliet.getsNothing()
})

t.test('a device that acknowledges too few stanzas is asked again after a time', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await managedCouple(s)
  await romeo.says(toJuliet('one'))
  await juliet.gets(body('one'))
  await juliet.gets(r)
  await juliet.says(a(0))
  await juliet.getsNothing()
  await s.pass('15s')
  await juliet.gets(r)
  await juliet.says(a(1))
  await s.pass('1m')
  await juliet.getsNothing()
})

// ---- Enabling (§3) ----------------------------------------------------------------------------

t.test('enabling stream management returns an id for resumption and the resume timeout', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(ENABLE)
  const enabled = await juliet.gets(`<enabled ${SM} resume='true' max='900'/>`)
  t.ok(enabled.attrs['id'])
  await juliet.says(ENABLE)
  t.equal(juliet.error?.condition, 'policy-violation')
})

t.test('a client can ask for a shorter resume timeout, but not for a longer one', async t => {
  const s = await stage(t)
  const one = await s.device('juliet@capulet.lit/one')
  await one.says(`<enable ${SM} resume='1' max='60'/>`)
  await one.gets(`<enabled ${SM} max='60'/>`)
  const two = await s.device('juliet@capulet.lit/two')
  await two.says(`<enable ${SM} resume='true' max='999999'/>`)
  await two.gets(`<enabled ${SM} max='900'/>`)
})

t.test('a client that does not ask for resumption gets acknowledgements but no id', async t => {
  const s = await stage(t)
  const { romeo } = await managedCouple(s)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await chamber.says(`<enable ${SM}/>`)
  const enabled = await chamber.gets(`<enabled ${SM}/>`)
  t.notOk(enabled.attrs['id'] ?? enabled.attrs['resume'] ?? enabled.attrs['max'])
  await chamber.says(`<presence/>${r}`)
  await chamber.getsInAnyOrder('<presence/>', r, a(1))
  await chamber.loses('connection')
  t.equal(chamber.session.connection, 'closed')
  await romeo.says(toJuliet('later', "<x xmlns='urn:x'/>"))
})

t.test('stream management cannot be enabled before a resource is bound', async t => {
  const s = await stage(t)
  await s.account('juliet@capulet.lit')
  const { answer, device } = await s.resume('juliet@capulet.lit', ENABLE)
  t.notOk(device)
  t.match(answer.toString(), /unexpected-request/)
})

t.test('acknowledgements without stream management are refused', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(r)
  await juliet.gets(`<failed ${SM}><unexpected-request/></failed>`.replace('<unexpected-request/>', "<unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"))
  await juliet.says(a(0), `<resume ${SM} previd='x' h='0'/>`)
  await juliet.gets(`<failed ${SM}/>`)
  await juliet.gets(`<failed ${SM}/>`)
})

t.test('stream management is not enabled if nothing can be stored, and the stream goes on', async t => {
  const s = await stage(t)
  const { romeo } = await managedCouple(s)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  s.storage.failing = new Error('no space left')
  await chamber.says(ENABLE)
  s.storage.failing = undefined
  await chamber.gets(`<failed ${SM}><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`)
  await romeo.says(toJuliet('still here'))
  await chamber.gets(body('still here'))
  await enable(chamber)
})

// ---- Acknowledging (§4) -------------------------------------------------------------------------

t.test('inbound stanzas are counted from <enable/> on, and acknowledged once they are stored', async t => {
  const s = await stage(t)
  const { juliet } = await managedCouple(s)
  await s.account('nurse@capulet.lit')
  s.storage.hold()
  await juliet.says("<message to='nurse@capulet.lit' type='chat'><body>Nurse!</body></message>", r)
  await juliet.getsNothing()
  s.storage.release()
  await juliet.gets(a(1))
  await juliet.says(r)
  await juliet.gets(a(1))
  await juliet.says("<iq type='get' id='p' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>", '<presence/>', r)
  await juliet.getsInAnyOrder("<iq type='result' id='p'/>", r, '<presence/>', a(3))
})

t.test('a refused stanza counts as handled: its error says so', async t => {
  const s = await stage(t)
  const { juliet } = await managedCouple(s)
  await juliet.says("<message to='nobody@capulet.lit' type='chat' id='m'><body>?</body></message>", "<iq type='get' id='i'/>", "<message to='a@@b'/>", r)
  await juliet.getsInAnyOrder("<message type='error' id='m'/>", "<iq type='error' id='i'/>", "<message type='error'/>", r, a(3))
})

t.test('an unstored stanza is not acknowledged; a later one that is stored is', async t => {
  const s = await stage(t)
  const { juliet } = await managedCouple(s)
  await s.account('nurse@capulet.lit')
  s.storage.failing = new Error('no space left')
  await juliet.says("<message to='nurse@capulet.lit' type='chat' id='m'><body>Nurse!</body></message>", r)
  await juliet.getsInAnyOrder("<message type='error' id='m'><error type='wait'/></message>", r)
  s.storage.failing = undefined
  await s.pass('2s')
  await juliet.gets(a(1))
})

t.test('the device is asked for an acknowledgement once, and again when there is more', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await managedCouple(s)
  await romeo.says(toJuliet('one'), toJuliet('two'))
  await juliet.gets(body('one'))
  await juliet.gets(r)
  await juliet.gets(body('two'))
  await juliet.getsNothing()
  await juliet.says(a(1))
  await juliet.gets(r)
  await juliet.says(a(2))
  await juliet.getsNothing()
})

t.test('an acknowledgement of more than was sent, of less than before, or without a number ends the stream', async t => {
  const s = await stage(t)
  for (const [h, condition] of [['3', 'undefined-condition'], ['4294967295', 'undefined-condition'], ['-1', 'bad-format'], ['x', 'bad-format']] as const) {
    const { romeo, juliet } = await managedCouple(s)
    await romeo.says(toJuliet('one'), toJuliet('two'))
    await juliet.says(a(1), `<a ${SM} h='${h}'/>`)
    t.equal(juliet.error?.condition, condition, h)
    if (h === '3') t.match(juliet.error?.element().toString(), /<handled-count-too-high xmlns="urn:xmpp:sm:3" h="3" send-count="2"\/>/)
  }
})

t.test('the stream of a device that acknowledges nothing is closed, and its session can be resumed', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await romeo.says(toJuliet('are you there?'))
  await s.pass('59s')
  t.equal(juliet.error, undefined)
  await s.pass('20s')
  t.equal(juliet.error?.condition, 'connection-timeout')
  t.equal(juliet.session.connection, 'waiting')
  const again = await resumed(s, id, 0, 0)
  t.same(bodies(again), ['are you there?'])
})

t.test('a session with too much unacknowledged ends, and no message is lost', async t => {
  const s = await stage(t, { 'stream-management': { stanzas: 10 } })
  const { romeo, juliet } = await managedCouple(s)
  for (let n = 0; n < 11; n++) await romeo.says(toJuliet(`${n}`))
  t.equal(juliet.error?.condition, 'resource-constraint')
  await romeo.says(toJuliet('11'))
  const later = await s.device('juliet@capulet.lit/chamber', { presence: false })
  await later.says('<presence/>')
  t.same(bodies(later), Array.from({ length: 12 }, (_, n) => `${n}`))
})

t.test('stanzas of one sender keep their order, whichever of them wait for the disk', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await managedCouple(s)
  s.storage.hold()
  await romeo.says(toJuliet('one'), "<presence to='juliet@capulet.lit/balcony'><status>two</status></presence>", toJuliet('three'),
    "<message to='juliet@capulet.lit' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    "<iq type='get' id='q' to='juliet@capulet.lit/balcony'><query xmlns='urn:x'/></iq>", toJuliet('four'))
  await juliet.getsNothing()
  s.storage.release()
  await juliet.gets(body('one'))
  await juliet.gets(r)
  await juliet.gets('<presence><status>two</status></presence>')
  await juliet.gets(body('three'))
  await juliet.gets("<message><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
  await juliet.gets("<iq id='q'/>")
  await juliet.gets(body('four'))
})

// ---- Resuming (§5) --------------------------------------------------------------------------------

t.test('a hibernating session stays available, and a device that resumes gets every missed stanza once and in order', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await s.contact('romeo@montague.lit', 'juliet@capulet.lit')
  await s.contact('juliet@capulet.lit', 'romeo@montague.lit')
  await romeo.says(toJuliet('one'), toJuliet('two'))
  await juliet.loses('connection')
  await romeo.getsNothing()
  await romeo.says(toJuliet('three'))
  const again = await resumed(s, id, 1, 0)
  t.same(bodies(again), ['two', 'three'])
  t.equal(again.session, juliet.session)
  await romeo.getsNothing()
  again.forget()
  await again.says(a(3), '<presence><show>away</show></presence>', r)
  await again.getsInAnyOrder('<presence/>', r, a(1))
  await romeo.gets('<presence><show>away</show></presence>')
})

t.test('a session can be resumed while its old connection seems alive, and later stanzas on that one are ignored', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await romeo.says(toJuliet('one'))
  const again = await resumed(s, id, 0, 0)
  t.equal(juliet.error?.condition, 'conflict')
  t.same(bodies(again), ['one'])
  await juliet.says("<message to='romeo@montague.lit' type='chat'><body>too late</body></message>")
  await romeo.getsNothing()
  const third = await resumed(s, id, 1, 0)
  t.equal(again.error?.condition, 'conflict')
  t.same(bodies(third), [])
})

t.test('if two connections resume a session at once, one succeeds', async t => {
  const s = await stage(t)
  const { id } = await managedCouple(s)
  const [one, two] = await Promise.all([resume(s, id, 0), resume(s, id, 0)])
  t.equal([one.device, two.device].filter(device => device !== undefined && !device.closed).length, 1)
})

t.test('an unknown session, or that of another account, cannot be resumed; its former owner learns h', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  const stranger = await resume(s, id, 0, 'romeo@montague.lit')
  t.match(stranger.answer.toString(), /item-not-found/)
  await s.account('nurse@capulet.lit')
  const nurse = await resume(s, id, 0, 'nurse@capulet.lit')
  t.match(nurse.answer.toString(), /item-not-found/)
  t.equal(juliet.session.connection, 'attached')
  t.match((await resume(s, 'nothing', 0)).answer.toString(), /item-not-found/)
  for (const wrong of [`<resume ${SM} previd='${id}'/>`, `<resume ${SM} h='0'/>`, `<resume ${SM} previd='${id}' h='many'/>`]) {
    t.match((await s.resume('juliet@capulet.lit', wrong)).answer.toString(), /bad-request/)
  }
  await juliet.says("<message to='romeo@montague.lit' type='chat'><body>farewell</body></message>")
  await romeo.gets(body('farewell'))
  juliet.session.close()
  await s.settled()
  const late = await resume(s, id, 0)
  t.equal(late.answer.attrs['h'], '1')
  t.match(late.answer.toString(), /item-not-found/)
  t.notOk((await resume(s, id, 0, 'nurse@capulet.lit')).answer.attrs['h'])
})

t.test('a device that resumes with an h that is too high gets an error, and the session still hibernates', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await romeo.says(toJuliet('one'))
  await juliet.loses('connection')
  await t.rejects(resume(s, id, 5), { message: /^undefined-condition/ })
  t.same(bodies(await resumed(s, id, 0)), ['one'])
})

t.test("if a device's stanzas cannot be stored, it cannot resume and may try again", async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await romeo.says(toJuliet('one'))
  s.storage.failing = new Error('no space left')
  await juliet.says('<presence><show>away</show></presence>')
  await juliet.loses('connection')
  t.match((await resume(s, id, 0)).answer.toString(), /resource-constraint/)
  s.storage.failing = undefined
  t.same(bodies(await resumed(s, id, 0, 1)), ['one'])
})

t.test('a device that has sent nothing since it was saved resumes without a write', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await romeo.says(toJuliet('one'))
  await juliet.loses('connection')
  s.storage.failing = new Error('no space left')
  t.same(bodies(await resumed(s, id, 0, 0)), ['one'])
  s.storage.failing = undefined
})

t.test('if a session is not resumed in time it ends, and its unacknowledged messages wait with their time', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await s.contact('romeo@montague.lit', 'juliet@capulet.lit')
  await s.contact('juliet@capulet.lit', 'romeo@montague.lit')
  await romeo.says(toJuliet('one'))
  await juliet.says(a(1))
  await juliet.loses('connection')
  await romeo.says(toJuliet('two'), "<iq type='get' id='q' to='juliet@capulet.lit/balcony'><query xmlns='urn:x'/></iq>",
    "<message to='juliet@capulet.lit/balcony' type='headline'><body>news</body></message>")
  await s.pass('14m')
  await romeo.getsNothing()
  await s.pass('2m')
  await romeo.getsInAnyOrder("<presence type='unavailable' from='juliet@capulet.lit/balcony'/>", "<iq type='error' id='q'><error><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
  t.match((await resume(s, id, 1)).answer.toString(), /item-not-found/)
  const later = await s.device('juliet@capulet.lit/chamber', { presence: false })
  await later.says('<presence/>')
  const got = later.unread.filter(element => element.name === 'message')
  t.same(bodies(later), ['two'])
  t.equal(got[0]?.getChild('delay')?.attrs['stamp'], '2026-01-01T00:00:00Z')
  t.equal(got[0]?.getChildren('delay').length, 1)
})

t.test('closing the stream ends the session, and unacknowledged messages are not lost', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await romeo.says(toJuliet('one'))
  juliet.session.close()
  await s.settled()
  t.match((await resume(s, id, 0)).answer.toString(), /item-not-found/)
  const later = await s.device('juliet@capulet.lit/chamber', { presence: false })
  await later.says('<presence/>')
  t.same(bodies(later), ['one'])
})

t.test('a chat state of an ended session goes to the next device, and is never stored', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await managedCouple(s)
  const composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
  await romeo.says(`<message to='juliet@capulet.lit' type='chat'>${composing}</message>`)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await enable(chamber)
  chamber.forget()
  juliet.session.close()
  await chamber.gets("<presence type='unavailable'/>")
  await chamber.gets("<r xmlns='urn:xmpp:sm:3'/>")
  await chamber.gets(`<message from='romeo@montague.lit/orchard'>${composing}<delay xmlns='urn:xmpp:delay'/></message>`)
  chamber.session.close()
  await s.settled()
  t.same(await s.traces('juliet@capulet.lit'), [])
  await romeo.getsNothing()
})

t.test('a message that one device acknowledged is not delivered again for another', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await managedCouple(s)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await enable(chamber)
  await chamber.asks(CARBONS)
  await juliet.says(CARBONS)
  juliet.forget()
  chamber.forget()
  await romeo.says("<message to='juliet@capulet.lit/balcony' type='chat'><body>one</body></message>")
  t.same(bodies(juliet), ['one'])
  t.same(bodies(chamber), ['one'])
  const sent = chamber.unread.filter(element => ['message', 'iq', 'presence'].includes(element.name)).length
  await chamber.says(a(sent + 1))
  juliet.session.close()
  await s.settled()
  chamber.session.close()
  await s.settled()
  const later = await s.device('juliet@capulet.lit/garden', { presence: false })
  await later.says('<presence/>')
  t.same(bodies(later), [])
})

t.test('a message that no device acknowledged is delivered again once, a carbon as its original message', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await managedCouple(s)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await enable(chamber)
  await chamber.asks(CARBONS)
  chamber.forget()
  await romeo.says("<message to='juliet@capulet.lit/balcony' type='chat'><body>one</body></message>")
  await juliet.says("<message to='romeo@montague.lit' type='chat'><body>mine</body></message>")
  t.same(bodies(chamber), ['one', 'mine'])
  juliet.session.close()
  await s.settled()
  chamber.session.close()
  await s.settled()
  const later = await s.device('juliet@capulet.lit/garden', { presence: false })
  await later.says('<presence/>')
  await later.gets('<presence/>')
  await later.gets("<message from='romeo@montague.lit/orchard' to='juliet@capulet.lit/balcony' type='chat'><body>one</body><delay xmlns='urn:xmpp:delay'/></message>")
  await later.getsNothing()
})

t.test("an unacknowledged message for a room's guest bounces to the room", async t => {
  const s = await stage(t)
  const { romeo, juliet } = await managedCouple(s)
  await romeo.says("<message to='juliet@capulet.lit/balcony' type='groupchat' id='g'><body>all of you</body></message>")
  juliet.session.close()
  await s.settled()
  await romeo.gets("<message type='error' id='g'><error><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
})

t.test('an offline message is either on the device or still stored', async t => {
  const s = await stage(t)
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  for (const text of ['one', 'two', 'three']) await romeo.says(toJuliet(text))
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  const id = await enable(juliet)
  await juliet.says('<presence/>')
  t.same(bodies(juliet), ['one', 'two', 'three'])
  await juliet.loses('connection')
  const again = await resumed(s, id, 2)
  t.same(bodies(again), ['two', 'three'])
  again.session.close()
  await s.settled()
  const later = await s.device('juliet@capulet.lit/chamber', { presence: false })
  await later.says('<presence/>')
  t.same(bodies(later), ['two', 'three'])
  for (const element of later.unread) if (element.name === 'message') t.equal(element.getChildren('delay').length, 1)
})

t.test('binding the same resource replaces a hibernating session, and a hibernating session makes room for a new one', async t => {
  const s = await scenario(t, { modules: MODULES, host: { resources: 2, conflict: 'refuse' } })
  const { juliet, id } = await managedCouple(s)
  await t.rejects(s.device('juliet@capulet.lit/balcony'), { message: /^conflict/ })
  await juliet.loses('connection')
  const anew = await s.device('juliet@capulet.lit/balcony')
  t.match((await resume(s, id, 0)).answer.toString(), /item-not-found/)
  await enable(anew)
  await anew.loses('connection')
  await s.device('juliet@capulet.lit/one')
  await s.device('juliet@capulet.lit/two')
  t.equal(anew.session.connection, 'closed')
  await t.rejects(s.device('juliet@capulet.lit/three'), { message: /^resource-constraint/ })
})

t.test('after a reload the module goes on with its sessions', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await managedCouple(s)
  await romeo.says(toJuliet('one'))
  await s.reload('stream-management', { resumeTimeout: '1m' })
  await juliet.says(r)
  await juliet.getsInAnyOrder(body('one'), r, a(0))
  await juliet.loses('connection')
  await s.reload('stream-management', { resumeTimeout: '2m' })
  t.same(bodies(await resumed(s, id, 0)), ['one'])
})

// ---- Across a restart -------------------------------------------------------------------------------

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
