/** Accounts that are removed, and what the nodes of others have stored about them. */
import t, { type Test } from 'tap'
import { accountLeaving } from '../../lib/host/events.js'
import { peopleShape } from '../../lib/pubsub/people.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import type { Table } from '../../lib/storage/table.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import type { Device } from '../device.js'
import { scenario, startServer, type Scenario } from '../scenario.js'
import { form, hears, MODULES, options, outcome, publishes, publishing, pubsub } from './stage.js'

const JULIET = 'juliet@capulet.lit'
const ROMEO = 'romeo@montague.lit'
const SERVICE = 'pubsub.capulet.lit'
const PUBSUB = { to: SERVICE }

const SCENE = { modules: [...MODULES, 'blocking'], services: { [SERVICE]: ['disco', 'pubsub'] } }
const stage = (t: Parameters<typeof scenario>[0]): Promise<Scenario> => scenario(t, SCENE)
async function removed (s: Scenario, account: string): Promise<void> {
  await s.server.hostOf(parseJid(account))?.removeAccount(parseJid(account))
}
async function affiliates (
  owner: Device, node: string, jid: string, affiliation: string, how: { readonly to?: string } = {},
): Promise<string> {
  const content = `<affiliations node='${node}'><affiliation jid='${jid}' affiliation='${affiliation}'/></affiliations>`
  return outcome(await pubsub(owner, 'set', content, { owner: true, ...how }))
}
const subscribes = async (device: Device, node: string, to: string): Promise<string> =>
  outcome(await pubsub(device, 'set', `<subscribe node='${node}' jid='${device.jid.bare.toString()}'/>`, { to }))
/** Returns the rows that name an account, of the nodes of accounts and of services. */
async function rowsOf (s: Scenario, address: string): Promise<readonly string[]> {
  const stores: readonly Table<{ readonly address: string }>[] = [
    await s.storage.open('pep.people', peopleShape), await s.storage.open('pubsub.people', peopleShape),
  ]
  const found = await Promise.all(stores.flatMap(store => ['capulet.lit', 'montague.lit', SERVICE].map(host =>
    store.page({ host }, { by: 'address', from: address, to: address, limit: 100 }))))
  return found.flatMap(({ rows }) => rows.map(({ owner }) => owner))
}

/** Has romeo as a publisher and subscriber of a private node of juliet, and of one of a service. */
async function befriends (s: Scenario): Promise<readonly string[]> {
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const create = `<create node='m'/><configure>${form('node_config', { access_model: 'whitelist', publish_model: 'publishers' })}</configure>`
  return [
    outcome(await pubsub(juliet, 'set', publishing('n', 'a') + options({ access_model: 'whitelist' }))),
    outcome(await pubsub(juliet, 'set', create, PUBSUB)),
    await affiliates(juliet, 'n', ROMEO, 'publisher'),
    await affiliates(juliet, 'm', ROMEO, 'publisher', PUBSUB),
    await subscribes(romeo, 'n', JULIET),
    await subscribes(romeo, 'm', SERVICE),
    outcome(await pubsub(romeo, 'get', "<items node='n'/>", { to: JULIET })),
  ]
}

/** Proves that romeo is a stranger to these nodes. */
async function isStranger (t: Test, s: Scenario): Promise<void> {
  const romeo = await s.device(`${ROMEO}/orchard`)
  const juliet = await s.device(`${JULIET}/balcony`)
  t.equal(outcome(await pubsub(romeo, 'get', "<items node='n'/>", { to: JULIET })), 'cancel service-unavailable')
  t.equal(outcome(await pubsub(romeo, 'set', publishing('m', 'x'), PUBSUB)), 'auth forbidden')
  hears(romeo)
  await publishes(juliet, 'n', ['b'])
  t.equal(outcome(await pubsub(juliet, 'set', publishing('m', 'b'), PUBSUB)), 'result')
  t.same(hears(romeo), [])
  for (const [node, how] of [['n', {}], ['m', PUBSUB]] as const) {
    for (const what of ['affiliations', 'subscriptions']) {
      t.notMatch((await pubsub(juliet, 'get', `<${what} node='${node}'/>`, { owner: true, ...how })).toString(), ROMEO, `${what} of ${node}`)
    }
  }
}

t.test('a new account inherits no affiliation and no subscription of a removed one: nodes in memory', async t => {
  const s = await stage(t)
  t.same(new Set(await befriends(s)), new Set(['result']))
  t.equal((await rowsOf(s, ROMEO)).length, 2)
  await removed(s, ROMEO)
  t.same(await rowsOf(s, ROMEO), [])
  await isStranger(t, s)
})

t.test('a new account inherits no affiliation and no subscription of a removed one: nodes at rest', async t => {
  const storage = new MemoryStorage()
  const first = await startServer({ ...SCENE, storage, ids: 'first' })
  t.same(new Set(await befriends(first)), new Set(['result']))
  await first.end()
  const s = await scenario(t, { ...SCENE, storage, hosts: ['capulet.lit', 'montague.lit'], ids: 'second' })
  await removed(s, ROMEO)
  t.same(await rowsOf(s, ROMEO), [])
  await isStranger(t, s)
})

