/** XEP-0442: the items of a node, queried as an archive of messages is (XEP-0313). */
import t from 'tap'
import type { Device } from '../device.js'
import { scenario, type Scenario } from '../scenario.js'
import { form, friends, MODULES, options, outcome, publishes, publishing, pubsub, valuesIn } from './stage.js'

const SERVICE = 'pubsub.capulet.lit'
const to = SERVICE
const MAM = 'urn:xmpp:mam:2'

interface Stage { readonly s: Scenario, readonly juliet: Device, readonly romeo: Device }

async function stage (t: Parameters<typeof scenario>[0], fields: Parameters<typeof form>[1] = {}): Promise<Stage> {
  const s = await scenario(t, { modules: ['presence', 'message', 'disco'], services: { [SERVICE]: ['disco', 'pubsub'] } })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  await pubsub(juliet, 'set', `<create node='n'/><configure>${form('node_config', fields)}</configure>`, { to })
  for (const id of ['a', 'b', 'c', 'd', 'e']) {
    await pubsub(juliet, 'set', publishing('n', id), { to })
    await s.pass('1m')
  }
  return { s, juliet, romeo }
}

/** Returns what a query gets: the ids of its results, and its reply. */
async function queried (device: Device, content = '', attributes = " node='n'"): Promise<readonly [string, string]> {
  device.forget()
  const reply = await device.asks(`<iq type='set' id='q' to='${to}'><query xmlns='${MAM}'${attributes}>${content}</query></iq>`)
  const ids = device.unread.filter(one => one.name === 'message').map(one => one.getChild('result')?.attrs['id'] as string)
  return [ids.join(''), reply.toString()]
}
const set = (content: string): string => `<set xmlns='http://jabber.org/protocol/rsm'>${content}</set>`
const filter = (fields: Readonly<Record<string, string>>): string =>
  `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>${MAM}</value></field>${
    Object.entries(fields).map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`).join('')}</x>`

t.test('a query gets each item in a message of its own, as subscribers were notified, with its time', async t => {
  const { romeo } = await stage(t)
  t.match((await romeo.asks(`<iq type='get' id='i' to='${to}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)).toString(), `var="${MAM}"`)
  const [ids, reply] = await queried(romeo, '', " node='n' queryid='f'")
  t.equal(ids, 'abcde')
  t.match(reply, `<fin xmlns="${MAM}" complete="true"><set xmlns="http://jabber.org/protocol/rsm"><first>a</first><last>e</last>`)
  const [first] = romeo.unread.filter(one => one.name === 'message')
  t.equal(String(first?.attrs['from']), SERVICE)
  t.match(String(first), /<result xmlns="urn:xmpp:mam:2" queryid="f" id="a"><forwarded xmlns="urn:xmpp:forward:0"><delay xmlns="urn:xmpp:delay" stamp="2026-01-01T00:00:00\.000Z"\/><message xmlns="jabber:client" from="pubsub\.capulet\.lit" type="headline"><event xmlns="http:\/\/jabber\.org\/protocol\/pubsub#event"><items node="n"><item id="a"><t xmlns="urn:t">a<\/t>/)
})

t.test('a query chooses by time and by id, and is answered page by page from either end', async t => {
  const { romeo } = await stage(t)
  for (const [content, wanted, isComplete] of [
    [filter({ start: '2026-01-01T00:01:00Z', end: '2026-01-01T00:03:00Z' }), 'bcd', true],
    [filter({ 'after-id': 'b' }), 'cde', true],
    [filter({ 'after-id': 'a', 'before-id': 'd' }), 'bc', true],
    [set('<max>2</max>'), 'ab', false],
    [set('<max>2</max><after>b</after>'), 'cd', false],
    [set('<max>2</max><after>d</after>'), 'e', true],
    [set('<max>2</max><before/>'), 'de', false],
    [set('<max>2</max><before>c</before>'), 'ab', true],
    [filter({ start: '2026-01-01T00:01:00Z' }) + set('<max>2</max><after>c</after>'), 'de', true],
    [`<flip-page/>${set('<max>2</max><before/>')}`, 'ed', false],
  ] as const) {
    const [ids, reply] = await queried(romeo, content)
    t.equal(ids, wanted, content)
    t.equal(reply.includes('complete="true"'), isComplete, content)
  }
  t.match((await queried(romeo, set('<max>0</max>')))[1], '<count>5</count>')
  t.same([...valuesIn(await romeo.asks(`<iq type='get' id='f' to='${to}'><query xmlns='${MAM}' node='n'/></iq>`)).keys()], ['FORM_TYPE', 'start', 'end', 'before-id', 'after-id'])
})

