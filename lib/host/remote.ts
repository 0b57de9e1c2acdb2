/** The border for stanzas of other servers: what their addresses mean was checked by their stream. */
import { follow, type Maybe } from '../base/maybe.js'
import { PendingBatch } from '../storage/batch.js'
import { StanzaError } from '../xmpp/errors.js'
import { addressed, type Addressed } from '../xmpp/stanza.js'
import { endArchiveQuery, isArchiveAwaited } from './archive-queries.js'
import type { Arrival } from './arrivals.js'
import type { Payer } from './cost.js'
import { stanzaFromServer } from './events.js'
import { withoutForged } from './forged.js'
import type { Host } from './host.js'
import type { ReleaseOrder } from './order.js'
import { unlessHandled, type Passage, type Router } from './router.js'

/**
 * Takes a stanza that another server has sent, and may send, to its recipients. `order`: of the stream it came on; `arrival`: its place
 * there, where stanzas are counted. `payer`: its stream.
 */
export function enterFromServer (
  router: Router, host: Host | undefined, received: Addressed, order: ReleaseOrder, arrival?: Arrival, payer?: Payer,
): Maybe<void> {
  const { to, from } = received
  const session = to.resource === '' ? undefined : host?.sessions.at(to)
  const isAwaited = (): boolean => session !== undefined && isArchiveAwaited(session, from)
  const stanza = addressed(withoutForged(received, router, isAwaited), to)
  if (session !== undefined && stanza.kind === 'iq') endArchiveQuery(session, stanza)
  const passage: Passage = { session: undefined, order, batch: new PendingBatch(), arrival, payer }
  return follow(router.guard(stanza, passage, () => {
    if (!router.serves(stanza.to.domain)) throw new StanzaError('item-not-found')
    if (host?.hooks.has(stanzaFromServer) !== true) return router.pass(stanza, passage)
    const verdict = host.hooks.fire(stanzaFromServer, { stanza, peer: stanza.from.domain })
    return unlessHandled(verdict, () => router.pass(stanza, passage), () => { router.settle(stanza, passage, () => {}) })
  }), () => { router.close(stanza, passage) })
}

/** Tells whoever sent it that a stanza did not reach the other server. */
export function returnToSender (router: Router, stanza: Addressed, error: StanzaError): void {
  router.fail(stanza, { session: undefined, batch: new PendingBatch() }, error)
}
