/**
 * The promises of every driver about unreadable stored items, as tests that each driver runs on rows that are really
 * broken.
 */
import type { Test } from 'tap'
import type { Fields, Logger } from '../../lib/base/logger.js'
import { systemClock } from '../../lib/base/clock.js'
import { listAside } from '../../lib/admin/aside.js'
import { CommandError, type Operator } from '../../lib/admin/talk.js'
import { ASIDE, Unreadable, type AsideItem } from '../../lib/storage/aside.js'
import { log } from '../../lib/storage/log.js'
import { hasForm } from '../../lib/storage/shape.js'
import { journal, readEntries, records } from '../../lib/storage/store.js'
import { table, type Scope, type Table, type TableQuery } from '../../lib/storage/table.js'
import type { Storage } from '../../lib/storage/storage.js'
import { failureOf, stored } from './stored.js'

export interface Breakable {
  readonly storage: Storage
  /** Replaces the stored text of an item. */
  spoil (store: string, owner: string, id: string, text: string): Promise<void>
}

interface Value { readonly name: string }
const check = (value: unknown): boolean => hasForm(value, { name: 'string' })
const BROKEN = ['{"name":', '{"name":5}', 'null'] as const

async function asideOf (storage: Storage, owner: string): Promise<readonly AsideItem[]> {
  const store = await storage.open(ASIDE, journal<AsideItem>(1))
  return (await store.page(owner, { limit: 100 })).entries.map(({ value }) => value)
}

