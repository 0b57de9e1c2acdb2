/**
 * The rules by which clients switch on what stands on PEP, held against the answers of this server, and the traps that
 * clients have fallen into elsewhere.
 */
import { createHash } from 'node:crypto'
import t from 'tap'
import { childElements, type Element } from '../../lib/xml/element.js'
import type { Device } from '../device.js'
import { scenario, type Scenario } from '../scenario.js'
import {
  abroad, capsOf, capsReplies, declares, friends, heardAbroad, hears, interested, itemIds, options, outcome,
  publishes, publishing, pubsub, valuesIn,
} from '../pubsub/stage.js'

const MODULES = [
  'presence', 'message', 'roster', 'disco', 'caps', 'pep', 'vcard', 'private', 'bookmarks', 'displayed', 'mam', 'push',
  'carbons', 'blocking',
]
const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'
const PUBSUB = 'http://jabber.org/protocol/pubsub'
const BOOKMARKS = 'urn:xmpp:bookmarks:1'
const OLD_BOOKMARKS = 'storage:bookmarks'
const DISPLAYED = 'urn:xmpp:mds:displayed:0'
const AVATAR = 'urn:xmpp:avatar:'

/** The features and identities of an account and of its domain. */
interface Seen { readonly account: ReadonlySet<string>, readonly domain: ReadonlySet<string> }

