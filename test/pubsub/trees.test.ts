/** The nodes of a service: how they are stored, and how they go with their account. */
import t from 'tap'
import { PEP_DEFAULTS } from '../../lib/pubsub/config.js'
import { itemShape, ItemStore } from '../../lib/pubsub/items.js'
import { storedNode, type Node, type Subscription } from '../../lib/pubsub/node.js'
import { People, peopleShape } from '../../lib/pubsub/people.js'
import type { Change } from '../../lib/pubsub/change.js'
import { nodeShape, subscriptionShape } from '../../lib/pubsub/tree.js'
import { Trees } from '../../lib/pubsub/trees.js'
import { PendingBatch } from '../../lib/storage/batch.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { StanzaError } from '../../lib/xmpp/errors.js'

const OWNER = 'juliet@capulet.lit'
const node = (name: string): Node => ({
  name, key: name, config: PEP_DEFAULTS, creator: OWNER, created: 0, affiliations: new Map(), subscriptions: [],
})

t.test('a removal comes after the changes before it, and what waits for it is not stored', async t => {
  const storage = new MemoryStorage()
  const nodes = await storage.open('nodes', nodeShape)
  const trees = new Trees({
    nodes, subscriptions: await storage.open('subscriptions', subscriptionShape),
    items: new ItemStore(await storage.open('items', itemShape)),
    people: new People(await storage.open('people', peopleShape), 'capulet.lit'),
  })
  const [first, removal, late, next] = [new PendingBatch(), new PendingBatch(), new PendingBatch(), new PendingBatch()]
  const change = await trees.change(OWNER, first)
  const erased = trees.erase(OWNER, removal).then(async () => {
    removal.add(storage.erasing(OWNER))
    await removal.commit(storage)
  })
  const refused = t.rejects(trees.change(OWNER, late), new StanzaError('service-unavailable'))
  change.put(node('n'))
  await first.commit(storage)
  await Promise.all([erased, refused])
  t.same([...await nodes.all(OWNER)], [])
  t.same([...await trees.of(OWNER)], [])
  const again = await trees.change(OWNER, next)
  again.put(node('m'))
  await next.commit(storage)
  t.same([...(await trees.of(OWNER)).keys()], ['m'], 'a new account of this name')
})

t.test('a removal is not refused because many changes wait', async t => {
  const storage = new MemoryStorage()
  const nodes = await storage.open('nodes', nodeShape)
  const trees = new Trees({
    nodes, subscriptions: await storage.open('subscriptions', subscriptionShape),
    items: new ItemStore(await storage.open('items', itemShape)),
    people: new People(await storage.open('people', peopleShape), 'capulet.lit'),
  })
  const [first, removal] = [new PendingBatch(), new PendingBatch()]
  await trees.change(OWNER, first)
  const waiting = Array.from({ length: 100 }, async () => {
    const batch = new PendingBatch()
    await trees.change(OWNER, batch)
    await batch.commit(storage)
  })
  await t.rejects(trees.change(OWNER, new PendingBatch()), new StanzaError('resource-constraint', 'too many changes at once', { type: 'wait' }))
  const erased = trees.erase(OWNER, removal)
  await first.commit(storage)
  await Promise.all(waiting)
  await erased
  await removal.commit(storage)
})

t.test('a subscription is stored by itself, whatever the number of others', async t => {
  const { trees, subscriptions, commits } = await treesOf(new MemoryStorage())
  const some = (count: number): readonly Subscription[] => Array.from({ length: count }, (_, n) => subscription(`${n}@d.lit`))
  const first = some(100)
  await commits(change => { change.put({ ...node('n'), subscriptions: first }) })
  t.equal((await subscriptions.all(OWNER)).size, 100)

  const more = subscription('new@d.lit')
  t.equal(await commits(change => { change.put({ ...found(change, 'n'), subscriptions: [...first, more] }) }), 2, 'it, and who is named')
  const [gone, ...left] = [...first, more]
  t.equal(await commits(change => { change.put({ ...found(change, 'n'), subscriptions: left }) }), 2)
  t.same((await trees.of(OWNER)).get('n')?.subscriptions, left)
  t.notOk((await subscriptions.all(OWNER)).has(`n ${gone?.jid}`))
  await commits(change => { change.remove(found(change, 'n')) })
  t.equal((await subscriptions.all(OWNER)).size, 0)
})

t.test('the subscriptions of a node are there again after a restart, also of one that was stored with them', async t => {
  const storage = new MemoryStorage()
  const before = await treesOf(storage)
  const [one, two, three] = ['one@d.lit', 'two@d.lit/r 2', 'three@d.lit'].map(subscription) as [Subscription, Subscription, Subscription]
  await before.commits(change => { change.put({ ...node('n'), subscriptions: [one, two] }) })
  await before.nodes.put(OWNER, 'old', { ...storedNode(node('old')), subscriptions: [one, two, three] })

  const after = await treesOf(storage)
  const names = async ({ trees }: typeof after, of: string): Promise<readonly string[]> =>
    ((await trees.of(OWNER)).get(of)?.subscriptions ?? []).map(({ jid }) => jid).sort()
  t.same(await names(after, 'n'), ['one@d.lit', 'two@d.lit/r 2'])
  t.same(await names(after, 'old'), ['one@d.lit', 'three@d.lit', 'two@d.lit/r 2'])
  await after.commits(change => { change.put({ ...found(change, 'old'), subscriptions: [one, three] }) })
  t.same(await names(await treesOf(storage), 'old'), ['one@d.lit', 'three@d.lit'], 'who has left does not come back')
})

function subscription (jid: string): Subscription { return { jid, state: 'subscribed', subid: 's', deliver: true } }

function found (change: Change, name: string): Node {
  const node = change.node(name)
  if (node === undefined) throw new Error(`no node ${name}`)
  return node
}

/** Opens the stores. `commits` stores what a function changes, and returns the number of its writes. */
async function treesOf (storage: MemoryStorage) {
  const nodes = await storage.open('nodes', nodeShape)
  const subscriptions = await storage.open('subscriptions', subscriptionShape)
  const trees = new Trees({
    nodes, subscriptions, items: new ItemStore(await storage.open('items', itemShape)),
    people: new People(await storage.open('people', peopleShape), 'capulet.lit'),
  })
  const commits = async (run: (change: Change) => void): Promise<number> => {
    const batch = new PendingBatch()
    const change = await trees.change(OWNER, batch)
    let writes = 0
    const add = batch.add.bind(batch)
    batch.add = write => {
      writes++
      add(write)
    }
    run(change)
    await batch.commit(storage)
    return writes
  }
  return { trees, nodes, subscriptions, commits }
}
