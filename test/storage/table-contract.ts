/** The promises of tables (lib/storage/table.ts), as tests that each driver runs. */
// The keys of rows, one after the other, are no words: cspell:ignoreRegExp /'[a-h]+[.…]'/g
import { createHash } from 'node:crypto'
import type { Test } from 'tap'
import { UnknownEntry, type Write } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { table, type Scope, type Table, type TableQuery } from '../../lib/storage/table.js'
import { failureOf, stored } from './stored.js'

interface Value {
  readonly due?: number | undefined
  readonly name?: string | undefined
  readonly bytes?: number
  readonly text?: string
}

const shape = table<Value>(1, {
  by: { due: value => value.due, name: value => value.name }, sum: { bytes: value => value.bytes ?? 0 },
})

async function values (storage: Storage): Promise<Table<Value>> { return await storage.open('test.values', shape) }

const A: Scope = { owner: 'a@x' }
const X: Scope = { host: 'x' }

/** Returns the keys of a page, with `.` after them if it is complete and `…` if not. */
async function keysOf (store: Table<Value>, scope: Scope, query: TableQuery): Promise<string> {
  const { rows, complete } = await store.page(scope, query)
  return rows.map(({ key }) => key).join('') + (complete ? '.' : '…')
}

/** Returns a text of this many bytes that no database can compress. */
function noise (seed: string, bytes: number): string {
  let text = ''
  for (let n = 0; text.length < bytes; n++) text += createHash('sha512').update(`${seed} ${n}`).digest('base64url')
  return text.slice(0, bytes)
}

/** Fills the table: at the host x the owners a and b, and x itself; at y another a. */
async function fill (storage: Storage, store: Table<Value>): Promise<void> {
  const lines: readonly (readonly [string, string, Value])[] = [
    ['a@x', 'c', { due: 20, name: 'm', bytes: 1 }], ['a@x', 'a', { due: -5, name: 'é', bytes: 2 }],
    ['a@x', 'f', { due: 20, bytes: 4 }], ['a@x', 'b', { name: '', bytes: 8 }], ['a@x', 'e', { due: 0.5, name: 'mm' }],
    ['b@x', 'g', { due: 20, name: 'a', bytes: 16 }], ['x', 'h', { due: 7 }], ['a@y', 'a', { due: 1, bytes: 32 }],
    ['a@x', 'd', { due: -1e300, name: 'm' }],
  ]
  await stored(storage, lines.slice(0, 5).map(([owner, key, value]) => store.putting(owner, key, value)))
  await stored(storage, lines.slice(5).map(([owner, key, value]) => store.putting(owner, key, value)))
}