/** Runs all tests on the storage that `open` opens empty for each test. */
export function unreadable (t: Test, open: (t: Test) => Promise<Breakable>): void {
  void t.test('an unreadable entry is put aside by one commit, and the page has the others', async t => {
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
    t.same(lines.filter(([event]) => event === 'stored item unreadable').map(([, { id }]) => id), ['a', 'c', 'e'], 'each is logged once')
    t.notMatch(JSON.stringify(lines), /name/, 'nothing of the contents is logged')
  })

  void t.test('an unreadable record is put aside, or makes its owner\'s records unreadable, as its store says', async t => {
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
    for (const store of Object.values(all)) t.equal((await store.all('p')).size, 3, 'other owners do not notice')
    t.equal((await asideOf(storage, 'o')).length, 2, 'what must not be taken for missing stays where it is')
    t.equal(storage.aside.count, 5)
    await refused.put('o', 'b', { name: 'b' })
    await refused.put('o', 'c', undefined)
    t.equal((await refused.all('o')).size, 2, 'the records can be read again once they are rewritten')
  })

  void t.test('an unreadable row of a table is put aside or refused, and a page over a host names it', async t => {
    const { storage, spoil } = await open(t)
    const indexes = { by: { name: ({ name }: Value) => name } }
    const moved = await storage.open('test.moved', table<Value>(1, indexes, undefined, { check, unreadable: 'moved' }))
    const kept = await storage.open('test.kept', table<Value>(1, indexes, undefined, { check, unreadable: 'kept' }))
    const refused = await storage.open('test.refused', table<Value>(1, indexes, undefined, { check }))
    for (const [name, store] of Object.entries({ moved, kept, refused })) {
      await stored(storage, ['o@x', 'p@x'].flatMap(owner => ['a', 'b', 'c', 'd'].map(key => store.putting(owner, key, { name: key }))))
      await spoil(`test.${name}`, 'o@x', 'b', BROKEN[0])
      await spoil(`test.${name}`, 'o@x', 'c', BROKEN[1])
    }
    const pages = [{}, { by: 'name' }].flatMap(by => [{ owner: 'o@x' }, { host: 'x' }].map(scope => [scope, { ...by, limit: 9 }] as const))
    const unread = ['b', 'c'].map(key => ({ owner: 'o@x', key }))
    const keys = async (store: Table<Value>, scope: Scope, query: TableQuery): Promise<string> => (await store.page(scope, query)).rows.map(({ key }) => key).join('')
    const first = await moved.page({ owner: 'o@x' }, { limit: 2 })
    t.same(first.rows.map(({ key }) => key), ['a', 'd'], 'a page is as long as if they had never been there')
    t.match(first, { unread, complete: true })
    t.match(await asideOf(storage, 'o@x'), ['b', 'c'].map((id, n) => ({ store: 'test.moved', id, text: BROKEN[n] })))
    t.equal(await moved.get('o@x', 'b'), undefined)
    t.equal(await moved.count({ owner: 'o@x' }), 2)
    t.equal((await moved.page({ host: 'x' }, { limit: 9 })).unread, undefined)
    for (const [scope, query] of pages) {
      t.equal(await keys(kept, scope, query), 'owner' in scope ? 'ad' : query.by === undefined ? 'adabcd' : 'aabcdd')
      t.match(await kept.page(scope, query), { unread })
      if ('owner' in scope) t.ok(await failureOf(refused.page(scope, query)) instanceof Unreadable)
      else t.match(await refused.page(scope, query), { unread }, 'the rows of others can be read')
    }
    for (const store of [kept, refused]) {
      t.ok(await failureOf(store.get('o@x', 'b')) instanceof Unreadable)
      t.same(await store.get('o@x', 'a'), { name: 'a' })
      t.ok(await failureOf(store.setAside('o@x', 'a', { name: 'a' }, new Error('x'))) instanceof Unreadable)
    }
    t.equal(await keys(refused, { owner: 'p@x' }, { limit: 9 }), 'abcd')
    await stored(storage, [refused.putting('o@x', 'b', { name: 'b' }), refused.removing('o@x', 'c')])
    t.equal(await keys(refused, { owner: 'o@x' }, { limit: 9 }), 'abd')
    t.equal(storage.aside.count, 8)
    await moved.setAside('o@x', 'a', { name: 'a' }, new Error('not an address'))
    t.equal(await moved.get('o@x', 'a'), undefined)
  })

  void t.test('an unreadable entry of a log is put aside, and the others are read', async t => {
    const { storage, spoil } = await open(t)
    const queue = await storage.open('test.queue', log<Value>(1, undefined, { check }))
    const numbers = ['a', 'b', 'c'].map(name => [queue.next(), name] as const)
    for (const [number, name] of numbers) await stored(storage, [queue.appending('o', number, { name })])
    await spoil('test.queue', 'o', String(numbers[1]?.[0]), '{"name":5}')
    const read = async (): Promise<string> => {
      let names = ''
      for await (const { value } of queue.entries()) names += value.name
      return names
    }
    t.equal(await read(), 'ac')
    t.equal(await read(), 'ac')
    t.match(await asideOf(storage, 'o'), [{ store: 'test.queue', id: String(numbers[1]?.[0]), text: '{"name":5}' }])
    t.equal(storage.aside.count, 1)
    await stored(storage, [queue.clearing('o')])
    t.same(await queue.size(), { bytes: 0, segments: 0 })
  })

  void t.test('a change first puts aside what it cannot read, and goes on with the others', async t => {
    const { storage, spoil } = await open(t)
    const store = await storage.open('test.moved', records<Value>(1, undefined, { check, unreadable: 'moved' }))
    for (const key of ['a', 'b']) await store.put('o', key, { name: key })
    await spoil('test.moved', 'o', 'b', BROKEN[0])
    await store.change('o', old => new Map([...old].map(([key]) => [key, { name: `new ${key}` }])).set('b', { name: 'new' }))
    t.same([...await store.all('o')], [['a', { name: 'new a' }], ['b', { name: 'new' }]])
    t.match(await asideOf(storage, 'o'), [{ id: 'b', text: BROKEN[0] }])
  })

  void t.test('an item that its reader cannot interpret is put aside by the reader', async t => {
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

  void t.test('the operator can list what was put aside, owner by owner, and a note says if there is more', async t => {
    const { storage, spoil } = await open(t)
    storage.aside.report({ clock: { ...systemClock, now: () => 86_400_000 }, log: logger([]) })
    const notes: string[] = []
    const talk: Operator = { gone: false, tell: ({ kind, ...told }) => Promise.resolve(void notes.push(`${kind}: ${'text' in told ? told.text : ''}`)) }
    t.same(await listAside(storage, [], talk), [])
    const store = await storage.open('test.log', journal<Value>(1, undefined, { check }))
    for (const owner of ['p', 'o']) {
      await stored(storage, ['a', 'b', 'c'].map(id => store.appending(owner, { id, at: 7, with: 'x', value: { name: id } })))
      for (const [index, id] of ['a', 'b', 'c'].entries()) await spoil('test.log', owner, id, BROKEN[index] ?? '')
      await store.page(owner, { limit: 9 })
      await storage.flush()
    }
    const form = 'its value is not of the form that this store holds'
    const rows = (['o', 'p'] as const).flatMap(owner => [['a', 'its value is not JSON', 8], ['b', form, 10], ['c', form, 4]].map(([id, reason, bytes]) => (
      { owner, store: 'test.log', id, time: '1970-01-02T00:00:00.000Z', reason, bytes })))
    t.strictSame(await listAside(storage, [], talk), rows)
    t.strictSame(await listAside(storage, ['--limit=6'], talk), rows)
    t.strictSame(notes, [])
    t.strictSame(await listAside(storage, ['--limit=4'], talk), rows.slice(0, 4))
    t.strictSame(notes, ['note: there are more items: --limit N lists the first N'])
    t.ok(await failureOf(listAside(storage, ['--limit=none'], talk)) instanceof CommandError)
  })

  void t.test('items put aside are erased with their owner, and are bounded', async t => {
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
  return { isDebugging: false, debug: at, info: at, warn: at, error: at, with: () => logger(lines) }
}
