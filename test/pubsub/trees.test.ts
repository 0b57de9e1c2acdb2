/** The nodes of a service, while its account is removed. */
import t from 'tap'
import { PEP_DEFAULTS } from '../../lib/pubsub/config.js'
import { itemShape, ItemStore } from '../../lib/pubsub/items.js'
import type { Node } from '../../lib/pubsub/node.js'
import { People, peopleShape } from '../../lib/pubsub/people.js'
import { nodeShape, Trees } from '../../lib/pubsub/trees.js'
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
    nodes, items: new ItemStore(await storage.open('items', itemShape)),
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
    nodes, items: new ItemStore(await storage.open('items', itemShape)),
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