/** Returns the features of an address, and its identities as CATEGORY/TYPE. */
async function shownBy (device: Device, address: string): Promise<ReadonlySet<string>> {
  const reply = await device.asks(`<iq type='get' id='i' to='${address}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)
  const query = reply.getChild('query')
  return new Set(query === undefined
    ? []
    : childElements(query).map(({ attrs }) => String(attrs['var'] ?? `${attrs['category']}/${attrs['type']}`)))
}
const named = (...names: readonly string[]): readonly string[] => names.map(name => `${PUBSUB}#${name}`)
const hasAll = (shown: ReadonlySet<string>, wanted: readonly string[]): boolean => wanted.every(one => shown.has(one))

/** The rule of each client for each feature, as it is in the client's source. */
const RULES: Readonly<Record<string, Readonly<Record<string, (seen: Seen) => boolean>>>> = {
  Gajim: {
    'PEP': ({ account }) => account.has('pubsub/pep'),
    'private nodes': ({ account }) => hasAll(account, named('publish-options')),
    'bookmarks as items': ({ account }) => hasAll(account, [...named('publish-options', 'config-node-max'), `${BOOKMARKS}#compat-pep`]),
    'both markers in one message': ({ account }) => account.has('urn:xmpp:mds:server-assist:0'),
    'archive': ({ account }) => account.has('urn:xmpp:mam:2'),
  },
  Dino: {
    'bookmarks as items': ({ account }) => account.has(`${BOOKMARKS}#compat`),
    'avatars by vCard': ({ account }) => account.has('vcard-temp'),
  },
  Conversations: {
    'PEP': ({ account }) => account.has('pubsub/pep'),
    'avatars': ({ account }) => hasAll(account, named('persistent-items')),
    'OMEMO keys': ({ account }) => hasAll(account, named('publish-options')),
    'bookmarks as items': ({ account }) => hasAll(account, [...named('publish-options'), `${BOOKMARKS}#compat`]),
    'read markers': ({ account }) => hasAll(account, named('publish-options', 'config-node-max')),
    'push': ({ account }) => account.has('urn:xmpp:push:0'),
  },
  Monal: {
    'PEP': ({ account }) => account.has('pubsub/pep') && hasAll(account, named('filtered-notifications', 'publish-options', 'publish', 'subscribe', 'create-nodes', 'delete-items', 'delete-nodes', 'persistent-items', 'retrieve-items', 'auto-create')),
    'modern PEP': ({ account }) => hasAll(account, named('item-ids', 'multi-items')),
    'as many items as allowed': ({ account }) => hasAll(account, named('config-node-max')),
    'bookmarks as items': ({ account }) => account.has(`${BOOKMARKS}#compat-pep`),
  },
  'Converse.js': {
    'PEP': ({ account, domain }) => account.has('pubsub/pep') || domain.has('pubsub/pep'),
    'publishing': ({ account, domain }) => hasAll(account, named('publish-options')) || hasAll(domain, named('publish-options')),
    'bookmarks as items': ({ account }) => hasAll(account, [...named('config-node-max'), `${BOOKMARKS}#compat`]),
  },
  Psi: {
    'PEP': ({ account }) => account.has('pubsub/pep'),
    'lasting storage': ({ account }) => hasAll(account, named('publish-options')),
  },
}

t.test('each client switches on what stands on PEP', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device(`${JULIET}/balcony`)
  const seen: Seen = { account: await shownBy(juliet, JULIET), domain: await shownBy(juliet, 'capulet.lit') }
  for (const [client, rules] of Object.entries(RULES)) {
    for (const [feature, holds] of Object.entries(rules)) t.ok(holds(seen), `${client}: ${feature}`)
    t.notOk(Object.values(rules).every(holds => holds({ account: new Set(), domain: new Set() })), `${client} asks for something`)
  }
})

t.test('all features of the account that clients ask for are named', async t => {
  const s = await scenario(t, { modules: MODULES })
  const shown = await shownBy(await s.device(`${JULIET}/balcony`), JULIET)
  const wanted = ['account/registered', 'pubsub/pep', PUBSUB, ...named(
    'access-open', 'access-presence', 'access-roster', 'access-authorize', 'access-whitelist', 'auto-create',
    'auto-subscribe', 'config-node', 'config-node-max', 'create-and-configure', 'create-nodes', 'delete-items',
    'delete-nodes', 'filtered-notifications', 'instant-nodes', 'item-ids', 'last-published', 'manage-subscriptions',
    'meta-data', 'modify-affiliations', 'multi-items', 'persistent-items', 'presence-notifications',
    'presence-subscribe', 'publish', 'publish-options', 'publisher-affiliation', 'pubsub-on-a-jid', 'purge-nodes',
    'retract-items', 'retrieve-affiliations', 'retrieve-default', 'retrieve-items', 'retrieve-subscriptions', 'rsm',
    'subscribe', 'subscription-options',
  ), `${BOOKMARKS}#compat`, `${BOOKMARKS}#compat-pep`, 'urn:xmpp:bookmarks-conversion:0',
  'urn:xmpp:pep-vcard-conversion:0', 'urn:xmpp:mds:server-assist:0', 'urn:xmpp:mam:2', 'urn:xmpp:mam:2#extended',
  'urn:xmpp:sid:0', 'urn:xmpp:push:0', 'vcard-temp']
  t.same(wanted.filter(one => !shown.has(one)), [])
})

t.test('the form of a node has each option that clients set, with one value, for Gajim, Dino and Monal', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'])
  const values = valuesIn(await pubsub(juliet, 'get', "<configure node='n'/>", { owner: true }))
  for (const [name, value] of Object.entries({
    access_model: 'presence', persist_items: '1', max_items: '1', send_last_published_item: 'on_sub_and_presence',
    notify_delete: '1', notify_retract: '1', deliver_payloads: '1', notification_type: 'headline',
  })) t.same(values.get(name), [value], name)
})

t.test('Monal, Gajim and Dino read a notification: headline, from the bare address, one item with its payload', async t => {
  const s = await scenario(t, { modules: MODULES })
  const watch = await interested(s, `${JULIET}/watch`, ['n'])
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a', 'b'], options({ max_items: '2' }))
  t.same(hears(watch), ['a', 'b'].map(id => `${JULIET} headline: items n item ${id} with payload`))
})

