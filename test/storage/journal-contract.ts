/** The promises of journals (lib/storage/store.ts), as tests that each driver runs. */
import type { Test } from 'tap'
import { journal, UnknownEntry, type JournalQuery, type Write } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { archive, fill, JULIET } from './contract-stores.js'
import { failureOf, stored } from './stored.js'

type Opener = (t: Test) => Promise<Storage>

export function journalPromises (t: Test, open: Opener): void {
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
