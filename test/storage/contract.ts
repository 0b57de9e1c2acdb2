/** The promises of every storage driver (lib/storage/store.ts), as tests that each driver runs. */
import type { Test } from 'tap'
import { PendingBatch } from '../../lib/storage/batch.js'
import { ownersAt } from '../../lib/storage/owner.js'
import { journal, records, UnknownEntry, type Journal, type JournalQuery, type Records, type Write } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { logPromises } from './log-contract.js'
import { tablePromises } from './table-contract.js'

type Opener = (t: Test) => Promise<Storage>

/** Resolves once these writes are stored; throws if they are not. */
export function stored (storage: Storage, writes: readonly Write[]): Promise<void> {
  const number = storage.submit(writes)
  return new Promise((resolve, reject) => {
    storage.after(number, error => { if (error === undefined) resolve(); else reject(error) })
  })
}

/** Resolves with the promise's rejection, or with undefined if it fulfils. */
export function failureOf (promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => undefined, (error: unknown) => error)
}

/** Runs all tests on the storage that `open` opens empty for each test. */
export function contract (t: Test, open: Opener): void {
  recordPromises(t, open)
  journalPromises(t, open)
  commitPromises(t, open)
  hostPromises(t, open)
  tablePromises(t, open)
  logPromises(t, open)
}

