/** XEP-0292: one vCard4 for clients that use its node, and for those that ask by iq. */
import t from 'tap'
import type { Device } from '../device.js'
import { scenario, type Scenario } from '../scenario.js'
import { friends, hears, interested, MODULES, options, outcome, pubsub } from './stage.js'

const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'
const NODE = 'urn:xmpp:vcard4'
const CARD = 'urn:ietf:params:xml:ns:vcard-4.0'
const named = (name: string): string => `<vcard xmlns='${CARD}'><fn><text>${name}</text></fn></vcard>`
const publishing = (name: string): string => `<publish node='${NODE}'><item id='x'>${named(name)}</item></publish>`

/** Returns the name in the vCard that a device gets by iq; the error if it gets none. */
async function asked (device: Device, to = JULIET): Promise<string> {
  const reply = await device.asks(`<iq type='get' id='v' to='${to}'><vcard xmlns='${CARD}'/></iq>`)
  const card = reply.getChild('vcard')
  return card === undefined ? outcome(reply) : card.getChild('fn')?.getChildText('text') ?? 'empty'
}
const set = async (device: Device, name: string): Promise<string> =>
  outcome(await device.asks(`<iq type='set' id='s'>${named(name)}</iq>`))

function stage (t: Parameters<typeof scenario>[0]): Promise<Scenario> {
  return scenario(t, { modules: [...MODULES, 'vcard'] })
}

t.test('a profile that a client publishes is what others get by iq, as far as they may read the node', async t => {
  const s = await stage(t)
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const paris = await s.device('paris@verona.lit/x')
  t.equal(await asked(juliet), 'empty', 'the owner gets an empty vCard if there is none')
  t.equal(await asked(paris), 'cancel service-unavailable')
  await pubsub(juliet, 'set', publishing('for friends'))
  t.same([await asked(juliet), await asked(romeo), await asked(paris)], ['for friends', 'for friends', 'cancel service-unavailable'])
  await pubsub(juliet, 'set', `<delete node='${NODE}'/>`, { owner: true })
  await pubsub(juliet, 'set', publishing('for all') + options({ access_model: 'open' }))
  t.same([await asked(romeo), await asked(paris)], ['for all', 'for all'])
})

t.test('a vCard4 that is set by iq is published, and contacts are notified', async t => {
  const s = await stage(t)
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await interested(s, `${ROMEO}/orchard`, [NODE])
  const paris = await s.device('paris@verona.lit/x')
  t.equal(await set(juliet, 'Juliet'), 'result')
  t.same(hears(romeo), [`${JULIET} headline: items ${NODE} item current with payload`])
  t.match((await pubsub(paris, 'get', `<items node='${NODE}'/>`, { to: JULIET })).toString(), 'Juliet', 'the node is open')
  await pubsub(juliet, 'set', publishing('by the node'))
  t.equal(await set(juliet, 'by iq'), 'result')
  t.equal(await asked(paris), 'by iq', 'the last one counts')
  t.equal(outcome(await romeo.asks(`<iq type='set' id='s' to='${JULIET}'>${named('x')}</iq>`)), 'auth forbidden')
})

t.test('a vCard4 that was stored before the node existed is shown until the node is used, and does not come back', async t => {
  const before = await scenario(t, { modules: ['presence', 'disco', 'vcard'] })
  t.equal(await set(await before.device(`${JULIET}/balcony`), 'early'), 'result')
  const s = await scenario(t, { modules: [...MODULES, 'vcard'], storage: before.storage, ids: 'next' })
  const juliet = await s.device(`${JULIET}/balcony`)
  t.equal(await asked(juliet), 'early')
  await pubsub(juliet, 'set', publishing('late'))
  t.equal(await asked(juliet), 'late')
  await pubsub(juliet, 'set', `<delete node='${NODE}'/>`, { owner: true })
  t.equal(await asked(juliet), 'empty')
})

t.test('a payload that is no vCard, and one that has expired, are not shown by iq', async t => {
  const s = await stage(t)
  const juliet = await s.device(`${JULIET}/balcony`)
  await pubsub(juliet, 'set', `<publish node='${NODE}'><item id='x'><t xmlns='urn:t'/></item></publish>`)
  t.equal(await asked(juliet), 'empty')
  await pubsub(juliet, 'set', `<delete node='${NODE}'/>`, { owner: true })
  await pubsub(juliet, 'set', publishing('short') + options({ item_expire: '60' }))
  t.equal(await asked(juliet), 'short')
  await s.pass('61s')
  t.equal(await asked(juliet), 'empty')
})
