import t from 'tap'
import { scenario } from '../scenario.js'
import { lovers } from '../couple.js'
import { conditionOf } from '../stanzas.js'

const MODULES = ['presence', 'message', 'blocking', 'ping']
const block = (...jids: readonly string[]): string => `<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'>${jids.map(jid => `<item jid='${jid}'/>`).join('')}</block></iq>`
const unblock = (...jids: readonly string[]): string => block(...jids).replaceAll('block ', 'unblock ').replace('</block>', '</unblock>')
const CHAT = "<message to='juliet@capulet.lit' type='chat'><body>Soft</body></message>"

t.test('a blocked contact reaches no device, and is not told why', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await lovers(s)
  t.equal((await juliet.asks(block('romeo@montague.lit'))).attrs['type'], 'result')
  await romeo.gets("<presence type='unavailable' from='juliet@capulet.lit/balcony'/>")

  await romeo.says(CHAT)
  t.equal(conditionOf(await romeo.gets("<message type='error' from='juliet@capulet.lit'/>")), 'service-unavailable')
  t.equal(conditionOf(await romeo.asks("<iq type='get' id='p' to='juliet@capulet.lit/balcony'><ping xmlns='urn:xmpp:ping'/></iq>")), 'service-unavailable')
  await romeo.says('<presence><show>away</show></presence>', "<presence to='juliet@capulet.lit/balcony'/>", "<iq type='result' id='x' to='juliet@capulet.lit/balcony'/>")
  romeo.forget()
  await juliet.getsNothing()

  await juliet.says('<presence><show>dnd</show></presence>')
  await romeo.getsNothing()
})

t.test('a subscriber who also got directed presence gets one unavailable presence', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await lovers(s)
  await juliet.says("<presence to='romeo@montague.lit'/>", "<presence to='romeo@montague.lit/orchard'/>")
  romeo.forget()
  await juliet.asks(block('romeo@montague.lit'))
  await romeo.gets("<presence type='unavailable' from='juliet@capulet.lit/balcony'/>")
  await romeo.getsNothing()
})

t.test('a message to an address that the sender has blocked is answered with an error that says so', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await lovers(s)
  await juliet.asks(block('romeo@montague.lit'))
  romeo.forget()
  await juliet.says("<message to='romeo@montague.lit' type='chat'><body>!</body></message>", "<presence to='romeo@montague.lit/orchard'/>")
  for (const kind of ['message', 'presence']) {
    await juliet.gets(`<${kind} type='error'><error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><blocked xmlns='urn:xmpp:blocking:errors'/></error></${kind}>`)
  }
  t.equal(conditionOf(await juliet.asks("<iq type='get' id='q' to='romeo@montague.lit'><ping xmlns='urn:xmpp:ping'/></iq>")), 'not-acceptable')
  await romeo.getsNothing()
})

t.test('after an unblock, of one address or of all, both users see each other again', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await lovers(s)
  await juliet.asks(block('romeo@montague.lit', 'paris@verona.lit'))
  romeo.forget()
  await juliet.asks(unblock('romeo@montague.lit'))
  await romeo.gets("<presence from='juliet@capulet.lit/balcony'/>")
  await romeo.says(CHAT)
  await juliet.gets('<message><body>Soft</body></message>')

  await juliet.asks(block('romeo@montague.lit'))
  await juliet.asks(unblock())
  const list = await juliet.asks("<iq type='get' id='l'><blocklist xmlns='urn:xmpp:blocking'/></iq>")
  t.notMatch(list.toString(), /item/)
})

t.test('a change of the block list is pushed to each device that requested the list', async t => {
  const s = await scenario(t, { modules: MODULES })
  const balcony = await s.device('juliet@capulet.lit/balcony')
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await chamber.asks("<iq type='get' id='l'><blocklist xmlns='urn:xmpp:blocking'/></iq>")
  await balcony.asks(block('romeo@montague.lit'))
  await chamber.gets("<iq type='set'><block xmlns='urn:xmpp:blocking'><item jid='romeo@montague.lit'/></block></iq>")
  await balcony.asks(unblock('romeo@montague.lit'))
  await chamber.gets("<iq type='set'><unblock xmlns='urn:xmpp:blocking'><item jid='romeo@montague.lit'/></unblock></iq>")
  await balcony.getsNothing()
})

