import t from 'tap'
import { childElements } from '../../lib/xml/element.js'
import { scenario, type Scenario } from '../scenario.js'
import type { Device } from '../device.js'
import { conditionOf } from '../stanzas.js'

const MODULES = ['presence', 'message', 'offline']

/**
 * The fate of a message. D: delivered to the named device; A: delivered to all available devices; E: error; O: stored
 * offline; S: ignored.
 */
type Fate = 'D' | 'A' | 'E' | 'O' | 'S'

/**
 * RFC 6121 §8.5.4, table 1. For S, the RFC leaves the choice between silence and service-unavailable (§8.5.1,
 * §8.5.3.2.1).
 */
const FATES: readonly (readonly [string, string, Readonly<Record<'normal' | 'chat' | 'groupchat' | 'headline', Fate>>])[] = [
  ['no account', 'bare', { normal: 'E', chat: 'E', groupchat: 'E', headline: 'S' }],
  ['no account', 'full', { normal: 'E', chat: 'E', groupchat: 'E', headline: 'S' }],
  ['nobody there', 'bare', { normal: 'O', chat: 'O', groupchat: 'E', headline: 'S' }],
  ['nobody there', 'no match', { normal: 'E', chat: 'O', groupchat: 'E', headline: 'S' }],
  ['negative only', 'bare', { normal: 'O', chat: 'O', groupchat: 'E', headline: 'S' }],
  ['negative only', 'match', { normal: 'D', chat: 'D', groupchat: 'D', headline: 'D' }],
  ['negative only', 'no match', { normal: 'E', chat: 'O', groupchat: 'E', headline: 'S' }],
  ['one', 'bare', { normal: 'A', chat: 'A', groupchat: 'E', headline: 'A' }],
  ['one', 'match', { normal: 'D', chat: 'D', groupchat: 'D', headline: 'D' }],
  ['one', 'no match', { normal: 'E', chat: 'A', groupchat: 'E', headline: 'S' }],
  ['several', 'bare', { normal: 'A', chat: 'A', groupchat: 'E', headline: 'A' }],
  ['several', 'match', { normal: 'D', chat: 'D', groupchat: 'D', headline: 'D' }],
  ['several', 'no match', { normal: 'E', chat: 'A', groupchat: 'E', headline: 'S' }],
]

const DEVICES: Readonly<Record<string, readonly number[]>> = { 'no account': [], 'nobody there': [], 'negative only': [-1], 'one': [0], 'several': [5, 0, -1] }

interface Stage { readonly romeo: Device, readonly devices: readonly Device[] }

async function stage (s: Scenario, state: string): Promise<Stage> {
  const romeo = await s.device('romeo@montague.lit/orchard')
  if (state === 'no account') await s.raise(['capulet.lit'])
  else await s.account('juliet@capulet.lit')
  const devices: Device[] = []
  for (const [i, priority] of (DEVICES[state] ?? []).entries()) {
    devices.push(await s.device(`juliet@capulet.lit/${i}`, { presence: `<presence><priority>${priority}</priority></presence>` }))
  }
  return { romeo, devices }
}

for (const [state, address, fates] of FATES) {
  t.test(`RFC 6121 §8.5.4: ${state}, ${address}`, async t => {
    for (const [type, fate] of Object.entries(fates)) {
      const s = await scenario(t, { modules: MODULES })
      const { romeo, devices } = await stage(s, state)
      const to = { 'bare': '', 'full': '/0', 'match': '/0', 'no match': '/nobody' }[address] ?? ''
      await romeo.says(`<message id='m' to='juliet@capulet.lit${to}' type='${type}'><body>${fate}</body></message>`)
      const priorities = DEVICES[state] ?? []
      const wanted = devices.map((_, i) => fate === 'A' ? (priorities[i] ?? 0) >= 0 : fate === 'D' && i === 0)
      t.same(devices.map(device => device.unread.length === 1), wanted, `${type}: the devices that get it`)
      for (const device of devices) if (device.unread[0] !== undefined) t.equal(device.unread[0].attrs['to'], `juliet@capulet.lit${to}`, 'the attribute to is unchanged')
      t.same(romeo.unread.map(conditionOf), fate === 'E' ? ['service-unavailable'] : [], `${type}: what the sender gets`)
      if (state === 'no account') continue
      for (const device of devices) device.forget()
      const late = await s.device('juliet@capulet.lit/late', { presence: false })
      await late.says('<presence/>')
      t.equal(late.unread.some(element => element.name === 'message'), fate === 'O', `${type}: whether it is stored`)
    }
  })
}

