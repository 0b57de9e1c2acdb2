/** The contents of the databases of released schemas: fixtures/ has each as the SQL that makes it. */
import { join } from 'node:path'
import type { Test } from 'tap'
import { PACKAGE_ROOT } from '../../lib/base/package.js'
import { journal, records } from '../../lib/storage/store.js'
import { table } from '../../lib/storage/table.js'
import type { Storage } from '../../lib/storage/storage.js'
import { stored } from './stored.js'

export const FIXTURES = join(PACKAGE_ROOT, 'test', 'storage', 'fixtures')

/**
 * Checks that all of a fixture is there, and that the current build can go on with it. `name` is the fixture's file
 * name.
 */
export async function checkReleased (t: Test, storage: Storage, name: string): Promise<void> {
  const roster = await storage.open('roster.items', records<unknown>(2, (old, from) => ({ from, old })))
  t.same([...await roster.all('juliet@capulet.lit')], [
    ['nurse@capulet.lit', { from: 1, old: { subscription: 'both', groups: ['House "Capulet"'] } }],
    ['romeo@montague.lit', { from: 1, old: { subscription: 'to', name: 'Roméo \u{1f339}' } }],
  ])
  t.same(await roster.owners({ limit: 9 }), ['juliet@capulet.lit', 'romeo@montague.lit'])
  const hosted = await storage.open('roster.items', records<unknown>(2, undefined, { byHost: true }))
  t.same(await hosted.owners({ host: 'capulet.lit', limit: 9 }), ['juliet@capulet.lit'])
  const rooms = await storage.open('test.rooms', table<number>(1, { by: { number: value => value } }))
  await stored(storage, [rooms.putting('juliet@capulet.lit', 'k', 7)])
  t.match(await rooms.page({ host: 'capulet.lit' }, { by: 'number', limit: 9 }), { rows: [{ key: 'k', value: 7 }], complete: true })
  const offline = await storage.open('offline.messages', journal<string>(1))
  const { entries } = await offline.page('juliet@capulet.lit', { limit: 9 })
  t.same(entries, [
    { id: 'b', at: 1_790_000_000_000, with: 'romeo@montague.lit/orchard', value: '<message><body>Her eyes</body></message>' },
    { id: 'a', at: 1_790_000_000_500, with: 'romeo@montague.lit', value: '<message><body>\u0001朱丽叶</body></message>' },
  ])
  await stored(storage, [offline.appending('juliet@capulet.lit', { id: 'c', at: 1_790_000_001_000, with: 'nurse@capulet.lit', value: 'x' })])
  t.same((await offline.page('juliet@capulet.lit', { limit: 9, after: 'b' })).entries.map(({ id }) => id), ['a', 'c'])
  t.equal((await offline.page('juliet@capulet.lit', { limit: 9, with: 'romeo@montague.lit' })).entries.length, 2)
  const archive = await storage.open('mam.messages', journal<string>(1))
  const idsOf = async (query: object): Promise<string> =>
    (await archive.page('juliet@capulet.lit', { limit: 9, ...query })).entries.map(({ id }) => id).join('')
  const has = !name.endsWith('-001.sql') // the first schema had neither aliases nor search
  t.equal(await idsOf({}), has ? 'xy' : '')
  t.equal(await idsOf({ alias: 'romeo@montague.lit m1' }), has ? 'x' : '')
  for (const text of ['東', '东京', 'LIEBE roméo']) t.equal(await idsOf({ text }), has && text !== '東' ? 'x' : '', text)
  await stored(storage, [archive.appending('juliet@capulet.lit', { id: 'z', at: 1_790_000_002_000, with: 'w', value: 'v', alias: 'new', text: '东京' })])
  t.equal(await idsOf({ text: '东京' }), has ? 'xz' : 'z')
  t.equal(await idsOf({ alias: 'new' }), 'z')
  t.equal(await archive.trim('juliet@capulet.lit', { newest: 1 }), has ? 2 : 0)
  t.equal(await idsOf({ text: '东京' }), 'z')
}
