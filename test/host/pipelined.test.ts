/**
 * RFC 6120 §10.1: stanzas that a client sends without waiting for answers take effect in the order in which they were
 * sent.
 */
import t, { type Test } from 'tap'
import { defineModule, formatDateTime, messageArriving, StreamError } from '../../lib/api.js'
import type { AnyModule } from '../../lib/host/module.js'
import { scenario, type Device, type Scenario } from '../scenario.js'
import { bothWays, enable } from '../managed.js'
import { archivedBodies, SM } from '../stanzas.js'

const MODULES = [
  'presence', 'message', 'carbons', 'offline', 'mam', 'stream-management', 'vcard', 'private', 'roster', 'blocking', 'last-activity', 'register',
]
const ROMEO = 'romeo@montague.lit'
const set = (id: string, payload: string): string => `<iq type='set' id='${id}'>${payload}</iq>`
const get = (id: string, payload: string): string => `<iq type='get' id='${id}'>${payload}</iq>`
const chat = (text: string, to = 'juliet@capulet.lit'): string => `<message to='${to}' type='chat'><body>${text}</body></message>`
const QUERY = set('q', "<query xmlns='urn:xmpp:mam:2'/>")
const prefs = (habit: string): string => set('p', `<prefs xmlns='urn:xmpp:mam:2' default='${habit}'><always/><never/></prefs>`)

/** Pairs of requests: the second reads what the first has changed. The pattern is for the answer to the second. */
const PAIRS: readonly (readonly [name: string, first: string, second: string, answer: RegExp])[] = [
  ['a vCard', set('1', "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>"), get('2', "<vCard xmlns='vcard-temp'/>"), /<FN>Romeo<\/FN>/],
  ['a private piece', set('1', "<query xmlns='jabber:iq:private'><x xmlns='a:b'>love</x></query>"), get('2', "<query xmlns='jabber:iq:private'><x xmlns='a:b'/></query>"), />love</],
  ['a contact', set('1', "<query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit'/></query>"), get('2', "<query xmlns='jabber:iq:roster'/>"), /juliet@capulet.lit/],
  ['a blocked address', set('1', "<block xmlns='urn:xmpp:blocking'><item jid='tybalt@capulet.lit'/></block>"), get('2', "<blocklist xmlns='urn:xmpp:blocking'/>"), /tybalt@capulet.lit/],
  ['preferences', prefs('never'), get('2', "<prefs xmlns='urn:xmpp:mam:2'/>"), /default="never"/],
  ['a message', chat('Soft'), get('2', "<metadata xmlns='urn:xmpp:mam:2'/>"), /<start /],
  ['unavailable presence', "<presence type='unavailable'><status>asleep</status></presence>", `<iq type='get' id='2' to='${ROMEO}'><query xmlns='jabber:iq:last'/></iq>`, /asleep/],
]

type Lovers = Promise<{ readonly s: Scenario, readonly romeo: Device, readonly juliet: Device }>

