/** The archives of others that a session queries: only what the session asked for reaches it (XEP-0313 §4, §10). */
import { slot } from '../base/slot.js'
import { child } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { flatten } from '../xml/octets.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed, Stanza } from '../xmpp/stanza.js'
import type { Session } from './session.js'

/** Open queries of one session, at most. After that the oldest is forgotten, and its later results are removed. */
const MOST = 16
/** The longest id of a query, in characters. The results of a query with a longer id are removed. */
const LONGEST_ID = 1024

/** The archive that each open query was sent to, by the id of the query. */
const openQueries = slot<Map<string, string>>('core.archive-queries', { initial: () => new Map() })

/** Notes a query that the session sends to an archive of somebody else. The answer ends it: see `endArchiveQuery`. */
export function beginArchiveQuery (session: Session, iq: Stanza): void {
  const { id, to } = iq
  if (iq.type !== 'set' || to === undefined || id === undefined || id.length > LONGEST_ID) return
  if (to.equals(session.account) || child(iq.element, NS.MAM, 'query') === undefined) return
  const queries = session.get(openQueries)
  queries.delete(id)
  queries.set(flatten(id), flatten(to.toString()))
  if (queries.size > MOST) for (const oldest of queries.keys()) { queries.delete(oldest); break }
}

/** Ends a query if this iq to the session answers it. No more results from that archive are expected for it. */
export function endArchiveQuery (session: Session, iq: Addressed): void {
  if (iq.type !== 'result' && iq.type !== 'error' || iq.id === undefined) return
  const queries = session.get(openQueries)
  if (queries.get(iq.id) === iq.from.toString()) queries.delete(iq.id)
}

/** True if the session has an open query to exactly this archive. */
export function isArchiveAwaited (session: Session, archive: Jid): boolean {
  const queries = session.get(openQueries)
  if (queries.size === 0) return false
  const address = archive.toString()
  for (const asked of queries.values()) if (asked === address) return true
  return false
}
