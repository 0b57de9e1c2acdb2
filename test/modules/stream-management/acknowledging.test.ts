/** Acknowledgements and requests for them (XEP-0198 §4). */
import t from 'tap'
import { SM } from '../../stanzas.js'
import { a, bodies, body, managedCouple, r, resumed, stage, toJuliet } from './stage.js'

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
