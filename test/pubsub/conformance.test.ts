/** XEP-0060 at pubsub.capulet.lit: rules and examples that no scene of a feature shows, each named by its section. */
import t from 'tap'
import type { Element } from '../../lib/xml/element.js'
import type { Device } from '../device.js'
import { scenario, type Scenario } from '../scenario.js'
import { form, hears, itemIds, MODULES, options, outcome, publishes, publishing, pubsub, valuesIn } from './stage.js'

const SERVICE = 'pubsub.capulet.lit'
const ROMEO = 'romeo@montague.lit'
const PARIS = 'paris@montague.lit'
const to = SERVICE

interface Cast { readonly s: Scenario, readonly juliet: Device, readonly romeo: Device, readonly paris: Device }

/** Juliet, who makes nodes, and two users who did not. */
async function stage (t: Parameters<typeof scenario>[0]): Promise<Cast> {
  const s = await scenario(t, { modules: ['presence', 'message', 'disco'], services: { [SERVICE]: ['disco', 'ad-hoc-commands', 'pubsub'] } })
  const [juliet, romeo, paris] = [await s.device('juliet@capulet.lit/balcony'), await s.device(`${ROMEO}/orchard`), await s.device(`${PARIS}/street`)]
  return { s, juliet, romeo, paris }
}

type Fields = Parameters<typeof form>[1]
const sets = async (device: Device, content: string): Promise<string> => outcome(await pubsub(device, 'set', content, { to }))
const gets = (device: Device, content: string): Promise<Element> => pubsub(device, 'get', content, { to })
const owns = (device: Device, type: 'get' | 'set', content: string): Promise<Element> => pubsub(device, type, content, { to, owner: true })
const makes = (device: Device, node: string, fields: Fields = {}): Promise<string> =>
  sets(device, `<create node='${node}'/><configure>${form('node_config', fields)}</configure>`)
const subscribes = (device: Device, node: string, jid = device.jid.bare.toString()): Promise<string> =>
  sets(device, `<subscribe node='${node}' jid='${jid}'/>`)
const affiliates = (device: Device, node: string, ...pairs: readonly (readonly [string, string])[]): Promise<Element> =>
  owns(device, 'set', `<affiliations node='${node}'>${pairs.map(([jid, affiliation]) => `<affiliation jid='${jid}' affiliation='${affiliation}'/>`).join('')}</affiliations>`)
const describes = (device: Device, node: string, ...pairs: readonly (readonly [string, string])[]): Promise<Element> =>
  owns(device, 'set', `<subscriptions node='${node}'>${pairs.map(([jid, state]) => `<subscription jid='${jid}' subscription='${state}'/>`).join('')}</subscriptions>`)

/** Returns the list in a reply, one line for each entry. */
function list (reply: Element): readonly string[] {
  const entries = reply.getChild('pubsub')?.children[0]
  if (entries === undefined || typeof entries === 'string') return []
  return entries.children.filter(one => typeof one !== 'string').map(({ attrs: { node, jid, subscription, affiliation } }) =>
    [node, jid, subscription, affiliation].filter(one => one !== undefined).join(' '))
}

// ---- §5 -----------------------------------------------------------------------------------------------------------

