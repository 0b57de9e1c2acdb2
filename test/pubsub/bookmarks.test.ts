/** XEP-0402: clients that know only XEP-0048 or private storage see the same bookmarks as newer ones. */
import t from 'tap'
import type { Device } from '../device.js'
import { scenario } from '../scenario.js'
import { hears, interested, itemIds, MODULES, options, outcome, pubsub } from './stage.js'

const ALL = [...MODULES, 'private', 'bookmarks']
const JULIET = 'juliet@capulet.lit'
const BOOKMARKS = 'urn:xmpp:bookmarks:1'
const OLD = 'storage:bookmarks'
const OPTIONS = options({ persist_items: 'true', max_items: 'max', send_last_published_item: 'never', access_model: 'whitelist' })
const conference = (room: string, content = '', attributes = ''): string => `<item id='${room}@rooms.lit'><conference xmlns='${BOOKMARKS}'${attributes}>${content}</conference></item>`
const old = (room: string, content = '', attributes = ''): string => `<conference jid='${room}@rooms.lit'${attributes}>${content}</conference>`
const event = (what: string, room: string): string => `${JULIET} headline: items ${BOOKMARKS} ${what} ${room}@rooms.lit${what === 'item' ? ' with payload' : ''}`

async function publishes (device: Device, item: string): Promise<string> {
  return outcome(await pubsub(device, 'set', `<publish node='${BOOKMARKS}'>${item}</publish>${OPTIONS}`))
}
async function privately (device: Device, type: 'get' | 'set', content = ''): Promise<string> {
  const list = `<storage xmlns='${OLD}'>${content}</storage>`
  return (await device.asks(`<iq type='${type}' id='b'><query xmlns='jabber:iq:private'>${list}</query></iq>`)).toString()
}
/** Returns the rooms in a list. */
const rooms = (text: string): readonly string[] =>
  [...text.matchAll(/jid="([^@"]+)@rooms.lit"/g)].map(([, room]) => String(room))

t.test('§5.2 a bookmark of a newer client is seen in private storage, and in the old node', async t => {
  const s = await scenario(t, { modules: ALL })
  const juliet = await s.device(`${JULIET}/balcony`)
  const watch = await interested(s, `${JULIET}/watch`, [OLD])
  hears(watch)
  t.equal(await publishes(juliet, conference('a', '<nick>J</nick>', " name='A' autojoin='true'")), 'result')
  t.same(hears(watch), [`${JULIET} headline: items ${OLD} item current with payload`], 'the old node is told of')
  t.equal(await publishes(juliet, conference('b')), 'result')
  const list = await privately(juliet, 'get')
  t.same(rooms(list), ['a', 'b'])
  t.match(list, '<conference jid="a@rooms.lit" name="A" autojoin="true"><nick>J</nick></conference>')
  t.same(rooms((await pubsub(juliet, 'get', `<items node='${OLD}'/>`)).toString()), ['a', 'b'])
  await pubsub(juliet, 'set', `<retract node='${BOOKMARKS}' notify='true'><item id='a@rooms.lit'/></retract>`)
  t.same(rooms(await privately(juliet, 'get')), ['b'])
  t.same(rooms((await pubsub(juliet, 'get', `<items node='${OLD}'/>`)).toString()), ['b'])
})

t.test('§5.3 a list that is written to private storage changes single items, keeps extensions, and tells only of changes', async t => {
  const s = await scenario(t, { modules: ALL })
  const juliet = await s.device(`${JULIET}/balcony`)
  const watch = await interested(s, `${JULIET}/watch`, [BOOKMARKS])
  for (const room of ['a', 'b', 'c']) await publishes(juliet, conference(room, "<extensions><x xmlns='urn:x'/></extensions>"))
  hears(watch)
  const link = "<url name='Play' url='https://example.org'/>"
  await privately(juliet, 'set', old('a') + old('b', '<nick>J</nick>', " autojoin='1'") + old('d') + link)
  t.same(hears(watch), [event('item', 'b'), event('item', 'd'), event('retract', 'c')])
  const items = await pubsub(juliet, 'get', `<items node='${BOOKMARKS}'/>`)
  t.same(itemIds(items), ['a', 'b', 'd'].map(room => `${room}@rooms.lit`))
  t.match(items.toString(), /autojoin="true"><nick>J<\/nick><extensions><x xmlns="urn:x"\/><\/extensions>/)
  const list = await privately(juliet, 'get')
  t.same(rooms(list), ['a', 'b', 'd'])
  t.match(list, 'url="https://example.org"', 'links stay')
})