t.test('many nodes that name a removed account are changed, and an outcast stays one', async t => {
  const s = await stage(t)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const names = Array.from({ length: 25 }, (_, i) => `friend${i}@capulet.lit`)
  const owners: Device[] = []
  for (const name of names) {
    const owner = await s.device(`${name}/x`)
    owners.push(owner)
    await publishes(owner, 'n', ['a'], options({ access_model: 'open' }))
    t.equal(await subscribes(romeo, 'n', name), 'result')
  }
  const nurse = await s.device('nurse@capulet.lit/x')
  await publishes(nurse, 'n', ['a'])
  t.equal(await affiliates(nurse, 'n', ROMEO, 'outcast'), 'result')
  t.equal((await rowsOf(s, ROMEO)).length, 26)
  await removed(s, ROMEO)
  t.equal((await rowsOf(s, ROMEO)).length, 1)
  t.match((await pubsub(nurse, 'get', "<affiliations node='n'/>", { owner: true })).toString(), 'outcast')
  for (const owner of owners) {
    t.notMatch((await pubsub(owner, 'get', "<subscriptions node='n'/>", { owner: true })).toString(), ROMEO)
  }
})

t.test('while an account is being removed, no node can name it, and what began before is found', async t => {
  const s = await stage(t)
  const juliet = await s.device(`${JULIET}/balcony`)
  await s.account(ROMEO)
  await publishes(juliet, 'n', ['a'])
  const batch = new PendingBatch()
  const account = parseJid(ROMEO)
  const began = affiliates(juliet, 'n', ROMEO, 'member')
  await s.server.hostOf(account)?.hooks.fire(accountLeaving, { account, batch })
  t.equal(await began, 'result')
  await s.host('capulet.lit').hooks.fire(accountLeaving, { account, batch })
  t.same(await rowsOf(s, ROMEO), [])
  t.equal(await affiliates(juliet, 'n', ROMEO, 'member'), 'wait resource-constraint')
  batch.fail(new Error('the removal was not stored'))
  t.equal(await affiliates(juliet, 'n', ROMEO, 'member'), 'result')
})

t.test('the rows that name accounts go with their node, and with the account that owns it', async t => {
  const s = await stage(t)
  const juliet = await s.device(`${JULIET}/balcony`)
  for (const node of ['n', 'm']) {
    await publishes(juliet, node, ['a'])
    await affiliates(juliet, node, ROMEO, 'member')
  }
  t.equal((await rowsOf(s, ROMEO)).length, 2)
  t.same(await rowsOf(s, JULIET), [], 'an account is not listed for its own nodes')
  await pubsub(juliet, 'set', "<delete node='n'/>", { owner: true })
  t.equal((await rowsOf(s, ROMEO)).length, 1)
  t.equal(await affiliates(juliet, 'm', ROMEO, 'none'), 'result')
  t.same(await rowsOf(s, ROMEO), [])
  await affiliates(juliet, 'm', ROMEO, 'publisher')
  t.equal((await rowsOf(s, ROMEO)).length, 1)
  await removed(s, JULIET)
  t.same(await rowsOf(s, ROMEO), [])
})

t.test('XEP-0191: the end of a subscription is told neither to an address that the owner blocks, nor to one that blocks the owner', async t => {
  const s = await stage(t)
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device(`${ROMEO}/orchard`)
  const nurse = await s.device('nurse@capulet.lit/x')
  const mercutio = await s.device('mercutio@montague.lit/x')
  await publishes(juliet, 'n', ['a'], options({ access_model: 'open' }))
  const others = [romeo, nurse, mercutio]
  for (const other of others) t.equal(await subscribes(other, 'n', JULIET), 'result')
  const block = (jid: string): string => `<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='${jid}'/></block></iq>`
  await juliet.asks(block(ROMEO))
  await nurse.asks(block(JULIET))
  for (const other of others) hears(other)
  const ends = others.map(({ jid }) => `<subscription jid='${jid.bare.toString()}' subscription='none'/>`).join('')
  t.equal(outcome(await pubsub(juliet, 'set', `<subscriptions node='n'>${ends}</subscriptions>`, { owner: true })), 'result')
  t.same(others.map(other => hears(other).length), [0, 0, 1])
})

t.test('a new account may not put nodes into collections because a removed one might', async t => {
  const s = await scenario(t, { ...SCENE, settings: { pubsub: { creators: 'anybody' } } })
  const juliet = await s.device(`${JULIET}/balcony`)
  await s.device(`${ROMEO}/orchard`)
  const fields = { node_type: 'collection', children_association_policy: 'whitelist', children_association_whitelist: [ROMEO, 'paris@montague.lit'] }
  const create = `<create node='c'/><configure>${form('node_config', fields)}</configure>`
  t.equal(outcome(await pubsub(juliet, 'set', create, PUBSUB)), 'result')
  t.equal((await rowsOf(s, ROMEO)).length, 1)
  await removed(s, ROMEO)
  t.same(await rowsOf(s, ROMEO), [])
  const romeo = await s.device(`${ROMEO}/garden`)
  const joining = `<create node='n'/><configure>${form('node_config', { collection: 'c' })}</configure>`
  t.equal(outcome(await pubsub(romeo, 'set', joining, PUBSUB)), 'cancel forbidden')
  const paris = await s.device('paris@montague.lit/street')
  t.equal(outcome(await pubsub(paris, 'set', joining, PUBSUB)), 'result')
})
