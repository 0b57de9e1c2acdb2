/** What a journal query means, over entries in order: the measure for drivers that ask a database. */
import { UnknownEntry, type JournalFilter, type JournalPage, type JournalQuery, type NewEntry } from './store.js'
import { isFound, soughtIn, wordsOf } from './words.js'

/** The page of these entries, which stand in the order of commit. Throws UnknownEntry. */
export function pageOf<V> (entries: readonly NewEntry<V>[], query: JournalQuery, bytesOf: (value: V) => number): JournalPage<V> {
  const matches = [...matching(entries, query)]
  if (query.last === true) matches.reverse()
  const { chosen, complete } = cut(matches, query, ({ value }) => bytesOf(value))
  return { entries: chosen.map(({ id, at, with: other, value }) => ({ id, at, with: other, value })), complete }
}

/** Those that match, in order. Throws UnknownEntry. */
export function matching<V> (entries: readonly NewEntry<V>[], filter: JournalFilter): readonly NewEntry<V>[] {
  const from = Math.max(0, ...listOf(filter.after).map(id => positionOf(entries, id) + 1))
  const to = Math.min(entries.length, ...listOf(filter.before).map(id => positionOf(entries, id)))
  const sought = filter.text === undefined ? undefined : soughtIn(filter.text)
  return entries.slice(from, Math.max(from, to)).filter(entry => isMatch(entry, filter, sought))
}

/** As many of the matches as a page takes, in its order. They come in the direction of the query: where it wants the last, those first. */
export function cut<L> (
  matches: readonly L[], query: JournalQuery, bytesOf: (match: L) => number,
): { readonly chosen: readonly L[], readonly complete: boolean } {
  const most = query.bytes ?? Infinity
  let count = 0
  let bytes = 0
  for (const match of matches) {
    bytes += bytesOf(match)
    if (count >= query.limit || count > 0 && bytes > most) break
    count++
  }
  const chosen = matches.slice(0, count)
  return { chosen: query.last === true ? chosen.reverse() : chosen, complete: count === matches.length }
}

/** One id, several, or none. */
export function listOf (ids: string | readonly string[] | undefined): readonly string[] {
  return ids === undefined ? [] : typeof ids === 'string' ? [ids] : ids
}

function positionOf (entries: readonly NewEntry<unknown>[], id: string): number {
  const at = entries.findIndex(entry => entry.id === id)
  if (at < 0) throw new UnknownEntry(`there is no entry '${id}'`)
  return at
}

function isMatch (entry: NewEntry<unknown>, filter: JournalFilter, sought: readonly string[] | undefined): boolean {
  return (filter.with === undefined || isWith(entry.with, filter.with)) &&
    (filter.ids === undefined || filter.ids.includes(entry.id)) &&
    (filter.alias === undefined || entry.alias === filter.alias) &&
    (filter.since === undefined || entry.at >= filter.since) &&
    (filter.until === undefined || entry.at <= filter.until) &&
    (sought === undefined || sought.length > 0 && entry.text !== undefined && isFound(wordsOf(entry.text), sought))
}

/** A bare address stands for each of its resources. */
function isWith (address: string, wanted: string): boolean {
  return address === wanted || !wanted.includes('/') && address.startsWith(`${wanted}/`)
}
