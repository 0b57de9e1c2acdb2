/** Storage in memory keeps the promises of storage, and fails and waits on request. */
import t from 'tap'
import { silent } from '../../lib/base/logger.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { openStorage } from '../../lib/storage/open.js'
import { records } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { contract } from './contract.js'
import { stored } from './stored.js'
import { unreadable } from './unreadable.js'

contract(t, () => openStorage({ driver: 'memory', durability: 'disk', log: silent }))

unreadable(t, () => {
  const storage = new MemoryStorage()
  return Promise.resolve({ storage, spoil: (...item) => { storage.spoil(...item); return Promise.resolve() } })
})

t.test('no commit completes while storage is paused', async t => {
  const storage = new MemoryStorage()
  const store = await storage.open('test.roster', records<number>(1))
  storage.hold()
  const number = storage.submit([store.putting('a', 'k', 1)])
  await storage.flush()
  await new Promise(resolve => { setImmediate(resolve) })
  t.ok(storage.settled < number)
  t.equal(await store.get('a', 'k'), undefined)
  storage.release()
  await storage.flush()
  t.equal(await store.get('a', 'k'), 1)
})

t.test('while storage fails, every commit fails with that error; afterwards none does', async t => {
  const storage = new MemoryStorage()
  const store = await storage.open('test.roster', records<number>(1))
  storage.failing = new Error('the disk is full')
  await t.rejects(stored(storage, [store.putting('a', 'k', 1)]), { message: 'the disk is full' })
  await t.rejects(store.put('a', 'k', 1), { message: 'the disk is full' })
  t.equal(storage.trouble, storage.failing)
  storage.failing = undefined
  await store.put('a', 'k', 2)
  t.equal(storage.trouble, undefined)
  t.equal(await store.get('a', 'k'), 2)
})

t.test('storage in memory has no backup', async t => {
  const storage = new MemoryStorage()
  await t.rejects((storage as Storage).backup('copy'), { message: /in memory/ })
  await storage.close()
})
