/** Reads queries, and the pages of an archive that answer them (XEP-0313 §4), for accounts and for entities. */
import { attributeOf, costOfBytes, costOfRows, formatDateTime, NS, pagingElement, StanzaError, xml } from '../../lib/api.js'
import type { Element, Entry, Jid, ModuleHost } from '../../lib/api.js'
import { find, readQuery, type Archive, type Query } from './query.js'

/** The most characters of a `queryid` (§4.1). */
const LONGEST_QUERY_ID = 1024
/** The cost of a full-text search, or of a page by index, before anything is found, in units (lib/host/cost.ts). */
const SEARCH = 200

/** A query as its sender wrote it, and the `queryid` that each result repeats. */
export interface Asked { readonly query: Query, readonly id: string | undefined }

/** A page that is ready to be sent: its messages in the order of sending, and `<fin/>`. */
export interface Page { readonly shown: readonly Entry<string>[], readonly fin: Element }

/** Reads a query. Throws StanzaError: as `readQuery`, and bad-request for a queryid that is too long. */
export function readAsked (payload: Element): Asked {
  const query = readQuery(payload)
  const id = attributeOf(payload, 'queryid')
  // Each result repeats it, and no client needs a long one.
  if (id !== undefined && id.length > LONGEST_QUERY_ID) throw new StanzaError('bad-request', 'the queryid is too long')
  return { query, id }
}

/**
 * Reads a page of at most `most` messages from the archive of `owner`. `charge` is called with the cost in units
 * (lib/host/cost.ts). Throws StanzaError as `find`.
 */
export async function readPage (
  host: ModuleHost, archive: Archive, most: number, { query }: Asked, owner: Jid, charge: (units: number) => void,
): Promise<Page> {
  // so that the page does not end before a message that its reader was too late to be sent
  await host.stored(owner)
  const { entries, complete, index, count } = await find(archive, owner.toString(), query, most)
  charge(costOf(query, entries))
  const fin = xml('fin', { xmlns: NS.MAM, ...complete ? { complete: 'true' } : {} },
    pagingElement({ first: entries[0]?.id, last: entries.at(-1)?.id, index, count }))
  return { shown: query.isFlipped ? [...entries].reverse() : entries, fin }
}

/** Returns the error for results that are not read. */
export function tooSlow (): StanzaError {
  return new StanzaError('resource-constraint', 'the client reads the results too slowly', { type: 'wait' })
}

/** Reads the first and last id of an archive (§4.4). */
export async function metadata (host: ModuleHost, archive: Archive, owner: Jid): Promise<Element> {
  await host.stored(owner)
  const name = owner.toString()
  const [oldest] = (await archive.page(name, { limit: 1 })).entries
  const [newest] = (await archive.page(name, { limit: 1, last: true })).entries
  const edge = (name: string, entry: Entry<string> | undefined): Element | undefined => entry === undefined
    ? undefined
    : xml(name, { id: entry.id, timestamp: formatDateTime(entry.at, { milliseconds: true }) })
  return xml('metadata', { xmlns: NS.MAM }, edge('start', oldest), edge('end', newest))
}

/** The cost of what a query reads and returns. */
function costOf ({ filter, paging }: Query, entries: readonly Entry<string>[]): number {
  const bytes = entries.reduce((sum, { value }) => sum + value.length, 0)
  const isSearch = filter.text !== undefined || paging?.index !== undefined
  return costOfRows(entries.length) + costOfBytes(bytes) + (isSearch ? SEARCH : 0)
}
