/**
 * The steps of a client's stanza on its sender's side. The border is here: the one place that checks its addresses
 * (RFC 6120 §8.1, RFC 6121 §8).
 */
import type { Hooks } from '../../base/hook.js'
import { follow, type Maybe } from '../../base/maybe.js'
import { attributeOf } from '../../xml/element.js'
import { StanzaError, StreamError } from '../../xmpp/errors.js'
import { JidError, parseJid, type Jid } from '../../xmpp/jid.js'
import { addressed, isIq, isMessage, isPresence } from '../../xmpp/stanza.js'
import { beginArchiveQuery } from '../archive-queries.js'
import { iqSent, messageSent, presenceSent } from '../events.js'
import { withoutForged } from '../forged.js'
import { payloadOf } from '../iq.js'
import type { Router } from '../router.js'
import type { Session } from '../session.js'
import { handled, NEXT, unlessHandled, type Outcome, type Passage } from './passage.js'

/** The host of the sender. */
export interface ClientHome {
  readonly hooks: Hooks
  readonly router: Router
}

/** RFC 6120 §8.1.2.1: `from` is the client's own full or bare address, or absent. Otherwise the stream ends. */
export function checkFrom (passage: Passage): Outcome {
  const { jid, account } = sessionOf(passage)
  const from = attributeOf(passage.stanza.element, 'from')
  if (from === undefined || from === jid.toString() || from === account.toString()) return NEXT
  const named = addressIn(from)
  if (named !== undefined && (named.equals(jid) || named.equals(account))) return NEXT
  return { go: 'ends', error: new StreamError('invalid-from') }
}

/** RFC 6120 §8.1.5: a stanza without xml:lang gets that of its stream. */
export function addLanguage (passage: Passage): Outcome {
  const { lang } = sessionOf(passage)
  const { attrs } = passage.stanza.element
  if (lang !== undefined && attrs['xml:lang'] === undefined) attrs['xml:lang'] = lang
  return NEXT
}

/** RFC 6120 §8.3.3.8: refuses a recipient that cannot be read. */
export function checkTo ({ stanza }: Passage): Outcome {
  if (stanza.to === undefined && attributeOf(stanza.element, 'to') !== undefined) throw new StanzaError('jid-malformed')
  return NEXT
}

/** A client has no archive, so no archive results from it are expected. */
const NEVER = (): boolean => false

/** Removes what only a server may say (forged.ts). */
export function dropForged (passage: Passage, { router }: ClientHome): Outcome {
  passage.stanza = withoutForged(passage.stanza, router, NEVER)
  return NEXT
}

/** Notes a query to the archive of somebody else: its results are let through (XEP-0313 §4). */
export function noteArchiveQuery (passage: Passage): Outcome {
  beginArchiveQuery(sessionOf(passage), passage.stanza)
  return NEXT
}

/** RFC 6120 §10.3.1: a message without `to` is for the sender's own account. */
export function fireMessageSent (passage: Passage, { hooks }: ClientHome): Maybe<Outcome> {
  const { stanza, batch } = passage
  const session = sessionOf(passage)
  if (!isMessage(stanza)) throw new Error('expected a message')
  const event = { message: addressed(stanza, stanza.to ?? session.account), session, batch }
  return follow(hooks.run(messageSent, event), by => {
    passage.stanza = event.message
    return unlessHandled(by)
  })
}

const OWN_PRESENCE = handled('the presence of the session itself')

/** Presence without `to` is the session's own (RFC 6121 §4.2): the hook does all that it needs. */
export function firePresenceSent (passage: Passage, { hooks }: ClientHome): Maybe<Outcome> {
  const { stanza, batch } = passage
  if (!isPresence(stanza)) throw new Error('expected a presence')
  const event = { presence: stanza, session: sessionOf(passage), batch }
  return follow(hooks.run(presenceSent, event), by => {
    passage.stanza = event.presence
    if (by !== undefined) return handled(by)
    return event.presence.to === undefined ? OWN_PRESENCE : NEXT
  })
}

/** RFC 6120 §10.3.3: an iq without `to` is for the sender's own account. Refuses an iq that is not well formed. */
export function fireIqSent (passage: Passage, { hooks }: ClientHome): Maybe<Outcome> {
  const { stanza, batch } = passage
  const session = sessionOf(passage)
  if (!isIq(stanza)) throw new Error('expected an iq')
  const event = { iq: addressed(stanza, stanza.to ?? session.account), session, batch }
  payloadOf(event.iq)
  return follow(hooks.run(iqSent, event), by => {
    passage.stanza = event.iq
    return unlessHandled(by)
  })
}

/** Asks the router for the destination. */
export function route (passage: Passage, { router }: { readonly router: Router }): Outcome {
  return router.way(passage.addressed.to.domain)
}

function sessionOf ({ session }: Passage): Session {
  if (session === undefined) throw new Error("a client's stanza has no session")
  return session
}

/** Parses an address; undefined if the text is none. */
export function addressIn (text: string): Jid | undefined {
  try {
    return parseJid(text)
  } catch (error) {
    if (error instanceof JidError) return undefined
    throw error
  }
}
