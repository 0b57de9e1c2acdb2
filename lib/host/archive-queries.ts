/** The archives elsewhere that a session reads: only what it has asked for reaches it (XEP-0313 §4, §10). */
import { slot } from '../base/slot.js'
import { child } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { flatten } from '../xml/octets.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed, Stanza } from '../xmpp/stanza.js'
import type { Session } from './session.js'

/** Queries of one session that are open at a time. With more, the oldest is forgotten, and what it still brings is removed. */
const MOST = 16
/** The longest id of a query, in characters. One with a longer id brings nothing. */
const LONGEST_ID = 1024

/** By the id of each query: the archive that was asked. */
const openQueries = slot<Map<string, string>>('core.archive-queries', { initial: () => new Map() })

/** Notes an archive query that the session sends to somebody else's archive. Its answer ends it: see `endArchiveQuery`. */
export function beginArchiveQuery (session: Session, iq: Stanza): void {
  const { id, to } = iq
  if (iq.type !== 'set' || to === undefined || id === undefined || id.length > LONGEST_ID) return
  if (to.equals(session.account) || child(iq.element, NS.MAM, 'query') === undefined) return
  const queries = session.get(openQueries)
  queries.delete(id)
  queries.set(flatten(id), flatten(to.toString()))
  if (queries.size > MOST) for (const oldest of queries.keys()) { queries.delete(oldest); break }
}

/** An iq that comes to the session: if it answers a query, nothing more is awaited from that archive for it. */
export function endArchiveQuery (session: Session, iq: Addressed): void {
  if (iq.type !== 'result' && iq.type !== 'error' || iq.id === undefined) return
  const queries = session.get(openQueries)
  if (queries.get(iq.id) === iq.from.toString()) queries.delete(iq.id)
}

/** Whether the session has an open query to exactly this archive. */
export function isArchiveAwaited (session: Session, archive: Jid): boolean {
  const queries = session.get(openQueries)
  if (queries.size === 0) return false
  const address = archive.toString()
  for (const asked of queries.values()) if (asked === address) return true
  return false
}
