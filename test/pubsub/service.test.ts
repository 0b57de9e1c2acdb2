/** XEP-0060 as a service of its own, at pubsub.capulet.lit. */
import t from 'tap'
import type { Device } from '../device.js'
import { scenario, type Scenario } from '../scenario.js'
import { form, hears, itemIds, options, outcome, publishing, pubsub, valuesIn } from './stage.js'

const SERVICE = 'pubsub.capulet.lit'
const to = SERVICE

function stage (t: Parameters<typeof scenario>[0], more: Parameters<typeof scenario>[1] = {}): Promise<Scenario> {
  return scenario(t, { modules: ['presence', 'message', 'disco'], services: { [SERVICE]: ['disco', 'pubsub'] }, ...more })
}
const item = (node: string, id: string): string => `${SERVICE} headline: items ${node} item ${id} with payload`
const make = (node: string, fields: Parameters<typeof form>[1] = {}): string => `<create node='${node}'/><configure>${form('node_config', fields)}</configure>`
const subscribe = (device: Device, node: string): ReturnType<typeof pubsub> =>
  pubsub(device, 'set', `<subscribe node='${node}' jid='${device.jid.bare.toString()}'/>`, { to })

t.test('a user makes a node, others subscribe, and are told of items, retractions and the end of the node', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  t.equal(outcome(await pubsub(juliet, 'set', publishing('n', 'a'), { to })), 'cancel item-not-found', '§7.1.3.3: no node is made by a publication')
  t.equal(outcome(await pubsub(juliet, 'set', make('n', { max_items: '2', notify_retract: '1' }), { to })), 'result')
  t.equal(outcome(await pubsub(romeo, 'set', publishing('n', 'a'), { to })), 'auth forbidden')
  t.equal(outcome(await pubsub(juliet, 'set', publishing('n', 'a'), { to })), 'result')
  t.equal(outcome(await subscribe(romeo, 'n')), 'result')
  t.same(hears(romeo), [`${item('n', 'a')} (delayed)`])
  for (const id of ['b', 'c']) await pubsub(juliet, 'set', publishing('n', id), { to })
  t.same(hears(romeo), [item('n', 'b'), `${SERVICE} headline: items n retract a`, item('n', 'c')], '§7.1.2.5: the oldest is retracted')
  t.same(itemIds(await pubsub(romeo, 'get', "<items node='n'/>", { to })), ['b', 'c'])
  t.equal(outcome(await pubsub(juliet, 'set', "<delete node='n'/>", { to, owner: true })), 'result')
  t.same(hears(romeo), [`${SERVICE} headline: delete n`])
})

t.test('the service and its nodes are found, and answer disco', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  for (const access of ['open', 'authorize', 'whitelist']) await pubsub(juliet, 'set', make(access, { access_model: access, title: access }), { to })
  const disco = async (what: string, address: string, node = ''): Promise<string> =>
    (await romeo.asks(`<iq type='get' id='d' to='${address}'><query xmlns='http://jabber.org/protocol/disco#${what}'${node}/></iq>`)).toString()
  t.match(await disco('items', 'capulet.lit'), `jid="${SERVICE}"`)
  t.match(await disco('info', SERVICE), /category="pubsub" type="service"/)
  t.match(await disco('info', SERVICE), 'http://jabber.org/protocol/pubsub#create-nodes')
  const nodes = [...(await disco('items', SERVICE)).matchAll(/node="([^"]+)"/g)].map(([, node]) => node)
  t.same(nodes, ['open', 'authorize'], 'those that may be read or subscribed to (§5.2)')
  t.match(await disco('info', SERVICE, " node='open'"), /category="pubsub" type="leaf".*pubsub#meta-data/)
  t.match(await disco('info', SERVICE, " node='none'"), 'item-not-found')
})

t.test('§6.1.4, §8.6 an owner approves a subscription by a message to the service', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  await pubsub(juliet, 'set', make('n', { access_model: 'authorize' }), { to })
  t.match((await subscribe(romeo, 'n')).toString(), 'pending')
  const request = juliet.unread.find(one => one.name === 'message')
  t.ok(request)
  t.same(valuesIn(request ?? juliet.unread[0] as never).get('subscriber_jid'), ['romeo@montague.lit'])
  juliet.forget()
  const answer = form('subscribe_authorization', { node: 'n', subscriber_jid: 'romeo@montague.lit', allow: '1' })
  await romeo.says(`<message to='${SERVICE}' id='x'>${answer}</message>`)
  t.equal(outcome(await pubsub(romeo, 'get', "<items node='n'/>", { to })), 'auth not-authorized not-subscribed', 'nobody approves the own request')
  romeo.forget()
  await juliet.says(`<message to='${SERVICE}' id='x'>${answer}</message>`)
  t.same(hears(romeo), [`${SERVICE} normal: subscription n subscribed`])
  await pubsub(juliet, 'set', publishing('n', 'a'), { to })
  t.same(hears(romeo), [item('n', 'a')])
})