t.test('XEP-0048: a list that is published to the old node changes single items', async t => {
  const s = await scenario(t, { modules: ALL })
  const juliet = await s.device(`${JULIET}/balcony`)
  const watch = await interested(s, `${JULIET}/watch`, [BOOKMARKS])
  hears(watch)
  const publish = async (content: string): Promise<string> => outcome(await pubsub(juliet, 'set',
    `<publish node='${OLD}'><item id='current'><storage xmlns='${OLD}'>${content}</storage></item></publish>${options({ access_model: 'whitelist' })}`))
  t.equal(await publish(old('a') + old('b')), 'result')
  t.same(hears(watch), [event('item', 'a'), event('item', 'b')])
  t.equal(await publish(old('b')), 'result')
  t.same(hears(watch), [event('retract', 'a')])
  t.same(rooms(await privately(juliet, 'get')), ['b'])
})

t.test('bookmarks in private storage from before the account had nodes are converted at the next login', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'private'] })
  const before = await s.device(`${JULIET}/balcony`)
  await privately(before, 'set', old('a', '<nick>J</nick>') + "<conference jid='not @ an address'/>")
  await s.turnsOn('bookmarks')
  const juliet = await s.device(`${JULIET}/chamber`)
  t.same(itemIds(await pubsub(juliet, 'get', `<items node='${BOOKMARKS}'/>`)), ['a@rooms.lit'])
  t.equal(await publishes(juliet, conference('b')), 'result')
  t.same(rooms(await privately(juliet, 'get')), ['a', 'b'])
})

t.test('a change of one bookmark is a change of one in the list, and what removes all of them removes the list', async t => {
  const s = await scenario(t, { modules: ALL })
  const juliet = await s.device(`${JULIET}/balcony`)
  for (const room of ['a', 'b', 'c']) t.equal(await publishes(juliet, conference(room)), 'result')
  t.equal(await publishes(juliet, conference('a', "name='other'")), 'result')
  t.same(rooms(await privately(juliet, 'get')), ['b', 'c', 'a'])
  t.equal(outcome(await pubsub(juliet, 'set', `<retract node='${BOOKMARKS}'><item id='b@rooms.lit'/></retract>`)), 'result')
  t.same(rooms(await privately(juliet, 'get')), ['c', 'a'])
  t.equal(outcome(await pubsub(juliet, 'set', `<delete node='${OLD}'/>`, { owner: true })), 'result')
  t.same(rooms(await privately(juliet, 'get')), ['c', 'a'], 'from the items')
  t.equal(outcome(await pubsub(juliet, 'set', `<purge node='${BOOKMARKS}'/>`, { owner: true })), 'result')
  t.same(rooms(await privately(juliet, 'get')), [])
})

t.test('bookmarks and read markers are private, whatever the publication says', async t => {
  const s = await scenario(t, { modules: ALL })
  const romeo = 'romeo@montague.lit'
  for (const address of [JULIET, romeo]) await s.account(address)
  await s.contact(JULIET, romeo)
  const contact = await interested(s, `${romeo}/orchard`, [BOOKMARKS, OLD, 'urn:xmpp:mds:displayed:0'])
  const juliet = await s.device(`${JULIET}/balcony`)
  await pubsub(juliet, 'set', `<publish node='${BOOKMARKS}'>${conference('a')}</publish>`)
  await pubsub(juliet, 'set', "<publish node='urn:xmpp:mds:displayed:0'><item id='a'><displayed xmlns='urn:xmpp:mds:displayed:0'/></item></publish>")
  t.same(hears(contact), [])
  for (const node of [BOOKMARKS, OLD, 'urn:xmpp:mds:displayed:0']) {
    t.equal(outcome(await pubsub(contact, 'get', `<items node='${node}'/>`, { to: JULIET })), 'cancel not-allowed closed-node', node)
  }
})

t.test('the account says what it converts', async t => {
  const s = await scenario(t, { modules: [...ALL, 'vcard'] })
  const juliet = await s.device(`${JULIET}/balcony`)
  const info = (await juliet.asks(`<iq type='get' id='d' to='${JULIET}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`)).toString()
  for (const feature of ['urn:xmpp:bookmarks:1#compat', 'urn:xmpp:bookmarks:1#compat-pep', 'urn:xmpp:bookmarks-conversion:0', 'urn:xmpp:pep-vcard-conversion:0']) {
    t.match(info, `"${feature}"`)
  }
})
