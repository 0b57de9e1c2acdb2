/** XEP-0398: an avatar is the same in the vCard and in the nodes of XEP-0084, and presence names it (XEP-0153). */
import { createHash } from 'node:crypto'
import t from 'tap'
import type { Element } from '../../lib/xml/element.js'
import type { Device } from '../device.js'
import { scenario, type Scenario } from '../scenario.js'
import { form, hears, interested, itemIds, MODULES, options, outcome, pubsub } from './stage.js'

const WITH_VCARD = [...MODULES, 'vcard']
const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'
const DATA = 'urn:xmpp:avatar:data'
const METADATA = 'urn:xmpp:avatar:metadata'
const OPEN = { access_model: 'open' } as const

interface Picture { readonly text: string, readonly id: string }
function picture (content: string): Picture {
  return { text: Buffer.from(content).toString('base64'), id: createHash('sha1').update(content).digest('hex') }
}
const ROSE = picture('a rose')
const SKULL = picture('a skull')

type Options = Parameters<typeof options>[0]

async function publishData (device: Device, { id, text }: Picture, how: Options = OPEN): Promise<string> {
  return outcome(await pubsub(device, 'set', `<publish node='${DATA}'><item id='${id}'><data xmlns='${DATA}'>${text}</data></item></publish>${options(how)}`))
}
async function publishMetadata (device: Device, { id }: Picture, how: Options = OPEN): Promise<string> {
  const info = `<info id='${id}' bytes='6' type='image/png'/>`
  return outcome(await pubsub(device, 'set', `<publish node='${METADATA}'><item id='${id}'><metadata xmlns='${METADATA}'>${info}</metadata></item></publish>${options(how)}`))
}
async function publishAvatar (device: Device, one: Picture, how: Options = OPEN): Promise<void> {
  if (await publishData(device, one, how) !== 'result' || await publishMetadata(device, one, how) !== 'result') throw new Error('not published')
}

/** Returns the picture in the vCard that a stranger reads; undefined if there is none. */
async function photoOf (s: Scenario, account = JULIET): Promise<string | undefined> {
  const paris = await s.device('paris@verona.lit/x')
  const reply = await paris.asks(`<iq type='get' id='v' to='${account}'><vCard xmlns='vcard-temp'/></iq>`)
  return reply.getChild('vCard')?.getChild('PHOTO')?.getChildText('BINVAL') ?? undefined
}
const setCard = (content: string): string => `<iq type='set' id='s'><vCard xmlns='vcard-temp'>${content}</vCard></iq>`
const photo = ({ text }: Picture): string => `<PHOTO><TYPE>image/png</TYPE><BINVAL>${text}</BINVAL></PHOTO>`

/** Returns the hash in the last presence of Juliet that a device got; undefined if it names none. */
function hashIn (device: Device): string | undefined {
  const found = device.unread.filter((one: Element) => one.name === 'presence' && String(one.attrs['from']).startsWith(JULIET)).at(-1)
  device.forget()
  return found?.getChild('x')?.getChildText('photo') ?? undefined
}

t.test('§3.1 an open avatar gets into the vCard, and the rest of the vCard stays', async t => {
  const s = await scenario(t, { modules: WITH_VCARD })
  const juliet = await s.device(`${JULIET}/balcony`)
  await juliet.asks(setCard('<FN>Juliet</FN>'))
  await publishAvatar(juliet, ROSE)
  t.equal(await photoOf(s), ROSE.text)
  t.match((await juliet.asks("<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>")).toString(), /<FN>Juliet<\/FN><PHOTO><TYPE>image\/png/)
  await publishAvatar(juliet, SKULL)
  t.equal(await photoOf(s), SKULL.text)
})

t.test('§7 an avatar for contacts alone is not shown to everybody, and replaces one that was', async t => {
  const s = await scenario(t, { modules: WITH_VCARD })
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishAvatar(juliet, ROSE, { access_model: 'presence' })
  t.equal(await photoOf(s), undefined)
  const configure = (node: string, access: string): string => `<configure node='${node}'>${form('node_config', { access_model: access })}</configure>`
  await pubsub(juliet, 'set', configure(DATA, 'open'), { owner: true })
  t.equal(await photoOf(s), ROSE.text, 'the node was opened')
  await pubsub(juliet, 'set', configure(DATA, 'presence'), { owner: true })
  t.equal(await photoOf(s), undefined, 'the node was closed')
})

t.test('an avatar whose data are not what its id says is not copied', async t => {
  const s = await scenario(t, { modules: WITH_VCARD })
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishAvatar(juliet, { id: SKULL.id, text: ROSE.text })
  t.equal(await photoOf(s), undefined)
})

t.test('an avatar is removed by empty metadata, by a purge, and with its node', async t => {
  for (const content of [
    ['set', `<publish node='${METADATA}'><item id='x'><metadata xmlns='${METADATA}'/></item></publish>`, false],
    ['set', `<purge node='${METADATA}'/>`, true],
    ['set', `<purge node='${DATA}'/>`, true],
    ['set', `<delete node='${METADATA}'/>`, true],
    ['set', `<retract node='${METADATA}'><item id='${ROSE.id}'/></retract>`, false],
  ] as const) {
    for (const first of ['pep', 'vcard']) {
      const s = await scenario(t, { modules: WITH_VCARD })
      const juliet = await s.device(`${JULIET}/balcony`)
      if (first === 'pep') await publishAvatar(juliet, ROSE)
      else await juliet.asks(setCard(photo(ROSE)))
      t.equal(await photoOf(s), ROSE.text)
      t.equal(outcome(await pubsub(juliet, content[0], content[1], { owner: content[2] })), 'result')
      t.equal(await photoOf(s), undefined, `${content[1]} after ${first}`)
    }
  }
})

