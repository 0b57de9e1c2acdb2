import t from 'tap'
import { formatDateTime } from '../../lib/xmpp/datetime.js'
import { scenario, type Scene, type Scenario } from '../scenario.js'
import type { Device } from '../device.js'

const MODULES = ['presence', 'message', 'offline']
const chat = (text: string): string => `<message to='juliet@capulet.lit' type='chat'><body>${text}</body></message>`

type Alone = Promise<{ readonly s: Scenario, readonly romeo: Device }>

async function romeoAlone (t: Parameters<typeof scenario>[0], scene: Scene = {}): Alone {
  const s = await scenario(t, { modules: MODULES, ...scene })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  return { s, romeo }
}

t.test('messages wait for a device, and come once, in order, with the time they came', async t => {
  const { s, romeo } = await romeoAlone(t)
  const stamp = formatDateTime(s.clock.now())
  await romeo.says(chat('one ü'), chat('two'))
  await s.pass('1h')
  await romeo.says(chat('three'))
  await romeo.getsNothing()
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  await juliet.says('<presence><priority>-1</priority></presence>')
  await juliet.gets('<presence/>')
  await juliet.getsNothing()
  await juliet.says('<presence/>')
  await juliet.gets('<presence/>')
  await juliet.gets(`<message from='romeo@montague.lit/orchard' to='juliet@capulet.lit' type='chat'><body>one ü</body><delay xmlns='urn:xmpp:delay' from='capulet.lit' stamp='${stamp}'/></message>`)
  await juliet.gets('<message><body>two</body></message>')
  await juliet.gets(`<message><body>three</body><delay xmlns='urn:xmpp:delay' stamp='${formatDateTime(s.clock.now())}'/></message>`)
  await juliet.getsNothing()
  const chamber = await s.device('juliet@capulet.lit/chamber', { presence: false })
  await chamber.says('<presence/>')
  t.notOk(chamber.unread.some(element => element.name === 'message'), 'nobody gets them twice')
})

t.test('what arrives while the old messages are handed over comes behind them', async t => {
  const { s, romeo } = await romeoAlone(t)
  await romeo.says(...Array.from({ length: 120 }, (_, i) => chat(`old ${i}`)))
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  const [device] = s.host('capulet.lit').sessions.of(juliet.jid.bare)
  t.ok(device)
  s.storage.hold()
  const coming = juliet.says('<presence/>')
  await romeo.says(chat('new'))
  s.storage.release()
  await coming
  await s.settled()
  const texts = juliet.unread.filter(element => element.name === 'message').map(element => element.getChildText('body'))
  t.equal(texts.length, 121)
  t.equal(texts.at(-1), 'new')
})

const KEPT: readonly (readonly [string, boolean])[] = [
  ["type='chat'><body>x</body>", true],
  ["><body>x</body>", true],
  ["type='normal'><x xmlns='a:b'/>", true],
  ["type='chat'><received xmlns='urn:xmpp:receipts' id='1'/>", true],
  ["type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/><thread>1</thread>", false],
  ["type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>", true],
  ["type='chat'><body>x</body><no-store xmlns='urn:xmpp:hints'/>", false],
  ["type='headline'><body>x</body>", false],
  ["type='error'><body>x</body>", false],
  ["type='groupchat'><body>x</body>", false],
]

t.test('which messages are kept', async t => {
  for (const [content, wanted] of KEPT) {
    const { s, romeo } = await romeoAlone(t)
    await romeo.says(`<message to='juliet@capulet.lit' ${content}</message>`)
    const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
    await juliet.says('<presence/>')
    t.equal(juliet.unread.some(element => element.name === 'message'), wanted, content)
  }
})

t.test('an account has room for so many messages, and so much of them', async t => {
  const { romeo } = await romeoAlone(t, { settings: { offline: { keep: 2 } } })
  await romeo.says(chat('1'), chat('2'), chat('3'))
  await romeo.gets("<message type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
  await romeo.getsNothing()
  const other = await romeoAlone(t, { settings: { offline: { bytes: '10KiB' } } })
  await other.romeo.says(chat('x'.repeat(9000)), chat('y'.repeat(9000)))
  await other.romeo.gets("<message type='error'><error><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
})

t.test('messages that have waited too long are gone', async t => {
  const { s, romeo } = await romeoAlone(t, { settings: { offline: { expire: '1d' } } })
  await romeo.says(chat('old'))
  await s.pass('23h')
  await romeo.says(chat('young'))
  await s.pass('2h')
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  await juliet.says('<presence/>')
  t.same(juliet.unread.filter(element => element.name === 'message').map(element => element.getChildText('body')), ['young'])
})

t.test('a sender whose message could not be stored is told to try later', async t => {
  const { s, romeo } = await romeoAlone(t, { settings: { offline: { keep: 1 } } })
  s.storage.failing = new Error('disk full')
  await romeo.says(chat('lost'))
  await romeo.gets("<message type='error'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
  s.storage.failing = undefined
  await romeo.says(chat('kept'))
  await romeo.getsNothing()
})

t.test('a device that is lost while it is handed its messages leaves the others for the next', async t => {
  const { s, romeo } = await romeoAlone(t)
  await romeo.says(chat('1'))
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  s.storage.hold()
  const coming = juliet.says('<presence/>')
  await juliet.loses('connection')
  s.storage.release()
  await coming
  const next = await s.device('juliet@capulet.lit/chamber', { presence: false })
  await next.says('<presence/>')
  t.ok(juliet.unread.some(element => element.name === 'message') !== next.unread.some(element => element.name === 'message'), 'one of them has it')
})