t.test('a failed precondition has the type of Monal, the condition of Converse.js, and the specific one of the others', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'])
  t.equal(outcome(await pubsub(juliet, 'set', publishing('n', 'b') + options({ access_model: 'open' }))), 'cancel conflict precondition-not-met')
})

t.test('Dino makes an OMEMO node readable by everybody after it has published', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device(`${JULIET}/balcony`)
  const paris = await s.device('paris@montague.lit/street')
  const node = 'eu.siacs.conversations.axolotl.devicelist'
  await publishes(juliet, node, ['7'])
  t.equal(await changed(juliet, node, { 'pubsub#access_model': 'open' }), 'result')
  t.same(itemIds(await pubsub(paris, 'get', `<items node='${node}'/>`, { to: JULIET })), ['7'])
})

/** Sends the form of a node back as it was shown, with these values changed, as clients do. */
async function changed (device: Device, node: string, values: Readonly<Record<string, string>>): Promise<string> {
  const shown = await pubsub(device, 'get', `<configure node='${node}'/>`, { owner: true })
  const sent = shown.getChild('pubsub')?.getChild('configure')?.getChild('x')
  if (sent === undefined) throw new Error(shown.toString())
  sent.attr('type', 'submit')
  for (const field of childElements(sent)) {
    const value = values[String(field.attrs['var'])]
    if (value !== undefined) field.getChild('value')?.children.splice(0, 1, value)
  }
  return outcome(await pubsub(device, 'set', `<configure node='${node}'>${sent.toString()}</configure>`, { owner: true }))
}

// ---- Traps --------------------------------------------------------------------------------------------------------

t.test('trap 1: max_items=max stays max whatever the server caps, and the same publication succeeds again', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { pep: { itemsPerNode: 10 } } })
  const juliet = await s.device(`${JULIET}/balcony`)
  for (let n = 0; n < 12; n++) await publishes(juliet, 'n', [`i${n}`], options({ max_items: 'max' }))
  t.equal(itemIds(await pubsub(juliet, 'get', "<items node='n'/>")).length, 10)
  t.equal(outcome(await pubsub(juliet, 'set', publishing('n', 'i12') + options({ max_items: 'max' }))), 'result')
})

t.test('trap 2: persist_items=1 fits a node that was made with persist_items=true', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'], options({ persist_items: 'true' }))
  for (const persist of ['1', 'true']) t.equal(outcome(await pubsub(juliet, 'set', publishing('n', 'b') + options({ persist_items: persist }))), 'result')
})

t.test('trap 3: an unknown option or a failed precondition changes nothing: no item, no node, no notification', async t => {
  const s = await scenario(t, { modules: MODULES })
  const watch = await interested(s, `${JULIET}/watch`, ['n', 'new'])
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'])
  hears(watch)
  for (const fields of [{ unheard_of: '1' }, { max_items: '7' }, { persist_items: 'perhaps' }]) {
    t.not(outcome(await pubsub(juliet, 'set', publishing('n', 'b') + options(fields))), 'result')
  }
  t.not(outcome(await pubsub(juliet, 'set', publishing('new', 'b') + options({ unheard_of: '1' }))), 'result')
  t.same(hears(watch), [])
  t.same(itemIds(await pubsub(juliet, 'get', "<items node='n'/>")), ['a'])
  t.equal(outcome(await pubsub(juliet, 'get', "<items node='new'/>")), 'cancel item-not-found')
})

t.test('trap 4: the form of a node, sent back as it is, succeeds and changes nothing', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a', 'b'], options({ max_items: 'max', access_model: 'roster', roster_groups_allowed: ['x', 'y'] }))
  const shown = async (): Promise<unknown> => [...valuesIn(await pubsub(juliet, 'get', "<configure node='n'/>", { owner: true }))]
  const before = await shown()
  t.equal(await changed(juliet, 'n', {}), 'result')
  t.same(await shown(), before)
  t.same(itemIds(await pubsub(juliet, 'get', "<items node='n'/>")), ['a', 'b'])
})

