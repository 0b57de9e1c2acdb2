/** Broadcasts to addresses of another domain: one row and one entry of the queue, whatever their number. */
import type { Maybe } from '../../base/maybe.js'
import { inTurns } from '../../base/turns.js'
import type { Broadcast, BroadcastPart } from '../../host/broadcast.js'
import { stanzaToServer } from '../../host/events.js'
import type { Batch } from '../../storage/store.js'
import { StanzaError } from '../../xmpp/errors.js'
import type { Jid } from '../../xmpp/jid.js'
import { itemsOf, QueuedBroadcast, type QueueEntry } from '../ground/queued-broadcast.js'
import type { QueuedStanza } from '../ground/queued-stanza.js'
import type { FederationContext } from './context.js'

/** The queues to other servers, as broadcasts use them. */
export interface BroadcastToServerHome {
  readonly world: FederationContext
  /** True if there is a stream for this pair of domains. */
  carries (this: void, local: string, remote: string): boolean
  /** Puts an entry into its queue, or sends it. Throws StanzaError. */
  put (this: void, entry: QueueEntry): void
  /** Returns a stanza to its sender with an error, if the sender may be told. */
  bounce (this: void, item: QueuedStanza, error: StanzaError): void
}

/** Takes a broadcast to addresses of one domain. If a module looks at stanzas to other servers, all are apart. */
export function broadcastToServer (
  home: BroadcastToServerHome, broadcast: Broadcast, to: readonly Jid[], batch: Batch,
): BroadcastPart {
  const { world } = home
  const { from } = broadcast.stanza
  // RFC 6120 §8.1.1.2: a server speaks only for its own domains.
  if (!world.router.serves(from.domain) || world.host(from.domain)?.hooks.has(stanzaToServer) === true) {
    return { apart: to, deliver: () => undefined, fail: () => {} }
  }
  const row = world.outbox.keepAll(broadcast, to, batch)
  return { apart: [], deliver: () => deliver(home, broadcast, to, row), fail: () => {} }
}

function deliver (
  home: BroadcastToServerHome, { stanza, frame }: Broadcast, to: readonly Jid[], row: string | undefined,
): Maybe<void> {
  const { world: { clock, pipeline: { turns } } } = home
  const entry = new QueuedBroadcast(stanza, frame, to, { since: clock.now(), row })
  const [first] = to
  if (first === undefined) return undefined
  // On a stream each stanza is sent by itself, so that other work gets its turns in between.
  if (home.carries(stanza.from.domain, first.domain)) return inTurns(turns, entry.items, item => { put(home, item) })
  put(home, entry)
  return undefined
}

/** A stanza that cannot be sent returns to the sender. */
function put ({ put, bounce }: BroadcastToServerHome, entry: QueueEntry): void {
  try {
    put(entry)
  } catch (error) {
    if (!(error instanceof StanzaError)) throw error
    for (const item of itemsOf(entry)) bounce(item, error)
  }
}
