/** XEP-0248 at pubsub.capulet.lit: collections of nodes, each scene named by its section. */
import { join } from 'node:path'
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { childElements, namespaceOf, type Element } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { asks } from '../admin/world.js'
import type { Device } from '../device.js'
import { scenario, type Scenario } from '../scenario.js'
import { temporaryFolder } from '../temporary-folder.js'
import { form, hears, outcome, publishing, pubsub, valuesIn } from './stage.js'

const SERVICE = 'pubsub.capulet.lit'
const OTHER = 'news.capulet.lit'
const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'
const PARIS = 'paris@montague.lit'

interface Cast { readonly s: Scenario, readonly juliet: Device, readonly romeo: Device, readonly paris: Device }

let stages = 0

/** Juliet, who makes nodes, and two users who did not. */
async function stage (
  t: Test, settings: Readonly<Record<string, unknown>> = {}, storage = new MemoryStorage(),
): Promise<Cast> {
  const s = await scenario(t, {
    storage, ids: `id${++stages}`,
    modules: ['presence', 'message', 'disco'], settings: { pubsub: settings },
    services: { [SERVICE]: ['disco', 'ad-hoc-commands', 'pubsub'], [OTHER]: ['disco', 'pubsub'] },
  })
  const [juliet, romeo, paris] = [await s.device(`${JULIET}/balcony`), await s.device(`${ROMEO}/orchard`), await s.device(`${PARIS}/street`)]
  return { s, juliet, romeo, paris }
}

type Fields = Parameters<typeof form>[1]
const to = SERVICE
const sets = async (device: Device, content: string): Promise<string> => outcome(await pubsub(device, 'set', content, { to }))
const gets = (device: Device, content: string): Promise<Element> => pubsub(device, 'get', content, { to })
const owns = (device: Device, type: 'get' | 'set', content: string): Promise<Element> => pubsub(device, type, content, { to, owner: true })
const creating = (node: string, fields: Fields): string => `<create node='${node}'/><configure>${form('node_config', fields)}</configure>`
const makes = (device: Device, node: string, fields: Fields = {}): Promise<string> =>
  sets(device, creating(node, fields))
const collects = (device: Device, node: string, fields: Fields = {}): Promise<string> =>
  makes(device, node, { node_type: 'collection', ...fields })
const configures = async (device: Device, node: string, fields: Fields): Promise<string> =>
  outcome(await owns(device, 'set', `<configure node='${node}'>${form('node_config', fields)}</configure>`))
type How = 'associate' | 'dissociate'
const changes = async (device: Device, how: How, collection: string, node: string): Promise<string> =>
  outcome(await owns(device, 'set', `<collection node='${collection}'><${how} node='${node}'/></collection>`))
const shown = async (device: Device, node: string, field: string): Promise<readonly string[] | undefined> =>
  valuesIn(await owns(device, 'get', `<configure node='${node}'/>`)).get(field)
const asking = (device: Device, node: string | undefined, fields?: Fields): string =>
  `<subscribe${node === undefined ? '' : ` node='${node}'`} jid='${device.jid.bare.toString()}'/>${fields === undefined ? '' : `<options>${form('subscribe_options', fields)}</options>`}`
const subscribes = (device: Device, node: string | undefined, fields?: Fields): Promise<string> =>
  sets(device, asking(device, node, fields))
const deletes = async (device: Device, node: string): Promise<string> => outcome(await owns(device, 'set', `<delete node='${node}'/>`))
const all = { subscription_type: 'all', subscription_depth: 'all' }
const items = { subscription_type: 'items', subscription_depth: 'all' }

/** Returns what a device was told since the last call: the event, and the headers. */
function tells (device: Device): readonly string[] {
  const messages = device.unread.filter(({ name }) => name === 'message')
  const found = messages.map(message => {
    const [event, headers] = childElements(message)
    const [what] = event === undefined ? [] : childElements(event)
    const inside = what === undefined ? [] : childElements(what).filter(({ name }) => name !== 'x')
    const names = inside.map(one => `${one.getName()} ${one.attrs['id'] ?? one.attrs['node']}`)
    const isShim = headers !== undefined && namespaceOf(headers) === 'http://jabber.org/protocol/shim'
    const notes = isShim ? childElements(headers).map(one => `${one.attrs['name']}=${one.getText()}`) : []
    return [what?.getName(), what?.attrs['node'], ...names, ...notes].filter(one => one !== undefined).join(' ')
  })
  device.forget()
  return found
}

