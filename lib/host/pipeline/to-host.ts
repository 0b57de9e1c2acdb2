/** The steps of a stanza to the host itself, and those that answer a request to any address here. */
import { follow, type Maybe } from '../../base/maybe.js'
import { StanzaError } from '../../xmpp/errors.js'
import { resultReply, type Addressed } from '../../xmpp/stanza.js'
import { payloadOf, type Answering, type IqHandlers, type IqTarget, type PendingRequests } from '../iq.js'
import { handled, NEXT, type Outcome, type Passage } from './passage.js'

/** The host, as the steps use it. */
export interface HostHome {
  readonly handlers: IqHandlers
  readonly requests: PendingRequests
  /** The handler of a module that takes every stanza of this host; undefined if there is none. */
  readonly served: ((stanza: Addressed) => Maybe<'handled' | undefined | void>) | undefined
}

const SERVED = handled('the module that serves the host')

/** Lets a module that serves the whole host take the stanza. */
export function serve ({ addressed }: Passage, { served }: HostHome): Maybe<Outcome> {
  if (served === undefined) return NEXT
  return follow(served(addressed), verdict => verdict === 'handled' ? SERVED : NEXT)
}

/** A message to a server has no reader. */
export function refuseMessage ({ stanza: { type } }: Passage): Outcome {
  if (type !== 'error' && type !== 'headline') throw new StanzaError('service-unavailable')
  return handled('a message to the host')
}

/** Presence to a server has no meaning here (RFC 6121 §8.5.1). */
export function ignorePresence (): Outcome { return handled('presence to the host') }

/** RFC 6120 §8.2.3: refuses an iq that is not well formed. */
export function readPayload (passage: Passage): Outcome {
  passage.payload = payloadOf(passage.iq)
  return NEXT
}

const REPLY = handled('a reply to the server')

/** Takes a reply to a request of the server itself. */
export function takeReply ({ iq, payload }: Passage, { requests }: HostHome): Outcome {
  if (payload !== undefined) return NEXT
  requests.settle(iq)
  return REPLY
}

/** Finds the handler of a request to the host. */
export function findHostHandler (passage: Passage, { handlers }: HostHome): Outcome {
  if (passage.iq.to.resource !== '') throw new StanzaError('service-unavailable')
  passage.answering = answerer(handlers, ['host'], passage)
  return NEXT
}

/** Returns the first handler among these targets. RFC 6120 §8.4: if nobody understands the request, it is refused. */
export function answerer (handlers: IqHandlers, targets: readonly IqTarget[], { iq, payload }: Passage): Answering {
  for (const target of targets) {
    const answering = payload === undefined ? undefined : handlers.find(target, iq.type, payload)
    if (answering !== undefined) return answering
  }
  throw new StanzaError('service-unavailable')
}

/** RFC 6120 §10.1: the handler sees the effect of all that the same device sent before. */
export function catchUp ({ session, arrival }: Passage): Maybe<Outcome> {
  return session?.caughtUp(arrival)?.then(() => NEXT) ?? NEXT
}

/** Answers the request with the handler's result, or with the error that it throws (RFC 6120 §8.2.3). */
export function answer ({ iq, payload, answering, session, peer, batch, entity }: Passage): Maybe<Outcome> {
  if (answering === undefined || payload === undefined) throw new Error('the request has no handler')
  const request = { stanza: iq, payload, session, batch, entity, payer: session ?? peer }
  return follow(answering(request), (result): Outcome => {
    return result === 'later' ? LATER : { go: 'answered', reply: resultReply(iq, result ?? undefined) }
  })
}

const LATER = handled('the handler answers it later')
