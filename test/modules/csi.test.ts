import t, { type Test } from 'tap'
import { scenario, type Device, type Scenario } from '../scenario.js'
import { couple } from '../couple.js'
import { ACTIVE, ENABLE, INACTIVE, SM } from '../stanzas.js'

const MODULES = ['roster', 'presence', 'message', 'carbons', 'ping', 'stream-management', 'csi']
const COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
const toJuliet = (content: string, type = 'chat'): string => `<message to='juliet@capulet.lit' type='${type}'>${content}</message>`
const presence = (status: string): string => `<presence to='juliet@capulet.lit/balcony'><status>${status}</status></presence>`

interface Stage { readonly s: Scenario, readonly romeo: Device, readonly juliet: Device }

async function stage (t: Test, settings: Readonly<Record<string, unknown>> = {}): Promise<Stage> {
  const s = await scenario(t, { modules: MODULES, settings: { csi: settings, ping: { initialInterval: '1d' } } })
  const { romeo, juliet } = await couple(s)
  await juliet.says(INACTIVE)
  return { s, romeo, juliet }
}

t.test('an inactive device gets the last presence of each sender when it becomes active', async t => {
  const { s, romeo, juliet } = await stage(t)
  const paris = await s.device('paris@montague.lit/street')
  await romeo.says(presence('one'), presence('two'))
  await paris.says(presence('here'))
  await romeo.says(presence('three'))
  await juliet.getsNothing()
  await juliet.says(ACTIVE)
  await juliet.gets("<presence from='paris@montague.lit/street'><status>here</status></presence>")
  await juliet.gets("<presence from='romeo@montague.lit/orchard'><status>three</status></presence>")
  await juliet.getsNothing()
  await romeo.says(presence('four'))
  await juliet.gets('<presence><status>four</status></presence>')
  const counters = s.host('capulet.lit').counters
  t.equal(counters.get('csi.spared.stanzas', { kind: 'presence' }), 2)
  t.ok((counters.get('csi.spared.bytes', { kind: 'presence' }) ?? 0) > 100)
})

t.test('an important stanza goes out at once, after the stanzas that waited before it', async t => {
  const { romeo, juliet } = await stage(t)
  await romeo.says(presence('one'), toJuliet("<received xmlns='urn:xmpp:receipts' id='r'/>"), toJuliet(COMPOSING))
  await juliet.getsNothing()
  await romeo.says(toJuliet('<body>Juliet!</body>'))
  await juliet.gets('<presence><status>one</status></presence>')
  await juliet.gets("<message><received xmlns='urn:xmpp:receipts' id='r'/></message>")
  await juliet.gets('<message><body>Juliet!</body></message>')
  await juliet.getsNothing()
})

t.test('a table of stanzas: important ones are sent at once, others wait', async t => {
  const { romeo, juliet } = await stage(t)
  const now = [
    toJuliet('<body>words</body>'), toJuliet('<body>words</body>', 'normal'), toJuliet('<subject>words</subject>', 'normal'),
    toJuliet("<encrypted xmlns='urn:xmpp:omemo:2'/>"), toJuliet("<encrypted xmlns='eu.siacs.conversations.axolotl'/>"), toJuliet("<propose xmlns='urn:xmpp:jingle-message:0'/>"),
    toJuliet("<x xmlns='jabber:x:conference' jid='a@b.lit'/>"), "<message to='juliet@capulet.lit/balcony' type='groupchat'><body>all</body></message>",
    "<message to='juliet@capulet.lit/balcony' type='error' id='e'><error type='cancel'/></message>",
    "<iq to='juliet@capulet.lit/balcony' type='get' id='i'><query xmlns='urn:x'/></iq>", "<presence to='juliet@capulet.lit' type='subscribe'/>",
    "<presence to='juliet@capulet.lit/balcony' type='unavailable'><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x></presence>",
  ]
  for (const stanza of now) {
    await romeo.says(stanza)
    t.equal(juliet.unread.length, 1, stanza)
    juliet.forget()
  }
  const later = [
    toJuliet("<received xmlns='urn:xmpp:receipts' id='r'/>"), toJuliet("<displayed xmlns='urn:xmpp:chat-markers:0' id='r'/>"),
    toJuliet("<event xmlns='http://jabber.org/protocol/pubsub#event'/>", 'headline'), presence('here'),
  ]
  for (const stanza of later) await romeo.says(stanza)
  await romeo.says(toJuliet(COMPOSING), toJuliet(`${COMPOSING}<thread>t</thread><no-store xmlns='urn:xmpp:hints'/>`))
  await juliet.getsNothing()
  await juliet.says(ACTIVE)
  t.equal(juliet.unread.length, later.length, 'chat states wait for an active device')
})

