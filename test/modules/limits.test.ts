import t from 'tap'
import { parseJid } from '../../lib/xmpp/jid.js'
import { addressed, Stanza, type Kind } from '../../lib/xmpp/stanza.js'
import { parseElement } from '../parse.js'
import { elsewhere, foreigner } from '../elsewhere.js'
import { scenario } from '../scenario.js'

const MODULES = ['presence', 'message', 'limits']
const many = (count: number, stanza: string): string[] => Array.from({ length: count }, () => stanza)

t.test('a device that sends too fast is read more slowly, and loses nothing', async t => {
  const s = await scenario(t, {
    modules: MODULES, settings: { limits: { sessionStanzasPerSecond: 1, addressStanzasPerSecond: 1000 } },
  })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@montague.lit/balcony')
  await romeo.says(...many(9, "<message to='juliet@montague.lit' type='chat'><body>!</body></message>"))
  t.equal(romeo.paused, false, 'ten stanzas at once are within the burst; one of them was presence')
  await romeo.says("<message to='juliet@montague.lit' type='chat'><body>too fast</body></message>")
  t.equal(romeo.paused, true)
  t.equal(juliet.unread.length, 10, 'every stanza that was read arrived')
  await s.pass('1s')
  t.equal(romeo.paused, false)
  t.equal(s.host('montague.lit').counters.get('limits.paused'), 1)
})

t.test('all accounts at one address share its rate, and each has a share of its own', async t => {
  const s = await scenario(t, {
    modules: MODULES, settings: { limits: { sessionStanzasPerSecond: 1000, addressStanzasPerSecond: 1 } },
  })
  const romeo = await s.device('romeo@montague.lit/orchard', { address: '192.0.2.7' })
  const juliet = await s.device('juliet@montague.lit/balcony', { address: '192.0.2.7' })
  const other = await s.device('paris@montague.lit/street', { address: '192.0.2.8' })
  await romeo.says(...many(8, "<message to='paris@montague.lit' type='chat'><body>!</body></message>"))
  await juliet.says("<message to='paris@montague.lit' type='chat'><body>!</body></message>")
  t.equal(juliet.paused, false, 'the shared rate is used up, and she is below her share')
  await romeo.says(...many(3, "<message to='paris@montague.lit' type='chat'><body>!</body></message>"))
  t.equal(romeo.paused, true)
  await other.says("<message to='juliet@montague.lit' type='chat'><body>!</body></message>")
  t.equal(other.paused, false)
  await romeo.loses('connection')
  await juliet.loses('connection')
  const back = await s.device('romeo@montague.lit/orchard', { address: '192.0.2.7' })
  t.equal(back.paused, false, 'an unused address is forgotten')
  await other.loses('connection')
  await back.loses('connection')
})

t.test('four busy devices at an address do not pause a fifth, and share what the others leave', async t => {
  const s = await scenario(t, {
    modules: MODULES, settings: { limits: { sessionStanzasPerSecond: 1000, addressStanzasPerSecond: 20 } },
  })
  const address = '192.0.2.7'
  const busy = [await s.device('a@montague.lit/x', { address }), await s.device('b@montague.lit/x', { address }),
    await s.device('c@montague.lit/x', { address }), await s.device('d@montague.lit/x', { address })]
  const quiet = await s.device('quiet@montague.lit/x', { address })
  let paused = 0
  for (let second = 0; second < 30; second++) {
    // 10 a second each: together twice the limit of the address.
    for (const device of busy) await device.says(...many(10, '<presence><status>!</status></presence>'))
    await quiet.says("<message to='a@montague.lit' type='chat'><body>!</body></message>")
    t.equal(quiet.paused, false, `second ${second}`)
    if (busy.every(device => device.paused)) paused++
    await s.pass('1s')
  }
  t.ok(paused > 0, 'the others are read more slowly')
})

t.test('one spammer on another server does not silence its other users, and the server as a whole has a bound', async t => {
  const s = await scenario(t, {
    modules: MODULES, settings: { limits: { strangerMessagesPerMinute: 20, subscriptionRequestsPerMinute: 20 } },
  })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const arrives = foreigner(s.server)
  const answers: string[] = []
  s.server.router.remote = elsewhere(({ from, type }) => { answers.push(`${from.bare.toString()} ${type}`) })
  const comes = async (stanza: string, from: string): Promise<number> => {
    const element = parseElement(stanza)
    const { bare } = juliet.jid
    await arrives(addressed(new Stanza(element.getName() as Kind, element, parseJid(from), bare), bare))
    await s.settled()
    const { length } = juliet.unread
    juliet.forget()
    return length
  }
  for (const stanza of ["<message type='chat' id='1'><body>!</body></message>", "<presence type='subscribe'/>"]) {
    let spam = 0
    for (let minute = 0; minute < 5; minute++) {
      for (let i = 0; i < 100; i++) spam += await comes(stanza, `spammer@big.example/${i}`)
      t.equal(await comes(stanza, `honest${minute}@big.example/x`), 1, stanza)
      await s.pass('30s')
      await s.pass('30s')
    }
    if (stanza.startsWith('<message')) t.ok(spam > 30 && spam <= 120, `the spammer gets what is left: ${spam}`)
    let all = 0
    for (let i = 0; i < 200; i++) all += await comes(stanza, `made-up${i}@big.example/x`)
    t.ok(all <= 20, `a domain that invents users has a bound: ${all}`)
    t.equal(await comes(stanza, 'romeo@elsewhere.example/x'), 1, 'another domain is not affected')
  }
})

t.test('strangers have a bound per minute for each user of this server; contacts have none', async t => {
  const s = await scenario(t, {
    modules: MODULES, settings: { limits: { strangerMessagesPerMinute: 2, subscriptionRequestsPerMinute: 1 } },
  })
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
  await romeo.says("<presence to='juliet@capulet.lit' type='subscribe'/>")
  await juliet.getsNothing()
  t.equal(s.host('capulet.lit').counters.get('limits.refused'), 2)
  const tybalt = await s.device('tybalt@montague.lit/x')
  await tybalt.says("<presence to='juliet@capulet.lit' type='subscribe'/>", message)
  await juliet.gets("<presence type='subscribe' from='tybalt@montague.lit'/>")
  await juliet.gets("<message from='tybalt@montague.lit/x'/>")
})

t.test('the server publishes its contact addresses', async t => {
  const s = await scenario(t, { modules: ['presence', 'disco', 'contact-addresses'], settings: { 'contact-addresses': { abuse: ['mailto:abuse@montague.lit'] } } })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const info = await romeo.asks("<iq type='get' id='i' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
  t.match(info.toString(), /<field var="abuse-addresses" type="list-multi"><value>mailto:abuse@montague.lit<\/value>/)
  await s.reload('contact-addresses', {})
  const later = await romeo.asks("<iq type='get' id='j' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
  t.notMatch(later.toString(), /abuse/)
})

t.test('by default the contact address is the first admin of the host', async t => {
  const admins = ['kölne?@montague.lit', 'second@montague.lit']
  const s = await scenario(t, { modules: ['presence', 'disco', 'contact-addresses'], host: { admins } })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const asked = async (): Promise<string> =>
    (await romeo.asks("<iq type='get' id='i' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")).toString()
  t.match(await asked(), /<field var="admin-addresses" type="list-multi"><value>xmpp:k%C3%B6lne%3F@montague.lit<\/value><\/field>/)
  await s.reload('contact-addresses', { admin: [] })
  t.notMatch(await asked(), /admin-addresses/)
})