t.test('what is malformed or unknown is refused', async t => {
  const { s, juliet, romeo } = await stage(t)
  for (const [content, attributes, error] of [
    ['', '', 'nodeid-required'], ['', " node='none'", 'item-not-found'], [set('<after>z</after>'), " node='n'", 'item-not-found'],
    [filter({ 'after-id': 'z' }), " node='n'", 'item-not-found'], [filter({ start: 'soon' }), " node='n'", 'bad-request'],
    [filter({ with: 'romeo@montague.lit' }), " node='n'", 'feature-not-implemented'], [set('<index>1</index>'), " node='n'", 'feature-not-implemented'],
    ['', ` node='n' queryid='${'q'.repeat(1025)}'`, 'bad-request'],
  ] as const) t.match(await queried(romeo, content, attributes), ['', error], error)
  await pubsub(juliet, 'set', `<create node='fleeting'/><configure>${form('node_config', { persist_items: '0' })}</configure>`, { to })
  t.match((await queried(romeo, '', " node='fleeting'"))[1], 'persistent-items')
  t.ok(s)
})

t.test('nobody gets items by a query who may not read the node, and expired ones are not there', async t => {
  const { s, juliet, romeo } = await stage(t, { access_model: 'whitelist', item_expire: '180' })
  const reply = await romeo.asks(`<iq type='set' id='q' to='${to}'><query xmlns='${MAM}' node='n'/></iq>`)
  t.equal(outcome(reply), 'cancel not-allowed closed-node')
  t.same(romeo.unread.filter(one => one.name === 'message'), [])
  t.equal((await queried(juliet))[0], 'cde')
  t.ok(s)
})

t.test("the items of accounts' nodes are queried the same way, by those who may read them, and messages are not mixed in", async t => {
  const s = await scenario(t, { modules: [...MODULES, 'mam'] })
  await friends(s, 'juliet@capulet.lit', 'romeo@montague.lit')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const romeo = await s.device('romeo@montague.lit/orchard')
  const paris = await s.device('paris@verona.lit/x')
  await romeo.says("<message to='juliet@capulet.lit' type='chat' id='m'><body>hi</body></message>")
  await publishes(juliet, 'n', ['a', 'b'], options({ max_items: 'max' }))
  await publishes(juliet, 'open', ['c'], options({ access_model: 'open' }))
  const asked = async (device: Device, node: string): Promise<string> => {
    device.forget()
    const reply = await device.asks(`<iq type='set' id='q' to='juliet@capulet.lit'><query xmlns='${MAM}' node='${node}'/></iq>`)
    const ids = device.unread.filter(one => one.name === 'message').map(one => one.getChild('result')?.attrs['id'])
    return reply.attrs['type'] === 'result' ? ids.join('') : outcome(reply)
  }
  t.same([await asked(juliet, 'n'), await asked(romeo, 'n'), await asked(paris, 'n')], ['ab', 'ab', 'cancel service-unavailable'])
  t.same([await asked(paris, 'open'), await asked(paris, 'none')], ['c', 'cancel service-unavailable'])
  t.equal(await asked(romeo, 'none'), 'cancel item-not-found')
  t.equal(outcome(await romeo.asks(`<iq type='set' id='q' to='juliet@capulet.lit'><query xmlns='${MAM}'/></iq>`)), 'auth forbidden', 'nobody reads the archive of another account')
})
