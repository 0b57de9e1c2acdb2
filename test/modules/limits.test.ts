import t from 'tap'
import { scenario } from '../scenario.js'

const MODULES = ['presence', 'message', 'limits']
const many = (count: number, stanza: string): string[] => Array.from({ length: count }, () => stanza)

t.test('a device that sends too fast is read later, and loses nothing', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { limits: { session: 1, address: 1000 } } })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@montague.lit/balcony')
  await romeo.says(...many(9, "<message to='juliet@montague.lit' type='chat'><body>!</body></message>"))
  t.equal(romeo.paused, false, 'ten at once are fine: one was presence')
  await romeo.says("<message to='juliet@montague.lit' type='chat'><body>too fast</body></message>")
  t.equal(romeo.paused, true)
  t.equal(juliet.unread.length, 10, 'what was read has arrived')
  await s.pass('1s')
  t.equal(romeo.paused, false)
  t.equal(s.host('montague.lit').counters.get('limits.paused'), 1)
})

t.test('all devices of one address share what it may send', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { limits: { session: 1000, address: 1 } } })
  const romeo = await s.device('romeo@montague.lit/orchard', { address: '192.0.2.7' })
  const juliet = await s.device('juliet@montague.lit/balcony', { address: '192.0.2.7' })
  const other = await s.device('paris@montague.lit/street', { address: '192.0.2.8' })
  await romeo.says(...many(8, "<message to='paris@montague.lit' type='chat'><body>!</body></message>"))
  await juliet.says("<message to='paris@montague.lit' type='chat'><body>!</body></message>")
  t.equal(juliet.paused, true)
  await other.says("<message to='juliet@montague.lit' type='chat'><body>!</body></message>")
  t.equal(other.paused, false)
  await romeo.loses('connection')
  await juliet.loses('connection')
  const back = await s.device('romeo@montague.lit/orchard', { address: '192.0.2.7' })
  t.equal(back.paused, false, 'an address that nobody uses is forgotten')
  await other.loses('connection')
  await back.loses('connection')
})

t.test('strangers of one domain can send so much a minute, contacts as they like', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { limits: { messages: 2, requests: 1 } } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  const friend = await s.device('friend@montague.lit/street')
  await juliet.asks("<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='friend@montague.lit'/></query></iq>")
  const message = "<message to='juliet@capulet.lit' type='chat'><body>!</body></message>"
  await romeo.says(message, message, message)
  t.equal(juliet.unread.length, 2)
  await romeo.gets("<message type='error' from='juliet@capulet.lit'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
  await friend.says(message, message, message)
  t.equal(juliet.unread.length, 5)
  await s.pass('30s')
  await romeo.says(message)
  t.equal(juliet.unread.length, 6)

  juliet.forget()
  await romeo.says("<presence to='juliet@capulet.lit' type='subscribe'/>")
  await juliet.gets("<presence type='subscribe'/>")
  await s.device('tybalt@montague.lit/x').then(tybalt => tybalt.says("<presence to='juliet@capulet.lit' type='subscribe'/>"))
  await juliet.getsNothing()
  t.equal(s.host('capulet.lit').counters.get('limits.refused'), 2)
})

t.test('the server says whom to turn to', async t => {
  const s = await scenario(t, { modules: ['presence', 'disco', 'contact-addresses'], settings: { 'contact-addresses': { abuse: ['mailto:abuse@montague.lit'] } } })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const info = await romeo.asks("<iq type='get' id='i' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
  t.match(info.toString(), /<field var="abuse-addresses" type="list-multi"><value>mailto:abuse@montague.lit<\/value>/)
  await s.reload('contact-addresses', {})
  const later = await romeo.asks("<iq type='get' id='j' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
  t.notMatch(later.toString(), /abuse/)
})