t.test('a received copy is as important as its message; a sent copy is not', async t => {
  const { s, romeo, juliet } = await stage(t)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await juliet.asks("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
  juliet.forget()
  await chamber.says("<message to='romeo@montague.lit' type='chat'><body>mine</body></message>")
  await romeo.says(`<message to='juliet@capulet.lit/chamber' type='chat'>${COMPOSING}</message>`)
  await juliet.getsNothing()
  await romeo.says("<message to='juliet@capulet.lit/chamber' type='chat'><body>his</body></message>")
  t.same(juliet.unread.map(element => element.getChild('sent') !== undefined ? 'sent' : element.getChild('received') !== undefined ? 'received' : element.name),
    ['sent', 'received'])
})

t.test('the answer to a request comes after what waited if the device is active again', async t => {
  const { romeo, juliet } = await stage(t)
  await romeo.says(presence('one'))
  await juliet.says(ACTIVE, "<iq type='get' id='p' to='capulet.lit'><ping xmlns='urn:xmpp:ping'/></iq>")
  await juliet.gets('<presence/>')
  await juliet.gets("<iq type='result' id='p'/>")
})

t.test('the queue of an inactive device has a bound, and an operator can declare more stanzas important', async t => {
  const { romeo, juliet } = await stage(t, { stanzas: 3, urgentNamespaces: ['urn:alarm'], delayedNamespaces: ['urn:advert'] })
  for (let n = 0; n < 3; n++) await romeo.says(toJuliet(`<received xmlns='urn:xmpp:receipts' id='${n}'/>`))
  await juliet.getsNothing()
  await romeo.says(toJuliet("<received xmlns='urn:xmpp:receipts' id='3'/>"))
  t.equal(juliet.unread.length, 4)
  juliet.forget()
  await romeo.says(toJuliet("<bell xmlns='urn:alarm'/>"))
  await juliet.gets("<message><bell xmlns='urn:alarm'/></message>")
  await romeo.says(toJuliet("<body>buy</body><x xmlns='urn:advert'/>"))
  await juliet.getsNothing()
})

t.test('an inactive device that loses its connection gets what waited when it resumes, and is active then', async t => {
  const { s, romeo, juliet } = await stage(t)
  await juliet.says(`<enable ${SM} resume='true'/>`)
  const enabled = await juliet.gets(`<enabled ${SM}/>`)
  await romeo.says(presence('one'), toJuliet("<received xmlns='urn:xmpp:receipts' id='r'/>"))
  await juliet.getsNothing()
  await juliet.loses('connection')
  await romeo.says(presence('two'))
  const { device } = await s.resume('juliet@capulet.lit', `<resume ${SM} previd='${String(enabled.attrs['id'])}' h='0'/>`)
  t.same(device?.unread.map(element => element.name), ['presence', 'message', 'presence', 'r'])
  device?.forget()
  await romeo.says(presence('three'))
  await device?.gets('<presence><status>three</status></presence>')
})

const RECEIPT = toJuliet("<received xmlns='urn:xmpp:receipts' id='r'/><store xmlns='urn:xmpp:hints'/>")
const RULES = { modules: [...MODULES, 'offline'], settings: { ping: { initialInterval: '1d' } } }
const has = (device: Device, name: string): boolean =>
  device.unread.some(element => element.getChild(name) !== undefined)

t.test('the queue of an inactive device survives a planned restart: presence, and messages in order', async t => {
  const first = await scenario(t, RULES)
  const romeo = await first.device('romeo@montague.lit/orchard')
  const juliet = await first.device('juliet@capulet.lit/balcony')
  await juliet.says(ENABLE)
  const id = (await juliet.gets(`<enabled ${SM}/>`)).attrs['id'] as string
  await juliet.says(INACTIVE)
  await romeo.says(RECEIPT, presence('here'), RECEIPT.replace("'r'", "'s'"), presence('gone'))
  await juliet.getsNothing()
  await first.end()

  const second = await scenario(t, { ...RULES, storage: first.storage, hosts: ['montague.lit', 'capulet.lit'], ids: 'next' })
  const { device } = await second.resume('juliet@capulet.lit', `<resume ${SM} previd='${id}' h='0'/>`)
  t.same(device?.unread.filter(({ name }) => name !== 'r').map(element => element.getChildText('status') ?? element.getChild('received')?.attrs['id'] ?? element.attrs['type']),
    ['r', 'here', 's', 'unavailable'], "romeo's unavailable presence is the last")
})

for (const [how, managed] of [['acknowledges', true], ['does not acknowledge', false]] as const) {
  t.test(`a delayed message goes to the account if its device ${how} and does not come back`, async t => {
    const s = await scenario(t, RULES)
    const romeo = await s.device('romeo@montague.lit/orchard')
    const juliet = await s.device('juliet@capulet.lit/balcony')
    if (managed) await juliet.says(ENABLE)
    await juliet.says(INACTIVE)
    juliet.forget()
    await romeo.says(RECEIPT)
    await juliet.getsNothing()
    await juliet.loses('connection')
    await s.pass('1h')
    const other = await s.device('juliet@capulet.lit/chamber', { presence: false })
    await other.says('<presence/>')
    t.ok(has(other, 'received'))
  })
}
