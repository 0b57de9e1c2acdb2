/** The promises of storage about commits and batches, as tests that each driver runs. */
import type { Test } from 'tap'
import { PendingBatch } from '../../lib/storage/batch.js'
import type { Storage } from '../../lib/storage/storage.js'
import { archive, fill, rosters } from './contract-stores.js'
import { stored } from './stored.js'

type Opener = (t: Test) => Promise<Storage>

export function commitPromises (t: Test, open: Opener): void {
  void t.test('commits are numbered one by one and settle in order', async t => {
    const storage = await open(t)
    const store = await rosters(storage)
    const heard: number[] = []
    const first = storage.submit([store.putting('a', 'k', 1)])
    const numbers = [first, storage.submit([]), storage.submit([store.putting('a', 'k', 2)])]
    t.same(numbers, [first, first + 1, first + 2])
    for (const number of [...numbers].reverse()) {
      storage.after(number, error => { heard.push(error === undefined ? number : -1) })
    }
    t.ok(storage.settled < first, 'nothing settles before submit has returned')
    t.same(heard, [])
    await storage.flush()
    t.same(heard, numbers)
    t.equal(storage.settled, first + 2)
    storage.after(first, () => { heard.push(0) })
    t.equal(heard.at(-1), 0, 'a settled commit is reported at once')
    t.equal(storage.trouble, undefined)
  })

  void t.test('a commit can be read once it is stored', async t => {
    const storage = await open(t)
    const store = await rosters(storage)
    for (let n = 0; n < 20; n++) {
      await stored(storage, [store.putting('a', 'k', n)])
      t.equal(await store.get('a', 'k'), n)
    }
  })

  void t.test('the writes of a batch happen in their order', async t => {
    const storage = await open(t)
    const store = await rosters(storage)
    await stored(storage, [store.putting('a', 'k', 1), store.clearing('a'), store.putting('a', 'l', 2), store.putting('a', 'l', 3)])
    t.same([...await store.all('a')], [['l', 3]])
  })

  void t.test('erasing an owner empties that owner\'s stores, and no others', async t => {
    const storage = await open(t)
    const roster = await rosters(storage)
    const store = await archive(storage)
    await fill(storage, store)
    await stored(storage, [roster.putting('a', 'k', 1), roster.putting('b', 'k', 1)])
    await stored(storage, [storage.erasing('a')])
    t.same(await roster.owners({ limit: 9 }), ['b'])
    t.same(await store.owners({ limit: 9 }), ['b'])
  })

  void t.test('a store opened twice is one store', async t => {
    const storage = await open(t)
    await (await rosters(storage)).put('a', 'k', 1)
    t.equal(await (await rosters(storage)).get('a', 'k'), 1)
  })

  void t.test('an empty batch commits nothing; one with writes reports when they are stored', async t => {
    const storage = await open(t)
    const store = await rosters(storage)
    const batch = new PendingBatch()
    t.equal(batch.submit(storage), 0)
    batch.add(store.putting('a', 'k', 1))
    t.equal(batch.writes.length, 1)
    const ran: string[] = []
    batch.committed(() => { ran.push('committed') })
    batch.failed(() => { ran.push('failed') })
    const number = batch.submit(storage)
    await new Promise<void>(resolve => { storage.after(number, () => { resolve() }) })
    batch.done()
    batch.done()
    t.same(ran, ['committed'])
    batch.fail(new Error('too late for what has run'))
    t.same(ran, ['committed', 'failed'])
  })
}
