/** The stores that the promises of storage are tested with. */
import { journal, records, type Journal, type Records } from '../../lib/storage/store.js'
import type { Storage } from '../../lib/storage/storage.js'
import { stored } from './stored.js'

export const JULIET = 'juliet@capulet.lit'

export async function rosters (storage: Storage): Promise<Records<unknown>> { return storage.open('test.roster', records<unknown>(1)) }
export async function archive (storage: Storage): Promise<Journal<unknown>> { return storage.open('test.archive', journal<unknown>(1)) }

/** Appends entries whose ids are in no order, and whose times are not quite in order. */
export async function fill (storage: Storage, store: Journal<unknown>): Promise<void> {
  const lines: readonly (readonly [string, number, string])[] = [
    ['c', 100, JULIET], ['a', 200, `${JULIET}/balcony`], ['f', 200, 'nurse@capulet.lit/hall'],
    ['b', 300, `${JULIET}/garden`], ['e', 600, 'room@muc.lit/a/b'], ['d', 500, 'romeo@montague.lit'],
  ]
  await stored(storage, lines.slice(0, 3).map(([id, at, address]) => store.appending('a', { id, at, with: address, value: id })))
  await stored(storage, [store.appending('b', { id: 'a', at: 5_000_000_000_000, with: '', value: 'of b' })])
  await stored(storage, lines.slice(3).map(([id, at, address]) => store.appending('a', { id, at, with: address, value: id })))
}
