/** The promises of storage about the owners of one host, as tests that each driver runs. */
import type { Test } from 'tap'
import { ownersAt } from '../../lib/storage/owner.js'
import { journal, records, type Write } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { rosters } from './contract-stores.js'
import { failureOf, stored } from './stored.js'

type Opener = (t: Test) => Promise<Storage>

export function hostPromises (t: Test, open: Opener): void {
  void t.test('owners of one host come in order, a page at a time, the host itself first', async t => {
    const storage = await open(t)
    const stores = {
      records: await storage.open('test.hosted', records<unknown>(1, undefined, { byHost: true })),
      journal: await storage.open('test.log', journal<unknown>(1, undefined, { byHost: true })),
    }
    const owners = ['b@a.lit', 'a@b.lit', 'a.lit', 'a@a.lit', 'a.lit/b@a.lit', '\u{1f600}@a.lit', '\uffee@a.lit', 'a@a.lit.', '', 'a', '@', '\0@a.lit']
    await stored(storage, owners.flatMap((owner, n) => [
      stores.records.putting(owner, '1', 1), stores.journal.appending(owner, { id: `${n}`, at: 1, with: '', value: 1 }),
      stores.records.putting(owner, '2', 1),
    ]))
    for (const store of Object.values(stores)) {
      const all = ['a.lit', '\0@a.lit', 'a@a.lit', 'b@a.lit', '\uffee@a.lit', '\u{1f600}@a.lit']
      t.same(await store.owners({ host: 'a.lit', limit: Infinity }), all)
      t.same(await store.owners({ host: 'a.lit', limit: 2 }), all.slice(0, 2))
      t.same(await store.owners({ host: 'a.lit', after: 'a@a.lit', limit: 2 }), all.slice(3, 5))
      t.same(await store.owners({ host: 'a.lit', after: 'a.lit', limit: 1 }), all.slice(1, 2))
      t.same(await store.owners({ host: 'b.lit', limit: 9 }), ['a@b.lit'])
      t.same(await store.owners({ host: '', limit: 9 }), ['', '@'])
      t.same(await store.owners({ host: 'c.lit', limit: 9 }), [])
      t.same(await store.owners({ host: 'a.lit', limit: 0 }), [])
      t.ok(await failureOf(store.owners({ host: 'a.lit', after: 'a@b.lit', limit: 1 })) instanceof RangeError)
      const walked: string[] = []
      for await (const owner of ownersAt(store, 'a.lit')) walked.push(owner)
      t.same(walked, all)
    }
    t.ok(await failureOf((await rosters(storage)).owners({ host: 'a.lit', limit: 1 })) instanceof RangeError)
  })

  void t.test('an owner is listed as long as the owner holds anything, whatever came before', async t => {
    const storage = await open(t)
    const store = await storage.open('test.hosted', records<unknown>(1, undefined, { byHost: true }))
    const entries = await storage.open('test.log', journal<unknown>(1, undefined, { byHost: true }))
    const listed = async (): Promise<string> =>
      (await Promise.all([store, entries].map(each => each.owners({ host: 'x', limit: 9 })))).flat().join(' ')
    const put = store.putting('a@x', 'k', 1)
    const append = (id: string): Write => entries.appending('a@x', { id, at: 1, with: '', value: 1 })
    await stored(storage, [put, append('1')])
    t.equal(await listed(), 'a@x a@x')
    await stored(storage, [store.clearing('a@x'), entries.removing('a@x', ['1'])])
    t.equal(await listed(), '')
    await stored(storage, [put, append('2')])
    t.equal(await listed(), 'a@x a@x', 'after the reader has found that nothing was there')
    await stored(storage, [storage.erasing('a@x'), put])
    t.equal(await listed(), 'a@x')
    await stored(storage, [append('3'), storage.erasing('a@x')])
    t.equal(await listed(), '')
    void stored(storage, [storage.erasing('a@x')])
    void stored(storage, [append('4')])
    await stored(storage, [put])
    t.equal(await listed(), 'a@x a@x', 'commits of one turn')
    // A commit that fails lists nobody for those after it.
    const twice = [entries.appending('b@x', { id: '1', at: 1, with: '', value: 1 }), entries.appending('b@x', { id: '1', at: 1, with: '', value: 1 })]
    const outcomes = [stored(storage, twice), stored(storage, [entries.appending('b@x', { id: '2', at: 1, with: '', value: 1 })])]
    await Promise.all(outcomes.map(failureOf))
    t.equal(await listed(), 'a@x a@x b@x')
  })

  void t.test('a store that begins to list its owners by host knows those that it has', async t => {
    const storage = await open(t)
    const before = await storage.open('test.hosted', records<unknown>(1))
    const log = await storage.open('test.log', journal<unknown>(1))
    await stored(storage, ['a@x', 'b@x', 'x', 'c@y'].flatMap(owner => [
      before.putting(owner, 'k', 1), log.appending(owner, { id: 'i', at: 1, with: '', value: 1 })]))
    for (const store of [
      await storage.open('test.hosted', records<unknown>(1, undefined, { byHost: true })),
      await storage.open('test.log', journal<unknown>(1, undefined, { byHost: true })),
    ]) t.same(await store.owners({ host: 'x', limit: 9 }), ['x', 'a@x', 'b@x'])
    await stored(storage, [before.putting('d@x', 'k', 1)])
    t.same(await (await storage.open('test.hosted', records<unknown>(1))).owners({ host: 'x', after: 'b@x', limit: 9 }), ['d@x'])
  })
}
