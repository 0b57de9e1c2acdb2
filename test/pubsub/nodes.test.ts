/** XEP-0060 on the address of an account: each scene is named by the section whose rule it shows. */
import t from 'tap'
import type { Device } from '../device.js'
import { scenario, type Scenario } from '../scenario.js'
import { form, hears, interested, itemIds, MODULES, options, outcome, publishes, publishing, pubsub, valuesIn } from './stage.js'

const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'

/** Juliet, and Romeo, who sees her presence. */
async function pair (s: Scenario): Promise<{ readonly juliet: Device, readonly romeo: Device }> {
  await s.account(JULIET)
  await s.account(ROMEO)
  await s.contact(JULIET, ROMEO)
  await s.contact(ROMEO, JULIET)
  return { juliet: await s.device(`${JULIET}/balcony`), romeo: await s.device(`${ROMEO}/orchard`) }
}

/** A user who is on nobody's roster. */
const stranger = (s: Scenario): Promise<Device> => s.device('paris@montague.lit/street')

const get = (device: Device, node: string, more = '', to = JULIET): ReturnType<typeof pubsub> =>
  pubsub(device, 'get', `<items node='${node}'${more}/>`, { to })
const configure = (node: string, fields: Parameters<typeof form>[1]): string =>
  `<configure node='${node}'>${form('node_config', fields)}</configure>`

// ---- §7.1 Publish ---------------------------------------------------------------------------------------------

t.test('§7.1.2 an item without an id gets one, which the result names', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  const reply = await pubsub(juliet, 'set', "<publish node='n'><item><t xmlns='urn:t'/></item></publish>")
  const [id] = itemIds(await get(juliet, 'n'))
  t.ok(id)
  t.equal(reply.getChild('pubsub')?.getChild('publish')?.getChild('item')?.attrs['id'], id)
})

t.test('§7.1.2 an item with a known id replaces the old one, and is the newest (§12.1)', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  await publishes(juliet, 'n', ['a', 'b'], options({ max_items: '10' }))
  await publishes(juliet, 'n', ['a'])
  t.same(itemIds(await get(juliet, 'n')), ['b', 'a'])
})

t.test('§7.1.2.5 a full node loses its oldest item, retracts it, or refuses the new one', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  const watch = await interested(s, `${JULIET}/watch`, ['discard', 'retract', 'reject'])
  for (const [node, full] of [['discard', 'discard-oldest'], ['retract', 'retract-oldest'], ['reject', 'reject']] as const) {
    await publishes(juliet, node, ['a', 'b'], options({ max_items: '2', publish_node_full: full }))
    hears(watch)
    const reply = outcome(await pubsub(juliet, 'set', publishing(node, 'c')))
    const heard = hears(watch)
    if (node === 'reject') {
      t.equal(reply, 'cancel conflict node-full')
      t.same([heard, itemIds(await get(juliet, node))], [[], ['a', 'b']])
      t.equal(outcome(await pubsub(juliet, 'set', publishing(node, 'a'))), 'result', 'a replaced item needs no room')
      continue
    }
    t.equal(reply, 'result')
    t.same(itemIds(await get(juliet, node)), ['b', 'c'])
    const item = `${JULIET} headline: items ${node} item c with payload`
    t.same(heard, node === 'discard' ? [item] : [`${JULIET} headline: items ${node} retract a`, item])
  }
})

t.test('§7.1.3 a publication that does not fit is refused with the error of its section', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  await publishes(juliet, 'n', ['a'])
  const wrong = async (content: string, device = juliet): Promise<string> =>
    outcome(await pubsub(device, 'set', content, { to: JULIET }))
  t.equal(await wrong(publishing('n', 'b'), romeo), 'auth forbidden', '§7.1.3.1')
  t.equal(await wrong(publishing('none', 'b'), romeo), 'cancel item-not-found', '§7.1.3.3')
  await pubsub(juliet, 'set', configure('n', { max_payload_size: '10' }), { owner: true })
  t.equal(await wrong(publishing('n', 'b')), 'modify not-acceptable payload-too-big', '§7.1.3.5')
  t.equal(await wrong("<publish node='n'><item id='b'><a xmlns='urn:a'/><b xmlns='urn:b'/></item></publish>"), 'modify bad-request invalid-payload', '§7.1.3.6')
  t.equal(await wrong("<publish node='n'/>"), 'modify bad-request item-required', '§7.1.3.7')
  t.equal(await wrong("<publish node='n'><item id='b'/></publish>"), 'modify bad-request payload-required', '§7.1.3.7')
  t.equal(await wrong(`<publish><item id='b'><t xmlns='urn:t'/></item></publish>`), 'modify bad-request nodeid-required')
  await pubsub(juliet, 'set', `<create node='bell'/><configure>${form('node_config', { persist_items: '0', deliver_payloads: '0' })}</configure>`)
  t.equal(await wrong(publishing('bell', 'b')), 'modify bad-request item-forbidden', '§7.1.3.7')
  t.equal(await wrong("<publish node='bell'/>"), 'result')
  t.same(itemIds(await get(juliet, 'n')), ['a'])
})