t.test('trap 5: a node that is deleted and made again has nothing of the old one', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  await publishes(juliet, 'n', ['a'], options({ access_model: 'open' }))
  await pubsub(romeo, 'set', `<subscribe node='n' jid='${ROMEO}'/>`, { to: JULIET })
  await pubsub(juliet, 'set', `<affiliations node='n'><affiliation jid='${ROMEO}' affiliation='member'/></affiliations>`, { owner: true })
  await pubsub(juliet, 'set', "<delete node='n'/>", { owner: true })
  romeo.forget()
  await publishes(juliet, 'n', ['b'], options({ access_model: 'whitelist' }))
  t.same(hears(romeo), [])
  t.equal(outcome(await pubsub(romeo, 'get', "<items node='n'/>", { to: JULIET })), 'cancel not-allowed closed-node')
  t.same(itemIds(await pubsub(juliet, 'get', "<items node='n'/>")), ['b'])
})

t.test('trap 6: a contact who comes online gets each last item once, and not for another show, status or priority', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  for (const node of ['n', 'm']) await publishes(juliet, node, ['a'])
  const romeo = await interested(s, `${ROMEO}/orchard`, ['n', 'm'])
  t.same(hears(romeo).length, 2)
  for (const more of ['<show>away</show>', '<status>out</status>', '<priority>5</priority>', '']) await declares(romeo, ['n', 'm'], more)
  t.same(hears(romeo), [])
})

t.test('trap 7: an interest that the server has to ask for counts when the answer comes, also from another server', async t => {
  const s = await scenario(t, { modules: MODULES })
  const peer = abroad(s)
  const far = 'tybalt@elsewhere.example'
  await friends(s, JULIET, ROMEO)
  await s.contact(JULIET, far)
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'])
  const last = `${JULIET} headline: items n item a with payload (delayed)`
  const romeo = await s.device(`${ROMEO}/orchard`, { presence: false })
  await romeo.says(`<presence>${capsOf(['n'])}</presence>`)
  const asked = capsReplies(romeo.unread, ['n'])
  t.same(hears(romeo), [])
  await romeo.says(...asked)
  t.same(hears(romeo), [last])
  peer.heard.length = 0
  await peer.says(`<presence from='${far}/x' to='${JULIET}'>${capsOf(['n', 'm'])}</presence>`)
  const questions = capsReplies(peer.heard, ['n', 'm'])
  t.same(heardAbroad(peer), [])
  for (const reply of questions) await peer.says(reply.replace('<iq ', `<iq from='${far}/x' `))
  t.same(heardAbroad(peer), [`${far}/x ${last}`])
})

t.test('trap 8: nothing of presence and roster nodes is given after the subscription ends or the group changes', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await interested(s, `${ROMEO}/orchard`, ['n', 'group'])
  const put = (group: string): string => `<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='${ROMEO}'><group>${group}</group></item></query></iq>`
  await juliet.asks(put('friends'))
  await publishes(juliet, 'n', ['a'])
  await publishes(juliet, 'group', ['b'], options({ access_model: 'roster', roster_groups_allowed: ['friends'] }))
  t.equal(hears(romeo).length, 2)
  const read = async (node: string): Promise<string> => outcome(await pubsub(romeo, 'get', `<items node='${node}'/>`, { to: JULIET }))
  await juliet.asks(put('others'))
  await publishes(juliet, 'group', ['c'])
  t.same([hears(romeo), await read('group'), await read('n')], [[], 'auth not-authorized not-in-roster-group', 'result'])
  await juliet.says(`<presence type='unsubscribed' to='${ROMEO}'/>`)
  romeo.forget()
  for (const node of ['n', 'group']) await publishes(juliet, node, ['d'])
  t.same([hears(romeo), await read('group'), await read('n')], [[], 'cancel service-unavailable', 'cancel service-unavailable'])
})

