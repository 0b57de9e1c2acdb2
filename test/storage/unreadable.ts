/** What every driver promises of stored items that cannot be read, as tests that each driver runs on rows that are really broken. */
import type { Test } from 'tap'
import type { Fields, Logger } from '../../lib/base/logger.js'
import { systemClock } from '../../lib/base/clock.js'
import { ASIDE, Unreadable, type AsideItem } from '../../lib/storage/aside.js'
import { hasForm } from '../../lib/storage/shape.js'
import { journal, readEntries, records, type Storage } from '../../lib/storage/store.js'
import { failureOf, stored } from './contract.js'

export interface Breakable {
  readonly storage: Storage
  /** Makes the stored text of an item this one. */
  spoil (store: string, owner: string, id: string, text: string): Promise<void>
}

interface Value { readonly name: string }
const check = (value: unknown): boolean => hasForm(value, { name: 'string' })
const BROKEN = ['{"name":', '{"name":5}', 'null'] as const

async function asideOf (storage: Storage, owner: string): Promise<readonly AsideItem[]> {
  const store = await storage.open(ASIDE, journal<AsideItem>(1))
  return (await store.page(owner, { limit: 100 })).entries.map(({ value }) => value)
}

/** Every promise, kept by the storage that `open` opens empty for each test. */
export function unreadable (t: Test, open: (t: Test) => Promise<Breakable>): void {
  void t.test('an entry that cannot be read is put aside by one commit, and the page has the others', async t => {
    const { storage, spoil } = await open(t)
    const lines: (readonly [string, Fields])[] = []
    storage.aside.report({ clock: systemClock, log: logger(lines) })
    const store = await storage.open('test.log', journal<Value>(1, undefined, { check }))
    const ids = ['a', 'b', 'c', 'd', 'e', 'f']
    await stored(storage, ids.map(id => store.appending('o', { id, at: 7, with: 'x@y/z', value: { name: id } })))
    for (const [index, id] of ['a', 'c', 'e'].entries()) await spoil('test.log', 'o', id, BROKEN[index] ?? '')

    const page = await store.page('o', { limit: 2 })
    t.same(page.entries.map(({ id }) => id), ['b', 'd'], 'a page is as long as if they had never been there')
    t.equal(page.complete, false)
    t.same(page.unread, ['a', 'c'].map(id => ({ id, with: 'x@y/z' })))
    t.same((await store.page('o', { limit: 9 })).entries.map(({ id }) => id), ['b', 'd', 'f'])
    t.equal((await store.size('o')).entries, 3, 'their rows are gone')
    t.match(await asideOf(storage, 'o'), ['a', 'c', 'e'].map((id, index) => ({ store: 'test.log', id, text: BROKEN[index], at: 7, with: 'x@y/z' })))
    t.equal(storage.aside.count, 3)
    t.same(lines.filter(([event]) => event === 'stored item not readable').map(([, { id }]) => id), ['a', 'c', 'e'], 'each is told once')
    t.notMatch(JSON.stringify(lines), /name/, 'and nothing of what it says')
  })

  void t.test('a record that cannot be read is put aside, or makes its owner\'s records unreadable, as its store says', async t => {
    const { storage, spoil } = await open(t)
    const moved = await storage.open('test.moved', records<Value>(1, undefined, { check, unreadable: 'moved' }))
    const kept = await storage.open('test.kept', records<Value>(1, undefined, { check, unreadable: 'kept' }))
    const refused = await storage.open('test.refused', records<Value>(1, undefined, { check }))
    const all = { moved, kept, refused }
    for (const [name, store] of Object.entries(all)) {
      for (const owner of ['o', 'p']) for (const key of ['a', 'b', 'c']) await store.put(owner, key, { name: key })
      await spoil(`test.${name}`, 'o', 'b', BROKEN[0])
      await spoil(`test.${name}`, 'o', 'c', BROKEN[1])
    }
    t.equal(await moved.get('o', 'c'), undefined)
    t.same([...(await moved.all('o')).keys()], ['a'])
    t.same((await asideOf(storage, 'o')).map(({ store, id }) => `${store} ${id}`).sort(), ['test.moved b', 'test.moved c'])

    t.same([...(await kept.all('o')).keys()], ['a'])
    t.same(await kept.get('o', 'a'), { name: 'a' })
    t.ok(await failureOf(kept.get('o', 'b')) instanceof Unreadable)

    const reads = [() => refused.get('o', 'b'), () => refused.all('o'), () => refused.change('o', () => new Map([['a', { name: 'z' }]]))]
    for (const read of reads) {
      t.ok(await failureOf(read()) instanceof Unreadable)
    }
    t.same(await refused.get('o', 'a'), { name: 'a' }, 'nothing was changed')
    for (const store of Object.values(all)) t.equal((await store.all('p')).size, 3, 'other owners see nothing of it')
    t.equal((await asideOf(storage, 'o')).length, 2, 'what must not be taken for missing stays where it is')
    t.equal(storage.aside.count, 5)
    await refused.put('o', 'b', { name: 'b' })
    await refused.put('o', 'c', undefined)
    t.equal((await refused.all('o')).size, 2, 'and all is well when it was written anew')
  })

  void t.test('a change puts aside first what it cannot read, and goes on with the others', async t => {
    const { storage, spoil } = await open(t)
    const store = await storage.open('test.moved', records<Value>(1, undefined, { check, unreadable: 'moved' }))
    for (const key of ['a', 'b']) await store.put('o', key, { name: key })
    await spoil('test.moved', 'o', 'b', BROKEN[0])
    await store.change('o', old => new Map([...old].map(([key]) => [key, { name: `new ${key}` }])).set('b', { name: 'new' }))
    t.same([...await store.all('o')], [['a', { name: 'new a' }], ['b', { name: 'new' }]])
    t.match(await asideOf(storage, 'o'), [{ id: 'b', text: BROKEN[0] }])
  })

  void t.test('what its reader can make nothing of is put aside by the reader', async t => {
    const { storage } = await open(t)
    const store = await storage.open('test.log', journal<Value>(1))
    const values = await storage.open('test.values', records<Value>(1, undefined, { unreadable: 'moved' }))
    const lists = await storage.open('test.lists', records<Value>(1))
    await stored(storage, ['a', 'b', 'c'].map(id => store.appending('o', { id, at: 7, with: 'x', value: { name: `${id}\ud83d` } })))
    const { entries } = await store.page('o', { limit: 9 })
    t.same(readEntries(store, 'o', entries, ({ id }) => {
      if (id === 'b') throw new Error('half of a character')
      return id
    }), ['a', 'c'])
    await values.put('o', 'k', { name: 'no address' })
    await values.setAside('o', 'k', { name: 'no address' }, new Error('not an address'), { name: 'instead' })
    await storage.flush()
    t.same((await store.page('o', { limit: 9 })).entries.map(({ id }) => id), ['a', 'c'])
    t.same(await values.get('o', 'k'), { name: 'instead' })
    t.match(await asideOf(storage, 'o'), [{ id: 'b', text: '{"name":"b\\ud83d"}', reason: 'half of a character' }, { id: 'k', reason: 'not an address' }])
    await lists.put('o', 'k', { name: 'x' })
    t.ok(await failureOf(lists.setAside('o', 'k', { name: 'x' }, new Error('not an address'))) instanceof Unreadable)
  })

  void t.test('what was put aside goes with its owner, and stays within its bounds', async t => {
    const { storage, spoil } = await open(t)
    const store = await storage.open('test.log', journal<Value>(1, undefined, { check }))
    const ids = Array.from({ length: 600 }, (_, n) => `id ${n}`)
    await stored(storage, ids.map(id => store.appending('o', { id, at: 7, with: 'x', value: { name: id } })))
    for (const id of ids) await spoil('test.log', 'o', id, 'null')
    t.equal((await store.page('o', { limit: 1000 })).entries.length, 0)
    t.equal((await store.size('o')).entries, 0)
    const aside = await storage.open(ASIDE, journal<AsideItem>(1))
    for (let turn = 0; turn < 1000 && (await aside.size('o')).entries > 500; turn++) await storage.flush()
    t.equal((await aside.size('o')).entries, 500)
    await stored(storage, [storage.erasing('o')])
    t.equal((await aside.size('o')).entries, 0)
  })
}

function logger (lines: (readonly [string, Fields])[]): Logger {
  const at = (event: string, fields: Fields = {}): void => { lines.push([event, fields]) }
  return { debug: at, info: at, warn: at, error: at, with: () => logger(lines) }
}