t.test('§7.1.5 publish-options make a node, and are preconditions of a node that exists', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  const watch = await interested(s, `${JULIET}/watch`, ['n', 'other'])
  await publishes(juliet, 'n', ['a'], options({ access_model: 'open', persist_items: 'true', max_items: 'max' }))
  hears(watch)
  const config = valuesIn(await pubsub(juliet, 'get', "<configure node='n'/>", { owner: true }))
  t.same([config.get('access_model'), config.get('max_items')], [['open'], ['max']])

  t.equal(outcome(await pubsub(juliet, 'set', publishing('n', 'b') + options({ persist_items: '1', max_items: 'max' }))), 'result', 'compared by value')
  hears(watch)
  const refused = 'cancel conflict precondition-not-met'
  t.equal(outcome(await pubsub(juliet, 'set', publishing('n', 'c') + options({ access_model: 'presence' }))), refused)
  t.equal(outcome(await pubsub(juliet, 'set', publishing('n', 'c') + options({ unheard_of: '1' }))), refused)
  t.equal(outcome(await pubsub(juliet, 'set', publishing('other', 'c') + options({ unheard_of: '1' }))), refused)
  t.same(hears(watch), [], 'nobody is told')
  t.same(itemIds(await get(juliet, 'n')), ['a', 'b'])
  t.equal(outcome(await get(juliet, 'other')), 'cancel item-not-found', 'no node was made')
})

t.test('§12.11 several items are published or retracted as a whole, each with a notification of its own', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  const watch = await interested(s, `${JULIET}/watch`, ['n'])
  await publishes(juliet, 'n', ['a', 'b'], options({ max_items: '3' }))
  t.same(hears(watch), ['a', 'b'].map(id => `${JULIET} headline: items n item ${id} with payload`))
  const bad = `<publish node='n'><item id='c'><t xmlns='urn:t'/></item><item id='d'/></publish>`
  t.equal(outcome(await pubsub(juliet, 'set', bad)), 'modify bad-request payload-required')
  t.equal(outcome(await pubsub(juliet, 'set', publishing('n', '1', '2', '3', '4'))), 'cancel not-allowed max-items-exceeded')
  const retract = (...ids: readonly string[]): string => `<retract node='n' notify='1'>${ids.map(id => `<item id='${id}'/>`).join('')}</retract>`
  t.equal(outcome(await pubsub(juliet, 'set', retract('a', 'none'))), 'cancel item-not-found')
  t.same(hears(watch), [])
  t.same(itemIds(await get(juliet, 'n')), ['a', 'b'])
  t.equal(outcome(await pubsub(juliet, 'set', retract('a', 'b'))), 'result')
  t.same(hears(watch), ['a', 'b'].map(id => `${JULIET} headline: items n retract ${id}`))
  t.same(itemIds(await get(juliet, 'n')), [])
})

// ---- §7.2 Retract, §8.4 delete, §8.5 purge --------------------------------------------------------------------

t.test('§7.2.3 a retraction that cannot be done is refused', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  await publishes(juliet, 'n', ['a'])
  const wrong = async (content: string, device = juliet): Promise<string> => outcome(await pubsub(device, 'set', content, { to: JULIET }))
  t.equal(await wrong("<retract node='n'><item id='a'/></retract>", romeo), 'auth forbidden', '§7.2.3.1')
  t.equal(await wrong("<retract node='none'><item id='a'/></retract>"), 'cancel item-not-found', '§7.2.3.2')
  t.equal(await wrong("<retract><item id='a'/></retract>"), 'modify bad-request nodeid-required', '§7.2.3.3')
  t.equal(await wrong("<retract node='n'/>"), 'modify bad-request item-required', '§7.2.3.4')
  t.equal(await wrong("<retract node='n'><item/></retract>"), 'modify bad-request item-required', '§7.2.3.4')
  await pubsub(juliet, 'set', `<create node='passing'/><configure>${form('node_config', { persist_items: '0' })}</configure>`)
  t.equal(await wrong("<retract node='passing'><item id='a'/></retract>"), 'cancel feature-not-implemented unsupported:persistent-items', '§7.2.3.5')
})

