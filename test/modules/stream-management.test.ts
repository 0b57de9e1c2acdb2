import t, { type Test } from 'tap'
import type { Element } from '../../lib/xml/element.js'
import { Outbound, type Item } from '../../modules/stream-management/outbound.js'
import { scenario, Device, type Scenario } from '../scenario.js'

const SM = "xmlns='urn:xmpp:sm:3'"
const MODULES = ['presence', 'message', 'carbons', 'offline', 'ping', 'stream-management']
const CARBONS = "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>"
const ENABLE = `<enable ${SM} resume='true'/>`
const body = (text: string): string => `<message><body>${text}</body></message>`
const toJuliet = (text: string, more = ''): string => `<message to='juliet@capulet.lit' type='chat'><body>${text}</body>${more}</message>`
const a = (h: number): string => `<a ${SM} h='${h}'/>`
const r = `<r ${SM}/>`

/** Turns it on; what it is called by from now on. */
async function enable (device: Device, how = ENABLE): Promise<string> {
  await device.says(how)
  const enabled = await device.gets(`<enabled ${SM}/>`)
  return enabled.attrs['id'] as string
}

async function stage (t: Test, settings: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {}): Promise<Scenario> {
  return await scenario(t, { modules: MODULES, settings: { ping: { silence: '1d' }, ...settings } })
}

async function couple (s: Scenario): Promise<{ readonly romeo: Device, readonly juliet: Device, readonly id: string }> {
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
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

/** A sentence as the devices of a scene have it: bodies, in order. */
const bodies = (device: Device): string[] => device.unread.flatMap(element => {
  const carbon = element.getChild('received') ?? element.getChild('sent')
  const message = carbon?.getChild('forwarded')?.getChild('message') ?? element
  const text = message.getChildText('body')
  return text === null ? [] : [text]
})

// ---- Enabling (§3) ----------------------------------------------------------------------------

t.test('it is enabled once, with a name to resume it by and the time there is for that', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(ENABLE)
  const enabled = await juliet.gets(`<enabled ${SM} resume='true' max='900'/>`)
  t.ok(enabled.attrs['id'])
  await juliet.says(ENABLE)
  t.equal(juliet.error?.condition, 'policy-violation')
})

t.test('a client may want less time than there is, and gets no more', async t => {
  const s = await stage(t)
  const one = await s.device('juliet@capulet.lit/one')
  await one.says(`<enable ${SM} resume='1' max='60'/>`)
  await one.gets(`<enabled ${SM} max='60'/>`)
  const two = await s.device('juliet@capulet.lit/two')
  await two.says(`<enable ${SM} resume='true' max='999999'/>`)
  await two.gets(`<enabled ${SM} max='900'/>`)
})