t.test('trap 9: a bookmark of an older client is one item, extensions of others stay, and a removal is a retraction', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device(`${JULIET}/balcony`)
  const watch = await interested(s, `${JULIET}/watch`, [BOOKMARKS])
  const privately = (rooms: readonly string[]): Promise<Element> => juliet.asks(`<iq type='set' id='b'><query xmlns='jabber:iq:private'><storage xmlns='${OLD_BOOKMARKS}'>${rooms.map(room => `<conference jid='${room}@rooms.lit'/>`).join('')}</storage></query></iq>`)
  await pubsub(juliet, 'set', `<publish node='${BOOKMARKS}'><item id='a@rooms.lit'><conference xmlns='${BOOKMARKS}'><extensions><x xmlns='urn:x'/></extensions></conference></item></publish>${options({ max_items: 'max', access_model: 'whitelist' })}`)
  hears(watch)
  const event = (what: string): string => `${JULIET} headline: items ${BOOKMARKS} ${what}`
  await privately(['a', 'b'])
  t.same(hears(watch), [event('item b@rooms.lit with payload')])
  await privately(['a'])
  t.same(hears(watch), [event('retract b@rooms.lit')])
  t.match((await pubsub(juliet, 'get', `<items node='${BOOKMARKS}'/>`)).toString(), '<extensions><x xmlns="urn:x"/></extensions>')
})

t.test('trap 10: bookmarks and read markers are told and shown to their owner alone, whatever was published first', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO)
  const nodes = [BOOKMARKS, OLD_BOOKMARKS, DISPLAYED]
  const romeo = await interested(s, `${ROMEO}/orchard`, nodes)
  const watch = await interested(s, `${JULIET}/watch`, nodes)
  const juliet = await s.device(`${JULIET}/balcony`)
  for (const node of nodes) {
    await publishes(juliet, node, ['a@rooms.lit'])
    t.ok(hears(watch).length > 0, node)
    t.equal(outcome(await pubsub(romeo, 'get', `<items node='${node}'/>`, { to: JULIET })), 'cancel not-allowed closed-node')
    t.equal(outcome(await pubsub(romeo, 'set', `<subscribe node='${node}' jid='${ROMEO}'/>`, { to: JULIET })), 'cancel not-allowed closed-node')
  }
  t.same(hears(romeo), [])
  const again = await interested(s, `${ROMEO}/street`, nodes)
  t.same(hears(again), [], 'no last items')
})

t.test('trap 19: a room gets a changed avatar when the client sends its presence again, with the hash that the server adds', async t => {
  const s = await scenario(t, { modules: MODULES })
  const peer = abroad(s)
  const juliet = await s.device(`${JULIET}/balcony`)
  for (const content of ['a rose', 'a skull']) {
    const id = await publishesAvatar(s, juliet, content)
    peer.heard.length = 0
    await juliet.says("<presence to='hall@rooms.example/Juliet'/>")
    const sent = peer.heard.find(({ name }) => name === 'presence')
    t.equal(sent?.getChild('x')?.getChildText('photo'), id, content)
  }
})

/** Publishes an avatar that everybody may see, as Gajim does, and returns its id. */
async function publishesAvatar (s: Scenario, device: Device, content: string): Promise<string> {
  const id = createHash('sha1').update(content).digest('hex')
  const how = options({ access_model: 'open' })
  for (const [node, payload] of [
    ['data', `<data xmlns='${AVATAR}data'>${Buffer.from(content).toString('base64')}</data>`],
    ['metadata', `<metadata xmlns='${AVATAR}metadata'><info id='${id}' bytes='${content.length}' type='image/png'/></metadata>`],
  ]) {
    const reply = await pubsub(device, 'set', `<publish node='${AVATAR}${node}'><item id='${id}'>${payload}</item></publish>${how}`)
    if (outcome(reply) !== 'result') throw new Error(reply.toString())
  }
  await s.settled()
  return id
}