function hostPromises (t: Test, open: Opener): void {
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

function recordPromises (t: Test, open: Opener): void {
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

const JULIET = 'juliet@capulet.lit'

function journalPromises (t: Test, open: Opener): void {
  void t.test('a page of a journal has the entries that match its query', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    await fill(storage, store)
    const ids = async (query: JournalQuery): Promise<string> => {
      const { entries, complete } = await store.page('a', query)
      return `${entries.map(({ id }) => id).join('')}${complete ? '.' : '…'}`
    }
    const table: readonly (readonly [JournalQuery, string])[] = [
      [{ limit: 9 }, 'cafbed.'],
      [{ limit: Infinity }, 'cafbed.'],
      [{ limit: 6 }, 'cafbed.'],
      [{ limit: 5 }, 'cafbe…'],
      [{ limit: 0 }, '…'],
      [{ limit: 0, last: true }, '…'],
      [{ limit: 2, last: true }, 'ed…'],
      [{ limit: 6, last: true }, 'cafbed.'],
      [{ limit: 9, after: 'f' }, 'bed.'],
      [{ limit: 2, after: 'f' }, 'be…'],
      [{ limit: 9, after: 'd' }, '.'],
      [{ limit: 9, before: 'f' }, 'ca.'],
      [{ limit: 1, before: 'f' }, 'c…'],
      [{ limit: 1, before: 'f', last: true }, 'a…'],
      [{ limit: 9, after: 'a', before: 'e' }, 'fb.'],
      [{ limit: 9, after: 'e', before: 'a' }, '.'],
      [{ limit: 9, with: JULIET }, 'cab.'],
      [{ limit: 9, with: `${JULIET}/balcony` }, 'a.'],
      [{ limit: 9, with: `${JULIET}/ball` }, '.'],
      [{ limit: 9, with: 'juliet@capulet' }, '.'],
      [{ limit: 9, with: 'nurse@capulet.lit' }, 'f.'],
      [{ limit: 9, with: 'room@muc.lit/a/b' }, 'e.'],
      [{ limit: 9, with: 'room@muc.lit' }, 'e.'],
      [{ limit: 1, with: JULIET, last: true }, 'b…'],
      [{ limit: 9, since: 200 }, 'afbed.'],
      [{ limit: 9, since: 201 }, 'bed.'],
      [{ limit: 9, until: 200 }, 'caf.'],
      [{ limit: 9, until: 99 }, '.'],
      [{ limit: 9, since: 200, until: 300 }, 'afb.'],
      [{ limit: 2, since: 200, until: 300, last: true }, 'fb…'],
      [{ limit: 9, ids: ['d', 'c', 'nothing'] }, 'cd.'],
      [{ limit: 9, ids: [] }, '.'],
      [{ limit: 9, ids: ['a', 'b', 'd'], with: JULIET, since: 300, after: 'c' }, 'b.'],
      [{ limit: 9, after: ['c', 'f'] }, 'bed.'],
      [{ limit: 9, after: ['f', 'c'], before: ['d', 'e'] }, 'b.'],
      [{ limit: 9, after: [], before: [] }, 'cafbed.'],
      [{ limit: 9, bytes: 3 }, 'caf…'],
      [{ limit: 2, bytes: 3 }, 'ca…'],
      [{ limit: 9, bytes: 6 }, 'cafbed.'],
      [{ limit: 9, bytes: 0 }, 'c…'],
      [{ limit: 0, bytes: 0 }, '…'],
      [{ limit: 9, bytes: 2, last: true }, 'ed…'],
      [{ limit: 9, bytes: 0, after: 'e' }, 'd.'],
      [{ limit: 9, bytes: Infinity }, 'cafbed.'],
      [{ limit: 1, bytes: Infinity, last: true }, 'd…'],
    ]
    for (const [query, wanted] of table) t.equal(await ids(query), wanted, JSON.stringify(query))
    t.same((await store.page('b', { limit: 9 })).entries, [{ id: 'a', at: 5_000_000_000_000, with: '', value: 'of b' }])
    t.same(await store.page('nobody', { limit: 9 }), { entries: [], complete: true })
  })

  void t.test('a page begins at an index, and the index of an entry is the number of matches before it', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    await fill(storage, store)
    const ids = async (query: JournalQuery): Promise<string> => {
      const { entries, complete } = await store.page('a', query)
      return entries.map(({ id }) => id).join('') + (complete ? '.' : '…')
    }
    const table: readonly (readonly [JournalQuery, string])[] = [
      [{ limit: 9, index: 0 }, 'cafbed.'], [{ limit: 2, index: 1 }, 'af…'], [{ limit: 2, index: 4 }, 'ed.'], [{ limit: 2, index: 5 }, 'd.'],
      [{ limit: 2, index: 6 }, '.'], [{ limit: 2, index: 4_000_000_000 }, '.'], [{ limit: 2, index: 1, last: true }, 'be…'], [{ limit: 9, index: 5, last: true }, 'c.'],
      [{ limit: 9, index: 1, after: 'a' }, 'bed.'], [{ limit: 1, index: 1, with: JULIET }, 'a…'], [{ limit: 9, index: 1, ids: ['a', 'b'] }, 'b.'],
      [{ limit: 9, index: 2, bytes: 2 }, 'fb…'], [{ limit: 9, index: 3, since: 200, until: 500, before: 'd' }, '.'],
    ]
    for (const [query, wanted] of table) t.equal(await ids(query), wanted, JSON.stringify(query))
    for (const [index, id] of ['c', 'a', 'f', 'b', 'e', 'd'].entries()) t.equal(await store.count('a', { before: id }), index)
  })

  void t.test('a follower of an owner\'s journal is told that it has grown, after the commit', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    const heard: string[] = []
    const append = (owner: string, id: string): Write => store.appending(owner, { id, at: 1, with: '', value: id })
    const turn = (): Promise<void> => new Promise(resolve => { setImmediate(resolve) })
    const told = async (writes: readonly Write[]): Promise<string> => {
      await stored(storage, writes)
      await turn()
      await turn()
      return heard.splice(0).join(' ')
    }
    t.equal(await told([append('a', '0')]), '')
    const ends = ['1', '2'].map(name => store.follow('a', () => { heard.push(name) }))
    const end = store.follow('b\0', () => { heard.push('b') })
    t.equal(await told([append('a', '1'), append('a', '2'), append('c', '1')]), '1 2', 'once for the entries of one commit')
    t.equal(await told([append('b\0', '1')]), 'b')
    t.equal(await told([store.removing('a', ['1']), store.replacing('a', '2', 'x'), store.clearing('b\0')]), '')
    ends[0]?.()
    ends[0]?.()
    t.equal(await told([append('a', '3')]), '2')
    const other = await storage.open('test.other', journal<unknown>(1))
    t.equal(await told([other.appending('a', { id: '1', at: 1, with: '', value: 1 })]), '')
    const found = new Promise<{ readonly entries: number }>(resolve => {
      const last = store.follow('a', () => {
        last()
        resolve(store.size('a'))
      })
    })
    await told([append('a', '4')])
    t.equal((await found).entries, 4, 'a follower finds what was committed')
    ends[1]?.()
    end()
    const many = Array.from({ length: 1000 }, () => store.follow('a', () => {}))
    t.throws(() => store.follow('a', () => {}), { message: 'too many followers of a journal' })
    for (const one of many) one()
    store.follow('a', () => {})()
  })

  void t.test('a page after or before an unknown entry throws UnknownEntry', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    await fill(storage, store)
    t.ok(await failureOf(store.page('a', { after: 'x', limit: 1 })) instanceof UnknownEntry)
    t.ok(await failureOf(store.page('a', { before: 'x', limit: 1 })) instanceof UnknownEntry)
    t.ok(await failureOf(store.page('b', { after: 'c', limit: 1 })) instanceof UnknownEntry)
    t.ok(await failureOf(store.page('a', { after: ['a', 'x'], limit: 1 })) instanceof UnknownEntry)
    t.ok(await failureOf(store.count('a', { before: 'x' })) instanceof UnknownEntry)
  })

  void t.test('a count has the same matches as a page', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    await fill(storage, store)
    t.equal(await store.count('a', {}), 6)
    t.equal(await store.count('a', { with: JULIET }), 3)
    t.equal(await store.count('a', { after: 'f', until: 500 }), 2)
    t.equal(await store.count('a', { ids: ['a', 'x'] }), 1)
    t.equal(await store.count('nobody', {}), 0)
  })

  void t.test('an entry is found by its alias, which other entries may share', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    const of = async (owner: string, alias: string): Promise<string> =>
      (await store.page(owner, { alias, limit: 9 })).entries.map(({ id }) => id).join('')
    await stored(storage, [['a', '1', 'x'], ['a', '2', 'y\u0000'], ['a', '3', 'x'], ['b', '1', 'x'], ['a', '4', undefined]].map(([owner = '', id = '', alias]) =>
      store.appending(owner, { id, at: 1, with: 'w', value: id, ...alias === undefined ? {} : { alias } })))
    t.equal(await of('a', 'x'), '13')
    t.equal(await of('a', 'y\u0000'), '2')
    t.equal(await of('b', 'x'), '1')
    t.equal(await of('a', ''), '')
    t.equal(await store.count('a', { alias: 'x', after: '1' }), 1)
    await stored(storage, [store.replacing('a', '1', 'new')])
    t.equal(await of('a', 'x'), '13', 'a replaced entry keeps its alias')
    t.same((await store.page('a', { alias: 'x', limit: 1 })).entries, [{ id: '1', at: 1, with: 'w', value: 'new' }])
  })

  void t.test('a search finds the entries that have all its words, or words that begin with them', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    const texts: Record<string, string> = {
      a: 'Wherefore art thou Romeo? Deny thy father', b: 'I met Roméo at the MEETING', c: '我们在东京都见面', d: 'ラーメンを食べたい', e: '서울에서 만나요',
      f: "quote ' and \" and * and : and \\ and \u0000", g: '東京へ行く romeo', h: '', i: 'x'.repeat(100),
    }
    await stored(storage, Object.entries(texts).map(([id, text]) => store.appending('o', { id, at: 1, with: 'w', value: id, text })))
    await stored(storage, [store.appending('o', { id: 'z', at: 1, with: 'w', value: 'romeo, which is in its value alone' })])
    await stored(storage, [store.appending('other', { id: 'a', at: 1, with: 'w', value: '', text: 'romeo' })])
    const found = async (text: string, more: Partial<JournalQuery> = {}): Promise<string> =>
      (await store.page('o', { text, limit: 9, ...more })).entries.map(({ id }) => id).join('')
    const table: readonly (readonly [string, string])[] = [
      ['romeo', 'abg'], ['ROMEO', 'abg'], ['Roméo', 'abg'], ['rom', 'abg'], ['omeo', ''], ['romeo thou', 'a'], ['thou romeo', 'a'],
      ['romeo juliet', ''], ['meet', 'b'], ['met', 'b'], ['meetings', ''],
      ['东京', 'c'], ['东京都', 'c'], ['见面', 'c'], ['面', 'c'], ['京都', 'c'], ['京见', ''], ['東京', 'g'], ['東京 romeo', 'g'],
      ['食べ', 'd'], ['ラー', 'd'], ['ﾗｰﾒﾝ', 'd'], ['만나', 'e'], ['서울', 'e'], ['울서', ''],
      ['quote', 'f'], ['"quote" AND \'and\'', 'f'], ['quote OR romeo', ''], ['* : & | !', ''], ['', ''], ['quote *', 'f'], ['x'.repeat(200), 'i'],
    ]
    for (const [text, wanted] of table) t.equal(await found(text), wanted, text)
    t.equal(await found('romeo', { after: 'a' }), 'bg')
    t.equal(await found('romeo', { last: true, limit: 1 }), 'g')
    t.equal(await found('romeo', { ids: ['b', 'c'] }), 'b')
    t.equal(await found('romeo', { with: 'nobody' }), '')
    t.equal(await store.count('o', { text: 'romeo' }), 3)
    t.equal(await store.count('o', { text: '!' }), 0)
  })

  void t.test('replaced, removed, trimmed and erased entries are found by no search', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    const found = async (): Promise<string> => (await store.page('o', { text: 'word', limit: 9 })).entries.map(({ id }) => id).join('')
    const entry = (id: string): Write => store.appending('o', { id, at: Number(id), with: 'w', value: id, text: 'word' })
    await stored(storage, ['1', '2', '3', '4', '5'].map(entry))
    await stored(storage, [store.replacing('o', '2', 'gone'), store.removing('o', ['4'])])
    t.equal(await found(), '135')
    await store.trim('o', { since: 2 })
    t.equal(await found(), '35')
    await stored(storage, [storage.erasing('o'), entry('6')])
    t.equal(await found(), '6')
    await stored(storage, [store.clearing('o')])
    t.equal(await found(), '')
  })

  void t.test('an entry is read as it was appended', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    const entry = { id: 'ü/\u{1f600}', at: 1_800_000_000_123, with: 'ä@ö/\u{1f600}', value: { deep: [1, null, '"'], text: '\u0000\u001f' } }
    await stored(storage, [store.appending('a', entry)])
    t.same((await store.page('a', { limit: 1 })).entries, [entry])
  })

  void t.test('entries are removed, replaced in their place, and cleared', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    await fill(storage, store)
    await stored(storage, [store.removing('a', ['a', 'd', 'nothing']), store.removing('a', []), store.replacing('a', 'f', 'new'), store.replacing('a', 'x', 1)])
    t.same((await store.page('a', { limit: 9 })).entries.map(({ id, value }) => [id, value]), [['c', 'c'], ['f', 'new'], ['b', 'b'], ['e', 'e']])
    t.equal((await store.page('b', { limit: 9 })).entries.length, 1, 'another owner\'s entry with the same id stays')
    await stored(storage, [store.clearing('a')])
    t.same(await store.page('a', { limit: 9 }), { entries: [], complete: true })
    t.same(await store.owners({ limit: 9 }), ['b'])
  })

  void t.test('a journal reports the entries and bytes of an owner', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    t.same(await store.size('a'), { entries: 0, bytes: 0 })
    await stored(storage, [store.appending('a', { id: '1', at: 1, with: 'x', value: 'ü"' }), store.appending('a', { id: '2', at: 1, with: 'x', value: { a: 'ü' } })])
    t.same(await store.size('a'), { entries: 2, bytes: 3 + 10 })
    await stored(storage, [store.replacing('a', '1', 'longer')])
    t.same(await store.size('a'), { entries: 2, bytes: 6 + 10 })
  })

  void t.test('trimming keeps the newest entries by number, age and bytes, and counts the removed ones', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    const left = async (owner: string): Promise<string> => (await store.page(owner, { limit: 9 })).entries.map(({ id }) => id).join('')
    await fill(storage, store)
    t.equal(await store.trim('a', {}), 0)
    t.equal(await store.trim('a', { newest: 9 }), 0)
    t.equal(await store.trim('a', { newest: 4 }), 2)
    t.equal(await left('a'), 'fbed')
    t.equal(await store.trim('a', { since: 300 }), 1)
    t.equal(await left('a'), 'bed')
    t.equal(await store.trim('a', { newest: 2, since: 400 }), 1)
    t.equal(await store.trim('a', { newest: 2, since: 600 }), 1, 'the last in order is not always the youngest')
    t.equal(await left('a'), 'e')
    t.equal(await store.trim('a', { newest: 0 }), 1)
    t.equal(await left('b'), 'a')
    const sized = [3, 1, 2].map((size, n) => store.appending('c', { id: `${n}`, at: n, with: '', value: 'x'.repeat(size) }))
    await stored(storage, sized)
    t.equal(await store.trim('c', { bytes: 6 }), 0)
    t.equal(await store.trim('c', { bytes: 5 }), 1)
    t.equal(await left('c'), '12')
    t.equal(await store.trim('c', { bytes: 2, newest: 2 }), 1)
    t.equal(await store.trim('c', { bytes: 1 }), 1)
    t.equal(await left('c'), '')
  })

  void t.test('expired entries are removed for every owner, up to a limit for each call', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    const other = await storage.open('test.other', journal<unknown>(1))
    const entries = ['x', 'y', 'z'].flatMap(owner => [1, 2, 3].map(at => ({ owner, entry: { id: `${at}`, at, with: '', value: at } })))
    await stored(storage, entries.map(({ owner, entry }) => store.appending(owner, entry)))
    await stored(storage, [other.appending('x', { id: '1', at: 1, with: '', value: 1 })])
    t.equal(await store.expire(3, 4), 4)
    t.equal(await store.expire(3, 4), 2)
    t.equal(await store.expire(3, Infinity), 0)
    for (const owner of ['x', 'y', 'z']) t.same((await store.page(owner, { limit: 9 })).entries.map(({ at }) => at), [3])
    t.equal((await other.size('x')).entries, 1)
  })

  void t.test('a journal\'s owners come in order, a page at a time', async t => {
    const storage = await open(t)
    const store = await archive(storage)
    await stored(storage, ['c', 'a', 'b', 'a'].map((owner, n) => store.appending(owner, { id: `${n}`, at: 1, with: '', value: 1 })))
    t.same(await store.owners({ limit: 2 }), ['a', 'b'])
    t.same(await store.owners({ after: 'b', limit: 2 }), ['c'])
  })
}

function commitPromises (t: Test, open: Opener): void {
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

async function rosters (storage: Storage): Promise<Records<unknown>> { return storage.open('test.roster', records<unknown>(1)) }
async function archive (storage: Storage): Promise<Journal<unknown>> { return storage.open('test.archive', journal<unknown>(1)) }

/** Appends entries whose ids are in no order, and whose times are not quite in order. */
async function fill (storage: Storage, store: Journal<unknown>): Promise<void> {
  const lines: readonly (readonly [string, number, string])[] = [
    ['c', 100, JULIET], ['a', 200, `${JULIET}/balcony`], ['f', 200, 'nurse@capulet.lit/hall'],
    ['b', 300, `${JULIET}/garden`], ['e', 600, 'room@muc.lit/a/b'], ['d', 500, 'romeo@montague.lit'],
  ]
  await stored(storage, lines.slice(0, 3).map(([id, at, address]) => store.appending('a', { id, at, with: address, value: id })))
  await stored(storage, [store.appending('b', { id: 'a', at: 5_000_000_000_000, with: '', value: 'of b' })])
  await stored(storage, lines.slice(3).map(([id, at, address]) => store.appending('a', { id, at, with: address, value: id })))
}
