/** XEP-0470 on the address of an account and at a service: each scene is named by the section whose rule it shows. */
import t from 'tap'
import { payloadOf } from '../../lib/pubsub/items.js'
import { tallyOfSummary } from '../../lib/pubsub/tally.js'
import type { Element } from '../../lib/xml/element.js'
import type { Device } from '../device.js'
import { parseElement } from '../parse.js'
import { scenario, type Scenario } from '../scenario.js'
import { form, friends, hears, interested, itemIds, MODULES, options, outcome, publishes, publishing, pubsub, valuesIn } from './stage.js'

const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'
const SERVICE = 'pubsub.capulet.lit'
const NS = 'urn:xmpp:pubsub-attachments:1'
const SUMMARY = 'urn:xmpp:pubsub-attachments:summary:1/n'
const OPEN = options({ publish_model: 'open', max_items: '10' })

/** Returns the name of the node with the attachments to an item of the node n. */
const beside = (item: string, service = JULIET): string => `${NS}/xmpp:${service}?;node=n;item=${item}`
const attachments = (...inside: readonly string[]): string => `<attachments xmlns='${NS}'>${inside.join('')}</attachments>`
const NOTICED = "<noticed timestamp='2026-07-11T12:07:24Z'/>"
const reactions = (...all: readonly string[]): string =>
  `<reactions>${all.map(one => `<reaction>${one}</reaction>`).join('')}</reactions>`
const attaching = (node: string, id: string, payload: string): string => `<publish node='${node}'><item id='${id}'>${payload}</item></publish>`

/** Attaches to an item of Juliet's node n, and returns the outcome. */
async function attach (device: Device, item: string, payload: string, to = JULIET): Promise<string> {
  return outcome(await pubsub(device, 'set', attaching(beside(item, to), device.jid.bare.toString(), payload), { to }))
}
const get = (device: Device, node: string, to = JULIET): Promise<Element> => pubsub(device, 'get', `<items node='${node}'/>`, { to })

/** Returns the summary of an item, as text without names of namespaces. */
async function summary (device: Device, to = JULIET): Promise<string> {
  return [...(await get(device, SUMMARY, to)).toString().matchAll(/<summary[^>]*>(.*?)<\/summary>/g)].map(([, one]) => one).join(' ')
}

interface Stage { readonly s: Scenario, readonly juliet: Device, readonly romeo: Device }

async function stage (t: Parameters<typeof scenario>[0], how: Parameters<typeof scenario>[1] = {}): Promise<Stage> {
  const s = await scenario(t, { modules: MODULES, ...how })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  await publishes(juliet, 'n', ['a', 'b'], OPEN)
  return { s, juliet, romeo }
}