t.test('§8.4, §8.5 a purged node is empty, a deleted one is gone, and both are told of once', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  const watch = await interested(s, `${ROMEO}/watch`, ['n'])
  await publishes(juliet, 'n', ['a', 'b'], options({ max_items: '5' }))
  hears(watch)
  t.equal(outcome(await pubsub(romeo, 'set', "<purge node='n'/>", { owner: true, to: JULIET })), 'auth forbidden', '§8.5.3.2')
  t.equal(outcome(await pubsub(romeo, 'set', "<delete node='n'/>", { owner: true, to: JULIET })), 'auth forbidden', '§8.4.3.1')
  t.equal(outcome(await pubsub(juliet, 'set', "<purge node='n'/>", { owner: true })), 'result')
  t.same(hears(watch), [`${JULIET} headline: purge n`])
  t.same(itemIds(await get(juliet, 'n')), [])
  await publishes(juliet, 'n', ['c'])
  hears(watch)
  t.equal(outcome(await pubsub(juliet, 'set', "<delete node='n'><redirect uri='xmpp:x'/></delete>", { owner: true })), 'result')
  t.match(watch.unread.map(String).join(''), /<redirect uri="xmpp:x"\/>/)
  t.same(hears(watch), [`${JULIET} headline: delete n`])
  t.equal(outcome(await get(romeo, 'n')), 'cancel item-not-found')
  t.equal(outcome(await pubsub(juliet, 'set', "<delete node='n'/>", { owner: true })), 'cancel item-not-found', '§8.4.3.2')
})

t.test('a node that is deleted and made again has none of its items, subscriptions and affiliations', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  await publishes(juliet, 'n', ['a'], options({ access_model: 'open' }))
  await pubsub(romeo, 'set', `<subscribe node='n' jid='${ROMEO}'/>`, { to: JULIET })
  await pubsub(juliet, 'set', `<affiliations node='n'><affiliation jid='${ROMEO}' affiliation='publisher'/></affiliations>`, { owner: true })
  await pubsub(juliet, 'set', "<delete node='n'/>", { owner: true })
  await publishes(juliet, 'n', ['b'], options({ access_model: 'whitelist' }))
  t.same(itemIds(await get(juliet, 'n')), ['b'])
  t.equal(outcome(await get(romeo, 'n')), 'cancel not-allowed closed-node')
  t.notMatch((await pubsub(juliet, 'get', "<affiliations node='n'/>", { owner: true })).toString(), ROMEO)
  t.notMatch((await pubsub(juliet, 'get', "<subscriptions node='n'/>", { owner: true })).toString(), ROMEO)
})

// ---- §8.1 Create, §8.2 configure ------------------------------------------------------------------------------

t.test('§8.1 a node is made with a name, with one that it gets, and with a configuration', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  t.equal(outcome(await pubsub(juliet, 'set', "<create node='n'/>")), 'result')
  t.equal(outcome(await pubsub(juliet, 'set', "<create node='n'/>")), 'cancel conflict', '§8.1.1')
  t.equal(outcome(await pubsub(romeo, 'set', "<create node='m'/>", { to: JULIET })), 'auth forbidden', '§8.1.1')
  const instant = (await pubsub(juliet, 'set', '<create/>')).getChild('pubsub')?.getChild('create')?.attrs['node']
  t.same(itemIds(await get(juliet, String(instant))), [])
  const made = `<create node='o'/><configure>${form('node_config', { access_model: 'open', title: 'O', unheard_of: '1' })}</configure>`
  t.equal(outcome(await pubsub(juliet, 'set', made)), 'result', 'an unknown field is ignored (XEP-0004 §3.1)')
  const config = valuesIn(await pubsub(juliet, 'get', "<configure node='o'/>", { owner: true }))
  t.same([config.get('access_model'), config.get('title')], [['open'], ['O']])
  const odd = `<create node='p'/><configure>${form('node_config', { access_model: 'friends' })}</configure>`
  t.equal(outcome(await pubsub(juliet, 'set', odd)), 'modify not-acceptable unsupported-access-model', '§8.1.2')
  t.equal(outcome(await pubsub(juliet, 'set', "<create node='q'/><configure node='q'/>")), 'modify bad-request', '§8.1.3')
})

t.test('§8.2 the form of a node, sent back as it is, succeeds and changes nothing', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  for (const [node, fields] of [['plain', {}], ['full', { max_items: 'max', item_expire: '60', roster_groups_allowed: ['a', 'b'], access_model: 'roster', title: '<&>'.replace('<&>', '&lt;&amp;') }]] as const) {
    await publishes(juliet, node, ['a'], options(fields))
    const shown = await pubsub(juliet, 'get', `<configure node='${node}'/>`, { owner: true })
    const sent = shown.getChild('pubsub')?.getChild('configure')?.getChild('x')
    sent?.attr('type', 'submit')
    t.equal(outcome(await pubsub(juliet, 'set', `<configure node='${node}'>${String(sent)}</configure>`, { owner: true })), 'result')
    t.same([...valuesIn(await pubsub(juliet, 'get', `<configure node='${node}'/>`, { owner: true }))], [...valuesIn(shown)])
    t.same(itemIds(await get(juliet, node)), ['a'])
    const single = [...valuesIn(shown)].filter(([name]) => !['contact', 'roster_groups_allowed'].includes(name))
    t.ok(single.every(([, values]) => values.length === 1), 'each option has one value')
  }
})

