/** XEP-0163: who is told of what an account publishes, and when. */
import t from 'tap'
import { accountExporting, accountImporting } from '../../lib/host/events.js'
import { itemShape } from '../../lib/pubsub/items.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { clone, type Element } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import type { Device } from '../device.js'
import { parseElement } from '../parse.js'
import { scenario, startServer } from '../scenario.js'
import { ENABLE, SM } from '../stanzas.js'
import {
  abroad, capsOf, capsReplies, declares, form, friends, heardAbroad, hears, interested, itemIds, MODULES, options,
  outcome, publishes, publishing, pubsub, told,
} from './stage.js'

const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'
const NURSE = 'nurse@capulet.lit'
const item = (node: string, id: string, from = JULIET): string => `${from} headline: items ${node} item ${id} with payload`
const last = (node: string, id: string, from = JULIET): string => `${item(node, id, from)} (delayed)`

t.test('§4.3 each interested device of the account and of its contacts is told once, and no other', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO, NURSE)
  const balcony = await interested(s, `${JULIET}/balcony`, ['n'])
  const chamber = await interested(s, `${JULIET}/chamber`, ['n', 'm'])
  const orchard = await interested(s, `${ROMEO}/orchard`, ['n'])
  const street = await interested(s, `${ROMEO}/street`, ['m'])
  const nurse = await interested(s, `${NURSE}/x`, ['n'])
  const paris = await interested(s, 'paris@montague.lit/x', ['n'])
  const all = [balcony, chamber, orchard, street, nurse, paris]
  all.forEach(hears)
  await publishes(balcony, 'n', ['a'])
  t.match(orchard.unread.map(String).join(''), 'to="romeo@montague.lit/orchard"', '§4.3.1: the full address')
  t.same(all.map(hears), [[item('n', 'a')], [item('n', 'a')], [item('n', 'a')], [], [item('n', 'a')], []])
})

t.test('§5 a node that is made by a publication has the defaults that clients rely on', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  await publishes(juliet, 'n', ['a'])
  await publishes(juliet, 'n', ['b'])
  t.same(itemIds(await pubsub(romeo, 'get', "<items node='n'/>", { to: JULIET })), ['b'])
})

t.test('§4.3.4 a device gets the last items with its first presence, and not with a later one', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO, NURSE)
  const juliet = await s.device(`${JULIET}/balcony`)
  const nurse = await s.device(`${NURSE}/x`)
  await publishes(juliet, 'n', ['a'])
  await publishes(juliet, 'm', ['b'])
  await publishes(juliet, 'never', ['c'], options({ send_last_published_item: 'never' }))
  await publishes(nurse, 'n', ['d'])
  const wanted = ['n', 'm', 'never']
  const romeo = await interested(s, `${ROMEO}/orchard`, wanted)
  t.same(new Set(hears(romeo)), new Set([last('n', 'a'), last('m', 'b'), last('n', 'd', NURSE)]))
  await declares(romeo, wanted, '<show>away</show>')
  await declares(romeo, wanted, '<priority>5</priority>')
  t.same(hears(romeo), [], 'a changed show or priority')
  await romeo.says("<presence type='unavailable'/>")
  romeo.forget()
  await declares(romeo, wanted)
  t.equal(hears(romeo).length, 3, 'after it was unavailable')
  const again = await interested(s, `${JULIET}/watch`, ['n'])
  t.same(new Set(hears(again)), new Set([last('n', 'a'), last('n', 'd', NURSE)]), 'the own device')
})

t.test('§4.3.4 last items come also while their publisher is away, and interest that comes late or changes counts', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'])
  await publishes(juliet, 'm', ['b'])
  await juliet.loses('connection')
  const romeo = await s.device(`${ROMEO}/orchard`, { presence: false })
  await romeo.says(`<presence>${capsOf(['n'])}</presence>`)
  t.same(told(romeo.unread), [], 'the features are not known yet')
  await romeo.says(...capsReplies(romeo.unread, ['n']))
  t.same(hears(romeo), [last('n', 'a')], 'they have become known')
  await declares(romeo, ['n', 'm'])
  t.same(hears(romeo), [last('m', 'b')], 'a new interest')
  await declares(romeo, ['m'])
  const publisher = await s.device(`${JULIET}/balcony`)
  await publishes(publisher, 'n', ['c'])
  t.same(hears(romeo), [], 'an interest that has ended')
  const other = await s.device(`${ROMEO}/street`, { presence: false })
  await other.says(`<presence>${capsOf(['n', 'm'])}</presence>`)
  t.same(new Set(hears(other)), new Set([last('n', 'c'), last('m', 'b')]), 'known features are not asked for again')
})

