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

t.test('messages wait for a device, and are delivered once, in order, with the time at which they arrived', async t => {
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
  t.notOk(chamber.unread.some(element => element.name === 'message'), 'no message is delivered twice')
})

t.test('a message that arrives while stored ones are being delivered comes after them', async t => {
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
  ['><body>x</body>', true],
  ["type='normal'><x xmlns='a:b'/>", true],
  ["type='chat'><received xmlns='urn:xmpp:receipts' id='1'/>", true],
  ["type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/><thread>1</thread>", false],
  ["type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>", true],
  ["type='chat'><body>x</body><no-store xmlns='urn:xmpp:hints'/>", false],
  ["type='headline'><body>x</body>", false],
  ["type='error'><body>x</body>", false],
  ["type='groupchat'><body>x</body>", false],
]

t.test('each kind of message is stored or not', async t => {
  for (const [content, wanted] of KEPT) {
    const { s, romeo } = await romeoAlone(t)
    await romeo.says(`<message to='juliet@capulet.lit' ${content}</message>`)
    const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
    await juliet.says('<presence/>')
    t.equal(juliet.unread.some(element => element.name === 'message'), wanted, content)
  }
})

t.test('offline messages of an account have a bound in number and bytes', async t => {
  const { romeo } = await romeoAlone(t, { settings: { offline: { keep: 2 } } })
  await romeo.says(chat('1'), chat('2'), chat('3'))
  await romeo.gets("<message type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
  await romeo.getsNothing()
  const other = await romeoAlone(t, { settings: { offline: { bytes: '10KiB' } } })
  await other.romeo.says(chat('x'.repeat(9000)), chat('y'.repeat(9000)))
  await other.romeo.gets("<message type='error'><error><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
})

t.test('messages that waited too long expire', async t => {
  const { s, romeo } = await romeoAlone(t, { settings: { offline: { expire: '1d' } } })
  await romeo.says(chat('old'))
  await s.pass('23h')
  await romeo.says(chat('young'))
  await s.pass('2h')
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  await juliet.says('<presence/>')
  t.same(juliet.unread.filter(element => element.name === 'message').map(element => element.getChildText('body')), ['young'])
})

t.test('if a message cannot be stored, its sender is asked to try later', async t => {
  const { s, romeo } = await romeoAlone(t, { settings: { offline: { keep: 1 } } })
  s.storage.failing = new Error('disk full')
  await romeo.says(chat('lost'))
  await romeo.gets("<message type='error'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
  s.storage.failing = undefined
  await romeo.says(chat('kept'))
  await romeo.getsNothing()
})

t.test('if a device is lost while it gets its messages, the next device gets the rest', async t => {
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
  t.ok(juliet.unread.some(element => element.name === 'message') !== next.unread.some(element => element.name === 'message'), 'one of the devices has it')
})

const LARGE = { offline: { bytes: '64MiB', keep: 1000 }, ping: { initialInterval: '1d' } }
const COUNT = 60
/** Of 200 KiB each: 12 MiB. */
const large = (n: number): string => `<message to='juliet@capulet.lit' type='chat' id='m${n}'><body>${'x'.repeat(200 * 1024)}</body></message>`
const ids = (device: Device): string[] => device.unread.flatMap(({ name, attrs }) => name === 'message' ? [String(attrs['id'])] : [])
const ALL = Array.from({ length: COUNT }, (_, n) => `m${n}`)

t.test('many large messages are handed over as fast as a device with stream management acknowledges them', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'offline', 'ping', 'stream-management'], settings: LARGE })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  for (let n = 0; n < COUNT; n++) await romeo.says(large(n))
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  await juliet.says("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
  await juliet.gets("<enabled xmlns='urn:xmpp:sm:3'/>")
  await juliet.says('<presence/>')
  const first = juliet.unread.filter(({ name }) => name === 'message').length
  t.ok(first > 0 && first < 30, `more than half of what it may leave unacknowledged, and no more than another page: ${first}`)
  for (let n = 0; n < 10; n++) {
    const count = juliet.unread.filter(({ name }) => ['message', 'presence', 'iq'].includes(name)).length
    await juliet.says(`<a xmlns='urn:xmpp:sm:3' h='${count}'/>`)
  }
  t.same(ids(juliet), ALL, 'each of them once, and in order')
  t.equal(juliet.closed, false)
  t.same(romeo.unread, [])
})

t.test('many large messages are handed over as fast as a device without stream management reads them', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'offline', 'ping'], settings: LARGE })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('juliet@capulet.lit')
  for (let n = 0; n < COUNT; n++) await romeo.says(large(n))
  const juliet = await s.device('juliet@capulet.lit/balcony', { presence: false })
  juliet.stopsReading()
  await juliet.says('<presence/>')
  t.ok(juliet.backlog < 2 * 1024 * 1024, `${juliet.backlog} bytes wait for it`)
  for (let n = 0; n < 20; n++) await juliet.reads()
  t.same(ids(juliet), ALL, 'each of them once, and in order')
  t.equal(juliet.closed, false)
})
