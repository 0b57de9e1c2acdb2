/** RFC 6121 §5.2.2: a message with an unknown, empty or missing `type` is of type `normal`. */
import t from 'tap'
import { scenario } from '../scenario.js'
import { CARBONS, QUERY } from '../stanzas.js'

const MODULES = ['presence', 'message', 'carbons', 'offline', 'mam']
const TYPES = ["type='foo'", "type=''", "type='Chat'", "type='available'", '']

const said = (type: string): string => `<message to='juliet@capulet.lit' ${type}><body>Soft</body></message>`

for (const type of TYPES) {
  t.test(`a message with ${type === '' ? 'no type' : type} waits for an account without devices, as a normal one does`, async t => {
    const s = await scenario(t, { modules: MODULES })
    const romeo = await s.device('romeo@montague.lit/orchard')
    await s.account('juliet@capulet.lit')
    await romeo.says(said(type))
    await romeo.getsNothing()
    const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
    await juliet.says('<presence/>')
    t.equal(juliet.unread.filter(({ name }) => name === 'message').length, 1, 'the offline store delivers it')
  })

  t.test(`a message with ${type === '' ? 'no type' : type} is delivered, archived and copied, as a normal one is`, async t => {
    const s = await scenario(t, { modules: MODULES })
    const romeo = await s.device('romeo@montague.lit/orchard')
    const lamp = await s.device('romeo@montague.lit/lamp')
    await lamp.asks(CARBONS)
    const juliet = await s.device('juliet@capulet.lit/balcony')
    await romeo.says(said(type))
    await juliet.gets('<message><body>Soft</body></message>')
    await lamp.gets("<message><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>Soft</body></message></forwarded></sent></message>")
    await romeo.says(QUERY)
    await romeo.gets("<message><result xmlns='urn:xmpp:mam:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>Soft</body></message></forwarded></result></message>")
    await juliet.says(QUERY)
    t.equal(juliet.unread.filter(element => element.getChild('result') !== undefined).length, 1, 'the recipient has it in the archive')
  })
}

t.test('a message of an unknown type to a device that does not exist is answered as a normal one is', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'offline'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  await romeo.says("<message to='juliet@capulet.lit/gone' type='foo'><body>Soft</body></message>")
  await romeo.gets("<message type='error'><error><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
})