export function tablePromises (t: Test, open: (t: Test) => Promise<Storage>): void {
  void t.test('a row of a table has its last value until it is removed', async t => {
    const storage = await open(t)
    const store = await values(storage)
    t.equal(await store.get('a@x', 'k'), undefined)
    const value = { due: 1, text: '\u0000ü\u{1f600}' }
    const writing = store.putting('a@x', 'k', value)
    value.due = 2
    await stored(storage, [writing])
    t.same(await store.get('a@x', 'k'), { due: 1, text: '\u0000ü\u{1f600}' })
    await stored(storage, [store.putting('a@x', 'k', { due: 3 }), store.putting('b@x', 'k', { due: 4 })])
    t.same(await store.get('a@x', 'k'), { due: 3 })
    await stored(storage, [store.removing('a@x', 'k', { due: 1 })])
    t.same(await store.get('a@x', 'k'), { due: 3 }, 'a row that has changed stays')
    await stored(storage, [store.removing('a@x', 'k', { due: 3 }), store.removing('a@x', 'nothing')])
    t.equal(await store.get('a@x', 'k'), undefined)
    await stored(storage, [store.putting('a@x', 'l', {}), store.removing('a@x', 'l'), store.putting('a@x', 'm', {}), store.clearing('a@x')])
    t.equal(await keysOf(store, X, { limit: 9 }), 'k.')
    t.same(await store.get('b@x', 'k'), { due: 4 })
  })

  void t.test('rows come in the order of their keys, for one owner or one host', async t => {
    const storage = await open(t)
    const store = await values(storage)
    await fill(storage, store)
    const table: readonly (readonly [Scope, TableQuery, string])[] = [
      [A, { limit: 9 }, 'abcdef.'], [A, { limit: 6 }, 'abcdef.'], [A, { limit: 5 }, 'abcde…'], [A, { limit: 0 }, '…'],
      [A, { limit: 2, last: true }, 'ef…'], [A, { limit: 9, from: 'b', to: 'd' }, 'bcd.'], [A, { limit: 1, from: 'b', last: true, to: 'd' }, 'd…'],
      [A, { limit: 9, after: { owner: 'a@x', key: 'd' } }, 'ef.'], [A, { limit: 9, before: { owner: 'a@x', key: 'b' } }, 'a.'],
      [X, { limit: 9 }, 'habcdefg.'], [X, { limit: 2, after: { owner: 'a@x', key: 'e' } }, 'fg.'], [X, { limit: 2, last: true }, 'fg…'],
      [X, { limit: 9, before: { owner: 'a@x', key: 'b' } }, 'ha.'], [{ owner: 'x' }, { limit: 9 }, 'h.'], [{ host: 'y' }, { limit: 9 }, 'a.'],
      [{ owner: 'nobody@x' }, { limit: 9 }, '.'], [{ host: 'z' }, { limit: 9 }, '.'],
    ]
    for (const [scope, query, wanted] of table) {
      t.equal(await keysOf(store, scope, query), wanted, JSON.stringify([scope, query]))
    }
    t.ok(await failureOf(store.page(X, { limit: 1, from: 'a' })) instanceof RangeError)
    await stored(storage, ['', '\0', '\u0001', 'A', '\uffee', '\u{1f600}'].map(key => store.putting('o@z', key, {})))
    t.same((await store.page({ owner: 'o@z' }, { limit: 9 })).rows.map(({ key }) => key), ['', '\0', '\u0001', 'A', '\uffee', '\u{1f600}'])
  })

  void t.test('an index orders rows by rank, and rows of one rank as they were made', async t => {
    const storage = await open(t)
    const store = await values(storage)
    await fill(storage, store)
    const due = { by: 'due', limit: 9 }
    const name = { by: 'name', limit: 9 }
    const table: readonly (readonly [Scope, TableQuery, string])[] = [
      [A, due, 'daecf.'], [A, { ...due, limit: 3 }, 'dae…'], [A, { ...due, limit: 2, last: true }, 'cf…'],
      [A, { ...due, from: -5, to: 20 }, 'aecf.'], [A, { ...due, from: 0.5 }, 'ecf.'], [A, { ...due, from: 0.6, to: 19 }, '.'], [A, { ...due, to: -5.5 }, 'd.'],
      [A, { ...due, after: { owner: 'a@x', key: 'c' } }, 'f.'], [A, { ...due, before: { owner: 'a@x', key: 'c' } }, 'dae.'],
      [A, { ...due, before: { owner: 'a@x', key: 'f' }, last: true, limit: 1 }, 'c…'],
      [X, due, 'daehcfg.'], [X, { ...due, from: 20, to: 20, after: { owner: 'a@x', key: 'f' } }, 'g.'], [X, { ...due, to: 7, last: true, limit: 2 }, 'eh…'],
      [A, name, 'bcdea.'], [A, { ...name, from: 'm', to: 'm' }, 'cd.'], [A, { ...name, to: '' }, 'b.'], [X, { ...name, from: 'a', to: 'mm' }, 'gcde.'],
    ]
    for (const [scope, query, wanted] of table) {
      t.equal(await keysOf(store, scope, query), wanted, JSON.stringify([scope, query]))
    }
    await stored(storage, [store.putting('a@x', 'd', { due: 20 }), store.putting('a@x', 'c', { due: 20, name: 'z' }), store.putting('a@x', 'e', {})])
    t.equal(await keysOf(store, A, due), 'acfd.', 'a row keeps its place among others if it is put again')
    t.equal(await keysOf(store, A, name), 'bca.')
    await stored(storage, [store.removing('a@x', 'c'), store.putting('a@x', 'c', { due: 20 })])
    t.equal(await keysOf(store, A, due), 'afdc.')
    const odd = ['\0', '\u0001', '\u0001\u0002', 'a\0b', '\uffee', '\u{1f600}']
    await stored(storage, [...odd].reverse().map(name => store.putting('o@z', name, { name })))
    t.same((await store.page({ host: 'z' }, name)).rows.map(({ key }) => key), odd)
    t.same((await store.page({ host: 'z' }, { ...name, from: 'a\0b', to: 'a\0b' })).rows.map(({ key }) => key), ['a\0b'])
  })

  void t.test('a place goes on where a page ended, even if its row is gone', async t => {
    const storage = await open(t)
    const store = await values(storage)
    await fill(storage, store)
    for (const by of [undefined, 'due', 'name']) {
      for (const scope of [A, X]) {
        const query = { limit: 99, ...by === undefined ? {} : { by } }
        const all = (await store.page(scope, query)).rows.map(({ owner, key }) => `${owner} ${key}`)
        for (const last of [false, true]) {
          const walked: string[] = []
          for (let place: string | undefined; ;) {
            const from = place === undefined ? {} : last ? { before: place } : { after: place }
            const page = await store.page(scope, { ...query, limit: 2, last, ...from })
            const names = page.rows.map(({ owner, key }) => `${owner} ${key}`)
            if (last) walked.unshift(...names)
            else walked.push(...names)
            place = (last ? page.rows[0] : page.rows.at(-1))?.place
            if (page.complete) break
          }
          t.same(walked, all, `${by ?? 'key'} ${JSON.stringify(scope)} ${last}`)
        }
      }
    }
    const [first] = (await store.page(A, { by: 'due', limit: 1 })).rows
    await stored(storage, [store.removing('a@x', 'd')])
    t.equal(await keysOf(store, A, { by: 'due', limit: 1, after: first?.place ?? '' }), 'a…')
    const [key] = (await store.page(A, { limit: 1 })).rows
    for (const after of [{ owner: 'a@x', key: 'nothing' }, { owner: 'a@x', key: 'b' }, 'x', '[]', '[1,2]', '["a","b"]', key?.place ?? '']) {
      t.ok(await failureOf(store.page(A, { by: 'due', limit: 1, after })) instanceof UnknownEntry, JSON.stringify(after))
      t.ok(await failureOf(store.count(A, { by: 'due', before: after })) instanceof UnknownEntry)
    }
    t.ok(await failureOf(store.page(A, { limit: 1, after: first?.place ?? '' })) instanceof UnknownEntry, 'a place of another order')
  })

  void t.test('a table counts and sums what one owner or one host has', async t => {
    const storage = await open(t)
    const store = await values(storage)
    t.equal(await store.count(A), 0)
    t.equal(await store.sum(A, 'bytes'), 0)
    await fill(storage, store)
    t.same([await store.count(A), await store.count(X), await store.count({ owner: 'x' })], [6, 8, 1])
    t.same([await store.count(A, { by: 'due' }), await store.count(X, { by: 'due', from: 7, to: 20 }), await store.count(A, { by: 'name', to: 'm' })], [5, 4, 3])
    t.equal(await store.count(A, { by: 'due', before: { owner: 'a@x', key: 'c' } }), 3)
    t.same([await store.sum(A, 'bytes'), await store.sum(X, 'bytes'), await store.sum({ owner: 'x' }, 'bytes')], [15, 31, 0])
    await stored(storage, [store.putting('a@x', 'c', { bytes: 1000 }), store.removing('a@x', 'b')])
    t.equal(await store.sum(A, 'bytes'), 1006)
    for (const ask of [() => store.sum(A, 'due'), () => store.sum(A, 'toString'), () => store.count(A, { by: 'bytes' }), () => store.page(A, { by: 'toString', limit: 1 }), () => store.expire('x', 1, 1)]) {
      t.ok(await failureOf(ask()) instanceof RangeError)
    }
    t.throws(() => store.putting('a@x', 'k', { bytes: NaN }), RangeError)
    t.throws(() => store.putting('a@x', 'k', { due: NaN }), RangeError)
  })

  void t.test('rows expire for all owners up to a rank, the lowest first, and up to a limit for each call', async t => {
    const storage = await open(t)
    const store = await values(storage)
    await fill(storage, store)
    const other = await storage.open('test.other', shape)
    await stored(storage, [other.putting('a@x', 'k', { due: 1 })])
    t.equal(await store.expire('due', -1e301, 9), 0)
    t.equal(await store.expire('due', 1, 2), 2)
    t.equal(await keysOf(store, X, { by: 'due', limit: 9 }), 'ehcfg.')
    t.equal(await store.expire('due', 1, 9), 2)
    t.equal(await keysOf(store, { host: 'y' }, { limit: 9 }), '.')
    t.equal(await store.expire('due', 20, Infinity), 4)
    t.equal(await keysOf(store, X, { limit: 9 }), 'b.', 'a row without a rank stays')
    t.equal(await other.count(A), 1)
  })

  void t.test('the longest addresses are owners, keys and ranks', async t => {
    const storage = await open(t)
    const store = await values(storage)
    const owner = `${noise('local', 1023)}@${noise('host', 253)}`
    const names = ['a', 'b', 'c'].map(end => `${noise('jid', 2047)}/${noise('resource', 1022)}${end}`)
    const twins = [`${'é'.repeat(200)}1`, `${'é'.repeat(200)}2`]
    await stored(storage, [...names, ...twins].map(name => store.putting(owner, name, { name, bytes: 1 })))
    for (const name of names) {
      t.same(await store.get(owner, name), { name, bytes: 1 })
      t.same((await store.page({ owner }, { by: 'name', from: name, to: name, limit: 9 })).rows.map(({ key }) => key), [name])
    }
    t.same((await store.page({ owner }, { limit: 9 })).rows.map(row => row.owner), names.concat(twins).map(() => owner))
    t.equal(await store.count({ owner }, { from: twins[0] ?? '', to: twins[0] ?? '' }), 1)
    await stored(storage, [store.removing(owner, names[0] ?? '')])
    t.equal(await store.sum({ owner }, 'bytes'), 4)
  })

  void t.test('a page has as many rows as it takes, whatever the bounds of single reads', async t => {
    const storage = await open(t)
    const store = await values(storage)
    const writes: Write[] = []
    for (let n = 0; n < 1200; n++) {
      writes.push(store.putting(`${n % 3}@x`, String(n).padStart(4, '0'), { due: -n, bytes: 1, text: 'x'.repeat(n < 20 ? 40_000 : 1) }))
    }
    await stored(storage, writes)
    const keys = async (query: TableQuery): Promise<readonly number[]> => (await store.page(X, { by: 'due', ...query })).rows.map(({ key }) => Number(key))
    const numbers = Array.from({ length: 1200 }, (_, n) => n)
    t.same(await keys({ limit: 5000 }), [...numbers].reverse())
    t.same(await keys({ limit: 777, last: true }), numbers.slice(0, 777).reverse())
    t.same(await keys({ limit: 5000, bytes: 200_000, last: true }), [3, 2, 1, 0])
    t.same(await keys({ limit: 5000, bytes: 1, from: 0 }), [0])
    t.equal((await store.page(X, { by: 'due', limit: 5000, bytes: 1 })).rows.length, 1)
    t.same([await store.count(X), await store.sum(X, 'bytes'), await store.count({ owner: '0@x' })], [1200, 1200, 400])
    t.equal(await store.expire('due', -200, 900), 900)
    t.equal(await store.count(X), 300)
  })

  void t.test('erasing an owner empties the owner\'s tables, and a batch writes all its rows or none', async t => {
    const storage = await open(t)
    const store = await values(storage)
    await fill(storage, store)
    await stored(storage, [storage.erasing('a@x'), store.putting('a@x', 'i', { due: 1 })])
    t.equal(await keysOf(store, X, { by: 'due', limit: 9 }), 'ihg.')
    t.equal(await keysOf(store, { owner: 'a@y' }, { limit: 9 }), 'a.')
  })
}

