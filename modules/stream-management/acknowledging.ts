/** Takes requests and acknowledgements from clients, and closes connections that do not acknowledge (XEP-0198 §4). */
import { heartbeats, management, NS, StreamError } from '../../lib/api.js'
import type { ModuleHost, Session } from '../../lib/api.js'
import { ManagedSession } from './managed.js'
import type { ManagedSessions } from './sessions.js'

const { countIn, failed } = management
const SECOND = 1000

/** Handles `<r/>` and `<a/>`. A connection that does not acknowledge within `ackTimeout` milliseconds is closed. */
export function acknowledge (host: ModuleHost, sessions: ManagedSessions, ackTimeout: number): void {
  host.nonza(NS.SM, 'r', (_, session) => { managedOf(session)?.asked() })
  host.nonza(NS.SM, 'a', (nonza, session) => {
    const h = countIn(nonza)
    if (h === undefined) throw new StreamError('bad-format', 'an acknowledgement without a count')
    const managed = managedOf(session)
    if (managed === undefined) return
    // The device's answer to `<r/>` shows that the connection survived the silence before.
    if (managed.askedAt !== undefined && managed.tried > 0) host.find(heartbeats)?.answered(session, managed.tried)
    managed.confirmed(h)
  })

  const rounds = host.clock.every(Math.max(ackTimeout / 4, SECOND), () => {
    closeSilent(host, sessions, host.clock.now() - ackTimeout)
    for (const managed of sessions.all()) managed.remind()
  })
  host.defer(() => { rounds.cancel() })
}

/** Closes the connections that were asked before this time, in milliseconds since 1970, and have sent nothing since. */
function closeSilent (host: ModuleHost, sessions: ManagedSessions, before: number): void {
  for (const { askedAt, session } of sessions.all()) {
    if (askedAt === undefined || askedAt > before || session.connection !== 'attached' || session.lastRead > askedAt) continue
    host.count('unacknowledged')
    session.disconnect(new StreamError('connection-timeout', 'no acknowledgement in time'))
  }
}

function managedOf (session: Session): ManagedSession | undefined {
  const { manager } = session
  if (manager instanceof ManagedSession) return manager
  session.write(failed('unexpected-request'))
  return undefined
}
