/**
 * The steps of a stanza from another server before its destination. Its addresses are checked here (RFC 6120 §8.1.1.2,
 * §8.1.2.2).
 */
import type { Hooks } from '../../base/hook.js'
import { follow, type Maybe } from '../../base/maybe.js'
import { StreamError } from '../../xmpp/errors.js'
import { addressed } from '../../xmpp/stanza.js'
import { endArchiveQuery, isArchiveAwaited } from '../archive-queries.js'
import { PER_REQUEST } from '../cost.js'
import { stanzaFromServer } from '../events.js'
import { withoutForged } from '../forged.js'
import type { Router } from '../router.js'
import type { Sessions } from '../sessions.js'
import { handled, NEXT, unlessHandled, type Outcome, type Passage, type Peer } from './passage.js'

/** A stream from another server, as the steps see it. */
export interface PeerStream extends Peer {
  /** The xml:lang of the stream. */
  readonly lang: string | undefined
  /** True if the peer has proved that it speaks for `remote` to `local`. */
  mayCarry (local: string, remote: string): boolean
  /** True if an iq answers a ping from our own server to theirs; settles that ping. */
  isAnswer (local: string, remote: string, id: string): boolean
}

/** The server, as seen from one stream of another server. */
export interface ServerHome {
  readonly router: Router
  readonly stream: PeerStream
  host (domain: string): { readonly hooks: Hooks, readonly sessions: Sessions } | undefined
}

/** RFC 6120 §4.9.3.6: a stanza for a domain that is not served here ends the stream. */
export function mustBeServed ({ addressed: { to } }: Passage, { router }: ServerHome): Outcome {
  return router.serves(to.domain) ? NEXT : { go: 'ends', error: new StreamError('host-unknown') }
}

/** RFC 6120 §4.9.3.9: a stanza from a domain that the peer has not proved ends the stream. */
export function mustBeProved ({ addressed: { from, to } }: Passage, { stream }: ServerHome): Outcome {
  return stream.mayCarry(to.domain, from.domain) ? NEXT : { go: 'ends', error: new StreamError('invalid-from') }
}

/** RFC 6120 §8.1.5: a stanza without xml:lang has that of the stream. */
export function addPeerLanguage ({ stanza }: Passage, { stream: { lang } }: ServerHome): Outcome {
  const { attrs } = stanza.element
  if (lang !== undefined && attrs['xml:lang'] === undefined) attrs['xml:lang'] = lang
  return NEXT
}

const PING = handled("the answer to the server's own ping")

/** Takes the answers to pings of the server itself. */
export function takePing ({ addressed: { type, id = '', from, to } }: Passage, { stream }: ServerHome): Outcome {
  const isReply = (type === 'result' || type === 'error') && to.local === '' && from.local === ''
  return isReply && stream.isAnswer(to.domain, from.domain, id) ? PING : NEXT
}

/** Charges the peer for presence and requests. A message is charged for its recipients, and bounded by its sender. */
export function chargePeer (passage: Passage): Outcome {
  passage.charge(PER_REQUEST)
  return NEXT
}

/** Removes what only this server may say (forged.ts), except archive results that the recipient has asked for. */
export function dropForeignForged (passage: Passage, home: ServerHome): Outcome {
  const { to, from } = passage.addressed
  const session = to.resource === '' ? undefined : home.host(to.domain)?.sessions.at(to)
  const isAwaited = (): boolean => session !== undefined && isArchiveAwaited(session, from)
  const stanza = addressed(withoutForged(passage.addressed, home.router, isAwaited), to)
  passage.stanza = stanza
  if (session !== undefined && stanza.kind === 'iq') endArchiveQuery(session, stanza)
  return NEXT
}

export function fireFromServer ({ addressed: stanza }: Passage, home: ServerHome): Maybe<Outcome> {
  const hooks = home.host(stanza.to.domain)?.hooks
  if (hooks?.has(stanzaFromServer) !== true) return NEXT
  return follow(hooks.run(stanzaFromServer, { stanza, peer: stanza.from.domain }), unlessHandled)
}
