import t from 'tap'
import { scenario, type Scenario } from '../scenario.js'
import type { Device } from '../device.js'
import { CARBONS } from '../stanzas.js'

const MODULES = ['presence', 'message', 'carbons']
const DISABLE = "<iq type='set' id='d'><disable xmlns='urn:xmpp:carbons:2'/></iq>"

interface Devices { readonly romeo: Device, readonly balcony: Device, readonly chamber: Device }

async function romeoAndJuliet (s: Scenario): Promise<Devices> {
  const romeo = await s.device('romeo@montague.lit/orchard')
  const balcony = await s.device('juliet@capulet.lit/balcony')
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await chamber.asks(CARBONS)
  return { romeo, balcony, chamber }
}

t.test("a message that one device sends is copied to the account's other devices as sent", async t => {
  const { romeo, balcony, chamber } = await romeoAndJuliet(await scenario(t, { modules: MODULES }))
  await balcony.says("<message to='romeo@montague.lit' type='chat'><body>Wherefore art thou?</body></message>")
  await romeo.gets("<message from='juliet@capulet.lit/balcony'><body>Wherefore art thou?</body></message>")
  const carbon = await chamber.gets(`
    <message from='juliet@capulet.lit' to='juliet@capulet.lit/chamber' type='chat'>
      <sent xmlns='urn:xmpp:carbons:2'>
        <forwarded xmlns='urn:xmpp:forward:0'>
          <message xmlns='jabber:client' from='juliet@capulet.lit/balcony' to='romeo@montague.lit'>
            <body>Wherefore art thou?</body>
          </message>
        </forwarded>
      </sent>
    </message>`)
  t.match(carbon.toString(), /<message xmlns="jabber:client"/)
  await balcony.getsNothing()
})

t.test('a message that one device receives is copied once to each of the others as received', async t => {
  const { romeo, balcony, chamber } = await romeoAndJuliet(await scenario(t, { modules: MODULES }))
  await romeo.says("<message to='juliet@capulet.lit/balcony' type='chat'><body>Soft</body></message>")
  await balcony.gets('<message><body>Soft</body></message>')
  await chamber.gets("<message from='juliet@capulet.lit'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>Soft</body></message></forwarded></received></message>")
  await romeo.says("<message to='juliet@capulet.lit' type='chat'><body>to all</body></message>")
  await balcony.gets('<message><body>to all</body></message>')
  await chamber.gets('<message><body>to all</body></message>')
  await chamber.getsNothing()
  await chamber.asks(DISABLE)
  await romeo.says("<message to='juliet@capulet.lit/balcony' type='chat'><body>alone</body></message>")
  await chamber.getsNothing()
})

t.test('a message to the own account arrives once on each device', async t => {
  const { balcony, chamber } = await romeoAndJuliet(await scenario(t, { modules: MODULES }))
  await balcony.says("<message to='juliet@capulet.lit/balcony' type='chat'><body>note</body></message>")
  await balcony.gets('<message><body>note</body></message>')
  await chamber.gets("<message><sent xmlns='urn:xmpp:carbons:2'/></message>")
  await chamber.getsNothing()
})

t.test('the sent copy of a message to the own account carries its archive id', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'mam'] })
  const { balcony, chamber } = await romeoAndJuliet(s)
  for (const to of ['juliet@capulet.lit/balcony', 'juliet@capulet.lit']) {
    await balcony.says(`<message to='${to}' type='chat'><body>note</body></message>`)
    const sent = chamber.unread.find(element => element.getChild('sent') !== undefined)
    const id = sent?.getChild('sent')?.getChild('forwarded')?.getChild('message')?.getChild('stanza-id')
    t.equal(id?.attrs['by'], 'juliet@capulet.lit')
    chamber.forget()
    await chamber.says("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
    const archived = chamber.unread.flatMap(element => element.getChild('result')?.attrs['id'] ?? [])
    t.equal(archived.at(-1), id?.attrs['id'])
    t.equal(new Set(archived).size, archived.length, 'the message is archived once')
    chamber.forget()
  }
})

t.test('a device that enables carbons before its first presence gets a waiting message once', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'offline'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  await juliet.says(CARBONS)
  juliet.forget()
  await romeo.says("<message to='juliet@capulet.lit' type='chat'><body>Soft</body></message>")
  await juliet.getsNothing()
  await juliet.says('<presence/>')
  t.same(juliet.unread.filter(({ name }) => name === 'message').map(element => element.getChildText('body')), ['Soft'])
})

const COPIED: readonly (readonly [content: string, copied: boolean | 'sent only'])[] = [
  ["type='chat'><body>x</body>", true],
  ["type='normal'><body>x</body>", true],
  ["type='normal'><x/>", false],
  ["type='groupchat'><body>x</body>", false],
  ["type='headline'><body>x</body>", false],
  ["type='error'><body>x</body>", false],
  ["type='chat'><body>x</body><private xmlns='urn:xmpp:carbons:2'/>", false],
  ["type='chat'><body>x</body><no-copy xmlns='urn:xmpp:hints'/>", false],
  ["type='chat'><sent xmlns='urn:xmpp:carbons:2'/>", true], // forged: removed, and the rest is a message
  ["type='normal'><received xmlns='urn:xmpp:receipts' id='1'/>", true],
  ["type='normal'><composing xmlns='http://jabber.org/protocol/chatstates'/>", true],
  ["type='normal'><x xmlns='jabber:x:conference' jid='r@m'/>", true],
  ["type='chat'><body>whisper</body><x xmlns='http://jabber.org/protocol/muc#user'/>", 'sent only'],
]

t.test('each kind of message is copied or not, by XEP-0280', async t => {
  for (const [content, wanted] of COPIED) {
    const { romeo, balcony, chamber } = await romeoAndJuliet(await scenario(t, { modules: MODULES }))
    await romeo.says(`<message to='juliet@capulet.lit/balcony' ${content}</message>`)
    t.equal(chamber.unread.length === 1, wanted === true, `received: ${content}`)
    chamber.forget()
    await balcony.says(`<message to='romeo@montague.lit/orchard' ${content}</message>`)
    t.equal(chamber.unread.length === 1, wanted !== false, `sent: ${content}`)
  }
})

t.test('carbons stay enabled after a reload', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { romeo, chamber } = await romeoAndJuliet(s)
  await s.reload('carbons')
  await romeo.says("<message to='juliet@capulet.lit/balcony' type='chat'><body>I take thee</body></message>")
  await chamber.gets("<message><received xmlns='urn:xmpp:carbons:2'/></message>")
})

t.test('a message that is not stored is not copied', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'offline'] })
  const { balcony, chamber } = await romeoAndJuliet(s)
  await s.account('paris@montague.lit')
  s.storage.failing = new Error('disk full')
  await balcony.says("<message to='paris@montague.lit' type='chat'><body>!</body></message>")
  await balcony.gets("<message type='error'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
  await chamber.getsNothing()
})