t.test('§4.1 whoever may publish to a node attaches to its items: one item for each address, in a node that is made', async t => {
  const { juliet, romeo } = await stage(t)
  t.equal(await attach(romeo, 'a', attachments(NOTICED)), 'result')
  t.equal(await attach(romeo, 'a', attachments(NOTICED, reactions('👷', '🔨'))), 'result')
  t.equal(await attach(juliet, 'a', attachments(reactions('👷'))), 'result')
  t.same(itemIds(await get(romeo, beside('a'))), [ROMEO, JULIET])
  t.match((await get(romeo, beside('a'))).toString(), /<reaction>👷<\/reaction><reaction>🔨<\/reaction>/)
  t.equal(await summary(romeo), '<noticed count="1"/><reactions><reaction count="2">👷</reaction><reaction>🔨</reaction></reactions>', '§4.6 to §4.8')
  t.same(itemIds(await get(romeo, SUMMARY)), ['a'])
  t.match((await romeo.asks(`<iq type='get' id='d' to='${JULIET}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)).toString(), `"${NS}"`, '§6')
  t.notMatch((await romeo.asks(`<iq type='get' id='d' to='${JULIET}'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>`)).toString(), beside('a'))
})

t.test('§4.1 the name of an item is escaped in more than one way', async t => {
  const { juliet } = await stage(t)
  await publishes(juliet, 'n', ["it's"].map(() => 'urn:x'), '')
  const names = ['urn%3Ax', 'urn%3ax', 'urn:x'].map(item => beside(item))
  for (const name of names) t.equal(outcome(await pubsub(juliet, 'set', attaching(name, JULIET, attachments(NOTICED)))), 'result')
  t.equal(await summary(juliet), '<noticed count="1"/>')
})

t.test('§4.7, §4.8 a reaction counts once for an address, and no longer when it is taken back', async t => {
  const { juliet, romeo } = await stage(t)
  await attach(romeo, 'a', attachments(NOTICED, NOTICED, reactions('👷', '👷', '🔨')))
  t.equal(await summary(juliet), '<noticed count="1"/><reactions><reaction>👷</reaction><reaction>🔨</reaction></reactions>')
  await attach(romeo, 'a', attachments(reactions('🔨')))
  t.equal(await summary(juliet), '<reactions><reaction>🔨</reaction></reactions>')
  const retract = `<retract node='${beside('a')}'><item id='${ROMEO}'/></retract>`
  t.equal(outcome(await pubsub(romeo, 'set', retract, { to: JULIET })), 'result')
  t.same(itemIds(await get(juliet, SUMMARY)), [])
  t.equal(outcome(await get(juliet, beside('a'))), 'cancel item-not-found', 'an empty node takes no room')
})

t.test('§4.4 nobody makes such a node, not even its owner', async t => {
  const { juliet, romeo } = await stage(t)
  for (const [device, node] of [[juliet, beside('a')], [romeo, beside('a')], [juliet, SUMMARY], [juliet, `${NS}/x`]] as const) {
    const made = outcome(await pubsub(device, 'set', `<create node='${node}'/>`, { to: JULIET }))
    t.equal(made, 'cancel not-allowed')
  }
})

t.test('§4.5 an item with another id or payload is refused, and so is one to nothing', async t => {
  const { juliet, romeo } = await stage(t)
  const wrong = async (node: string, id: string, payload: string): Promise<string> =>
    outcome(await pubsub(romeo, 'set', attaching(node, id, payload), { to: JULIET }))
  t.equal(await wrong(beside('a'), JULIET, attachments(NOTICED)), 'modify bad-request')
  t.equal(await wrong(beside('a'), `${ROMEO}/orchard`, attachments(NOTICED)), 'modify bad-request')
  t.equal(await wrong(beside('a'), ROMEO, "<attachments xmlns='urn:other'/>"), 'modify bad-request invalid-payload')
  t.equal(await wrong(beside('a'), ROMEO, `<other xmlns='${NS}'/>`), 'modify bad-request invalid-payload')
  t.equal(await wrong(beside('none'), ROMEO, attachments(NOTICED)), 'cancel item-not-found')
  t.equal(await wrong(beside('a', ROMEO), ROMEO, attachments(NOTICED)), 'cancel item-not-found', 'the item is elsewhere')
  t.equal(await wrong(beside('a').replace('node=n', 'node=none'), ROMEO, attachments(NOTICED)), 'cancel item-not-found')
  t.equal(await wrong(SUMMARY, 'a', "<summary xmlns='urn:xmpp:pubsub-attachments:summary:1'/>"), 'auth forbidden')
  await attach(romeo, 'a', attachments(NOTICED))
  t.equal(await wrong(SUMMARY, 'a', "<summary xmlns='urn:xmpp:pubsub-attachments:summary:1'/>"), 'auth forbidden')
  t.equal(outcome(await pubsub(juliet, 'set', `<retract node='${SUMMARY}'><item id='a'/></retract>`)), 'auth forbidden')
  for (const what of ['purge', 'delete']) {
    t.equal(outcome(await pubsub(juliet, 'set', `<${what} node='${SUMMARY}'/>`, { owner: true })), 'auth forbidden')
  }
})

t.test('§4.3 attachments have the access and publish models of the node, also after a change; options are ignored', async t => {
  const { s, juliet, romeo } = await stage(t)
  await pubsub(romeo, 'set', attaching(beside('a'), ROMEO, attachments(NOTICED)) + options({ access_model: 'whitelist' }), { to: JULIET })
  const shown = async (node: string): Promise<readonly unknown[]> => {
    const values = valuesIn(await pubsub(juliet, 'get', `<configure node='${node}'/>`, { owner: true }))
    return [values.get('access_model'), values.get('publish_model')]
  }
  t.same(await shown(beside('a')), [['presence'], ['open']])
  t.same(await shown(SUMMARY), [['presence'], ['open']])
  t.same(itemIds(await get(romeo, beside('a'))), [ROMEO])
  await pubsub(romeo, 'set', `<subscribe node='${SUMMARY}' jid='${ROMEO}'/>`, { to: JULIET })
  const paris = await s.device('paris@montague.lit/street')
  for (const node of [beside('a'), beside('none'), SUMMARY, 'n']) t.equal(outcome(await get(paris, node)), 'cancel service-unavailable')
  t.equal(await attach(paris, 'none', attachments(NOTICED)), 'cancel service-unavailable')
  hears(romeo)
  await pubsub(juliet, 'set', `<configure node='n'>${form('node_config', { access_model: 'whitelist', publish_model: 'publishers' })}</configure>`, { owner: true })
  t.same(await shown(beside('a')), [['whitelist'], ['publishers']])
  t.equal(outcome(await get(romeo, beside('a'))), 'cancel not-allowed closed-node')
  t.equal(await attach(romeo, 'a', attachments()), 'auth forbidden')
  t.same(hears(romeo), [`${JULIET} normal: subscription ${SUMMARY} none`])
  t.equal(outcome(await pubsub(juliet, 'set', `<configure node='${SUMMARY}'>${form('node_config', { access_model: 'open' })}</configure>`, { owner: true })), 'auth forbidden')
  t.equal(outcome(await pubsub(juliet, 'set', `<configure node='${beside('a')}'>${form('node_config', { access_model: 'open' })}</configure>`, { owner: true })), 'cancel not-allowed')
  const retract = `<retract node='${beside('a')}'><item id='${ROMEO}'/></retract>`
  t.equal(outcome(await pubsub(romeo, 'set', retract, { to: JULIET })), 'result', 'one may always take back what is the own')
})

t.test('§4.6 subscribers are told of attachments and summaries, and so are interested devices', async t => {
  const { s, juliet, romeo } = await stage(t)
  t.equal(outcome(await pubsub(romeo, 'set', `<subscribe node='${SUMMARY}' jid='${ROMEO}'/>`, { to: JULIET })), 'result', 'before there is any')
  const watch = await interested(s, `${JULIET}/watch`, [SUMMARY])
  hears(watch)
  hears(romeo)
  await attach(juliet, 'a', attachments(NOTICED))
  const item = `${JULIET} headline: items ${SUMMARY} item a with payload`
  t.same([hears(romeo), hears(watch)], [[item], [item]])
  await attach(juliet, 'a', attachments(NOTICED, "<other xmlns='urn:other'/>"))
  t.same(hears(romeo), [], 'an unknown attachment is stored, and counts for nothing')
  t.match((await get(romeo, beside('a'))).toString(), 'urn:other')
})

t.test('§4.1 attachments go with their item and with their node', async t => {
  const { juliet, romeo } = await stage(t)
  await pubsub(romeo, 'set', `<subscribe node='${SUMMARY}' jid='${ROMEO}'/>`, { to: JULIET })
  for (const id of ['a', 'b']) await attach(romeo, id, attachments(NOTICED))
  await publishes(juliet, 'n', ['b'])
  t.same(itemIds(await get(romeo, SUMMARY)), ['a', 'b'], 'an item that is published again keeps them')
  hears(romeo)
  await pubsub(juliet, 'set', "<retract node='n'><item id='a'/></retract>")
  t.same(hears(romeo), [`${JULIET} headline: items ${SUMMARY} retract a`])
  t.equal(outcome(await get(romeo, beside('a'))), 'cancel item-not-found')
  t.same(itemIds(await get(romeo, SUMMARY)), ['b'])
  await pubsub(juliet, 'set', `<configure node='n'>${form('node_config', { max_items: '1' })}</configure>`, { owner: true })
  await publishes(juliet, 'n', ['c'])
  t.same(itemIds(await get(romeo, SUMMARY)), [], 'the oldest item was removed for a new one')
  await attach(romeo, 'c', attachments(NOTICED))
  await pubsub(juliet, 'set', "<purge node='n'/>", { owner: true })
  t.same(itemIds(await get(romeo, SUMMARY)), [])
  t.equal(outcome(await get(romeo, beside('c'))), 'cancel item-not-found')
  await publishes(juliet, 'n', ['d'])
  await attach(romeo, 'd', attachments(NOTICED))
  hears(romeo)
  await pubsub(juliet, 'set', "<delete node='n'/>", { owner: true })
  t.ok(hears(romeo).includes(`${JULIET} headline: delete ${SUMMARY}`))
  for (const node of [SUMMARY, beside('d')]) t.equal(outcome(await get(romeo, node)), 'cancel item-not-found')
})

t.test('§4.1 an owner removes the attachments of others', async t => {
  const { juliet, romeo } = await stage(t)
  for (const id of ['a', 'b']) await attach(romeo, id, attachments(NOTICED))
  t.equal(outcome(await pubsub(juliet, 'set', `<retract node='${beside('a')}'><item id='${ROMEO}'/></retract>`)), 'result')
  t.same(itemIds(await get(juliet, SUMMARY)), ['b'])
  t.equal(outcome(await pubsub(romeo, 'set', `<purge node='${beside('b')}'/>`, { owner: true, to: JULIET })), 'auth forbidden')
  t.equal(outcome(await pubsub(juliet, 'set', `<delete node='${beside('b')}'/>`, { owner: true })), 'result')
  t.same(itemIds(await get(juliet, SUMMARY)), [])
  await attach(juliet, 'a', attachments(NOTICED))
  t.equal(outcome(await pubsub(romeo, 'set', `<retract node='${beside('a')}'><item id='${JULIET}'/></retract>`, { to: JULIET })), 'auth forbidden')
})

t.test('the list of affiliations has no line for each item with attachments', async t => {
  const { juliet, romeo } = await stage(t)
  await attach(romeo, 'a', attachments(NOTICED))
  const listed = async (node = ''): Promise<readonly string[]> =>
    [...(await pubsub(juliet, 'get', `<affiliations${node}/>`)).toString().matchAll(/<affiliation node="([^"]+)"/g)].map(([, name]) => String(name))
  t.same(await listed(), ['n', SUMMARY])
  t.same(await listed(` node='${beside('a')}'`), [beside('a')])
})

t.test('attachments are bounded: bytes, reactions, and the share of the room of an account', async t => {
  const { juliet, romeo } = await stage(t, { settings: { pep: { bytes: '64KiB' } } })
  const long = "<other xmlns='urn:other'>" + 'x'.repeat(17_000) + '</other>'
  t.equal(await attach(romeo, 'a', attachments(long)), 'modify not-acceptable payload-too-big')
  const many = Array.from({ length: 21 }, (_, at) => `r${at}`)
  t.equal(await attach(romeo, 'a', attachments(reactions(...many))), 'modify not-acceptable')
  t.equal(await attach(romeo, 'a', attachments(reactions('x'.repeat(65)))), 'modify not-acceptable')
  const large = "<other xmlns='urn:other'>" + 'x'.repeat(15_000) + '</other>'
  t.equal(await attach(romeo, 'a', attachments(large)), 'result')
  t.equal(await attach(romeo, 'b', attachments(large)), 'result')
  t.equal(await attach(juliet, 'a', attachments(large)), 'cancel resource-constraint')
  t.equal(outcome(await pubsub(juliet, 'set', publishing('m', 'x'))), 'result', 'the other half is for what the account publishes')
})

t.test('at a service, members of a closed node attach, and others learn nothing', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'disco'], services: { [SERVICE]: ['disco', 'pubsub'] }, settings: { pubsub: { hideClosed: true } } })
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const paris = await s.device('paris@montague.lit/street')
  const to = SERVICE
  await pubsub(juliet, 'set', `<create node='n'/><configure>${form('node_config', { access_model: 'whitelist', publish_model: 'open' })}</configure>`, { to })
  await pubsub(juliet, 'set', `<affiliations node='n'><affiliation jid='${ROMEO}' affiliation='member'/></affiliations>`, { to, owner: true })
  await pubsub(juliet, 'set', publishing('n', 'a'), { to })
  t.equal(await attach(romeo, 'a', attachments(NOTICED), SERVICE), 'result')
  t.same(itemIds(await get(romeo, beside('a', SERVICE), SERVICE)), [ROMEO])
  t.equal(await summary(romeo, SERVICE), '<noticed count="1"/>')
  for (const node of [beside('a', SERVICE), SUMMARY, beside('none', SERVICE)]) {
    t.equal(outcome(await get(paris, node, SERVICE)), 'cancel item-not-found')
  }
  await pubsub(juliet, 'set', `<affiliations node='n'><affiliation jid='${ROMEO}' affiliation='outcast'/></affiliations>`, { to, owner: true })
  t.equal(await attach(romeo, 'a', attachments(), SERVICE), 'cancel item-not-found')
})

t.test('one who may publish to a node, but not read it, does not learn which items it has', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'disco'], services: { [SERVICE]: ['disco', 'pubsub'] } })
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const to = SERVICE
  await pubsub(juliet, 'set', `<create node='n'/><configure>${form('node_config', { access_model: 'whitelist', publish_model: 'open' })}</configure>`, { to })
  await pubsub(juliet, 'set', publishing('n', 'a'), { to })
  t.equal(await attach(romeo, 'a', attachments(NOTICED), to), 'auth forbidden')
  t.equal(await attach(romeo, 'none', attachments(NOTICED), to), 'auth forbidden')
})

t.test('attachments to the items of one user leave room for those of others', async t => {
  const s = await scenario(t, { modules: ['presence', 'message', 'disco'], services: { [SERVICE]: ['disco', 'pubsub'] } })
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const to = SERVICE
  const creating = `<create node='n'/><configure>${form('node_config', { publish_model: 'open', max_items: '2000' })}</configure>`
  const outcomes: string[] = []
  await pubsub(juliet, 'set', creating, { to })
  const ids = Array.from({ length: 1000 }, (_, n) => `i${n}`)
  for (let n = 0; n < ids.length; n += 100) await pubsub(juliet, 'set', publishing('n', ...ids.slice(n, n + 100)), { to })
  for (const id of ids) outcomes.push(await attach(romeo, id, attachments(NOTICED), to))
  t.equal(outcomes.filter(one => one === 'result').length, 999, 'one of the thousand nodes has the summaries')
  t.equal(outcomes.at(-1), 'cancel resource-constraint')
  await pubsub(romeo, 'set', creating.replace("'n'", "'m'"), { to })
  await pubsub(romeo, 'set', publishing('m', 'a'), { to })
  const other = beside('a', to).replace('node=n', 'node=m')
  t.equal(outcome(await pubsub(juliet, 'set', attaching(other, JULIET, attachments(NOTICED)), { to })), 'result')
})

t.test('a stored summary that was damaged counts on', async t => {
  const { s, romeo, juliet } = await stage(t)
  t.equal(await attach(romeo, 'a', attachments(NOTICED, reactions('x'))), 'result')
  const counts = `<summary xmlns='urn:xmpp:pubsub-attachments:summary:1'><noticed count='many'/><reactions><reaction count='-1'>x</reaction></reactions></summary>`
  const tally = tallyOfSummary({ id: 'a', publisher: JULIET, at: 0, payload: payloadOf(parseElement(counts)) })
  t.same(tally, { noticed: 1, reactions: new Map([['x', 1]]) })
  t.equal(await attach(juliet, 'a', attachments(NOTICED)), 'result')
  t.equal(await summary(romeo), '<noticed count="2"/><reactions><reaction>x</reaction></reactions>')
  await s.settled()
})