t.test('§5.6, §5.7 an entity sees its subscriptions and affiliations, of all nodes or of one, and none of others', async t => {
  const { juliet, romeo, paris } = await stage(t)
  for (const node of ['a', 'b']) await makes(juliet, node)
  for (const jid of [ROMEO, `${ROMEO}/orchard`]) await subscribes(romeo, 'a', jid)
  await subscribes(romeo, 'b')
  await affiliates(juliet, 'b', [ROMEO, 'publisher'])
  const own = await gets(romeo, '<subscriptions/>')
  t.same(list(own), [`a ${ROMEO} subscribed`, `a ${ROMEO}/orchard subscribed`, `b ${ROMEO} subscribed`], 'those of all addresses of the account')
  t.equal(own.toString().match(/subid="/g)?.length, 3)
  t.same(list(await gets(romeo, "<subscriptions node='b'/>")), [`b ${ROMEO} subscribed`])
  t.same(list(await gets(romeo, '<affiliations/>')), ['b publisher'])
  t.same(list(await gets(romeo, "<affiliations node='a'/>")), [])
  t.match((await gets(paris, '<subscriptions/>')).toString(), '<subscriptions/>', 'empty, and no error')
  t.match((await gets(paris, '<affiliations/>')).toString(), '<affiliations/>')
})

// ---- §6 -----------------------------------------------------------------------------------------------------------

t.test('§6.1.3 a subscription that may not be is refused with the error of its section', async t => {
  const { juliet, romeo } = await stage(t)
  await makes(juliet, 'n')
  await makes(juliet, 'list', { access_model: 'whitelist' })
  await makes(juliet, 'mute', { subscribe: '0' })
  await makes(juliet, 'banned')
  await affiliates(juliet, 'banned', [ROMEO, 'outcast'])
  t.equal(await subscribes(romeo, 'n', PARIS), 'modify bad-request invalid-jid', '§6.1.3.1')
  t.equal(await sets(romeo, "<subscribe node='n'/>"), 'modify bad-request invalid-jid', '§6.1.3.1')
  t.equal(await subscribes(romeo, 'list'), 'cancel not-allowed closed-node', '§6.1.3.4')
  t.equal(await subscribes(romeo, 'banned'), 'auth forbidden', '§6.1.3.8')
  for (let n = 0; n < 20; n++) await subscribes(romeo, 'n', `${ROMEO}/${n}`)
  t.equal(await subscribes(romeo, 'n'), 'wait policy-violation too-many-subscriptions', '§6.1.3.9')
  t.equal(await subscribes(romeo, 'mute'), 'cancel feature-not-implemented unsupported:subscribe', '§6.1.3.10')
  t.equal(await subscribes(romeo, 'none'), 'cancel item-not-found', '§6.1.3.12')
})

t.test('§6.3.7, §8.1.3 a form follows the request that it is for, and names neither node nor address', async t => {
  const { juliet } = await stage(t)
  const config = form('node_config', { title: 'N' })
  const chosen = form('subscribe_options', { deliver: '1' })
  t.equal(await sets(juliet, `<configure>${config}</configure><create node='n'/>`), 'modify bad-request')
  t.equal(await sets(juliet, `<create node='n'/><configure node='n'>${config}</configure>`), 'modify bad-request')
  t.equal(await sets(juliet, `<create node='n'/><configure>${config}</configure>`), 'result')
  const subscribe = `<subscribe node='n' jid='juliet@capulet.lit'/>`
  t.equal(await sets(juliet, `<options>${chosen}</options>${subscribe}`), 'modify bad-request')
  t.equal(await sets(juliet, `${subscribe}<options node='n'>${chosen}</options>`), 'modify bad-request')
  t.equal(await sets(juliet, `${subscribe}<options jid='juliet@capulet.lit'>${chosen}</options>`), 'modify bad-request')
  t.equal(await sets(juliet, `${subscribe}<options>${chosen}</options>`), 'result')
})

t.test('§6.4, §8.3 the default options of subscriptions and nodes are shown', async t => {
  const { juliet, romeo } = await stage(t)
  await makes(juliet, 'n')
  for (const request of ['<default/>', "<default node='n'/>"]) t.same(valuesIn(await gets(romeo, request)).get('deliver'), ['1'])
  t.equal(outcome(await gets(romeo, "<default node='none'/>")), 'cancel item-not-found')
  for (const request of ['<default/>', "<default type='leaf'/>"]) t.same(valuesIn(await owns(romeo, 'get', request)).get('access_model'), ['open'])
})

t.test('§6.5 a subscription id that is not known is refused, and a node without items has an empty list', async t => {
  const { juliet, romeo, paris } = await stage(t)
  await makes(juliet, 'n')
  const reply = await pubsub(romeo, 'set', `<subscribe node='n' jid='${ROMEO}'/>`, { to })
  const subid = reply.getChild('pubsub')?.getChild('subscription')?.attrs['subid']
  t.equal(outcome(await gets(romeo, `<items node='n' subid='${subid}'/>`)), 'result')
  t.equal(outcome(await gets(romeo, "<items node='n' subid='other'/>")), 'modify not-acceptable invalid-subid', '§6.5.9.2')
  t.equal(outcome(await gets(paris, "<items node='n' subid='other'/>")), 'result', 'one who is not subscribed')
  for (const request of ["<items node='n'/>", "<items node='n' max_items='2'/>", "<items node='n'><item id='x'/></items>"]) {
    t.match((await gets(romeo, request)).toString(), '<items node="n"/>', '§6.5.7, §6.5.9.12')
  }
  t.equal(await sets(romeo, `<unsubscribe node='n' jid='${ROMEO}' subid='other'/>`), 'modify not-acceptable invalid-subid', '§6.2.3.5')
  t.equal(await sets(romeo, `<unsubscribe node='n' jid='${ROMEO}' subid='${subid}'/>`), 'result')
})

// ---- §6.1.6, §12.5 Subscriptions that differ ----------------------------------------------------------------------

/** Subscribes with options, and returns the id of the subscription. */
async function chosen (device: Device, node: string, fields: Fields): Promise<string> {
  const jid = device.jid.bare.toString()
  const reply = await pubsub(device, 'set', `<subscribe node='${node}' jid='${jid}'/><options>${form('subscribe_options', fields)}</options>`, { to })
  return String(reply.getChild('pubsub')?.getChild('subscription')?.attrs['subid'])
}
const END = { expire: '2099-01-01T00:00:00Z' }

t.test('§6.1.6 an address has several subscriptions to a node if their options differ, each with its id', async t => {
  const { juliet, romeo } = await stage(t)
  await makes(juliet, 'n')
  const first = await chosen(romeo, 'n', {})
  const second = await chosen(romeo, 'n', END)
  t.not(first, second)
  t.equal(await chosen(romeo, 'n', {}), first, 'the same options are the same subscription')
  t.equal(await chosen(romeo, 'n', { expire: '2098-01-01T00:00:00Z' }), second, 'another time renews it')
  t.equal(await subscribes(romeo, 'n'), 'result', 'without options nothing is added')
  t.same(list(await gets(romeo, "<subscriptions node='n'/>")), [`n ${ROMEO} subscribed`, `n ${ROMEO} subscribed`], '§5.6')
  const required = 'modify bad-request subid-required'
  const options = `<options node='n' jid='${ROMEO}'`
  t.equal(await sets(romeo, `<unsubscribe node='n' jid='${ROMEO}'/>`), required, '§6.2.3.1')
  t.equal(outcome(await gets(romeo, `${options}/>`)), required, '§6.3.4.4')
  t.equal(await sets(romeo, `${options}>${form('subscribe_options', END)}</options>`), required, '§6.3.4.4')
  t.equal(outcome(await gets(romeo, "<items node='n'/>")), required, '§6.5.9.1')
  for (const id of [first, second]) t.equal(outcome(await gets(romeo, `<items node='n' subid='${id}'/>`)), 'result')
  t.same(valuesIn(await gets(romeo, `${options} subid='${second}'/>`)).get('expire'), ['2098-01-01T00:00:00Z'])
  t.equal(await sets(romeo, `<unsubscribe node='n' jid='${ROMEO}' subid='other'/>`), 'modify not-acceptable invalid-subid', '§6.2.3.5')
  t.equal(await sets(romeo, `<unsubscribe node='n' jid='${ROMEO}' subid='${first}'/>`), 'result')
  t.same(valuesIn(await gets(romeo, `${options}/>`)).get('expire'), ['2098-01-01T00:00:00Z'], 'the other one stays, and needs no id')
})

t.test('§7.1.2.4, §7.2.2.2 an address with several subscriptions gets one message, which names those that have made it', async t => {
  const { juliet, romeo, paris } = await stage(t)
  await makes(juliet, 'n', { notify_retract: '1' })
  const [first, second] = [await chosen(romeo, 'n', {}), await chosen(romeo, 'n', END)]
  await chosen(romeo, 'n', { deliver: '0' })
  await subscribes(paris, 'n')
  ;[romeo, paris].forEach(hears)
  await sets(juliet, publishing('n', 'a'))
  const headers = `<headers xmlns="http://jabber.org/protocol/shim"><header name="SubID">${first}</header><header name="SubID">${second}</header></headers></message>`
  const told = romeo.unread.map(String)
  t.equal(told.length, 1)
  t.match(told[0], headers, 'the last child of the message')
  t.notMatch(paris.unread.map(String).join(''), 'SubID', 'one with one subscription')
  romeo.forget()
  await sets(juliet, "<retract node='n'><item id='a'/></retract>")
  t.match(romeo.unread.map(String).join(''), headers, '§7.2.2.2')
  romeo.forget()
  await owns(juliet, 'set', "<purge node='n'/>")
  t.notMatch(romeo.unread.map(String).join(''), 'shim', '§12.16: what does not differ by subscription has none')
  t.equal(hears(romeo).length, 1)
  const owned = (await owns(juliet, 'get', "<subscriptions node='n'/>")).toString()
  t.match(owned, `subid="${second}"`, '§8.8.1')
  t.equal(outcome(await owns(juliet, 'set', `<subscriptions node='n'><subscription jid='${ROMEO}' subid='${first}' subscription='none'/></subscriptions>`)), 'result', '§8.8.2.4')
  t.notMatch((await gets(romeo, "<subscriptions node='n'/>")).toString(), `"${first}"`)
})

t.test('§12.5 a temporary subscription ends with the presence of the device that has asked for it', async t => {
  const { s, juliet, romeo } = await stage(t)
  await makes(juliet, 'n')
  const other = await s.device(`${ROMEO}/garden`)
  const temporary = `<subscribe node='n' jid='${ROMEO}'/><options>${form('subscribe_options', { expire: 'presence' })}</options>`
  t.match(await sets(romeo, temporary), 'bad-request invalid-options', 'the service does not learn when the device goes')
  for (const device of [romeo, other]) await device.says(`<presence to='${SERVICE}'/>`)
  await chosen(romeo, 'n', { expire: 'presence' })
  t.same(valuesIn(await gets(romeo, `<options node='n' jid='${ROMEO}'/>`)).get('expire'), ['presence'])
  await other.says("<presence type='unavailable'/>")
  await s.settled()
  t.same(list(await gets(romeo, "<subscriptions node='n'/>")), [`n ${ROMEO} subscribed`], 'another device')
  await romeo.says("<presence type='unavailable'/>")
  await s.settled()
  t.same(list(await gets(other, "<subscriptions node='n'/>")), [])
  await chosen(other, 'n', {})
  await chosen(other, 'n', { expire: 'presence' })
  await other.says(`<presence to='${SERVICE}'/>`)
  await other.loses('connection')
  await s.settled()
  t.same(list(await gets(romeo, "<subscriptions node='n'/>")), [`n ${ROMEO} subscribed`], 'one without such an end stays')
})

// ---- §7 -----------------------------------------------------------------------------------------------------------

t.test('§7.1.2 notifications have payloads or not, as the node says, and name the publisher, whom the service knows', async t => {
  const { juliet, romeo } = await stage(t)
  const forged = (node: string): string => `<publish node='${node}'><item id='a' publisher='${ROMEO}'><t xmlns='urn:t'/></item></publish>`
  for (const [node, fields] of [['full', { itemreply: 'publisher' }], ['lean', { deliver_payloads: '0' }]] as const) {
    await makes(juliet, node, fields)
    await subscribes(romeo, node)
    t.equal(await sets(juliet, forged(node)), 'result')
    const told = romeo.unread.map(String).join('')
    romeo.forget()
    if (node === 'lean') {
      t.match(told, '<items node="lean"><item id="a"/></items>', '§7.1.2.2')
      continue
    }
    t.match(told, 'publisher="juliet@capulet.lit"', '§7.1.2.3')
    t.match((await gets(romeo, "<items node='full'/>")).toString(), '<item id="a" publisher="juliet@capulet.lit"><t', '§7.1.2.3: also what is retrieved')
  }
})

t.test('§7.2.2.1 a retraction is told of if the one who retracts, or the node, wants it', async t => {
  const { juliet, romeo } = await stage(t)
  await makes(juliet, 'n')
  await subscribes(romeo, 'n')
  for (const [notify, heard] of [['', 0], [" notify='0'", 0], [" notify='true'", 1]] as const) {
    await sets(juliet, publishing('n', 'a'))
    hears(romeo)
    t.equal(await sets(juliet, `<retract node='n'${notify}><item id='a'/></retract>`), 'result')
    t.equal(hears(romeo).length, heard, notify)
  }
})

// ---- §8 -----------------------------------------------------------------------------------------------------------

t.test('§8.2.5.3 a new configuration is told of with the form if the node sends payloads', async t => {
  const { juliet, romeo } = await stage(t)
  for (const payloads of ['0', '1']) {
    const node = `n${payloads}`
    await makes(juliet, node, { notify_config: '1', deliver_payloads: payloads })
    await subscribes(romeo, node)
    romeo.forget()
    await owns(juliet, 'set', `<configure node='${node}'>${form('node_config', { title: 'New' })}</configure>`)
    const told = romeo.unread.map(String).join('')
    t.match(told, payloads === '1' ? /<configuration node="n1"><x [^>]*type="result".*New/ : '<configuration node="n0"/>')
    romeo.forget()
  }
})

t.test('§8.4.2 those who wait for an owner are told that the node is gone', async t => {
  const { juliet, romeo, paris } = await stage(t)
  await makes(juliet, 'n', { access_model: 'authorize' })
  await makes(juliet, 'closed', { access_model: 'authorize' })
  for (const node of ['n', 'closed']) await subscribes(romeo, node)
  await affiliates(juliet, 'closed', [PARIS, 'member'])
  await subscribes(paris, 'closed')
  ;[romeo, paris].forEach(hears)
  await sets(juliet, publishing('n', 'a'))
  t.same(hears(romeo), [], 'and of nothing else')
  await owns(juliet, 'set', "<delete node='n'/>")
  t.same(hears(romeo), [`${SERVICE} headline: delete n`])
  await owns(juliet, 'set', `<configure node='closed'>${form('node_config', { access_model: 'whitelist' })}</configure>`)
  t.same(hears(romeo), [`${SERVICE} normal: subscription closed none`])
  await owns(juliet, 'set', "<delete node='closed'/>")
  t.same([romeo, paris].map(hears), [[], [`${SERVICE} headline: delete closed`]])
})

t.test('§8.5.3 what cannot be purged is refused', async t => {
  const { juliet, romeo } = await stage(t)
  await makes(juliet, 'n')
  await makes(juliet, 'passing', { persist_items: '0' })
  const purge = async (device: Device, node: string): Promise<string> => outcome(await owns(device, 'set', `<purge node='${node}'/>`))
  t.equal(await purge(romeo, 'n'), 'auth forbidden', '§8.5.3.2')
  t.equal(await purge(juliet, 'passing'), 'cancel feature-not-implemented unsupported:persistent-items', '§8.5.3.3')
  t.equal(await purge(juliet, 'none'), 'cancel item-not-found', '§8.5.3.4')
})

t.test('§8.6 a request stays while the owner cancels the form, and its affiliation can end it (§8.7.4)', async t => {
  const { juliet, romeo, paris } = await stage(t)
  await makes(juliet, 'n', { access_model: 'authorize' })
  for (const device of [romeo, paris]) await subscribes(device, 'n')
  await juliet.says(`<message to='${SERVICE}' id='x'><x xmlns='jabber:x:data' type='cancel'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#subscribe_authorization</value></field></x></message>`)
  t.equal(await subscribes(romeo, 'n'), 'auth not-authorized pending-subscription')
  ;[romeo, paris].forEach(hears)
  t.equal(outcome(await affiliates(juliet, 'n', [ROMEO, 'publisher'], [PARIS, 'outcast'])), 'result')
  t.same([romeo, paris].map(hears), [[`${SERVICE} normal: subscription n subscribed`], [`${SERVICE} normal: subscription n none`]])
})

t.test('§8.7 an owner asks for the requests that wait by a command, and gets each as a message', async t => {
  const { juliet, romeo, paris } = await stage(t)
  for (const node of ['n', 'quiet']) await makes(juliet, node, { access_model: 'authorize' })
  await subscribes(romeo, 'n')
  juliet.forget()
  const node = 'http://jabber.org/protocol/pubsub#get-pending'
  const command = (device: Device, more: string, content = ''): Promise<Element> =>
    device.asks(`<iq type='set' id='c' to='${SERVICE}'><command xmlns='http://jabber.org/protocol/commands' node='${node}'${more}>${content}</command></iq>`)
  const info = await juliet.asks(`<iq type='get' id='d' to='${SERVICE}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
  t.match(info.toString(), `var="${node}"`)
  t.equal(outcome(await command(paris, " action='execute'")), 'cancel forbidden', '§8.7.3.3')
  const shown = await command(juliet, " action='execute'")
  t.match(shown.toString(), /<field[^>]*var="pubsub#node"[^>]*>.*<option><value>n<\/value><\/option>/, '§8.7.2')
  t.notMatch(shown.toString(), 'quiet', 'nobody waits there')
  const id = shown.getChild('command')?.attrs['sessionid']
  const wanted = (name: string): Promise<Element> =>
    command(juliet, ` sessionid='${id}'`, form('subscribe_authorization', { node: name }))
  t.equal(outcome(await wanted('none')), 'cancel item-not-found', '§8.7.3.4')
  juliet.forget()
  t.match((await wanted('n')).toString(), 'status="completed"', '§8.7.4')
  const [message] = juliet.unread.filter(one => one.name === 'message')
  t.ok(message)
  t.same([...valuesIn(message ?? shown)].filter(([name]) => name !== 'subid').map(([name, [value]]) => `${name} ${value}`).slice(1),
    ['node n', `subscriber_jid ${ROMEO}`, 'allow 0'])
})

t.test('§8.8.2.4, §8.9.2.4 if one of several entries is invalid, all stay, and the error returns them as they are', async t => {
  const { juliet, romeo, paris } = await stage(t)
  await makes(juliet, 'n')
  await subscribes(romeo, 'n')
  await affiliates(juliet, 'n', [ROMEO, 'publisher'])
  const subscriptions = await describes(juliet, 'n', [ROMEO, 'none'], [PARIS, 'subscribed'])
  t.equal(outcome(subscriptions), 'modify not-acceptable')
  t.same(list(subscriptions), [`${ROMEO} subscribed`, `${PARIS} none`])
  t.match(subscriptions.toString(), '<subscriptions node="n">')
  const affiliations = await affiliates(juliet, 'n', [ROMEO, 'member'], ['juliet@capulet.lit', 'none'])
  t.equal(outcome(affiliations), 'modify not-acceptable')
  t.same(list(affiliations), [`${ROMEO} publisher`, 'juliet@capulet.lit owner'])
  t.same(list(await owns(juliet, 'get', "<affiliations node='n'/>")), ['juliet@capulet.lit owner', `${ROMEO} publisher`])
  t.same(list(await owns(juliet, 'get', "<subscriptions node='n'/>")), [`${ROMEO} subscribed`])
  t.same(list(await affiliates(paris, 'n', [PARIS, 'owner'])), [], 'one who is no owner learns nothing')
})

t.test('§8.8, §8.9 only an owner sees and changes subscriptions and affiliations, and only of a node that exists', async t => {
  const { juliet, romeo } = await stage(t)
  await makes(juliet, 'n')
  for (const what of ['subscriptions', 'affiliations']) {
    for (const type of ['get', 'set'] as const) {
      t.equal(outcome(await owns(romeo, type, `<${what} node='n'/>`)), 'auth forbidden', `${type} ${what}`)
      t.equal(outcome(await owns(juliet, type, `<${what} node='none'/>`)), 'cancel item-not-found', `${type} ${what}`)
    }
  }
  t.equal(outcome(await affiliates(juliet, 'n', [ROMEO, 'owner'])), 'result')
  t.equal(outcome(await affiliates(romeo, 'n', ['juliet@capulet.lit', 'none'])), 'result', 'another owner stays')
  t.same(list(await owns(romeo, 'get', "<affiliations node='n'/>")), [`${ROMEO} owner`], '§8.9.3')
})

// ---- §12 ----------------------------------------------------------------------------------------------------------

t.test('§12.4 a subscription ends when its address is gone, and stays after other errors', async t => {
  const { s, juliet, romeo } = await stage(t)
  for (const node of ['a', 'b', 'c']) {
    await makes(juliet, node)
    for (const jid of [ROMEO, `${ROMEO}/orchard`]) await subscribes(romeo, node, jid)
  }
  const left = async (node: string): Promise<readonly string[]> => list(await owns(juliet, 'get', `<subscriptions node='${node}'/>`))
  const fails = async (type: string, condition: string, event = ''): Promise<void> => {
    await romeo.says(`<message type='error' to='${SERVICE}' id='x'>${event}<error type='${type}'><${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
    await s.settled()
  }
  const all = [`${ROMEO} subscribed`, `${ROMEO}/orchard subscribed`]
  for (const [type, condition] of [['cancel', 'service-unavailable'], ['wait', 'remote-server-timeout'], ['auth', 'forbidden']] as const) await fails(type, condition)
  t.same([await left('a'), await left('b')], [all, all])
  await fails('cancel', 'item-not-found', "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='a'><item id='x'/></items></event>")
  t.same([await left('a'), await left('b')], [[`${ROMEO} subscribed`], all], 'the address and the node that the error names')
  await fails('cancel', 'gone')
  t.same([await left('b'), await left('c')], [[`${ROMEO} subscribed`], [`${ROMEO} subscribed`]], 'all nodes, if it names none')
  t.same(hears(romeo).filter(line => line.includes('none')), [], 'a gone address is not told')
})

t.test('§12.4 on the address of an account, a subscription ends when its address is gone', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const paris = await s.device(`${PARIS}/street`)
  await publishes(juliet, 'n', ['a'], options({ access_model: 'open' }))
  for (const jid of [PARIS, `${PARIS}/street`]) {
    t.equal(outcome(await pubsub(paris, 'set', `<subscribe node='n' jid='${jid}'/>`, { to: 'juliet@capulet.lit' })), 'result')
  }
  const error = (condition: string): string =>
    `<message type='error' to='juliet@capulet.lit' id='x'><error type='cancel'><${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`
  const left = async (): Promise<readonly string[]> => list(await pubsub(juliet, 'get', "<subscriptions node='n'/>", { owner: true }))
  await paris.says(error('service-unavailable'))
  t.same(await left(), [`${PARIS} subscribed`, `${PARIS}/street subscribed`])
  await paris.says(error('item-not-found'))
  t.same(await left(), [`${PARIS} subscribed`])
})

t.test('§12.12 owners, publishers and members read and subscribe whatever the access model says', async t => {
  const { juliet, romeo, paris } = await stage(t)
  await makes(juliet, 'n', { access_model: 'whitelist' })
  await affiliates(juliet, 'n', [ROMEO, 'publisher'], [PARIS, 'member'])
  await sets(juliet, publishing('n', 'a'))
  for (const device of [juliet, romeo, paris]) {
    t.same(itemIds(await gets(device, "<items node='n'/>")), ['a'])
    t.equal(await subscribes(device, 'n'), 'result')
  }
})

t.test('§12.21 a node with one item replaces it, whatever its id', async t => {
  const { juliet } = await stage(t)
  await makes(juliet, 'n', { max_items: '1' })
  for (const id of ['current', 'current', 'other']) t.equal(await sets(juliet, publishing('n', id) + options({ max_items: '1' })), 'result')
  t.same(itemIds(await gets(juliet, "<items node='n'/>")), ['other'])
})
