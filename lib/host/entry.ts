/** The border for a client's stanzas: addresses are checked and stamped here, and once (RFC 6120 §8.1, RFC 6121 §8). */
import { follow, type Maybe } from '../base/maybe.js'
import type { Hooks } from '../base/hook.js'
import { PendingBatch } from '../storage/batch.js'
import { attributeOf, type Element, type ParsedElement, type Source } from '../xml/element.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'
import { addressed, Stanza, type Kind } from '../xmpp/stanza.js'
import { beginArchiveQuery } from './archive-queries.js'
import type { Arrival } from './arrivals.js'
import { iqSent, messageSent, presenceSent } from './events.js'
import { withoutForged } from './forged.js'
import { payloadOf } from './iq.js'
import { unlessHandled, type Passage, type Router } from './router.js'
import type { Session } from './session.js'

/** No client of a user has an archive to tell of. */
const NEVER = (): boolean => false

export interface EntryHome {
  readonly hooks: Hooks
  readonly router: Router
}

/**
 * Takes one stanza of an established client stream, after those of its device that are not done with (RFC 6120 §10.1). Answers with a
 * promise where so much waits that no more is to be read until that resolves. Throws StreamError where the stream must end.
 */
export function take (home: EntryHome, session: Session, kind: Kind, element: ParsedElement, source: Source): Maybe<void> {
  const { input } = session
  const counted = session.manager?.arrive()
  const go = (): Maybe<void> => {
    const arrival = counted ?? input.place()
    try {
      return enter(home, session, kind, element, source, arrival)
    } catch (error) {
      arrival?.settle(() => {}) // what came before the fault, and is still under way, has its place
      throw error
    }
  }
  if (input.isBusy) {
    return input.after(source.octets.length, () => {
      if (!isObsolete(session, kind)) return go()
      counted?.settle(() => {})
      return undefined
    })
  }
  const wait = go()
  if (wait instanceof Promise) input.waits(wait)
  return undefined
}

/**
 * Whether a stanza that has waited means nothing any more, since its session was closed meanwhile. A message does, unless the server has
 * ended the session: whoever was put out says nothing more. A request has nobody who hears its answer, and of presence all that is left is
 * that it is gone.
 */
function isObsolete (session: Session, kind: Kind): boolean {
  return session.connection === 'closed' && (kind !== 'message' || session.isExpelled)
}

/**
 * Takes one stanza of an established client stream as far as the router. `arrival`: its place among those of its stream. Throws StreamError
 * where the stream must end.
 */
function enter (
  home: EntryHome, session: Session, kind: Kind, element: ParsedElement, source: Source, arrival: Arrival | undefined,
): Maybe<void> {
  checkFrom(session, element)
  languageOf(session, element)
  const passage: Passage = { session, batch: new PendingBatch(), arrival }
  let to: Jid | undefined
  try {
    to = recipient(element)
  } catch (error) {
    if (!(error instanceof JidError)) throw error
    home.router.fail(new Stanza(kind, element, session.jid, undefined), passage, new StanzaError('jid-malformed', undefined, { cause: error }))
    return undefined
  }
  const stanza = withoutForged(new Stanza(kind, element, session.jid, to, source), home.router, NEVER)
  if (kind === 'iq') beginArchiveQuery(session, stanza)
  const wait = home.router.guard(stanza, passage, () => send(home, stanza, passage, session))
  return follow(wait, () => { home.router.close(stanza, passage) })
}

function send (home: EntryHome, stanza: Stanza, passage: Passage, session: Session): Maybe<void> {
  const { hooks, router } = home
  const done = (): void => { router.settle(stanza, passage, () => {}) }
  if (stanza.kind === 'presence') {
    const event = { presence: as(stanza, 'presence'), session, batch: passage.batch }
    return unlessHandled(hooks.fire(presenceSent, event), () => {
      const { presence } = event
      if (presence.to === undefined) { done(); return undefined }
      return router.pass(addressed(presence, presence.to), passage)
    }, done)
  }
  // RFC 6120 §10.3: without an address, a message or an iq is for the sender's own account.
  const to = stanza.to ?? session.account
  if (stanza.kind === 'message') {
    const event = { message: addressed(as(stanza, 'message'), to), session, batch: passage.batch }
    return unlessHandled(hooks.fire(messageSent, event), () => router.pass(event.message, passage), done)
  }
  const event = { iq: addressed(as(stanza, 'iq'), to), session, batch: passage.batch }
  payloadOf(event.iq)
  return unlessHandled(hooks.fire(iqSent, event), () => router.pass(event.iq, passage), done)
}

/** The same stanza, its kind known to the types. */
function as<K extends Kind> (stanza: Stanza, kind: K): Stanza<K> {
  if (!hasKind(stanza, kind)) throw new Error(`a ${stanza.kind} is no ${kind}`)
  return stanza
}

function hasKind<K extends Kind> (stanza: Stanza, kind: K): stanza is Stanza<K> {
  return stanza.kind === kind
}

/** RFC 6120 §8.1.2.1: a client may name itself, by its full or bare address, and nobody else. */
function checkFrom (session: Session, element: Element): void {
  const from = attributeOf(element, 'from')
  if (from === undefined || from === session.jid.toString() || from === session.account.toString()) return
  try {
    const named = parseJid(from)
    if (named.equals(session.jid) || named.equals(session.account)) return
  } catch (error) {
    if (!(error instanceof JidError)) throw error
  }
  throw new StreamError('invalid-from')
}

/** RFC 6120 §8.1.5: a stanza without xml:lang has that of its stream. */
function languageOf (session: Session, element: Element): void {
  if (session.lang !== undefined && element.attrs['xml:lang'] === undefined) element.attrs['xml:lang'] = session.lang
}

function recipient (element: Element): Jid | undefined {
  const to = attributeOf(element, 'to')
  return to === undefined ? undefined : parseJid(to)
}