t.test('a hash that several devices have is asked for once, and each of them gets its last items', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'])
  const devices: Device[] = []
  for (let i = 0; i < 5; i++) devices.push(await s.device(`${ROMEO}/${i}`, { presence: false }))
  for (const device of devices) await device.says(`<presence>${capsOf(['n'])}</presence>`)
  const asked = devices.flatMap(device => capsReplies(device.unread, ['n']).map(reply => ({ device, reply })))
  t.ok(asked.length <= 6, 'three questions of each host, for five devices')
  await asked[0]?.device.says(asked[0].reply)
  t.same(devices.map(device => told(device.unread)), devices.map(() => [last('n', 'a')]))
})

t.test('§7.1 access follows presence subscriptions and roster groups at once', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await interested(s, `${ROMEO}/orchard`, ['n', 'group'])
  await publishes(juliet, 'n', ['a'])
  await publishes(juliet, 'group', ['b'], options({ access_model: 'roster', roster_groups_allowed: ['friends'] }))
  t.same(hears(romeo), [item('n', 'a')])
  t.equal(outcome(await pubsub(romeo, 'set', `<subscribe node='n' jid='${ROMEO}'/>`, { to: JULIET })), 'result')
  hears(romeo)
  const put = (groups: string): string => `<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='${ROMEO}'>${groups}</item></query></iq>`
  await juliet.asks(put('<group>friends</group>'))
  t.same(hears(romeo), [last('group', 'b')], 'the last item of a node that has become visible')
  await juliet.asks(put(''))
  await publishes(juliet, 'group', ['c'])
  t.same(hears(romeo), [], 'not in the group any more')
  await juliet.says(`<presence type='unsubscribed' to='${ROMEO}'/>`)
  t.same(hears(romeo), [`${JULIET} normal: subscription n none`], 'the explicit subscription ends')
  await publishes(juliet, 'n', ['d'])
  t.same(hears(romeo), [])
  t.equal(outcome(await pubsub(romeo, 'get', "<items node='n'/>", { to: JULIET })), 'cancel service-unavailable')
  await romeo.says(`<presence type='subscribe' to='${JULIET}'/>`)
  romeo.forget()
  await juliet.says(`<presence type='subscribed' to='${ROMEO}'/>`)
  t.same(hears(romeo), [last('n', 'd')], 'a new subscription shows the last item')
})

t.test('§4.3.3 a blocked contact is told nothing', async t => {
  const s = await scenario(t, { modules: [...MODULES, 'blocking'] })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await interested(s, `${ROMEO}/orchard`, ['n'])
  await juliet.asks(`<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='${ROMEO}'/></block></iq>`)
  hears(romeo)
  await publishes(juliet, 'n', ['a'])
  t.same(hears(romeo), [])
  await declares(romeo, [])
  await declares(romeo, ['n'])
  t.same(hears(romeo), [])
})

// ---- Other servers --------------------------------------------------------------------------------------------

t.test('contacts on other servers are told, get last items once, also while the account is away, and lose them with the subscription', async t => {
  const s = await scenario(t, { modules: MODULES })
  const peer = abroad(s)
  const far = 'romeo@elsewhere.example'
  await s.account(JULIET)
  await s.contact(JULIET, far)
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'])
  await juliet.loses('connection')
  peer.heard.length = 0
  const presence = (more = ''): Promise<void> => peer.says(`<presence from='${far}/orchard' to='${JULIET}'>${more}${capsOf(['n'])}</presence>`)
  await presence()
  const [query] = peer.heard.filter(stanza => stanza.name === 'iq')
  t.ok(query, 'the server asks in the name of the account')
  for (const reply of capsReplies([clone(query as Element)], ['n'])) {
    await peer.says(reply.replace('<iq ', `<iq from='${far}/orchard' `))
  }
  t.same(heardAbroad(peer), [`${far}/orchard ${last('n', 'a')}`])
  await presence('<show>away</show>')
  t.same(heardAbroad(peer), [], 'not for another presence')
  const again = await s.device(`${JULIET}/balcony`)
  peer.heard.length = 0
  await publishes(again, 'n', ['b'])
  t.same(heardAbroad(peer), [`${far}/orchard ${item('n', 'b')}`])
  await peer.says(`<presence type='unavailable' from='${far}/orchard' to='${JULIET}'/>`)
  await publishes(again, 'n', ['c'])
  t.same(heardAbroad(peer), [], 'the device is gone')
  await presence()
  t.same(heardAbroad(peer), [`${far}/orchard ${last('n', 'c')}`])
  await again.says(`<presence type='unsubscribed' to='${far}'/>`)
  peer.heard.length = 0
  await publishes(again, 'n', ['d'])
  t.same(heardAbroad(peer), [])
  await peer.says(`<presence from='paris@elsewhere.example/x' to='${JULIET}'>${capsOf(['n'])}</presence>`)
  t.same(heardAbroad(peer), [], 'a stranger gets nothing')
})

