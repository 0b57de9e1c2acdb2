/** Finding nodes: lists by type (XEP-0462), and what clients need to know to keep copies (XEP-0460). */
import t from 'tap'
import { scenario, type Scenario } from '../scenario.js'
import { form, friends, MODULES, options, outcome, publishes, pubsub, valuesIn } from './stage.js'

const SERVICE = 'pubsub.capulet.lit'
const JULIET = 'juliet@capulet.lit'
const FILTER = 'urn:xmpp:pubsub-filter:0'
const hint = (name: string): string => `{urn:xmpp:pubsub-caching:0}${name}`

function stage (t: Parameters<typeof scenario>[0]): Promise<Scenario> {
  return scenario(t, { modules: MODULES, services: { [SERVICE]: ['disco', 'pubsub'] } })
}

/** Returns the query of disco#items with a filter. */
function filtered (to: string, fields: Readonly<Record<string, readonly string[]>>, type = FILTER): string {
  const all = Object.entries(fields).map(([name, values]) =>
    `<field var='${name}' type='list-multi'>${values.map(one => `<value>${one}</value>`).join('')}</field>`)
  const x = `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>${type}</value></field>${all.join('')}</x>`
  return query(to, `<filter xmlns='${FILTER}'>${x}</filter>`)
}
function query (to: string, content = '', what = 'items', node = ''): string {
  return `<iq type='get' id='d' to='${to}'><query xmlns='http://jabber.org/protocol/disco#${what}'${node}>${content}</query></iq>`
}

t.test('XEP-0462: a list of nodes has only those of the types that are wanted, at a service and at an account', async t => {
  const s = await stage(t)
  await friends(s, JULIET, 'romeo@montague.lit')
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device('romeo@montague.lit/orchard')
  for (const [node, type] of [['blog', 'urn:xmpp:microblog:0'], ['comments', 'urn:t:comments'], ['plain', '']] as const) {
    await pubsub(juliet, 'set', `<create node='${node}'/><configure>${form('node_config', { type })}</configure>`, { to: SERVICE })
    await publishes(juliet, node, ['a'], options({ type }))
  }
  for (const to of [SERVICE, JULIET]) {
    const nodes = async (fields: Parameters<typeof filtered>[1]): Promise<readonly (string | undefined)[]> =>
      [...(await romeo.asks(filtered(to, fields))).toString().matchAll(/node="([^"]+)"/g)].map(([, node]) => node)
    t.match((await romeo.asks(query(to, '', 'info'))).toString(), `var="${FILTER}"`, 'the feature is named')
    t.same(await nodes({ 'included-types': ['urn:xmpp:microblog:0'] }), ['blog'])
    t.same(await nodes({ 'included-types': ['urn:xmpp:microblog:0', ''] }), ['blog', 'plain'], 'an empty type means nodes without one')
    t.same(await nodes({ 'included-types': [] }), [])
    t.same(await nodes({ 'excluded-types': ['urn:t:comments'] }), ['blog', 'plain'])
    t.same(await nodes({ 'excluded-types': [''] }), ['blog', 'comments'])
    t.same(await nodes({}), ['blog', 'comments', 'plain'])
    t.equal(outcome(await romeo.asks(filtered(to, { 'included-types': ['a'], 'excluded-types': ['b'] }))), 'modify bad-request', '§3.2: not both')
    t.equal(outcome(await romeo.asks(filtered(to, { 'included-types': ['a'] }, 'urn:x'))), 'modify bad-request', 'another form')
    t.equal(outcome(await romeo.asks(query(to, `<filter xmlns='${FILTER}'/>`))), 'modify bad-request', 'no form')
  }
  t.equal(outcome(await romeo.asks(filtered('capulet.lit', {}))), 'modify bad-request', 'a domain without nodes does not know filters')
})

t.test('XEP-0462: a filter shows nobody a node that is not listed without it', async t => {
  const s = await stage(t)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device('romeo@montague.lit/orchard')
  await pubsub(juliet, 'set', `<create node='n'/><configure>${form('node_config', { type: 'urn:t', access_model: 'whitelist' })}</configure>`, { to: SERVICE })
  await publishes(juliet, 'n', ['a'], options({ type: 'urn:t' }))
  for (const to of [SERVICE, JULIET]) {
    const reply = (await romeo.asks(filtered(to, { 'included-types': ['urn:t'] }))).toString()
    t.match(reply, 'type="result"')
    t.notMatch(reply, 'node=')
  }
})

t.test('XEP-0460: the metadata of a node say what clients need to know to keep copies of its items', async t => {
  const s = await stage(t)
  const juliet = await s.device(`${JULIET}/balcony`)
  const metadata = async (node: string): Promise<ReadonlyMap<string, readonly string[]>> =>
    valuesIn(await juliet.asks(query(JULIET, '', 'info', ` node='${node}'`)))
  for (const to of [SERVICE, JULIET]) t.match((await juliet.asks(query(to, '', 'info'))).toString(), 'urn:xmpp:pubsub-caching:0')
  await publishes(juliet, 'plain', ['a'])
  const plain = await metadata('plain')
  for (const [name, value] of Object.entries({
    persistence: 'persistent', 'consistent-items': '1', 'consistent-set': '1', 'stable-items': '1', 'always-notify': '0',
    'allowed-for-suggestions': '0', 'purge-keep-last-item': '0',
  })) t.same(plain.get(hint(name)), [value], name)
  t.same([plain.get('max_items'), plain.get('item_expire'), plain.get('access_model')], [['1'], ['max'], ['presence']])

  await publishes(juliet, 'told', ['a'], options({ max_items: 'max', item_expire: '60', notify_config: '1', notify_delete: '1', notify_retract: '1' }))
  const always = await metadata('told')
  t.same(always.get(hint('always-notify')), ['1'])
  t.same([always.get('max_items'), always.get('item_expire')], [['2000'], ['60']], '§6: the limit, as it is known')
  await pubsub(juliet, 'set', `<create node='fleeting'/><configure>${form('node_config', { persist_items: '0' })}</configure>`)
  t.same((await metadata('fleeting')).get(hint('persistence')), ['transient'])
})

t.test('XEP-0460 §12: an owner lets clients suggest a node', async t => {
  const s = await stage(t)
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'])
  const submitted = form('node_config', {}).replace('</x>', `<field var='${hint('allowed-for-suggestions')}'><value>true</value></field></x>`)
  t.equal(outcome(await pubsub(juliet, 'set', `<configure node='n'>${submitted}</configure>`, { owner: true })), 'result')
  const shown = valuesIn(await pubsub(juliet, 'get', "<configure node='n'/>", { owner: true }))
  t.same(shown.get(hint('allowed-for-suggestions')), ['1'])
  t.same(valuesIn(await juliet.asks(query(JULIET, '', 'info', " node='n'"))).get(hint('allowed-for-suggestions')), ['1'])
})