async function disco (device: Device, what: 'info' | 'items', node?: string): Promise<string> {
  return (await device.asks(`<iq type='get' id='d' to='${SERVICE}'><query xmlns='http://jabber.org/protocol/disco#${what}'${node === undefined ? '' : ` node='${node}'`}/></iq>`)).toString()
}
const nodesIn = async (device: Device, node?: string): Promise<readonly string[]> =>
  [...(await disco(device, 'items', node)).matchAll(/<item [^>]*node="([^"]+)"/g)].map(([, name]) => String(name))

// ---- §5 Discovery and notifications -----------------------------------------------------------------------------

t.test('§5.1, XEP-0131 §2 the service names collections, and the headers of its notifications', async t => {
  const { romeo } = await stage(t)
  const info = await disco(romeo, 'info')
  for (const name of ['pubsub#collections', 'pubsub#multi-collections', 'pubsub#multi-subscribe', 'shim']) t.match(info, `var="http://jabber.org/protocol/${name}"`)
  const headers = await disco(romeo, 'info', 'http://jabber.org/protocol/shim')
  for (const name of ['Collection', 'SubID']) t.match(headers, `var="http://jabber.org/protocol/shim#${name}"`)
})

t.test('§5.2 disco shows the nodes of the root, and those of a collection, that the asker may know', async t => {
  const { juliet, romeo } = await stage(t)
  await collects(juliet, 'blogs', { title: 'Weblogs' })
  await collects(juliet, 'closed', { access_model: 'whitelist' })
  for (const node of ['a', 'b']) await makes(juliet, node, { collection: 'blogs' })
  await makes(juliet, 'secret', { collection: 'blogs', access_model: 'whitelist' })
  await makes(juliet, 'both', { collection: ['', 'blogs'] })
  await makes(juliet, 'news')
  t.same(await nodesIn(romeo), ['blogs', 'both', 'news'])
  t.same(await nodesIn(romeo, 'blogs'), ['a', 'b', 'both'])
  t.same(await nodesIn(juliet, 'blogs'), ['a', 'b', 'secret', 'both'])
  t.match(await disco(romeo, 'items', 'closed'), 'item-not-found')
  const info = await disco(romeo, 'info', 'blogs')
  t.match(info, '<identity category="pubsub" type="collection" name="Weblogs"/>', '§12.4')
  t.match(info, /pubsub#meta-data.*pubsub#creator/)
  t.notMatch(info, 'num_items')
})

t.test('§5.3.1 what happens at a node is told to the subscribers of the collections above it, and names the collection', async t => {
  const { juliet, romeo, paris } = await stage(t)
  await collects(juliet, 'top')
  await collects(juliet, 'blogs', { collection: 'top' })
  t.equal(await subscribes(romeo, 'blogs', all), 'result')
  t.equal(await subscribes(paris, 'top', items), 'result')
  tells(romeo)
  t.equal(await makes(juliet, 'n', { collection: 'blogs', notify_config: '1', notify_retract: '1', deliver_payloads: '0' }), 'result')
  t.same([tells(romeo), tells(paris)], [['create n Collection=blogs'], []], '§5.3.1.2')
  await sets(juliet, publishing('n', 'a', 'b'))
  await sets(juliet, "<retract node='n'><item id='a'/></retract>")
  await owns(juliet, 'set', "<purge node='n'/>")
  for (const [device, name] of [[romeo, 'blogs'], [paris, 'top']] as const) {
    t.same(tells(device), [`items n item a Collection=${name}`, `items n item b Collection=${name}`, `items n retract a Collection=${name}`, `purge n Collection=${name}`], '§5.3.1.1')
  }
  await configures(juliet, 'n', { title: 'N' })
  await deletes(juliet, 'n')
  t.same([tells(romeo), tells(paris)], [['configuration n Collection=blogs', 'delete n Collection=blogs'], []])
})

t.test('§5.3.1 a node decides whether it is told of, and with payloads, and not the collection', async t => {
  const { juliet, romeo } = await stage(t)
  await collects(juliet, 'c', { deliver_payloads: '0' })
  await makes(juliet, 'full', { collection: 'c' })
  await makes(juliet, 'lean', { collection: 'c', deliver_payloads: '0' })
  await makes(juliet, 'mute', { collection: 'c', deliver_notifications: '0', notify_delete: '0' })
  await subscribes(romeo, 'c', all)
  hears(romeo)
  for (const node of ['full', 'lean', 'mute']) await sets(juliet, publishing(node, 'a'))
  await deletes(juliet, 'mute')
  t.same(hears(romeo), [`${SERVICE} headline: items full item a with payload`, `${SERVICE} headline: items lean item a`])
})

t.test('§5.3.2 a node that comes into a collection, and one that leaves it, is told of', async t => {
  const { juliet, romeo, paris } = await stage(t)
  await collects(juliet, 'top')
  await collects(juliet, 'c', { collection: 'top' })
  await makes(juliet, 'n')
  await subscribes(romeo, 'c')
  await subscribes(paris, 'top', { subscription_type: 'nodes', subscription_depth: '2' })
  ;[romeo, paris].forEach(tells)
  t.equal(await changes(juliet, 'associate', 'c', 'n'), 'result')
  t.equal(await changes(juliet, 'associate', 'c', 'n'), 'result', 'it is there already')
  t.same([tells(romeo), tells(paris)], [['collection c associate n'], ['collection c associate n Collection=top']])
  t.equal(await changes(juliet, 'dissociate', 'c', 'n'), 'result')
  t.same([tells(romeo), tells(paris)], [['collection c dissociate n'], ['collection c dissociate n Collection=top']])
  t.equal(await configures(juliet, 'c', { deliver_notifications: '0' }), 'result')
  await changes(juliet, 'associate', 'c', 'n')
  t.same([tells(romeo), tells(paris)], [[], []], 'the collection is configured to send none')
})

t.test('§7.2.1 subscribers to a collection are told of its new configuration if it says so', async t => {
  const { juliet, romeo } = await stage(t)
  await collects(juliet, 'c')
  await subscribes(romeo, 'c')
  tells(romeo)
  for (const [notify_config, lines] of [['0', []], ['1', ['configuration c']]] as const) {
    t.equal(await configures(juliet, 'c', { notify_config, title: 'C' }), 'result')
    t.same(tells(romeo), lines)
  }
})

// ---- §6 Subscribers -----------------------------------------------------------------------------------------------

t.test('§6.1 the type and the depth of a subscription say what is told; the default is nodes of the first level', async t => {
  const { juliet, romeo } = await stage(t)
  await collects(juliet, 'top')
  await collects(juliet, 'mid', { collection: 'top' })
  await makes(juliet, 'high', { collection: 'top' })
  await makes(juliet, 'deep', { collection: 'mid' })
  const reply = await pubsub(romeo, 'set', asking(romeo, 'top'), { to })
  t.match(reply.toString(), /<subscription node="top" jid="romeo@montague.lit" subscription="subscribed"/, '§6.1.2')
  const options = await gets(romeo, `<options node='top' jid='${ROMEO}'/>`)
  t.same([valuesIn(options).get('subscription_type'), valuesIn(options).get('subscription_depth')], [['nodes'], ['1']])
  const chooses = async (subscription_type: string, subscription_depth: string): Promise<string> =>
    await sets(romeo, `<options node='top' jid='${ROMEO}'>${form('subscribe_options', { subscription_type, subscription_depth })}</options>`)
  const heard = async (): Promise<readonly string[]> => {
    tells(romeo)
    for (const node of ['high', 'deep']) await sets(juliet, publishing(node, 'x'))
    for (const [node, collection] of [['one', 'top'], ['two', 'mid']] as const) {
      await makes(juliet, node, { collection, notify_delete: '0' })
      await deletes(juliet, node)
    }
    return tells(romeo).map(line => line.replace(' Collection=top', ''))
  }
  t.same(await heard(), ['create one'])
  for (const [type, depth, lines] of [
    ['nodes', 'all', ['create one', 'create two']],
    ['items', '0', []],
    ['items', '1', ['items high item x']],
    ['items', '2', ['items high item x', 'items deep item x']],
    ['all', 'all', ['items high item x', 'items deep item x', 'create one', 'create two']],
  ] as const) {
    t.equal(await chooses(type, depth), 'result')
    t.same(await heard(), lines, `${type} ${depth}`)
  }
  t.equal(await chooses('items', 'far'), 'modify bad-request invalid-options')
  t.equal(await chooses('odd', '1'), 'modify bad-request invalid-options')
})

t.test('§6.1.3 an address has two subscriptions to a collection if their types differ; otherwise: conflict', async t => {
  const { juliet, romeo } = await stage(t)
  await collects(juliet, 'c')
  t.equal(await subscribes(romeo, 'c', { subscription_type: 'nodes' }), 'result')
  t.equal(await subscribes(romeo, 'c', items), 'result')
  t.equal(await subscribes(romeo, 'c', items), 'result', 'the same one once more')
  t.equal(await subscribes(romeo, 'c', { subscription_type: 'items', subscription_depth: '1' }), 'cancel conflict')
  t.equal(await subscribes(romeo, 'c', all), 'cancel conflict')
  const own = (await gets(romeo, "<subscriptions node='c'/>")).toString()
  const [nodes, published] = [...own.matchAll(/subid="([^"]+)"/g)].map(([, id]) => id)
  t.equal(await sets(romeo, `<options node='c' jid='${ROMEO}' subid='${nodes}'>${form('subscribe_options', all)}</options>`), 'cancel conflict')
  tells(romeo)
  await makes(juliet, 'n', { collection: 'c' })
  await sets(juliet, publishing('n', 'a'))
  t.same(tells(romeo), ['create n Collection=c', `items n item a Collection=c SubID=${published}`])
})

t.test('§6.2 the items of the leaves of a collection are read together, as far as the asker may read them', async t => {
  const { juliet, romeo, paris } = await stage(t)
  await collects(juliet, 'c')
  await collects(juliet, 'closed', { access_model: 'whitelist' })
  for (const [node, fields] of [['a', {}], ['b', {}], ['empty', {}], ['secret', { access_model: 'whitelist' }]] as const) {
    await makes(juliet, node, { collection: ['c', 'closed'], ...fields })
    if (node !== 'empty') await sets(juliet, publishing(node, `${node}1`, `${node}2`))
  }
  const read = async (device: Device, node: string, more = ''): Promise<string> =>
    [...(await gets(device, `<items node='${node}'${more}/>`)).toString().matchAll(/<items node="(\w+)">|<item id="(\w+)"/g)].map(([, name, id]) => name === undefined ? id : `${name}:`).join(' ')
  t.equal(await read(romeo, 'c'), 'a: a1 a2 b: b1 b2')
  t.equal(await read(juliet, 'c', " max_items='1'"), 'a: a2 b: b2 secret: secret2')
  t.equal(outcome(await gets(paris, "<items node='closed'/>")), 'cancel not-allowed closed-node')
  t.equal(outcome(await gets(paris, "<items node='c'><item id='a1'/></items>")), 'cancel feature-not-implemented unsupported:retrieve-items', '§6.2.3')
  await makes(juliet, 'full', { collection: 'c', max_items: 'max' })
  for (let n = 0; n < 10; n++) await sets(juliet, publishing('full', ...Array.from({ length: 100 }, (_, i) => `${n}-${i}`)))
  t.equal(outcome(await gets(romeo, "<items node='c'/>")), 'cancel feature-not-implemented unsupported:retrieve-items', 'too many: nothing is left out without a word')
})

// ---- §7 Owners ----------------------------------------------------------------------------------------------------

t.test('§7.1 a collection is made by its type, holds no items, and only those who may make nodes make one', async t => {
  const { juliet, romeo } = await stage(t, { creators: 'admins' })
  t.equal(await collects(romeo, 'c'), 'auth forbidden', '§7.1.3.3')
  const { juliet: owner } = await stage(t)
  t.not(owner, juliet)
  t.equal(await makes(owner, 'leaf'), 'result')
  t.same(await shown(owner, 'leaf', 'node_type'), ['leaf'])
  t.equal(await collects(owner, 'announcements'), 'result', '§7.1.2')
  t.same(await shown(owner, 'announcements', 'node_type'), ['collection'])
  t.equal(await sets(owner, publishing('announcements', 'a')), 'cancel feature-not-implemented unsupported:publish', '§4.1, XEP-0060 §7.1.3.2')
  t.equal(await sets(owner, "<retract node='announcements'><item id='a'/></retract>"), 'cancel feature-not-implemented unsupported:persistent-items')
  t.equal(outcome(await owns(owner, 'set', "<purge node='announcements'/>")), 'cancel feature-not-implemented unsupported:persistent-items')
})

t.test('§7.2 an owner sees and changes the nodes of a collection, and the collections of a node', async t => {
  const { juliet } = await stage(t)
  for (const node of ['romance', 'boredom']) await makes(juliet, node)
  await collects(juliet, 'blogs')
  t.same(await shown(juliet, 'romance', 'collection'), [''], '§8.1: it is in the root')
  t.equal(await configures(juliet, 'blogs', { node_type: 'collection', children: ['romance', 'boredom'], collection: '' }), 'result', '§7.2.2')
  t.same(await shown(juliet, 'blogs', 'children'), ['romance', 'boredom'])
  t.same(await shown(juliet, 'romance', 'collection'), ['blogs'], '§8.3')
  t.equal(await configures(juliet, 'romance', { collection: '' }), 'result')
  t.same(await shown(juliet, 'blogs', 'children'), ['boredom'], '§8.3')
  t.same(await shown(juliet, 'romance', 'collection'), [''])
  t.equal(await configures(juliet, 'blogs', { children: [] }), 'result')
  t.same(await shown(juliet, 'boredom', 'collection'), [''])
  const fields = async (node: string): Promise<readonly string[]> => [...valuesIn(await owns(juliet, 'get', `<configure node='${node}'/>`)).keys()]
  for (const name of ['children_association_policy', 'children_association_whitelist', 'children_max']) {
    t.ok((await fields('blogs')).includes(name), name)
    t.notOk((await fields('romance')).includes(name), name)
  }
  t.notOk((await fields('blogs')).includes('max_items'))
  const filled = (await owns(juliet, 'get', "<configure node='blogs'/>")).toString()
  t.equal(outcome(await owns(juliet, 'set', `<configure node='blogs'>${/<x.*<\/x>/.exec(filled)?.[0].replace('type="form"', 'type="submit"')}</configure>`)), 'result', 'the form is accepted as it was shown')
})

t.test('§7.2.3 what a collection may not hold is refused, and then nothing changes', async t => {
  const { juliet, romeo } = await stage(t)
  for (const node of ['a', 'b', 'c']) await collects(juliet, node)
  for (const node of ['leaf', 'other']) await makes(juliet, node)
  await makes(romeo, 'his')
  const invalid = 'cancel not-allowed invalid-options'
  t.equal(await configures(juliet, 'leaf', { children: 'other' }), invalid, '§7.2.3.1')
  t.equal(await configures(juliet, 'other', { collection: 'leaf' }), invalid, '§7.2.3.1')
  t.equal(await configures(romeo, 'his', { collection: 'a' }), 'cancel forbidden', '§7.2.3.2')
  t.equal(await makes(romeo, 'new', { collection: 'a' }), 'cancel forbidden')
  t.equal(await configures(juliet, 'a', { children: ['other', 'his'] }), 'cancel forbidden', 'a node of somebody else')
  t.equal(await configures(juliet, 'a', { children_max: '1', children: ['leaf', 'other'] }), 'cancel not-allowed max-nodes-exceeded', '§7.2.3.3')
  t.equal(await configures(juliet, 'a', { children_max: '1', children: ['leaf'] }), 'result')
  t.equal(await configures(juliet, 'other', { collection: 'a' }), 'cancel not-allowed max-nodes-exceeded', '§7.2.3.3')
  t.equal(await configures(juliet, 'a', { children_max: '0' }), 'cancel not-allowed max-nodes-exceeded')
  t.equal(await configures(juliet, 'a', { node_type: 'leaf' }), invalid, '§7.2.3.4')
  t.equal(await configures(juliet, 'b', { collection: 'b' }), invalid, '§7.2.3.5')
  await configures(juliet, 'b', { collection: 'c' })
  t.equal(await configures(juliet, 'c', { collection: 'b' }), invalid, '§7.2.3.5')
  t.equal(await configures(juliet, 'b', { children: 'c' }), invalid, '§7.2.3.5')
  t.equal(await configures(juliet, 'c', { collection: 'none' }), 'cancel item-not-found')
  t.equal(await configures(juliet, 'c', { children: 'none' }), 'cancel item-not-found')
  t.same([await shown(juliet, 'a', 'children'), await shown(juliet, 'b', 'collection'), await shown(juliet, 'other', 'collection')], [['leaf'], ['c'], ['']])
  t.match(await disco(romeo, 'info', 'new'), 'item-not-found')
})

t.test('§7.2.4 a leaf becomes a collection, and loses its items', async t => {
  const { juliet, romeo } = await stage(t)
  await makes(juliet, 'n')
  await sets(juliet, publishing('n', 'a'))
  await subscribes(romeo, 'n')
  hears(romeo)
  t.equal(await configures(juliet, 'n', { node_type: 'collection' }), 'result')
  t.match(await disco(romeo, 'info', 'n'), 'type="collection"')
  t.equal(outcome(await gets(romeo, "<items node='n'/>")), 'result')
  await makes(juliet, 'm', { collection: 'n' })
  t.same(tells(romeo), ['create m Collection=n'], 'its subscribers stay')
})

t.test('§7.3 the default configuration of collections is shown', async t => {
  const { romeo } = await stage(t)
  const values = valuesIn(await owns(romeo, 'get', "<default type='collection'/>"))
  t.same([values.get('node_type'), values.get('children_association_policy'), values.get('access_model')], [['collection'], ['owners'], ['open']])
  t.same(valuesIn(await owns(romeo, 'get', '<default/>')).get('node_type'), ['leaf'])
})

t.test('§7.4, §8.2 the nodes of a deleted collection stay in others, or come into the root, which nobody deletes', async t => {
  const { juliet, romeo, paris } = await stage(t)
  for (const node of ['a', 'b']) await collects(juliet, node)
  await makes(juliet, 'alone', { collection: 'a' })
  await makes(juliet, 'both', { collection: ['a', 'b'] })
  await subscribes(romeo, 'a')
  await subscribes(paris, undefined)
  ;[romeo, paris].forEach(tells)
  t.equal(await deletes(romeo, 'a'), 'auth forbidden')
  t.equal(await deletes(juliet, 'a'), 'result')
  t.same([await shown(juliet, 'alone', 'collection'), await shown(juliet, 'both', 'collection')], [[''], ['b']])
  t.same(await nodesIn(romeo), ['b', 'alone'])
  t.same([tells(romeo), tells(paris)], [['delete a'], ['delete a Collection=', 'collection associate alone']])
  for (const node of ['', " node=''"]) t.equal(outcome(await owns(juliet, 'set', `<delete${node}/>`)), 'cancel not-allowed', '§7.4.3.1')
  await collects(juliet, 'a')
  t.same(await shown(juliet, 'a', 'children'), [], 'a new one of the name is empty')
})

t.test('§7.5 those whom the policy of a collection names put their nodes into it', async t => {
  const { juliet, romeo, paris } = await stage(t)
  for (const [device, node] of [[romeo, 'his'], [paris, 'hers'], [juliet, 'own']] as const) await makes(device, node)
  await collects(juliet, 'c')
  t.equal(await changes(romeo, 'associate', 'c', 'his'), 'cancel forbidden', '§7.5.3.1')
  t.equal(await configures(juliet, 'c', { children_association_policy: 'whitelist', children_association_whitelist: ROMEO }), 'result')
  t.equal(await changes(romeo, 'associate', 'c', 'his'), 'result', '§7.5.2')
  t.equal(await changes(romeo, 'associate', 'c', 'own'), 'cancel forbidden', 'a node of somebody else')
  t.equal(await changes(paris, 'associate', 'c', 'hers'), 'cancel forbidden')
  t.equal(await configures(juliet, 'c', { children_association_policy: 'owner', children_max: '2' }), 'result')
  t.equal(await changes(romeo, 'associate', 'c', 'his'), 'cancel forbidden')
  t.equal(await changes(juliet, 'associate', 'c', 'own'), 'result')
  await configures(juliet, 'c', { children_association_policy: 'all' })
  t.equal(await changes(paris, 'associate', 'c', 'hers'), 'cancel not-allowed max-nodes-exceeded', '§7.5.3.2')
  await configures(juliet, 'c', { children_max: 'max' })
  t.equal(await changes(paris, 'associate', 'c', 'hers'), 'result')
  await collects(juliet, 'd', { collection: 'c' })
  t.equal(await changes(juliet, 'associate', 'd', 'c'), 'cancel not-allowed invalid-options', '§7.5.3.3')
  t.equal(await changes(juliet, 'associate', 'own', 'd'), 'cancel not-allowed invalid-options')
  t.equal(await changes(juliet, 'associate', 'none', 'd'), 'cancel item-not-found')
  t.equal(await changes(juliet, 'associate', 'c', 'none'), 'cancel item-not-found')
  t.same(await shown(juliet, 'c', 'children'), ['his', 'own', 'hers', 'd'])
})

t.test('§7.6 the owner of a collection or of a node takes the node out of it', async t => {
  const { juliet, romeo, paris } = await stage(t)
  await collects(juliet, 'c', { children_association_policy: 'all' })
  for (const node of ['one', 'two']) await makes(romeo, node, { collection: 'c' })
  t.equal(await changes(paris, 'dissociate', 'c', 'one'), 'cancel forbidden', '§7.6.3.2')
  t.equal(await changes(romeo, 'dissociate', 'c', 'one'), 'result', '§7.6.2')
  t.equal(await changes(romeo, 'dissociate', 'c', 'one'), 'modify bad-request', '§7.6.3.1')
  t.equal(await changes(juliet, 'dissociate', 'c', 'one'), 'modify bad-request', '§7.6.3.1')
  t.equal(await changes(juliet, 'dissociate', 'c', 'none'), 'modify bad-request')
  t.equal(await changes(juliet, 'dissociate', 'c', 'two'), 'result')
  t.equal(await changes(romeo, 'dissociate', '', 'two'), 'cancel not-allowed', 'it is nowhere else')
  t.same(await shown(juliet, 'c', 'children'), [])
})

// ---- §8, §10, bounds ----------------------------------------------------------------------------------------------

t.test('§8.1 the root has no name, can be subscribed to, and belongs to the service', async t => {
  const { s, juliet, romeo } = await stage(t)
  t.equal(await subscribes(romeo, undefined, all), 'result')
  await makes(juliet, 'n')
  await sets(juliet, publishing('n', 'a'))
  t.same(tells(romeo), ['create n Collection=', 'items n item a Collection='])
  t.match((await gets(romeo, `<options jid='${ROMEO}'/>`)).toString(), /subscription_depth.*<value>all</, 'XEP-0060 §6.3.2')
  t.match((await gets(romeo, '<subscriptions/>')).toString(), /<subscription node="" jid="romeo@montague.lit"/)
  t.equal(await makes(juliet, ''), 'cancel conflict')
  t.equal(outcome(await owns(juliet, 'set', `<configure node=''>${form('node_config', { title: 'x' })}</configure>`)), 'modify bad-request nodeid-required')
  t.same(await nodesIn(romeo), ['n'], 'it is no node in the list')
  const { juliet: owner, romeo: again } = await stage(t, {}, s.storage)
  await sets(owner, publishing('n', 'b'))
  t.same(tells(again), ['items n item b Collection='], 'after a restart')
  t.equal(await sets(again, `<unsubscribe jid='${ROMEO}'/>`), 'result')
  await sets(owner, publishing('n', 'c'))
  t.same(tells(again), [])
})

t.test('§10.1 a subscriber to a collection is told nothing of a node that it may not know, nor of items that it may not read', async t => {
  const { juliet, romeo } = await stage(t, { hideClosed: true })
  await collects(juliet, 'c')
  await collects(juliet, 'hidden', { collection: 'c', access_model: 'whitelist' })
  await subscribes(romeo, 'c', all)
  tells(romeo)
  for (const [node, model] of [['open', 'open'], ['asked', 'authorize'], ['closed', 'whitelist']] as const) {
    await makes(juliet, node, { collection: 'c', access_model: model, notify_config: '1' })
    await sets(juliet, publishing(node, 'a'))
    await configures(juliet, node, { title: 'x' })
    await deletes(juliet, node)
  }
  await makes(juliet, 'under', { collection: 'hidden' })
  await changes(juliet, 'dissociate', 'hidden', 'under')
  t.same(tells(romeo).map(line => line.replace(' Collection=c', '')), [
    'create open', 'items open item a', 'configuration open', 'delete open', 'create asked', 'delete asked',
  ])
  for (const request of ['associate', 'dissociate'] as const) {
    await makes(romeo, 'his')
    t.equal(await changes(romeo, request, 'hidden', 'his'), await changes(romeo, request, 'none', 'his'), 'a hidden collection counts as missing')
  }
  await collects(romeo, 'mine')
  t.equal(await changes(romeo, 'associate', 'mine', 'hidden'), 'cancel item-not-found')
  t.equal(await configures(romeo, 'mine', { children: 'hidden' }), 'cancel item-not-found')
})

t.test('an address that is subscribed to a node and to collections above it gets one message for each item', async t => {
  const { juliet, romeo } = await stage(t)
  for (const node of ['a', 'b']) await collects(juliet, node)
  await makes(juliet, 'n', { collection: ['a', 'b'] })
  for (const node of ['a', 'b']) await subscribes(romeo, node, items)
  await subscribes(romeo, 'n')
  tells(romeo)
  await sets(juliet, publishing('n', 'x'))
  t.same(tells(romeo), ['items n item x Collection=a Collection=b'])
})

t.test('collections have bounds: levels above each other, and collections of one node', async t => {
  const { juliet } = await stage(t)
  await collects(juliet, 'c0')
  for (let n = 1; n <= 16; n++) t.equal(await collects(juliet, `c${n}`, { collection: `c${n - 1}` }), 'result')
  t.equal(await collects(juliet, 'c17', { collection: 'c16' }), 'modify not-acceptable')
  await collects(juliet, 'over')
  t.equal(await changes(juliet, 'associate', 'over', 'c0'), 'modify not-acceptable')
  const many = Array.from({ length: 11 }, (_, n) => `c${n}`)
  t.equal(await makes(juliet, 'n', { collection: many }), 'modify not-acceptable')
  t.equal(await makes(juliet, 'n', { collection: many.slice(1) }), 'result')
  t.equal(await changes(juliet, 'associate', 'c0', 'n'), 'modify not-acceptable')
})

t.test('a subscription to a collection ends when its address is gone, and when its account is removed', async t => {
  const { s, juliet, romeo } = await stage(t)
  for (const node of ['a', 'b']) await collects(juliet, node)
  const full = `${ROMEO}/orchard`
  for (const node of [" node='a'", " node='b'", '']) await sets(romeo, `<subscribe${node} jid='${full}'/>`)
  await subscribes(romeo, undefined)
  const left = async (device: Device): Promise<readonly string[]> =>
    [...(await gets(device, '<subscriptions/>')).toString().matchAll(/<subscription node="(\w*)" jid="([^"]+)"/g)].map(([, node, jid]) => `${node} ${jid}`)
  const event = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='n'/></event><headers xmlns='http://jabber.org/protocol/shim'><header name='Collection'>a</header></headers>"
  await romeo.says(`<message type='error' to='${SERVICE}' id='x'>${event}<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
  await s.settled()
  t.same(await left(romeo), [` ${full}`, ` ${ROMEO}`, `b ${full}`], 'that which the error names')
  await s.host('montague.lit').removeAccount(parseJid(ROMEO))
  const again = await s.device(full)
  t.same(await left(again), [], 'a new account of the name inherits nothing')
})

t.test('who may not read a collection is told nothing of what is in it, by way of one above it either', async t => {
  const { juliet, romeo } = await stage(t)
  await collects(juliet, 'above')
  await collects(juliet, 'closed', { collection: 'above', access_model: 'whitelist' })
  await makes(juliet, 'n', { collection: 'closed' })
  await subscribes(romeo, 'above', all)
  romeo.forget()
  await sets(juliet, publishing('n', 'a'))
  await makes(juliet, 'm', { collection: 'closed' })
  t.same(tells(romeo), [])
  await owns(juliet, 'set', `<affiliations node='closed'><affiliation jid='${ROMEO}' affiliation='member'/></affiliations>`)
  await sets(juliet, publishing('n', 'b'))
  t.same(tells(romeo), ['items n item b Collection=above'])
})

t.test('an export has collections with their nodes and subscriptions, and an import gives the same', async t => {
  const { s, juliet, romeo } = await stage(t)
  const folder = temporaryFolder(t)
  const [file, again] = [join(folder, 'a.jsonl'), join(folder, 'b.jsonl')]
  await makes(juliet, 'n')
  await collects(juliet, 'c', { children_association_policy: 'whitelist', children_association_whitelist: PARIS, children_max: '9' })
  await changes(juliet, 'associate', 'c', 'n')
  await subscribes(romeo, 'c', items)
  await subscribes(romeo, 'c', { subscription_type: 'nodes' })
  await subscribes(romeo, undefined, all)
  const move = async (how: string, domain: string, name: string): Promise<unknown> => await asks(s.server, `pubsub ${how}`, [domain, name])
  t.same(await move('export', SERVICE, file), { nodes: 2, items: 0, problems: 0, leftOut: [] })
  t.same(await move('import', OTHER, file), { nodes: 2, items: 0, problems: 0, leftOut: [] })
  t.same(await move('import', OTHER, file), { nodes: 0, items: 0, problems: 0, leftOut: [] })
  const romeos = await pubsub(romeo, 'get', '<subscriptions/>', { to: SERVICE })
  t.equal(romeos.toString().split('subscription=').length - 1, 3)
  await pubsub(romeo, 'set', `<unsubscribe jid='${ROMEO}'/>`, { to: SERVICE })
  await subscribes(romeo, undefined, all)
  await move('import', SERVICE, file)
  t.equal((await pubsub(romeo, 'get', '<subscriptions/>', { to: SERVICE })).toString().split('subscription=').length - 1, 3, 'the root has none twice')
  await move('export', OTHER, again)
  t.equal(readFileSync(again, 'utf8').replace(OTHER, SERVICE), readFileSync(file, 'utf8').replaceAll(`"${SERVICE}":"owner"`, `"${OTHER}":"owner"`).replace(`"creator":"${SERVICE}"`, `"creator":"${OTHER}"`))
})

t.test('one who loses access while items are read gets none of them, and none of their ids by disco', async t => {
  const { s, juliet, romeo } = await stage(t)
  await collects(juliet, 'c')
  for (const node of ['a', 'b']) {
    await makes(juliet, node, { collection: 'c' })
    await sets(juliet, publishing(node, `${node}1`))
  }
  const closes = async (node: string, reads: () => Promise<string>): Promise<string> => {
    s.storage.holdReads()
    const read = reads()
    await Promise.resolve()
    t.equal(await configures(juliet, node, { access_model: 'whitelist' }), 'result')
    s.storage.releaseReads()
    return await read
  }
  t.match(await closes('b', async () => (await gets(romeo, "<items node='c'/>")).toString()), /^(?!.*b1).*a1/)
  t.notMatch(await closes('a', async () => await disco(romeo, 'items', 'a')), 'a1')
})