// ---- Storage --------------------------------------------------------------------------------------------------

t.test('nodes, items, subscriptions and what devices have got survive a restart', async t => {
  const storage = new MemoryStorage()
  const first = await startServer({ modules: MODULES, storage, ids: 'first' })
  await friends(first, JULIET, ROMEO)
  const before = await first.device(`${JULIET}/balcony`)
  await publishes(before, 'n', ['a', 'b'], options({ max_items: '5', access_model: 'open' }))
  const paris = await first.device('paris@montague.lit/x')
  await pubsub(paris, 'set', "<subscribe node='n' jid='paris@montague.lit'/>", { to: JULIET })
  await first.end()

  const s = await scenario(t, { modules: MODULES, storage, ids: 'second' })
  await s.raise(['capulet.lit', 'montague.lit'])
  const juliet = await s.device(`${JULIET}/balcony`)
  const street = await s.device('paris@montague.lit/x')
  t.same(itemIds(await pubsub(juliet, 'get', "<items node='n'/>")), ['a', 'b'])
  t.equal(outcome(await pubsub(juliet, 'set', publishing('n', 'c') + options({ access_model: 'open', max_items: '5' }))), 'result')
  t.same(hears(street), [item('n', 'c')])
})

t.test('a device that was online before a restart, or before a reload, is still told', async t => {
  const storage = new MemoryStorage()
  const modules = [...MODULES, 'stream-management']
  const first = await startServer({ modules, storage, ids: 'first' })
  await friends(first, JULIET, ROMEO)
  const before = await interested(first, `${ROMEO}/orchard`, ['n'])
  await before.says(ENABLE)
  const id = before.unread.find(one => one.name === 'enabled')?.attrs['id']
  await first.end()

  const s = await scenario(t, { modules, storage, ids: 'second' })
  await s.raise(['capulet.lit', 'montague.lit'])
  const { device: romeo } = await s.resume(`${ROMEO}/orchard`, `<resume ${SM} previd='${id}' h='0'/>`)
  if (romeo === undefined) throw new Error('not resumed')
  romeo.forget()
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'])
  t.same(hears(romeo), [item('n', 'a')], 'after a restart')
  await s.reload('caps')
  await publishes(juliet, 'n', ['b'])
  t.same(hears(romeo), [item('n', 'b')], 'after a reload')
})

t.test('if storing fails, nobody is told, and nothing has changed', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await interested(s, `${ROMEO}/orchard`, ['n', 'm'])
  await publishes(juliet, 'n', ['a'])
  hears(romeo)
  s.storage.failing = new Error('the disk is full')
  t.match(outcome(await pubsub(juliet, 'set', publishing('n', 'b'))), /^wait resource-constraint/)
  t.match(outcome(await pubsub(juliet, 'set', publishing('m', 'b'))), /^wait resource-constraint/)
  s.storage.failing = undefined
  t.same(hears(romeo), [])
  t.same(itemIds(await pubsub(juliet, 'get', "<items node='n'/>")), ['a'])
  t.equal(outcome(await pubsub(juliet, 'get', "<items node='m'/>")), 'cancel item-not-found')
  await publishes(juliet, 'n', ['c'])
  t.same(hears(romeo), [item('n', 'c')])
})