t.test('§3.2 the picture of a vCard is published as an avatar, and removed with it', async t => {
  const s = await scenario(t, { modules: WITH_VCARD })
  for (const address of [JULIET, ROMEO]) await s.account(address)
  await s.contact(JULIET, ROMEO)
  await s.contact(ROMEO, JULIET)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await interested(s, `${ROMEO}/orchard`, [METADATA])
  hears(romeo)
  t.equal((await juliet.asks(setCard(photo(ROSE)))).attrs['type'], 'result')
  t.same(hears(romeo), [`${JULIET} headline: items ${METADATA} item ${ROSE.id} with payload`])
  const data = await pubsub(romeo, 'get', `<items node='${DATA}'><item id='${ROSE.id}'/></items>`, { to: JULIET })
  t.match(data.toString(), ROSE.text)
  await juliet.asks(setCard(`<FN>Juliet</FN>${photo(ROSE)}`))
  t.same(hears(romeo), [], 'the same picture')
  await juliet.asks(setCard('<FN>Juliet</FN>'))
  t.match(romeo.unread.map(String).join(''), /<metadata xmlns="urn:xmpp:avatar:metadata"\/>/)
  t.equal(itemIds(await pubsub(juliet, 'get', `<items node='${METADATA}'/>`)).length, 1)
})

t.test('§4 available presence names the picture, also in rooms, unless the device says that it shows none', async t => {
  const s = await scenario(t, { modules: WITH_VCARD })
  for (const address of [JULIET, ROMEO]) await s.account(address)
  await s.contact(JULIET, ROMEO)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const juliet = await s.device(`${JULIET}/balcony`)
  const paris = await s.device('paris@verona.lit/x')
  const empty = "<x xmlns='vcard-temp:x:update'/>"
  await juliet.says('<presence/>')
  t.equal(hashIn(romeo), undefined, 'there is no picture')
  await publishAvatar(juliet, ROSE)
  for (const [content, hash] of [
    ['', ROSE.id], [empty, ROSE.id], ["<x xmlns='vcard-temp:x:update'><photo/></x>", ''],
    ["<x xmlns='vcard-temp:x:update'><photo>abc</photo></x>", ROSE.id],
  ] as const) {
    await juliet.says(`<presence><status>${content.length}</status>${content}</presence>`)
    t.equal(hashIn(romeo), hash, `broadcast ${content}`)
    await juliet.says(`<presence to='paris@verona.lit/x'>${content}</presence>`)
    t.equal(hashIn(paris), hash, `directed ${content}`)
  }
  const forged = "<x xmlns='vcard-temp:x:update'><photo>abc</photo></x>"
  romeo.forget()
  await juliet.says(`<presence><status>twice</status>${forged}${forged}</presence>`)
  t.notMatch(romeo.unread.map(String).join(''), 'abc', 'each element of the client is replaced')
  await pubsub(juliet, 'set', `<delete node='${METADATA}'/>`, { owner: true })
  await juliet.says(`<presence>${empty}</presence>`)
  t.equal(hashIn(romeo), '', 'no hash without a picture')
  await juliet.says('<presence><status>gone</status></presence>')
  t.equal(hashIn(romeo), '', 'others learn that the picture was removed')
  await juliet.says("<presence to='paris@verona.lit/x'/>")
  t.equal(hashIn(paris), '', 'rooms, too')
  await juliet.says(`<presence type='unavailable'/>`)
  t.equal(hashIn(romeo), undefined)
})

t.test('a vCard without a picture adds nothing to presence, and one whose picture was removed says so', async t => {
  const s = await scenario(t, { modules: WITH_VCARD })
  for (const address of [JULIET, ROMEO]) await s.account(address)
  await s.contact(JULIET, ROMEO)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const juliet = await s.device(`${JULIET}/balcony`)
  for (const [card, hash] of [['<FN>Juliet</FN>', undefined], [photo(ROSE), ROSE.id], ['<FN>Juliet</FN>', '']] as const) {
    await juliet.asks(setCard(card))
    await juliet.says(`<presence><status>${card.length}</status></presence>`)
    t.equal(hashIn(romeo), hash, card.slice(0, 20))
    await juliet.says(`<presence><status>again</status></presence>`)
    t.equal(hashIn(romeo), hash, 'again')
  }
})

t.test('the picture of a vCard that an earlier version stored is named, too', async t => {
  const s = await scenario(t, { modules: WITH_VCARD })
  for (const address of [JULIET, ROMEO]) await s.account(address)
  await s.contact(JULIET, ROMEO)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const store = await s.storage.open('vcard.cards', (await import('../../lib/storage/store.js')).records<string>(1))
  await store.put(JULIET, 'vCard', `<vCard xmlns="vcard-temp">${photo(ROSE).replaceAll("'", '"')}</vCard>`)
  const juliet = await s.device(`${JULIET}/balcony`, { presence: false })
  await juliet.says('<presence/>')
  t.equal(hashIn(romeo), ROSE.id)
})

t.test('without the module pep a vCard is stored, and presence names its picture', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'vcard'] })
  for (const address of [JULIET, ROMEO]) await s.account(address)
  await s.contact(JULIET, ROMEO)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const juliet = await s.device(`${JULIET}/balcony`)
  await juliet.asks(setCard(photo(ROSE)))
  await juliet.says('<presence><status>!</status></presence>')
  t.equal(hashIn(romeo), ROSE.id)
})