t.test('§8.2 only an owner configures, a cancelled form changes nothing, and values must fit', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  await publishes(juliet, 'n', ['a'])
  t.equal(outcome(await pubsub(romeo, 'get', "<configure node='n'/>", { owner: true, to: JULIET })), 'auth forbidden', '§8.2.3.2')
  t.equal(outcome(await pubsub(juliet, 'get', '<configure/>', { owner: true })), 'modify bad-request nodeid-required', '§8.2.3.3')
  t.equal(outcome(await pubsub(juliet, 'get', "<configure node='none'/>", { owner: true })), 'cancel item-not-found', '§8.2.3.5')
  t.equal(outcome(await pubsub(juliet, 'set', "<configure node='n'><x xmlns='jabber:x:data' type='cancel'/></configure>", { owner: true })), 'result')
  for (const fields of [{ max_items: '-1' }, { max_items: 'many' }, { persist_items: 'perhaps' }, { publish_model: 'anybody' }]) {
    t.equal(outcome(await pubsub(juliet, 'set', configure('n', fields), { owner: true })), 'modify not-acceptable', JSON.stringify(fields))
  }
  t.equal(outcome(await pubsub(juliet, 'set', configure('n', { access_model: 'friends' }), { owner: true })), 'modify not-acceptable unsupported-access-model')
})

t.test('§8.2.5.3 subscribers are told of a new configuration if the node says so; a smaller node loses its oldest items', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  const watch = await interested(s, `${JULIET}/watch`, ['n'])
  await publishes(juliet, 'n', ['a', 'b', 'c'], options({ max_items: '5' }))
  hears(watch)
  await pubsub(juliet, 'set', configure('n', { max_items: '2' }), { owner: true })
  t.same(hears(watch), [])
  t.same(itemIds(await get(juliet, 'n')), ['b', 'c'])
  await pubsub(juliet, 'set', configure('n', { notify_config: '1' }), { owner: true })
  t.same(hears(watch), [`${JULIET} headline: configuration n`])
})

t.test('§8.3 the default configuration of a node is shown', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  const values = valuesIn(await pubsub(juliet, 'get', '<default/>', { owner: true }))
  t.same(['access_model', 'max_items', 'persist_items', 'send_last_published_item', 'notification_type', 'notify_retract', 'notify_delete', 'deliver_payloads']
    .map(name => values.get(name)?.[0]), ['presence', '1', '1', 'on_sub_and_presence', 'headline', '1', '1', '1'])
})

// ---- §6.5 Retrieve --------------------------------------------------------------------------------------------

t.test('§6.5 items are read as a whole, by id, the newest N, and in pages', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  const all = Array.from({ length: 7 }, (_, i) => `i${i}`)
  await publishes(juliet, 'n', all, options({ max_items: 'max' }))
  t.same(itemIds(await get(romeo, 'n')), all)
  t.same(itemIds(await get(romeo, 'n', " max_items='2'")), ['i5', 'i6'], '§6.5.7')
  t.equal(outcome(await get(romeo, 'n', " max_items='x'")), 'modify bad-request')
  const byId = await pubsub(romeo, 'get', "<items node='n'><item id='i3'/><item id='none'/><item id='i1'/></items>", { to: JULIET })
  t.same(itemIds(byId), ['i1', 'i3'], '§6.5.8, §6.5.9.12')
  const page = async (set: string): Promise<readonly [readonly string[], string | undefined]> => {
    const reply = await pubsub(romeo, 'get', `<items node='n'/><set xmlns='http://jabber.org/protocol/rsm'>${set}</set>`, { to: JULIET })
    return [itemIds(reply), reply.getChild('pubsub')?.getChild('set')?.getChildText('count') ?? undefined]
  }
  t.same(await page('<max>3</max>'), [['i0', 'i1', 'i2'], '7'], '§6.5.4')
  t.same(await page('<max>3</max><after>i2</after>'), [['i3', 'i4', 'i5'], '7'])
  t.same(await page('<max>3</max><before/>'), [['i4', 'i5', 'i6'], '7'])
  t.same(await page('<max>2</max><before>i4</before>'), [['i2', 'i3'], '7'])
  t.same(await page('<max>0</max>'), [[], '7'])
  const unknown = "<items node='n'/><set xmlns='http://jabber.org/protocol/rsm'><after>none</after></set>"
  t.equal(outcome(await pubsub(romeo, 'get', unknown, { to: JULIET })), 'cancel item-not-found', 'XEP-0059 §2.2')
  t.equal(outcome(await get(romeo, 'none')), 'cancel item-not-found', '§6.5.9.10')
})

