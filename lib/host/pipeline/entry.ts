/** The entry of the pipeline: takes stanzas of clients and of other servers. */
import type { Maybe } from '../../base/maybe.js'
import { attributeOf, weightOf, type ParsedElement, type Source } from '../../xml/element.js'
import { Stanza, type Addressed, type Kind } from '../../xmpp/stanza.js'
import type { Session } from '../session.js'
import { addressIn, type ClientHome } from './from-client.js'
import type { ServerHome } from './from-server.js'
import { Passage, type Place } from './passage.js'
import type { Pipeline } from './pipeline.js'
import { FROM_CLIENT, FROM_COMPONENT, FROM_SERVER } from './steps.js'

export interface ClientEntryHome extends ClientHome { readonly pipeline: Pipeline }

/**
 * Takes one stanza of an established client stream, after the earlier stanzas of its device (RFC 6120 §10.1). Returns a
 * promise if too much waits: read no more until it resolves. Throws StreamError if the stream must end.
 */
export function takeFromClient (
  home: ClientEntryHome, session: Session, kind: Kind, element: ParsedElement, source: Source,
): Maybe<void> {
  const { input } = session
  const counted = session.manager?.arrive()
  if (input.isBusy) {
    return input.after(weightOf(source), () => {
      if (!isObsolete(session, kind)) return enter(home, session, kind, element, source, counted)
      counted?.settle(() => {})
      return undefined
    })
  }
  const wait = enter(home, session, kind, element, source, counted)
  if (wait instanceof Promise) input.waits(wait)
  return undefined
}

function enter (
  home: ClientEntryHome, session: Session, kind: Kind, element: ParsedElement, source: Source,
  counted: Place | undefined,
): Maybe<void> {
  const to = attributeOf(element, 'to')
  const stanza = new Stanza(kind, element, session.jid, to === undefined ? undefined : addressIn(to), source)
  const arrival = counted ?? session.input.place()
  return home.pipeline.run(new Passage(stanza, { session, arrival }), FROM_CLIENT[kind], home)
}

/**
 * True if a waiting stanza has no meaning any more because its session was closed meanwhile. A message is kept unless
 * the server ended the session: a device that was closed by the server sends nothing more. A request has no reader for
 * its answer. A closed session is unavailable, so its presence does not matter.
 */
function isObsolete (session: Session, kind: Kind): boolean {
  return session.connection === 'closed' && (kind !== 'message' || session.isExpelled)
}

/**
 * Takes one stanza of another server. `arrival` is its place on its stream, if stanzas are counted. Returns a promise
 * while a step waits. Throws StreamError if the stream must end.
 */
export function takeFromServer (
  pipeline: Pipeline, home: ServerHome, stanza: Addressed, arrival?: Place,
): Maybe<void> {
  return pipeline.run(new Passage(stanza, { peer: home.stream, arrival }), FROM_SERVER[stanza.kind], home)
}

/**
 * Takes one stanza of an external component, whose addresses were checked. Returns a promise while a step waits. Throws
 * StreamError if the stream must end.
 */
export function takeFromComponent (pipeline: Pipeline, home: ServerHome, stanza: Addressed): Maybe<void> {
  return pipeline.run(new Passage(stanza, { peer: home.stream, arrival: undefined }), FROM_COMPONENT[stanza.kind], home)
}
