/** The promises of records (lib/storage/store.ts), as tests that each driver runs. */
import type { Test } from 'tap'
import { records } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { rosters } from './contract-stores.js'
import { stored } from './stored.js'

type Opener = (t: Test) => Promise<Storage>

export function recordPromises (t: Test, open: Opener): void {
  void t.test('a record has its last value until it is removed', async t => {
    const store = await rosters(await open(t))
    t.equal(await store.get('a', 'k'), undefined)
    for (const value of [{ n: 1, deep: [null, 'ü', '\u{1f600}'] }, 'text', 0, false, null, []]) {
      await store.put('a', 'k', value)
      t.same(await store.get('a', 'k'), value)
    }
    await store.put('a', 'k', undefined)
    t.equal(await store.get('a', 'k'), undefined)
    t.same(await store.owners({ limit: 10 }), [])
  })

  void t.test('a stored value is a copy, and so is a value that is read', async t => {
    const storage = await open(t)
    const store = await rosters(storage)
    const value = { list: ['a'] }
    const writing = store.putting('a', 'k', value)
    value.list.push('b')
    await stored(storage, [writing])
    const first = await store.get('a', 'k') as { list: string[] }
    t.same(first, { list: ['a'] })
    first.list.push('c')
    t.same(await store.get('a', 'k'), { list: ['a'] })
  })

  void t.test('records come in the order of code points, a page at a time, for one owner and one store only', async t => {
    const storage = await open(t)
    const store = await rosters(storage)
    const other = await storage.open('test.other', records<unknown>(1))
    const keys = ['', 'A', 'a', 'b', 'é', '\uffee', '\u{1f600}'] // in the order of UTF-16 the last two would be swapped
    await stored(storage, [...keys].reverse().map(key => store.putting('a', key, key)))
    await stored(storage, [store.putting('b', 'x', 1), other.putting('a', 'y', 2)])
    t.same([...await store.all('a')], keys.map(key => [key, key]))
    t.same([...(await store.all('a', { limit: 2 })).keys()], ['', 'A'])
    t.same([...(await store.all('a', { after: 'b', limit: 2 })).keys()], ['é', '\uffee'])
    t.same([...(await store.all('a', { after: '\uffee', limit: Infinity })).keys()], ['\u{1f600}'])
    t.same([...(await store.all('a', { limit: 0 })).keys()], [])
    t.same([...await store.all('nobody')], [])
    t.same([...await other.all('a')], [['y', 2]])
  })

  void t.test('owners come in order, a page at a time', async t => {
    const storage = await open(t)
    const store = await rosters(storage)
    await stored(storage, ['c', 'a', '', 'b', '\u{1f600}', '\uffee'].flatMap(owner => [store.putting(owner, '1', 1), store.putting(owner, '2', 1)]))
    t.same(await store.owners({ limit: 3 }), ['', 'a', 'b'])
    t.same(await store.owners({ after: 'b', limit: 3 }), ['c', '\uffee', '\u{1f600}'])
    t.same(await store.owners({ after: '\u{1f600}', limit: 3 }), [])
    t.same(await store.owners({ limit: 0 }), [])
  })

  void t.test('clearing removes what the owner has in this store, and nothing else', async t => {
    const storage = await open(t)
    const store = await rosters(storage)
    const other = await storage.open('test.other', records<unknown>(1))
    await stored(storage, [store.putting('a', '1', 1), store.putting('a', '2', 2), store.putting('b', '1', 1), other.putting('a', '1', 1)])
    await stored(storage, [store.clearing('a')])
    t.same([...await store.all('a')], [])
    t.same(await store.owners({ limit: 9 }), ['b'])
    t.equal(await other.get('a', '1'), 1)
  })

  void t.test('a change sees all records of the owner, and keeps those that it leaves out', async t => {
    const store = await rosters(await open(t))
    await store.put('a', 'stays', 1)
    await store.put('a', 'goes', 2)
    await store.change('a', old => {
      t.same([...old].sort(), [['goes', 2], ['stays', 1]])
      return new Map([['goes', undefined], ['new', 3]])
    })
    t.same([...await store.all('a')], [['new', 3], ['stays', 1]])
    await store.change('a', () => new Map())
    t.equal((await store.all('a')).size, 2)
  })

  void t.test('a change that throws changes nothing, and the error is passed on', async t => {
    const store = await rosters(await open(t))
    await t.rejects(store.change('a', () => { throw new Error('no such group') }), { message: 'no such group' })
    t.same([...await store.all('a')], [])
    await store.put('a', 'k', 1)
    t.equal(await store.get('a', 'k'), 1)
  })

  void t.test('of many concurrent changes, with batches between them, none is lost', async t => {
    const storage = await open(t)
    const store = await rosters(storage)
    const changes: Promise<void>[] = []
    for (let n = 0; n < 50; n++) {
      changes.push(store.change('a', old => new Map([['count', Number(old.get('count') ?? 0) + 1]])))
      storage.submit([store.putting('a', `other ${n}`, n)])
      if (n === 25) await new Promise(resolve => { setImmediate(resolve) })
    }
    await Promise.all(changes)
    t.equal(await store.get('a', 'count'), 50)
    t.equal((await store.all('a')).size, 51)
  })

  void t.test('a change reads what was submitted before it', async t => {
    const storage = await open(t)
    const store = await rosters(storage)
    storage.submit([store.putting('a', 'k', 'before')])
    await store.change('a', old => new Map([['seen', old.get('k')]]))
    t.equal(await store.get('a', 'seen'), 'before')
    storage.submit([storage.erasing('a')])
    await store.change('a', old => new Map([['seen', [...old.keys()]]]))
    t.same(await store.get('a', 'seen'), [])
  })
}