t.test('items expire as the node says, and a transient node has none to read (§6.5.9.4)', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  await publishes(juliet, 'n', ['a'], options({ max_items: '5', item_expire: '60' }))
  await s.pass('50s')
  await publishes(juliet, 'n', ['b'])
  await s.pass('20s')
  t.same(itemIds(await get(juliet, 'n')), ['b'])
  await publishes(juliet, 'passing', ['a'], options({ persist_items: '0' }))
  t.equal(outcome(await get(juliet, 'passing')), 'cancel feature-not-implemented unsupported:persistent-items')
})

t.test('§12.17 items name their publisher if the node says so, whatever the publisher wrote', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  await publishes(juliet, 'n', ['a'], options({ publish_model: 'open', itemreply: 'publisher', max_items: '5' }))
  const forged = `<publish node='n'><item id='b' publisher='${JULIET}'><t xmlns='urn:t'/></item></publish>`
  t.equal(outcome(await pubsub(romeo, 'set', forged, { to: JULIET })), 'result')
  const reply = (await get(juliet, 'n')).toString()
  t.match(reply, `id="a" publisher="${JULIET}"`)
  t.match(reply, `id="b" publisher="${ROMEO}"`)
})

// ---- §4.5 Access models, §4.1 affiliations --------------------------------------------------------------------

t.test('§4.5 each access model lets in whom it says, and a stranger gets the answer of a missing account', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  const paris = await stranger(s)
  const put = (groups: string): string => `<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='${ROMEO}'>${groups}</item></query></iq>`
  const missing = 'cancel service-unavailable'
  const table = [
    ['open', {}, 'result', 'result'],
    ['presence', {}, 'result', missing],
    ['roster', { roster_groups_allowed: ['friends'] }, 'auth not-authorized not-in-roster-group', missing],
    ['authorize', {}, 'auth not-authorized not-subscribed', missing],
    ['whitelist', {}, 'cancel not-allowed closed-node', missing],
  ] as const
  for (const [model, more, ofRomeo, ofParis] of table) {
    await publishes(juliet, model, ['a'], options({ access_model: model, ...more }))
    t.equal(outcome(await get(juliet, model)), 'result', `${model}: the owner`)
    t.equal(outcome(await get(romeo, model)), ofRomeo, `${model}: a contact`)
    t.equal(outcome(await get(paris, model)), ofParis, `${model}: a stranger`)
    const subscribe = async (device: Device, jid: string): Promise<string> =>
      outcome(await pubsub(device, 'set', `<subscribe node='${model}' jid='${jid}'/>`, { to: JULIET }))
    t.equal(await subscribe(paris, 'paris@montague.lit'), ofParis, `${model}: a stranger subscribes`)
    t.equal(await subscribe(romeo, ROMEO), model === 'authorize' ? 'result' : ofRomeo, `${model}: a contact subscribes`)
  }
  await juliet.asks(put('<group>friends</group>'))
  t.equal(outcome(await get(romeo, 'roster')), 'result', 'in the group')
  await juliet.asks(put('<group>others</group>'))
  t.equal(outcome(await get(romeo, 'roster')), 'auth not-authorized not-in-roster-group', 'at once')
  t.equal(outcome(await get(paris, 'none')), missing)
  t.equal(outcome(await get(paris, 'none', '', 'nobody@capulet.lit')), missing)
  const tybalt = await s.device('tybalt@montague.lit/x')
  t.equal(outcome(await pubsub(tybalt, 'get', '<subscriptions/>', { to: JULIET })), missing)
  t.equal(outcome(await pubsub(tybalt, 'get', '<affiliations/>', { to: JULIET })), missing)
})

