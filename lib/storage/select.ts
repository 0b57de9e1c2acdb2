/** What a journal query means, over entries in order: the measure for drivers that ask a database. */
import { UnknownEntry, type Entry, type JournalPage, type JournalQuery } from './store.js'

/** The page of these entries, which stand in the order of commit. Throws UnknownEntry. */
export function pageOf<V> (entries: readonly Entry<V>[], query: JournalQuery): JournalPage<V> {
  const from = query.after === undefined ? 0 : positionOf(entries, query.after) + 1
  const to = query.before === undefined ? entries.length : positionOf(entries, query.before)
  const matches = entries.slice(from, Math.max(from, to)).filter(entry => isMatch(entry, query))
  const isLast = query.last === true
  const chosen = isLast ? matches.slice(Math.max(0, matches.length - query.limit)) : matches.slice(0, query.limit)
  return { entries: chosen, complete: chosen.length === matches.length }
}

function positionOf (entries: readonly Entry<unknown>[], id: string): number {
  const at = entries.findIndex(entry => entry.id === id)
  if (at < 0) throw new UnknownEntry(`there is no entry '${id}'`)
  return at
}

function isMatch (entry: Entry<unknown>, query: JournalQuery): boolean {
  return (query.with === undefined || isWith(entry.with, query.with)) &&
    (query.ids === undefined || query.ids.includes(entry.id)) &&
    (query.since === undefined || entry.at >= query.since) &&
    (query.until === undefined || entry.at <= query.until)
}

/** A bare address stands for each of its resources. */
function isWith (address: string, wanted: string): boolean {
  return address === wanted || !wanted.includes('/') && address.startsWith(`${wanted}/`)
}