t.test('who does not ask to resume is acknowledged, and has no name', async t => {
  const s = await stage(t)
  const { romeo } = await couple(s)
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

t.test('before a resource is bound nothing of it is enabled', async t => {
  const s = await stage(t)
  await s.account('juliet@capulet.lit')
  const { answer, device } = await s.resume('juliet@capulet.lit', ENABLE)
  t.notOk(device)
  t.match(answer.toString(), /unexpected-request/)
})

t.test('acknowledgements that nobody has agreed on are not understood', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(r)
  await juliet.gets(`<failed ${SM}><unexpected-request/></failed>`.replace('<unexpected-request/>', "<unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"))
  await juliet.says(a(0), `<resume ${SM} previd='x' h='0'/>`)
  await juliet.gets(`<failed ${SM}/>`)
  await juliet.gets(`<failed ${SM}/>`)
})

t.test('where nothing can be stored it is not enabled, and the stream goes on', async t => {
  const s = await stage(t)
  const { romeo } = await couple(s)
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

t.test('what has come is counted from the request on, and acknowledged once it is stored', async t => {
  const s = await stage(t)
  const { juliet } = await couple(s)
  await s.account('nurse@capulet.lit')
  s.storage.hold()
  await juliet.says("<message to='nurse@capulet.lit' type='chat'><body>Nurse!</body></message>", r)
  await juliet.getsNothing()
  s.storage.release()
  await juliet.gets(a(1))
  await juliet.says(r)
  await juliet.gets(a(1))
  await juliet.says("<iq type='get' id='p' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>", "<presence/>", r)
  await juliet.getsInAnyOrder("<iq type='result' id='p'/>", r, '<presence/>', a(3))
})

t.test('what was refused is handled too: its error says so', async t => {
  const s = await stage(t)
  const { juliet } = await couple(s)
  await juliet.says("<message to='nobody@capulet.lit' type='chat' id='m'><body>?</body></message>", "<iq type='get' id='i'/>", "<message to='a@@b'/>", r)
  await juliet.getsInAnyOrder("<message type='error' id='m'/>", "<iq type='error' id='i'/>", "<message type='error'/>", r, a(3))
})

t.test('what cannot be stored is not acknowledged; what can be later is', async t => {
  const s = await stage(t)
  const { juliet } = await couple(s)
  await s.account('nurse@capulet.lit')
  s.storage.failing = new Error('no space left')
  await juliet.says("<message to='nurse@capulet.lit' type='chat' id='m'><body>Nurse!</body></message>", r)
  await juliet.getsInAnyOrder("<message type='error' id='m'><error type='wait'/></message>", r)
  s.storage.failing = undefined
  await s.pass('2s')
  await juliet.gets(a(1))
})

t.test('the device is asked once, and again when there is more', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await couple(s)
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

t.test('an acknowledgement of more than was sent, of less than before, or of nothing, ends the stream', async t => {
  const s = await stage(t)
  for (const [h, condition] of [['3', 'undefined-condition'], ['4294967295', 'undefined-condition'], ['-1', 'bad-format'], ['x', 'bad-format']] as const) {
    const { romeo, juliet } = await couple(s)
    await romeo.says(toJuliet('one'), toJuliet('two'))
    await juliet.says(a(1), `<a ${SM} h='${h}'/>`)
    t.equal(juliet.error?.condition, condition, h)
    if (h === '3') t.match(juliet.error?.element().toString(), /<handled-count-too-high xmlns="urn:xmpp:sm:3" h="3" send-count="2"\/>/)
  }
})

t.test('a device that reads and acknowledges nothing is given up, and can come back', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
  await romeo.says(toJuliet('are you there?'))
  await s.pass('59s')
  t.equal(juliet.error, undefined)
  await s.pass('20s')
  t.equal(juliet.error?.condition, 'connection-timeout')
  t.equal(juliet.session.connection, 'waiting')
  const again = await resumed(s, id, 0, 0)
  t.same(bodies(again), ['are you there?'])
})

t.test('who leaves too much unacknowledged has no session any more, and loses nothing', async t => {
  const s = await stage(t, { 'stream-management': { stanzas: 10 } })
  const { romeo, juliet } = await couple(s)
  for (let n = 0; n < 11; n++) await romeo.says(toJuliet(`${n}`))
  t.equal(juliet.error?.condition, 'resource-constraint')
  await romeo.says(toJuliet('11'))
  const later = await s.device('juliet@capulet.lit/chamber', { presence: false })
  await later.says('<presence/>')
  t.same(bodies(later), Array.from({ length: 12 }, (_, n) => `${n}`))
})

t.test('what comes from one sender keeps its order, whatever of it waits for the disk', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await couple(s)
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

t.test('a session waits for its device: nobody sees it go, and it gets what it missed, once and in order', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
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

t.test('it is resumed while the old connection still seems to live: what that says late is not heard', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
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

t.test('of two who resume at once one has it', async t => {
  const s = await stage(t)
  const { id } = await couple(s)
  const [one, two] = await Promise.all([resume(s, id, 0), resume(s, id, 0)])
  t.equal([one.device, two.device].filter(device => device !== undefined && !device.closed).length, 1)
})

t.test('a session that is not there, or is another\'s, cannot be resumed; who had it hears how far it came', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
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

t.test('who resumes with more than was sent is told so, and the session waits on', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
  await romeo.says(toJuliet('one'))
  await juliet.loses('connection')
  await t.rejects(resume(s, id, 5), { message: /^undefined-condition/ })
  t.same(bodies(await resumed(s, id, 0)), ['one'])
})

t.test('where what a device has said cannot be stored it does not resume, and may try again', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
  await romeo.says(toJuliet('one'))
  s.storage.failing = new Error('no space left')
  await juliet.says("<presence><show>away</show></presence>")
  await juliet.loses('connection')
  t.match((await resume(s, id, 0)).answer.toString(), /resource-constraint/)
  s.storage.failing = undefined
  t.same(bodies(await resumed(s, id, 0, 1)), ['one'])
})

t.test('a device that has said nothing since it was written down resumes without the disk', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
  await romeo.says(toJuliet('one'))
  await juliet.loses('connection')
  s.storage.failing = new Error('no space left')
  t.same(bodies(await resumed(s, id, 0, 0)), ['one'])
  s.storage.failing = undefined
})

t.test('a session whose device does not come back ends, and what it missed waits for the account, with its time', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
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

t.test('a stream that is closed in order is over, and what was not acknowledged is not lost', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
  await romeo.says(toJuliet('one'))
  juliet.session.close()
  await s.settled()
  t.match((await resume(s, id, 0)).answer.toString(), /item-not-found/)
  const later = await s.device('juliet@capulet.lit/chamber', { presence: false })
  await later.says('<presence/>')
  t.same(bodies(later), ['one'])
})

t.test('a chat state that comes back, from one device and from the next, waits for nobody', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await couple(s)
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

t.test('what one device has confirmed is not delivered again for the other', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await couple(s)
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

t.test('what none of the devices has confirmed is delivered once, a copy as the message that it was of', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await couple(s)
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

t.test('what was for a room\'s guest goes back to the room', async t => {
  const s = await stage(t)
  const { romeo, juliet } = await couple(s)
  await romeo.says("<message to='juliet@capulet.lit/balcony' type='groupchat' id='g'><body>all of you</body></message>")
  juliet.session.close()
  await s.settled()
  await romeo.gets("<message type='error' id='g'><error><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
})

t.test('offline messages are on the device, or wait: never both, and never neither', async t => {
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

t.test('a device that binds anew takes the place of a session that waits; one that waits makes room', async t => {
  const s = await scenario(t, { modules: MODULES, host: { resources: 2, conflict: 'refuse' } })
  const { juliet, id } = await couple(s)
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

t.test('set up anew, the module goes on with the sessions there are', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
  await romeo.says(toJuliet('one'))
  await s.reload('stream-management', { resume: '1m' })
  await juliet.says(r)
  await juliet.getsInAnyOrder(body('one'), r, a(0))
  await juliet.loses('connection')
  await s.reload('stream-management', { resume: '2m' })
  t.same(bodies(await resumed(s, id, 0)), ['one'])
})

// ---- Across a restart -------------------------------------------------------------------------------

t.test('a planned restart loses no session: presence, slots and everything unconfirmed are there again', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
  const romeoId = await enable(romeo)
  await juliet.says(CARBONS, '<presence><show>chat</show></presence>')
  await romeo.says(toJuliet('one'), toJuliet('two'), "<presence to='juliet@capulet.lit/balcony'><status>near</status></presence>")
  juliet.forget()
  await s.end()
  t.ok(juliet.closed)
  t.equal(juliet.error, undefined, 'no word, and no </stream:stream>')
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
  t.ok(bodies(again).includes('four'), 'carbons are on still')
  await romeoAgain.says("<presence type='unavailable'/>")
  t.ok(again.unread.some(element => element.attrs['type'] === 'unavailable'), 'it is known whom it had sent presence')
})

t.test('behind a crash a session resumes with all its messages, each once', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
  await romeo.says(toJuliet('one'), "<presence to='juliet@capulet.lit/balcony'/>", toJuliet('two'), "<presence to='juliet@capulet.lit/balcony'/>", toJuliet('three'))
  await juliet.says("<message to='romeo@montague.lit' type='chat'><body>mine</body></message>", r)
  await s.pass('1s')
  t.same(bodies(juliet), ['one', 'two', 'three'])
  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage.remains() })
  // It had one, a presence and two; and another presence that nobody knows of any more.
  const again = await resumed(next, id, 4, 1)
  t.same(bodies(again), ['three'])
  t.same(again.unread.filter(({ name }) => name === 'presence').map(({ attrs }) => attrs['type']), ['unavailable'], 'he has not come back')
  again.forget()
  await again.says(a(6))
  await again.getsNothing()
  const other = await next.device('romeo@montague.lit/orchard')
  await other.says(toJuliet('four'))
  const last = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: next.storage.remains() })
  t.same(bodies(await resumed(last, id, 6)), ['four'])
})

t.test('a crash while the device is away, and another: what has never been sent is sent', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
  await romeo.says(toJuliet('one'), "<presence to='juliet@capulet.lit/balcony'/>", toJuliet('two'))
  await juliet.loses('connection')
  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage.remains() })
  const other = await next.device('romeo@montague.lit/orchard')
  await other.says(toJuliet('three'))
  const last = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: next.storage.remains() })
  t.same(bodies(await resumed(last, id, 3)), ['three'])
})

