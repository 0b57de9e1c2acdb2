/** Resource binding (RFC 6120 §7), and the session feature of RFC 3921 that old clients ask for. */
import type { Host } from '../host/host.js'
import type { Connection, Session } from '../host/session.js'
import { StreamOver, type Negotiation, type StreamFeature } from '../stream/negotiation.js'
import { attributeOf, child, textOf, xml, type Element } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { flatten } from '../xml/writer.js'
import { StanzaError } from '../xmpp/errors.js'

export type BindingHost = Pick<Host, 'bind'>

/** Binds sessions to `connection` at the host of its stream. */
export function bindFeature (connection: Connection, host: () => BindingHost | undefined): StreamFeature<Session> {
  return {
    namespace: NS.BIND,

    offered: stream => isReady(stream) ? xml('bind', { xmlns: NS.BIND }) : undefined,

    async take (stream, request) {
      const id = attributeOf(request, 'id')
      try {
        const session = await bound(stream, request)
        const bind = xml('bind', { xmlns: NS.BIND }, xml('jid', {}, session.jid.toString()))
        stream.send(xml('iq', { type: 'result', id }, bind))
        return { go: 'session', session }
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error
        // RFC 6120 §7.6.2, §7.7.2: the client may try again with another resource.
        stream.send(xml('iq', { type: 'error', id }, error.element()))
        return { go: 'continue' }
      }
    },
  }

  async function bound (stream: Negotiation, request: Element): Promise<Session> {
    const { identity } = stream
    const home = host()
    if (identity === undefined || home === undefined) throw new Error('bind request before login')
    const session = await home.bind(identity, resourceIn(request), connection)
    if (!stream.isOver) return session
    session.detach(connection, new StreamOver())
    throw new StreamOver()
  }
}

/** RFC 3921 §3: the feature is announced as optional. Old clients ask for it and get a result. */
export const legacySession: StreamFeature<never> = {
  namespace: NS.SESSION,
  offered: stream => isReady(stream) ? xml('session', { xmlns: NS.SESSION }, xml('optional')) : undefined,
}

/** True after login and before binding. */
function isReady (stream: Negotiation): boolean {
  return stream.identity !== undefined && stream.state.at !== 'established'
}

/**
 * Returns the resource that the client requests; undefined if the server chooses it (RFC 6120 §7.6). Throws
 * StanzaError.
 */
function resourceIn (request: Element): string | undefined {
  const bind = child(request, NS.BIND, 'bind')
  if (attributeOf(request, 'type') !== 'set' || bind === undefined || attributeOf(request, 'id') === undefined) {
    throw new StanzaError('bad-request')
  }
  const resource = child(bind, NS.BIND, 'resource')
  const text = resource === undefined ? '' : textOf(resource)
  return text === '' ? undefined : flatten(text)
}