t.test('§8.9 affiliations decide who reads, publishes and owns', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  const paris = await stranger(s)
  await publishes(juliet, 'n', ['a'], options({ access_model: 'whitelist', max_items: '5' }))
  const affiliate = async (device: Device, ...pairs: readonly (readonly [string, string])[]): Promise<string> => outcome(await pubsub(device, 'set',
    `<affiliations node='n'>${pairs.map(([jid, affiliation]) => `<affiliation jid='${jid}' affiliation='${affiliation}'/>`).join('')}</affiliations>`, { owner: true, to: JULIET }))
  t.equal(await affiliate(romeo, [ROMEO, 'owner']), 'auth forbidden', '§8.9.2.3.3')
  t.equal(await affiliate(juliet, [ROMEO, 'member'], ['paris@montague.lit', 'publish-only']), 'result')
  t.equal(outcome(await get(romeo, 'n')), 'result', 'a member reads')
  t.equal(outcome(await pubsub(romeo, 'set', publishing('n', 'r'), { to: JULIET })), 'auth forbidden', 'a member does not publish')
  t.equal(outcome(await pubsub(paris, 'set', publishing('n', 'p'), { to: JULIET })), 'result', 'one who may only publish')
  t.equal(outcome(await get(paris, 'n')), 'cancel service-unavailable', '… and not read')
  t.equal(outcome(await pubsub(paris, 'set', "<retract node='n'><item id='a'/></retract>", { to: JULIET })), 'cancel service-unavailable', 'an item of somebody else')
  t.equal(outcome(await pubsub(paris, 'set', "<retract node='n'><item id='p'/></retract>", { to: JULIET })), 'result', 'the own item')
  t.match((await pubsub(romeo, 'get', '<affiliations/>', { to: JULIET })).toString(), /node="n" affiliation="member"/, '§5.7')
  const list = (await pubsub(juliet, 'get', "<affiliations node='n'/>", { owner: true })).toString()
  t.match(list, /affiliation jid="romeo@montague.lit" affiliation="member"/, '§8.9.1')
  t.equal(await affiliate(juliet, [ROMEO, 'owner'], [ROMEO, 'none']), 'modify bad-request', '§8.9.2.4')
  t.equal(await affiliate(juliet, [JULIET, 'none']), 'modify not-acceptable', '§8.9.2.4')
  t.equal(await affiliate(juliet, [ROMEO, 'outcast'], ['paris@montague.lit', 'none']), 'result')
  await pubsub(juliet, 'set', configure('n', { access_model: 'open' }), { owner: true })
  t.equal(outcome(await get(romeo, 'n')), 'auth forbidden', 'an outcast (§6.5.9.10)')
  t.equal(outcome(await get(paris, 'n')), 'result')
})

// ---- §6.1 to §6.4, §8.6, §8.8 Subscriptions -------------------------------------------------------------------

t.test('§6.1, §6.2 a subscriber gets the last item and notifications until it unsubscribes', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  const paris = await stranger(s)
  await publishes(juliet, 'n', ['a'], options({ access_model: 'open' }))
  const reply = await pubsub(paris, 'set', "<subscribe node='n' jid='paris@montague.lit'/>", { to: JULIET })
  const subscription = reply.getChild('pubsub')?.getChild('subscription')
  t.equal(subscription?.attrs['subscription'], 'subscribed')
  t.same(hears(paris), [`${JULIET} headline: items n item a with payload (delayed)`], '§6.1.7')
  await publishes(juliet, 'n', ['b'])
  t.same(hears(paris), [`${JULIET} headline: items n item b with payload`])
  t.match((await pubsub(paris, 'get', '<subscriptions/>', { to: JULIET })).toString(), /node="n" jid="paris@montague.lit" subscription="subscribed"/, '§5.6')
  t.match((await pubsub(juliet, 'get', "<subscriptions node='n'/>", { owner: true })).toString(), /jid="paris@montague.lit" subscription="subscribed"/, '§8.8.1')
  const again = await pubsub(paris, 'set', "<subscribe node='n' jid='paris@montague.lit'/>", { to: JULIET })
  t.equal(again.getChild('pubsub')?.getChild('subscription')?.attrs['subid'], subscription?.attrs['subid'], '§6.1.6')
  t.equal(outcome(await pubsub(juliet, 'set', `<unsubscribe node='n' jid='${JULIET}'/>`)), 'cancel unexpected-request not-subscribed', '§6.2.3.2')
  t.equal(outcome(await pubsub(juliet, 'set', "<unsubscribe node='n' jid='paris@montague.lit'/>")), 'auth forbidden', '§6.2.3.3')
  t.equal(outcome(await pubsub(juliet, 'set', `<unsubscribe node='none' jid='${JULIET}'/>`)), 'cancel item-not-found', '§6.2.3.4')
  t.equal(outcome(await pubsub(juliet, 'set', "<subscribe node='n' jid='romeo@montague.lit'/>")), 'modify bad-request invalid-jid', '§6.1.3.1')
  t.equal(outcome(await pubsub(paris, 'set', "<unsubscribe node='n' jid='paris@montague.lit'/>", { to: JULIET })), 'result')
  paris.forget()
  await publishes(juliet, 'n', ['c'])
  t.same(hears(paris), [])
})