t.test('sessions that cannot be resumed leave their messages to the account, also behind a crash', async t => {
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

t.test('nothing of a session that has ended, or of an account that was removed, is left', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
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

t.test('a device behind a restart has as long as before', async t => {
  const s = await stage(t)
  const { juliet, id } = await couple(s)
  await juliet.loses('connection')
  await s.end()
  const next = await scenario(t, { modules: MODULES, hosts: ['capulet.lit'], storage: s.storage })
  await next.pass('14m')
  t.equal(next.host('capulet.lit').sessions.count, 1)
  await next.pass('2m')
  t.equal(next.host('capulet.lit').sessions.count, 0)
  t.match((await resume(next, id, 0)).answer.toString(), /item-not-found/)
})

t.test('behind a planned restart and two crashes a message is still the one that the device has counted', async t => {
  const hosts = ['montague.lit', 'capulet.lit']
  const s = await stage(t)
  const { id } = await couple(s)
  await s.end()
  const second = await scenario(t, { modules: MODULES, hosts, storage: s.storage, ids: 'second' })
  const romeo = await second.device('romeo@montague.lit/other')
  await romeo.says("<presence to='juliet@capulet.lit/balcony'/>", toJuliet('one'))
  const third = await scenario(t, { modules: MODULES, hosts, storage: second.storage.remains(), ids: 'third' })
  t.same(bodies(await resumed(third, id, 0)), ['one'])
  const fourth = await scenario(t, { modules: MODULES, hosts, storage: third.storage.remains(), ids: 'fourth' })
  t.same(bodies(await resumed(fourth, id, 1)), [])
})

t.test('behind a crash, what goes out has the numbers that the device counts from before it is told: another crash finds them', async t => {
  const s = await stage(t)
  const { romeo, juliet, id } = await couple(s)
  await juliet.loses('connection')
  await romeo.says("<presence to='juliet@capulet.lit/balcony'/>", toJuliet('one'))
  const next = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: s.storage.remains(), ids: 'next' })
  const again = await resumed(next, id, 0)
  t.same(bodies(again), ['one'])
  const last = await scenario(t, { modules: MODULES, hosts: ['montague.lit', 'capulet.lit'], storage: next.storage.remains(), ids: 'last' })
  t.same(bodies(await resumed(last, id, 1)), [])
})

t.test('a session that ends while it is written to still has all that was to go', async t => {
  const left: string[] = []
  const item = (octets: string): Item => ({
    octets, handed: undefined, at: 0, row: undefined, seq: undefined, confirmed: () => {}, state: 'ready', isPatient: true,
  })
  const outbound = new Outbound({
    write: () => { if (left.length === 0) left.push(...outbound.take().map(({ octets }) => octets)) }, // it ends once
    moved: () => {},
    hasRoom: () => true,
    drained: () => false,
  }, { confirmed: 0, isHeld: false, isVague: false })
  for (const octets of ['<a/>', '<b/>', '<c/>']) outbound.place(item(octets))
  outbound.rouse()
  t.same(left, ['<a/>', '<b/>', '<c/>'])
})