/** Checks that a table has the indexes with which it was opened last. `open` opens one storage again and again. */
export async function checkReindexed (t: Test, open: () => Promise<Storage>): Promise<void> {
  const first = await open()
  const store = await values(first)
  await fill(first, store)
  await first.close()
  const second = await open()
  const more = await second.open('test.values', table<Value>(1, { by: { due: ({ due }) => due, bytes: ({ bytes }) => bytes }, sum: {} }))
  t.equal(await keysOf(more, A, { by: 'bytes', limit: 9 }), 'cafb.', 'a new index has the rows that were there')
  t.ok(await failureOf(more.sum(A, 'bytes')) instanceof RangeError)
  await second.close()
  const third = await open()
  t.match(await failureOf(third.open('test.values', table<Value>(2, { by: {} }))), { message: /has no upgrade from version 1 to 2/ })
  const upgraded = await third.open('test.values', table<Value>(2, { by: { due: ({ due }) => due } }, old => {
    const value = old as Value
    return value.due === 20 ? undefined : { ...value, due: value.due === undefined ? 1 : -value.due }
  }))
  t.equal(await keysOf(upgraded, A, { by: 'due', limit: 9 }), 'ebad.')
  t.same(await upgraded.get('a@x', 'b'), { name: '', bytes: 8, due: 1 })
  t.equal(await keysOf(upgraded, X, { limit: 9 }), 'habde.')
  await third.close()
}
