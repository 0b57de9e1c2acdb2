/**
 * Defines what a journal query means, over a list of entries in order: the reference for drivers that query a database.
 */
import { UnknownEntry, type JournalFilter, type JournalPage, type JournalQuery, type NewEntry } from './store.js'
import { matchesSearch, searchPrefixes, wordsOf } from './words.js'

/** Returns the page that `query` asks for; `entries` are in the order of commit. Throws UnknownEntry. */
export function pageOf<V> (
  entries: readonly NewEntry<V>[], query: JournalQuery, bytesOf: (value: V) => number,
): JournalPage<V> {
  const matches = [...matching(entries, query)]
  if (query.last === true) matches.reverse()
  matches.splice(0, query.index ?? 0)
  const { chosen, complete } = takePage(matches, query, ({ value }) => bytesOf(value))
  return { entries: chosen.map(({ id, at, with: other, value }) => ({ id, at, with: other, value })), complete }
}

/** Returns the entries that match, in order. Throws UnknownEntry. */
export function matching<V> (entries: readonly NewEntry<V>[], filter: JournalFilter): readonly NewEntry<V>[] {
  const from = Math.max(0, ...listOf(filter.after).map(id => positionOf(entries, id) + 1))
  const to = Math.min(entries.length, ...listOf(filter.before).map(id => positionOf(entries, id)))
  const sought = filter.text === undefined ? undefined : searchPrefixes(filter.text)
  return entries.slice(from, Math.max(from, to)).filter(entry => isMatch(entry, filter, sought))
}

/**
 * Returns as many matches as the page takes, in ascending order. `matches` are in the direction of the query: the
 * newest first if it asks for the last ones.
 */
export function takePage<L> (
  matches: readonly L[], query: Pick<JournalQuery, 'last' | 'limit' | 'bytes'>, bytesOf: (match: L) => number,
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

/** Returns an array of no, one or several ids. */
export function listOf (ids: string | readonly string[] | undefined): readonly string[] {
  return ids === undefined ? [] : typeof ids === 'string' ? [ids] : ids
}

/** Returns the bare address of an address; one without a resource as it is. */
export function withoutResource (address: string): string {
  const slash = address.indexOf('/')
  return slash < 0 ? address : address.slice(0, slash)
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
    (sought === undefined ||
      sought.length > 0 && entry.text !== undefined && matchesSearch(wordsOf(entry.text), sought))
}

/** A bare address matches each of its resources. */
function isWith (address: string, wanted: string): boolean {
  return address === wanted || !wanted.includes('/') && address.startsWith(`${wanted}/`)
}