t.test('who makes nodes, and how many, is the choice of the operator', async t => {
  const s = await stage(t, { settings: { pubsub: { creators: 'admins', nodesPerUser: 1 } }, host: { admins: ['juliet@capulet.lit'] } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  t.equal(outcome(await pubsub(romeo, 'set', make('n'), { to })), 'auth forbidden')
  for (const node of ['a', 'b']) t.equal(outcome(await pubsub(juliet, 'set', make(node), { to })), 'result')
  t.equal(outcome(await pubsub(juliet, 'set', make('c', { access_model: 'presence' }), { to })), 'modify not-acceptable unsupported-access-model')
})

t.test('a user makes a limited number of nodes, and closed nodes are hidden if the operator says so', async t => {
  const s = await stage(t, { settings: { pubsub: { nodesPerUser: 2, hideClosed: true } } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  await pubsub(juliet, 'set', make('a', { access_model: 'whitelist' }), { to })
  await pubsub(juliet, 'set', make('b'), { to })
  t.equal(outcome(await pubsub(juliet, 'set', make('c'), { to })), 'cancel not-allowed max-nodes-exceeded')
  t.equal(outcome(await pubsub(romeo, 'set', make('c'), { to })), 'result')
  t.equal(outcome(await pubsub(romeo, 'get', "<items node='a'/>", { to })), 'cancel item-not-found')
  t.equal(outcome(await subscribe(romeo, 'a')), 'cancel item-not-found')
  t.equal(outcome(await pubsub(romeo, 'set', publishing('a', 'x'), { to })), 'cancel item-not-found')
  t.equal(outcome(await pubsub(romeo, 'set', "<delete node='a'/>", { to, owner: true })), 'cancel item-not-found')
  t.equal(outcome(await pubsub(romeo, 'set', "<delete node='b'/>", { to, owner: true })), 'auth forbidden')
  t.equal(outcome(await romeo.asks(`<iq type='get' id='i' to='${to}'><query xmlns='http://jabber.org/protocol/disco#info' node='a'/></iq>`)), 'cancel item-not-found')
  t.equal(outcome(await pubsub(juliet, 'set', publishing('a', 'x') + options({ access_model: 'whitelist' }), { to })), 'result')
})

t.test('a node that is hidden answers each request as one that is missing', async t => {
  const s = await stage(t, { settings: { pubsub: { hideClosed: true } } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  await pubsub(juliet, 'set', make('a', { access_model: 'whitelist' }), { to })
  const jid = "jid='romeo@montague.lit'"
  for (const [type, request] of [
    ['set', `<unsubscribe node='NODE' ${jid}/>`], ['set', "<unsubscribe node='NODE' jid='paris@verona.lit'/>"], ['get', `<options node='NODE' ${jid}/>`],
    ['get', "<options node='NODE'/>"], ['set', `<options node='NODE' ${jid}/>`], ['set', "<publish node='NODE'/>"],
  ] as const) {
    const [hidden, missing] = [await pubsub(romeo, type, request.replace('NODE', 'a'), { to }), await pubsub(romeo, type, request.replace('NODE', 'b'), { to })]
    t.equal(outcome(hidden), outcome(missing), request)
  }
})

t.test('an outcast of a hidden node does not learn of it', async t => {
  const s = await stage(t, { settings: { pubsub: { hideClosed: true } } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  await pubsub(juliet, 'set', make('a', { access_model: 'whitelist' }), { to })
  const affiliate = (affiliation: string): ReturnType<typeof pubsub> => pubsub(juliet, 'set',
    `<affiliations node='a'><affiliation jid='romeo@montague.lit' affiliation='${affiliation}'/></affiliations>`, { to, owner: true })
  await affiliate('member')
  t.match((await pubsub(romeo, 'get', '<affiliations/>', { to })).toString(), 'node="a" affiliation="member"')
  await affiliate('outcast')
  t.notMatch((await pubsub(romeo, 'get', '<affiliations/>', { to })).toString(), 'node="a"')
  t.equal(outcome(await pubsub(romeo, 'get', "<items node='urn:xmpp:pps:subscribers:0/a'/>", { to })), 'cancel item-not-found')
})

t.test('what is told of the configuration of a node names no hidden collection, and no list of addresses', async t => {
  const s = await stage(t, { settings: { pubsub: { hideClosed: true } } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  await pubsub(juliet, 'set', make('secret', { access_model: 'whitelist', node_type: 'collection' }), { to })
  const fields = { children_association_whitelist: 'paris@montague.lit', node_type: 'collection', notify_config: '1' }
  await pubsub(juliet, 'set', make('a', { ...fields, collection: 'secret' }), { to })
  await pubsub(romeo, 'set', "<subscribe node='a' jid='romeo@montague.lit'/>", { to })
  romeo.forget()
  await pubsub(juliet, 'set', `<configure node='a'>${form('node_config', { title: 'New' })}</configure>`, { to, owner: true })
  const told = romeo.unread.join('')
  t.match(told, '<value>New</value>')
  t.notMatch(told, 'secret')
  t.notMatch(told, 'paris')
  romeo.forget()
})

t.test('the root has no list of public subscribers', async t => {
  const s = await stage(t)
  const romeo = await s.device('romeo@montague.lit/orchard')
  const subscribe = "<subscribe jid='romeo@montague.lit'><public xmlns='urn:xmpp:pps:0'/></subscribe>"
  t.equal(outcome(await pubsub(romeo, 'set', subscribe, { to })), 'result')
  t.equal(outcome(await pubsub(romeo, 'get', "<items node='urn:xmpp:pps:subscribers:0/'/>", { to })), 'cancel item-not-found')
})