t.test('§6.3, §6.4 a subscriber chooses whether and how long it is notified', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  await publishes(juliet, 'n', ['a'])
  const to = JULIET
  const chosen = form('subscribe_options', { deliver: '0' })
  t.match((await pubsub(romeo, 'set', `<subscribe node='n' jid='${ROMEO}'/><options>${chosen}</options>`, { to })).toString(), /subscribe_options/, '§6.3.7')
  hears(romeo)
  await publishes(juliet, 'n', ['b'])
  t.same(hears(romeo), [])
  const set = async (fields: Parameters<typeof form>[1], jid = ROMEO): Promise<string> =>
    outcome(await pubsub(romeo, 'set', `<options node='n' jid='${jid}'>${form('subscribe_options', fields)}</options>`, { to }))
  t.equal(await set({ deliver: '1' }), 'result', '§6.3.6.1')
  await publishes(juliet, 'n', ['c'])
  t.equal(hears(romeo).length, 1)
  t.same(valuesIn(await pubsub(romeo, 'get', `<options node='n' jid='${ROMEO}'/>`, { to })).get('deliver'), ['1'], '§6.3.3')
  t.equal(await set({ expire: 'soon' }), 'modify bad-request invalid-options', '§6.3.6.2')
  t.equal(await set({ deliver: '1' }, `${ROMEO}/x`), 'cancel unexpected-request not-subscribed', '§6.3.4.2')
  t.equal(await set({ deliver: '1' }, JULIET), 'auth forbidden', '§6.3.4.1')
  t.equal(outcome(await pubsub(romeo, 'get', "<options node='n'/>", { to })), 'modify bad-request jid-required', '§6.3.4.3')
  t.equal(outcome(await pubsub(romeo, 'get', `<options node='n' jid='${ROMEO}' subid='other'/>`, { to })), 'modify not-acceptable invalid-subid', '§6.3.4.5')
  t.equal(await set({ expire: new Date(s.clock.now() + 60_000).toISOString() }), 'result', '§12.19')
  await s.pass('61s')
  await publishes(juliet, 'n', ['d'])
  t.same(hears(romeo), [], 'the lease has ended')
  t.same(valuesIn(await pubsub(romeo, 'get', '<default/>', { to })).get('deliver'), ['1'], '§6.4')
})

t.test('§8.6 an owner approves or refuses who wants to subscribe', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  await publishes(juliet, 'n', ['a'], options({ access_model: 'authorize' }))
  juliet.forget()
  const subscribe = (): ReturnType<typeof pubsub> => pubsub(romeo, 'set', `<subscribe node='n' jid='${ROMEO}'/>`, { to: JULIET })
  for (const isAllowed of [false, true]) {
    t.match((await subscribe()).toString(), /subscription="pending"/, '§6.1.4')
    t.equal(outcome(await subscribe()), 'auth not-authorized pending-subscription', '§6.1.3.7')
    t.equal(outcome(await get(romeo, 'n')), 'auth not-authorized not-subscribed', '§6.5.9.3')
    const request = juliet.unread.find(one => one.name === 'message')
    const values = valuesIn(request ?? juliet.unread[0] as never)
    t.same([values.get('node'), values.get('subscriber_jid')], [['n'], [ROMEO]])
    juliet.forget()
    const answer = form('subscribe_authorization', { node: 'n', subscriber_jid: ROMEO, allow: isAllowed ? '1' : '0' })
    await juliet.says(`<message id='x'>${answer}</message>`)
    const state = `${JULIET} normal: subscription n ${isAllowed ? 'subscribed' : 'none'}`
    t.same(hears(romeo), isAllowed ? [state, `${JULIET} headline: items n item a with payload (delayed)`] : [state], '§12.14')
    t.same(juliet.unread.map(String), [], 'the answer is not delivered to the devices')
  }
  t.equal(outcome(await get(romeo, 'n')), 'result')
})

t.test('§8.8.2 an owner ends subscriptions, and subscribes nobody who did not ask', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  await publishes(juliet, 'n', ['a'])
  await pubsub(romeo, 'set', `<subscribe node='n' jid='${ROMEO}'/>`, { to: JULIET })
  hears(romeo)
  const set = async (jid: string, state: string): Promise<string> =>
    outcome(await pubsub(juliet, 'set', `<subscriptions node='n'><subscription jid='${jid}' subscription='${state}'/></subscriptions>`, { owner: true }))
  t.equal(await set('nurse@capulet.lit', 'subscribed'), 'modify not-acceptable')
  t.equal(await set(ROMEO, 'odd'), 'modify not-acceptable')
  t.equal(await set(ROMEO, 'none'), 'result')
  t.same(hears(romeo), [`${JULIET} normal: subscription n none`], '§8.8.4')
  t.equal(outcome(await pubsub(romeo, 'get', "<subscriptions node='n'/>", { owner: true, to: JULIET })), 'auth forbidden', '§8.8.1.3')
})

// ---- §5 Discovery ---------------------------------------------------------------------------------------------