t.test('what an account stores is bounded in nodes, items and bytes', async t => {
  const s = await scenario(t, { modules: MODULES, settings: { pep: { nodes: 10, items: 100, itemsPerNode: 10, bytes: '64KiB' } } })
  const juliet = await s.device(`${JULIET}/balcony`)
  for (let i = 0; i < 9; i++) await publishes(juliet, `n${i}`, ['a'])
  const ids = Array.from({ length: 12 }, (_, i) => `i${i}`)
  t.equal(outcome(await pubsub(juliet, 'set', `<create node='n'/><configure>${form('node_config', { max_items: 'max' })}</configure>`)), 'result')
  for (const id of ids) await publishes(juliet, 'n', [id], options({ max_items: 'max' }))
  t.same(itemIds(await pubsub(juliet, 'get', "<items node='n'/>")), ids.slice(2), 'max is as many as the server allows')
  t.equal(outcome(await pubsub(juliet, 'set', publishing('more', 'a'))), 'cancel not-allowed max-nodes-exceeded')
  const large = (id: string): string => `<publish node='n'><item id='${id}'><t xmlns='urn:t'>${'x'.repeat(40_000)}</t></item></publish>`
  t.equal(outcome(await pubsub(juliet, 'set', large('big'))), 'result')
  t.equal(outcome(await pubsub(juliet, 'set', large('bigger'))), 'cancel resource-constraint')
  t.equal(outcome(await pubsub(juliet, 'set', large('big'))), 'result', 'a replaced item needs no more room')
})

t.test('a removed account leaves no items, and a new account of its name does not get them', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device(`${JULIET}/balcony`)
  await publishes(juliet, 'n', ['a'], options({ access_model: 'open' }))
  t.not((await s.traces(JULIET)).length, 0)
  await s.host('capulet.lit').removeAccount(parseJid(JULIET))
  t.same(await s.traces(JULIET), [])
  t.same(await (await s.storage.open('pep.items', itemShape)).owners({ limit: 10 }), [])
  const again = await s.device(`${JULIET}/balcony`)
  t.equal(outcome(await pubsub(again, 'get', "<items node='n'/>")), 'cancel item-not-found')
})

t.test('an export of nodes is imported with configuration, affiliations, subscriptions and items, twice with the same result (XEP-0227)', async t => {
  const s = await scenario(t, { modules: MODULES })
  await friends(s, JULIET, ROMEO)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  await publishes(juliet, 'n', ['a', 'b'], options({ access_model: 'whitelist', max_items: 'max', title: 'N' }))
  await pubsub(juliet, 'set', `<affiliations node='n'><affiliation jid='${ROMEO}' affiliation='member'/></affiliations>`, { owner: true })
  await pubsub(romeo, 'set', `<subscribe node='n' jid='${ROMEO}'/>`, { to: JULIET })
  const host = s.host('capulet.lit')
  const exported: { readonly element: Element, readonly within: Element }[] = []
  const parts: Promise<void>[] = []
  await host.hooks.fire(accountExporting, {
    account: parseJid(JULIET),
    add: (elements, within) => {
      if (within?.name !== 'pubsub') return
      parts.push((async () => {
        for await (const element of elements) {
          element.parent ??= within
          exported.push({ element: parseElement(clone(element).toString()), within })
        }
      })())
    },
  })
  await Promise.all(parts)
  await s.account(NURSE)
  const left: string[] = []
  for (let turn = 0; turn < 2; turn++) {
    // Items may come before their configuration: then the node is closed until it comes.
    for (const { element, within } of [...exported].reverse()) {
      const batch = new PendingBatch()
      const how = { namespace: within.attrs['xmlns'], name: within.name }
      const verdict = await host.hooks.fire(accountImporting, {
        account: parseJid(NURSE), element, within: how, batch, leavesOut: what => { left.push(what) },
      })
      t.equal(verdict, 'handled')
      await host.commit(batch)
    }
  }
  t.same(left, [])
  const nurse = await s.device(`${NURSE}/x`)
  t.same(itemIds(await pubsub(nurse, 'get', "<items node='n'/>")), ['a', 'b'])
  t.match((await pubsub(nurse, 'get', "<configure node='n'/>", { owner: true })).toString(), /whitelist/)
  t.match((await pubsub(nurse, 'get', "<subscriptions node='n'/>", { owner: true })).toString(), ROMEO)
  t.same(itemIds(await pubsub(romeo, 'get', "<items node='n'/>", { to: NURSE })), ['a', 'b'])
})