async function lovers (t: Test, isManaged: boolean, modules: readonly AnyModule[] = []): Lovers {
  const s = await scenario(t, { modules: [...MODULES, ...modules] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device(`${ROMEO}/orchard`)
  if (isManaged) await enable(romeo)
  return { s, romeo, juliet }
}

for (const [name, first, second, answer] of PAIRS) {
  bothWays(`${name} is seen by the request that follows at once`, async (t, isManaged) => {
    const { romeo } = await lovers(t, isManaged)
    await romeo.says(first, second)
    const reply = romeo.unread.find(({ attrs }) => attrs['id'] === '2')
    t.match(reply?.toString(), answer)
  })
}

bothWays('an archive query sees the messages that were sent before it, and none that were sent after it', async (t, isManaged) => {
  const { s, romeo } = await lovers(t, isManaged)
  s.storage.hold()
  await romeo.says(chat('one'), chat('two'), QUERY, chat('three'))
  t.same(archivedBodies(romeo), [])
  s.storage.release()
  await s.settled()
  t.same(archivedBodies(romeo), ['one', 'two'])
  await romeo.says(QUERY)
  t.same(archivedBodies(romeo), ['one', 'two', 'one', 'two', 'three'])
})

bothWays('archive preferences apply to the next message, and to none before', async (t, isManaged) => {
  const { romeo, juliet } = await lovers(t, isManaged)
  await romeo.says(chat('kept'), prefs('never'), chat('not kept'), prefs('always'), chat('kept again'), QUERY)
  t.same(archivedBodies(romeo), ['kept', 'kept again'])
  t.equal(juliet.unread.length, 3)
})

t.test('archive preferences whose storage fails have no effect', async t => {
  const { s, romeo } = await lovers(t, false)
  s.storage.failing = new Error('disk full')
  await romeo.says(prefs('never'))
  s.storage.failing = undefined
  await romeo.says(chat('kept'), QUERY)
  t.same(archivedBodies(romeo), ['kept'])
})

bothWays('stanzas that wait for a request are neither lost nor reordered when the client closes its stream', async (t, isManaged) => {
  const { s, romeo, juliet } = await lovers(t, isManaged)
  s.storage.hold()
  await romeo.says(chat('one'), get('v', "<vCard xmlns='vcard-temp'/>"), chat('two'), '<presence/>')
  romeo.session.close()
  s.storage.release()
  await s.settled()
  t.same(juliet.unread.filter(({ name }) => name === 'message').map(element => element.getChildText('body')), ['one', 'two'])
  t.equal(s.host('montague.lit').sessions.of(romeo.session.account).length, 0)
  t.notOk(romeo.session.available)
})

t.test('acknowledgements are read while a request waits', async t => {
  const { s, romeo, juliet } = await lovers(t, true)
  await juliet.says(chat('for you', ROMEO))
  t.equal([...romeo.session.manager?.unconfirmed() ?? []].length, 1)
  s.storage.hold()
  await romeo.says(chat('one'), get('v', "<vCard xmlns='vcard-temp'/>"), `<a ${SM} h='1'/>`)
  t.equal([...romeo.session.manager?.unconfirmed() ?? []].length, 0)
  s.storage.release()
  await s.settled()
  t.ok(romeo.unread.some(({ attrs }) => attrs['id'] === 'v'))
})

t.test('a client that sends much while its request waits is not read for a while', async t => {
  const { s, romeo, juliet } = await lovers(t, false)
  s.storage.hold()
  await romeo.says(chat('first'), get('v', "<vCard xmlns='vcard-temp'/>"), ...Array.from({ length: 150 }, (_, i) => chat(String(i))))
  s.storage.release()
  await s.settled()
  t.same(juliet.unread.map(element => element.getChildText('body')), ['first', ...Array.from({ length: 150 }, (_, i) => String(i))])
})

for (const [how, reason, arrived] of [
  ['whose line breaks', new Error('the line broke'), ['first', 'last']],
  ['that the server puts out', new StreamError('reset'), ['first']],
] as const) {
  bothWays(`if a session ${how}, messages that wait for a request are ${arrived.length > 1 ? 'sent' : 'dropped'}, and nothing else`, async (t, isManaged) => {
    const { s, romeo, juliet } = await lovers(t, isManaged)
    s.storage.hold()
    await romeo.says(chat('first'), get('v', "<vCard xmlns='vcard-temp'/>"), set('w', "<vCard xmlns='vcard-temp'><FN>Tybalt</FN></vCard>"),
      "<presence to='juliet@capulet.lit'/>", chat('last'))
    romeo.session.close(reason)
    s.storage.release()
    await s.settled()
    t.same(juliet.unread.flatMap(element => element.is('message') ? [element.getChildText('body')] : []), arrived)
    t.notOk(juliet.unread.some(element => element.is('presence') && element.attrs['type'] === undefined), 'the initial presence has no effect')
    t.notMatch((await juliet.asks(`<iq type='get' id='v' to='${ROMEO}'><vCard xmlns='vcard-temp'/></iq>`)).toString(), 'Tybalt')
  })
}

/** Returns a module that delays messages to the nurse until its gate opens. */
function slow () {
  const gate = { open: () => {} }
  const closed = new Promise<void>(resolve => { gate.open = resolve })
  const module = defineModule({
    name: 'slow',
    about: 'Has messages wait, for tests.',
    setup (host) { host.on(messageArriving, ({ message }) => message.to.local === 'nurse' ? closed : undefined, 'screen') },
  })
  return { module, gate }
}

bothWays("the sender's archive and carbons keep the order of sending, whatever a recipient waits for", async (t, isManaged) => {
  const { module, gate } = slow()
  const { s, romeo } = await lovers(t, isManaged, [module])
  await s.account('nurse@capulet.lit')
  const lamp = await s.device(`${ROMEO}/lamp`)
  await lamp.asks(set('c', "<enable xmlns='urn:xmpp:carbons:2'/>"))
  await romeo.says(chat('one', 'nurse@capulet.lit'), chat('two'), chat('three', 'nurse@capulet.lit'), chat('four'))
  gate.open()
  await s.settled()
  const copies = lamp.unread.flatMap(element => element.getChild('sent')?.getChild('forwarded')?.getChild('message')?.getChildText('body') ?? [])
  t.same(copies, ['one', 'two', 'three', 'four'])
  lamp.forget()
  await lamp.says(QUERY)
  t.same(archivedBodies(lamp), ['one', 'two', 'three', 'four'])
})

t.test('the archive holds the time of the commit, so that its order is the order of times', async t => {
  const { module, gate } = slow()
  const { s, romeo, juliet } = await lovers(t, true, [module])
  await s.account('nurse@capulet.lit')
  const tybalt = await s.device('tybalt@capulet.lit/square')
  await romeo.says(chat('waits', 'nurse@capulet.lit'), chat('waits for that'))
  s.clock.pass(500)
  await tybalt.says(chat('does not wait'))
  s.clock.pass(100)
  gate.open()
  await s.settled()
  juliet.forget()
  await juliet.says(QUERY)
  t.same(archivedBodies(juliet), ['does not wait', 'waits for that'])
  const times = juliet.unread.flatMap(element => element.getChild('result')?.getChild('forwarded')?.getChild('delay')?.attrs['stamp'] ?? [])
  t.same(times, [-100, 0].map(before => formatDateTime(s.clock.now() + before, { milliseconds: true })))
})