t.test('§5 the account shows its features, its nodes and their metadata to those who may know them', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  const paris = await stranger(s)
  await publishes(juliet, 'open', ['a', 'b'], options({ access_model: 'open', max_items: '5', title: 'Open' }))
  await publishes(juliet, 'friends', ['a'])
  await publishes(juliet, 'own', ['a'], options({ access_model: 'whitelist' }))
  const disco = async (device: Device, what: 'info' | 'items', node = '', to = JULIET): Promise<string> =>
    (await device.asks(`<iq type='get' id='d' to='${to}'><query xmlns='http://jabber.org/protocol/disco#${what}'${node === '' ? '' : ` node='${node}'`}/></iq>`)).toString()
  const info = await disco(juliet, 'info')
  t.match(info, '<identity category="pubsub" type="pep"/>')
  for (const name of ['publish', 'publish-options', 'auto-create', 'persistent-items', 'config-node-max', 'filtered-notifications', 'item-ids', 'multi-items', 'delete-nodes', 'rsm']) {
    t.match(info, `"http://jabber.org/protocol/pubsub#${name}"`)
  }
  const nodes = async (device: Device): Promise<readonly string[]> => [...(await disco(device, 'items')).matchAll(/node="([^"]+)"/g)].map(([, node]) => String(node))
  t.same([await nodes(juliet), await nodes(romeo), await nodes(paris)], [['open', 'friends', 'own'], ['open', 'friends'], ['open']])
  for (const device of [romeo, paris]) {
    const shown = await disco(device, 'info', 'open')
    t.match(shown, /category="pubsub" type="leaf"/)
    t.match(shown, /pubsub#num_items.*?<value>2</)
    t.match(await disco(device, 'items', 'open'), /<item jid="juliet@capulet.lit" name="a"\/><item jid="juliet@capulet.lit" name="b"\/>/, '§5.5')
  }
  for (const node of ['friends', 'own', 'none']) {
    t.match(await disco(paris, 'info', node), /service-unavailable/, node)
    t.equal((await disco(paris, 'items', node)).replace(JULIET, ''), (await disco(paris, 'items', node, 'nobody@capulet.lit')).replace('nobody@capulet.lit', ''))
  }
  t.match(await disco(romeo, 'info', 'none'), /item-not-found/)
})

t.test('what the server does not know is refused', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  t.equal(outcome(await pubsub(juliet, 'set', '<dance/>')), 'cancel feature-not-implemented')
  t.equal(outcome(await pubsub(juliet, 'get', "<items node='a'/><subscriptions/>")), 'modify bad-request')
  t.equal(outcome(await pubsub(juliet, 'get', "<default type='collection'/>", { owner: true })), 'cancel feature-not-implemented unsupported:collections')
  const collection = `<create node='c'/><configure>${form('node_config', { node_type: 'collection' })}</configure>`
  t.equal(outcome(await pubsub(juliet, 'set', collection)), 'cancel feature-not-implemented unsupported:collections')
  t.equal(outcome(await pubsub(juliet, 'set', "<collection node='a'><associate node='b'/></collection>", { owner: true })), 'cancel feature-not-implemented unsupported:collections')
})

// ---- Bounds -----------------------------------------------------------------------------------------------------

t.test('expired items count once, however many items are published together', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { pep: { items: 100 } } })
  const { juliet } = await pair(s)
  await publishes(juliet, 'n', ['a', 'b', 'c'], options({ max_items: 'max', item_expire: '60' }))
  await s.pass('61s')
  await publishes(juliet, 'n', ['d', 'e', 'a', 'f'])
  t.same(itemIds(await get(juliet, 'n')), ['d', 'e', 'a', 'f'], 'an item that is published again stays')
  await publishes(juliet, 'm', Array.from({ length: 96 }, (_, n) => String(n)), options({ max_items: 'max' }))
  t.equal(outcome(await pubsub(juliet, 'set', publishing('m', 'more'))), 'cancel resource-constraint', 'exactly 100 items have room')
})

t.test('one account can fill neither the subscriptions of a node nor the room for nodes', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet } = await pair(s)
  const paris = await stranger(s)
  await publishes(juliet, 'n', ['a'], options({ access_model: 'open' }))
  const subscribe = async (resource: string): Promise<string> =>
    outcome(await pubsub(paris, 'set', `<subscribe node='n' jid='paris@montague.lit/${resource}'/>`, { to: JULIET }))
  for (let n = 0; n < 20; n++) t.equal(await subscribe(`${n}`), 'result')
  t.equal(await subscribe('20'), 'cancel service-unavailable')
  t.equal(await subscribe('19'), 'result', 'one that is subscribed')
})

t.test('disco shows a contact no metadata of a node that it may not read', async t => {
  const s = await scenario(t, { modules: MODULES })
  const { juliet, romeo } = await pair(s)
  for (const model of ['whitelist', 'roster', 'authorize', 'presence']) await publishes(juliet, model, ['a'], options({ access_model: model }))
  const info = async (node: string): Promise<string> =>
    outcome(await romeo.asks(`<iq type='get' id='i${node}' to='${JULIET}'><query xmlns='http://jabber.org/protocol/disco#info' node='${node}'/></iq>`))
  t.same([await info('whitelist'), await info('roster'), await info('none')], ['cancel item-not-found', 'cancel item-not-found', 'cancel item-not-found'])
  t.same([await info('authorize'), await info('presence')], ['result', 'result'])
})