t.test('an error is delivered to the device that it answers, and is never answered itself', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  for (const to of ['juliet@capulet.lit', 'juliet@capulet.lit/gone', 'nobody@capulet.lit', 'nowhere.lit', 'capulet.lit']) {
    await romeo.says(`<message to='${to}' type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
  }
  await romeo.getsNothing()
  await juliet.getsNothing()
  await romeo.says("<message to='juliet@capulet.lit/balcony' type='error'/>")
  await juliet.gets("<message type='error' from='romeo@montague.lit/orchard'/>")
})

t.test('a message to an address that does not exist is answered with an error', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says("<message id='1' to='a@nowhere.lit' type='chat'/>", "<message id='2' to='montague.lit' type='chat'/>", "<message id='3' to='@' type='chat'/>", "<presence id='4' to='a@b@c/'/>")
  t.same(romeo.unread.map(element => [element.attrs['id'], conditionOf(element)]),
    [['1', 'remote-server-not-found'], ['2', 'service-unavailable'], ['3', 'jid-malformed'], ['4', 'jid-malformed']])
})

t.test('a client cannot send from another address', async t => {
  for (const [from, fine] of [['romeo@montague.lit/orchard', true], ['Romeo@montague.lit', true], ['romeo@montague.lit/other', false], ['juliet@capulet.lit', false], ['', false], ['@', false]] as const) {
    const s = await scenario(t, { modules: MODULES })
    const romeo = await s.device('romeo@montague.lit/orchard')
    const juliet = await s.device('juliet@capulet.lit/balcony')
    await romeo.says(`<message from='${from}' to='juliet@capulet.lit' type='chat'><body>!</body></message>`)
    if (fine) await juliet.gets("<message from='romeo@montague.lit/orchard'/>")
    else {
      t.equal(romeo.error?.condition, 'invalid-from')
      t.notOk(juliet.unread.some(element => element.name === 'message'))
    }
  }
})

t.test("a message without an address is for the sender's own account", async t => {
  const s = await scenario(t, { modules: MODULES })
  const orchard = await s.device('romeo@montague.lit/orchard')
  const balcony = await s.device('romeo@montague.lit/balcony')
  await orchard.says("<message type='chat'><body>note</body></message>")
  for (const device of [orchard, balcony]) await device.gets("<message from='romeo@montague.lit/orchard' to='romeo@montague.lit'/>")
})

t.test('elements that only the server may add are removed, however often they occur; forwarded ones stay', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const id = (by: string): string => `<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='${by}'/>`
  const delay = (from: string): string => `<delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'${from === '' ? '' : ` from='${from}'`}/>`
  const nested = `<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'>${id('juliet@capulet.lit')}${delay('capulet.lit')}</message></forwarded>`
  await romeo.says(`<message to='juliet@capulet.lit' type='chat'><body>ü</body>${id('juliet@capulet.lit')}${id('JULIET@capulet.lit')}${id('capulet.lit')}${id('romeo@montague.lit')}${id('room@elsewhere.lit')}${id('@')}<stanza-id xmlns='urn:xmpp:sid:0' id='y'/>${delay('capulet.lit')}${delay('montague.lit')}${delay('elsewhere.lit')}${delay('')}${nested}<origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>`)
  const got = await juliet.gets('<message><body>ü</body></message>')
  const direct = childElements(got)
  t.same(direct.filter(child => child.name === 'stanza-id').map(child => child.attrs['by']), ['room@elsewhere.lit', '@', undefined])
  t.same(direct.filter(child => child.name === 'delay').map(child => child.attrs['from']), ['elsewhere.lit', undefined])
  t.match(got.toString(), /forwarded.*juliet@capulet\.lit.*capulet\.lit.*origin-id/s)
})

t.test('messages of one sender keep their order if one of them waits for the disk and the next does not', async t => {
  const s = await scenario(t, { modules: MODULES })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await s.account('mercutio@montague.lit')
  await romeo.says("<message to='mercutio@montague.lit' type='chat'><body>first</body></message>")
  s.storage.hold()
  await romeo.says("<message id='waits' to='mercutio@montague.lit' type='chat'><body>kept</body></message>", "<message id='next' to='romeo@montague.lit/orchard' type='chat'><body>behind</body></message>")
  await romeo.getsNothing()
  s.storage.release()
  await romeo.gets("<message id='next'/>")
})
