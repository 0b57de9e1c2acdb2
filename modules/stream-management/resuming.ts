/** Resumes sessions on new streams (XEP-0198 §5). */
import { attributeOf, localName, management, NS, StreamError, xml } from '../../lib/api.js'
import type { Element, Jid, ModuleHost, Negotiation, Session } from '../../lib/api.js'
import type { ManagedSessions } from './sessions.js'

const { countIn, failed, resumed } = management

/** The answer to `<resume/>`, and the session if it succeeded. */
interface Resumed { readonly element: Element, readonly session?: Session }

/** Takes `<resume/>` from clients, after login and within it (XEP-0388). */
export function offerResumption (host: ModuleHost, sessions: ManagedSessions): void {
  host.offer({
    namespace: NS.SM,
    // Not offered to a session that is managed already: clients would try to enable it again.
    offered: ({ identity, state }) => identity === undefined || isManaged(state) ? undefined : xml('sm', { xmlns: NS.SM }),
    async take (stream, request) {
      const { identity } = stream
      const result: Resumed = identity === undefined || localName(request) !== 'resume'
        ? { element: failed('unexpected-request') }
        : await resume(host, sessions, stream, identity.bare, request)
      stream.send(result.element)
      return result.session === undefined ? { go: 'continue' } : { go: 'session', session: result.session }
    },
    // §3: resuming needs authentication, and enabling needs a bound resource.
    refusal: ({ identity }, request) => {
      const name = localName(request)
      return name === 'enable' || name === 'resume' && identity === undefined ? failed('unexpected-request') : undefined
    },
  })
  host.nonza(NS.SM, 'resume', (_, session) => { session.write(failed('unexpected-request')) })

  host.offerInline({
    at: 'authenticate',
    namespace: NS.SM,
    offered: () => xml('sm', { xmlns: NS.SM }),
    async take ({ stream, account }, request) {
      if (request === undefined || localName(request) !== 'resume') return undefined
      return await resume(host, sessions, stream, account, request)
    },
  })
}

async function resume (
  host: ModuleHost, sessions: ManagedSessions, stream: Negotiation, account: Jid, request: Element,
): Promise<Resumed> {
  const h = countIn(request)
  const id = attributeOf(request, 'previd')
  if (h === undefined || id === undefined) return { element: failed('bad-request') }
  const managed = sessions.at(id, account)
  if (managed === undefined || managed.resumeTimeout === 0) return await missing(sessions, id, account)
  const { session } = managed
  // Stanzas that still arrive on the former connection are not taken: the device sends again what `h` does not cover.
  session.disconnect(new StreamError('conflict', 'resumed elsewhere'))
  if (!await sessions.lock(managed) || isOver(stream)) return await missing(sessions, id, account)
  const { count } = managed
  managed.confirmed(h)
  managed.changed(false)
  try {
    // The new address can be stored later with other changes; the counts that the device relies on must be stored now.
    if (!managed.isStored) await sessions.commit(managed)
  } catch (error) {
    sessions.writer.failed(error)
    return { element: failed('resource-constraint') }
  }
  if (session.connection !== 'waiting' || isOver(stream)) return await missing(sessions, id, account)
  host.count('resumed')
  return { session, element: resumed(id, count) }
}

/** Returns the error for an unknown session (§5), with its last count if that is known and was the sender's. */
async function missing (sessions: ManagedSessions, id: string, account: Jid): Promise<Resumed> {
  return { element: failed('item-not-found', await sessions.countOf(id, account)) }
}

/** True if the stream's session exists and was managed when it was bound. */
function isManaged (state: Negotiation['state']): boolean {
  return state.at === 'established' && typeof state.by === 'object' && state.by !== null && 'manager' in state.by && state.by.manager !== undefined
}

/** A function, because the value may change during an await. */
function isOver (stream: Negotiation): boolean { return stream.isOver }