t.test('a block item matches a device, an account, a domain or a resource at a domain', async t => {
  for (const [item, stopped] of [['romeo@montague.lit/orchard', true], ['romeo@montague.lit/other', false], ['romeo@montague.lit', true],
    ['montague.lit', true], ['montague.lit/orchard', true], ['montague.lit/other', false], ['other@montague.lit', false]] as const) {
    const s = await scenario(t, { modules: MODULES })
    const juliet = await s.device('juliet@capulet.lit/balcony')
    const romeo = await s.device('romeo@montague.lit/orchard')
    await juliet.asks(block(item))
    await romeo.says(CHAT)
    t.equal(juliet.unread.length === 0, stopped, item)
  }
})

t.test('users cannot block their own server or themselves', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.asks(block('capulet.lit', 'juliet@capulet.lit'))
  t.equal((await juliet.asks("<iq type='get' id='p' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>")).attrs['type'], 'result')
  await juliet.says(CHAT)
  await juliet.gets('<message><body>Soft</body></message>')
})

t.test('a block list has bounds and rules, and outlives all sessions', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { blocking: { items: 2 } } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  t.equal(conditionOf(await juliet.asks(block())), 'bad-request')
  t.equal(conditionOf(await juliet.asks(block('@'))), 'jid-malformed')
  t.equal(conditionOf(await juliet.asks(block('a@b', 'c@d', 'e@f'))), 'resource-constraint')
  await juliet.asks(block('a@b', 'c@d'))
  await juliet.loses('connection')
  const again = await s.device('juliet@capulet.lit/balcony')
  const list = await again.asks("<iq type='get' id='l'><blocklist xmlns='urn:xmpp:blocking'/></iq>")
  t.match(list.toString(), /a@b.*c@d/)
})

t.test('a block whose storage fails has no effect', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await lovers(s)
  s.storage.failing = new Error('disk full')
  t.equal(conditionOf(await juliet.asks(block('romeo@montague.lit'))), 'resource-constraint')
  s.storage.failing = undefined
  romeo.forget()
  await romeo.says(CHAT)
  await juliet.gets('<message><body>Soft</body></message>')
})

t.test('XEP-0377 a blocked address is reported to the administrators, not too often, and to nobody else', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'blocking', 'disco'], host: { admins: ['nurse@capulet.lit'] } })
  const { juliet, romeo } = await lovers(s)
  const nurse = await s.device('nurse@capulet.lit/kitchen')
  const report = (inside: string, more = " reason='urn:xmpp:reporting:spam'"): string =>
    `<report xmlns='urn:xmpp:reporting:1'${more}>${inside}</report>`
  const blocking = (jid: string, inside: string): string =>
    `<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='${jid}'>${inside}</item></block></iq>`
  t.match((await juliet.asks("<iq type='get' id='d' to='capulet.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")).toString(), 'urn:xmpp:reporting:1')
  t.equal(conditionOf(await juliet.asks(blocking('romeo@montague.lit', report('', '')))), 'bad-request')
  t.equal((await juliet.asks("<iq type='get' id='l'><blocklist xmlns='urn:xmpp:blocking'/></iq>")).toString().includes('romeo'), false)
  romeo.forget()
  const stanzaId = "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.lit' id='7'/>"
  t.equal((await juliet.asks(blocking('romeo@montague.lit', report(`<text>He&#10;shouts &lt;b/&gt;</text>${stanzaId}`)))).attrs['type'], 'result')
  const told = nurse.unread.find(({ name }) => name === 'message')
  t.equal(told?.attrs['from'], 'capulet.lit')
  t.equal(told?.getChildText('body'), [
    'juliet@capulet.lit has blocked and reported romeo@montague.lit: unwanted messages.',
    'The user writes: He\nshouts <b/>',
    'Reported message: 7 in the archive of juliet@capulet.lit',
  ].join('\n'))
  t.match(told?.toString(), /<item jid="romeo@montague.lit"><report xmlns="urn:xmpp:reporting:1" reason="urn:xmpp:reporting:spam"><stanza-id/)
  t.notMatch(romeo.unread.map(String).join(''), 'report')
  nurse.forget()
  for (let n = 0; n < 9; n++) t.equal((await juliet.asks(blocking(`spammer${n}@elsewhere.invalid`, report('')))).attrs['type'], 'result', 'each is blocked')
  t.equal(nurse.unread.length, 4, 'five at once')
  nurse.forget()
  await s.pass('10m')
  await juliet.asks(blocking('last@elsewhere.invalid', report('')))
  t.equal(nurse.unread.length, 1)
})
