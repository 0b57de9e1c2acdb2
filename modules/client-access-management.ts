/** XEP-0494 Client Access Management: users see which clients can use their account, and revoke their access. */
import {
  accessEnded, attributeOf, clientOf, defineModule, deviceOf, formatDateTime, NS, StanzaError, StreamError, xml,
} from '../lib/api.js'
import type { Batch, ClientsOfHost, Element, ModuleHost, Session } from '../lib/api.js'

type Client = Awaited<ReturnType<ClientsOfHost['of']>> extends ReadonlyMap<string, infer T> ? T : never

/** One line of the list: a known client, or a session whose client does not identify itself. */
interface Access {
  readonly id: string
  readonly firstSeen: number
  readonly lastSeen: number
  readonly isConnected: boolean
  readonly hasPassword: boolean
  readonly hasToken: boolean
  readonly software: string
  readonly device: string
}

/** The prefix of a session's id. Ids of clients are longer and have no colon. */
const SESSION = 'session:'

export default defineModule({
  name: 'client-access-management',
  about: 'Lets users see which clients can use their account, and revoke their access.',
  xeps: ['0494 v0.2.0'],
  features: { account: [NS.CAM] },
  counts: {
    revoked: 'Clients whose access was revoked by their users (XEP-0494).',
  },

  setup (host) {
    host.iq.get('self', NS.CAM, 'list', async ({ session }) => {
      const clients = await host.clients.of(session.account)
      return xml('clients', { xmlns: NS.CAM }, ...accessesOf(clients, host.sessions.of(session.account), host.clock.now()).map(clientElement))
    })
    host.iq.set('self', NS.CAM, 'revoke', ({ session, payload, batch }) => {
      const id = attributeOf(payload, 'id') ?? ''
      if (id === '') throw new StanzaError('bad-request', 'no client is given')
      return id.startsWith(SESSION) ? revokeSession(host, session, id) : revokeClient(host, session, id, batch)
    })
  },
})

/** Returns what can use an account, the most recently seen first. */
function accessesOf (
  clients: ReadonlyMap<string, Client>, sessions: readonly Session[], now: number,
): readonly Access[] {
  const known = [...clients].map(([key, client]) =>
    ofClient(client, sessions.filter(one => one.get(clientOf) === key), now))
  const others = sessions.filter(one => !clients.has(one.get(clientOf))).map(ofSession)
  return [...known, ...others].sort((a, b) => b.lastSeen - a.lastSeen)
}

/** Closes a session whose client does not identify itself. Rejects with StanzaError: the client knows the password. */
async function revokeSession (host: ModuleHost, by: Session, id: string): Promise<never> {
  const found = host.sessions.of(by.account).find(one => sessionId(one) === id)
  if (found === undefined) throw new StanzaError('item-not-found')
  end(host, [found].filter(one => one !== by))
  await host.fire(accessEnded, { account: by.account, device: deviceOf(found) })
  throw passwordNeeded()
}

/** Revokes a client's tokens and closes its sessions. Rejects with StanzaError if the client knows the password. */
async function revokeClient (host: ModuleHost, by: Session, id: string, batch: Batch): Promise<void> {
  const revoked = await host.clients.revoke(by.account, id)
  if (revoked === undefined) throw new StanzaError('item-not-found')
  const [key, client] = revoked
  const sessions = host.sessions.of(by.account).filter(one => one.get(clientOf) === key)
  host.count('revoked')
  end(host, sessions.filter(one => one !== by))
  await host.fire(accessEnded, { account: by.account, device: key })
  if (client.password !== undefined) throw passwordNeeded()
  // A client that revokes itself gets the result before its session is closed.
  if (sessions.includes(by)) batch.committed(() => { end(host, [by]) })
}

function end (host: ModuleHost, sessions: readonly Session[]): void {
  for (const one of sessions) {
    host.log.info('access revoked', { jid: one.jid.toString() })
    one.close(new StreamError('not-authorized', 'access revoked'))
  }
}

/** §3.2: the sessions and tokens were revoked, but the client can log in again with the password. */
function passwordNeeded (): StanzaError {
  return new StanzaError('service-unavailable', 'the client knows the password: change it to lock the client out', { plus: xml('password-reset-required', { xmlns: NS.CAM }) })
}

function ofClient (client: Client, sessions: readonly Session[], now: number): Access {
  const { id, firstSeen, software, device, password, current, next } = client
  return {
    id, firstSeen, software, device,
    lastSeen: Math.max(client.lastSeen, ...sessions.map(session => session.lastRead)),
    isConnected: sessions.length > 0,
    hasPassword: password !== undefined,
    hasToken: [current, next].some(token => token !== undefined && token.expires > now),
  }
}

/** Describes a session whose client does not identify itself (XEP-0388 §2.3), so it has no token (XEP-0484 §4.1). */
function ofSession (session: Session): Access {
  const { since, lastRead } = session
  return {
    id: sessionId(session), firstSeen: since, lastSeen: lastRead, isConnected: true, hasPassword: true, hasToken: false, software: '',
    device: session.jid.resource,
  }
}

function sessionId ({ jid }: Session): string { return SESSION + jid.resource }

/** Writes one line of the list (§3.1). */
function clientElement (access: Access): Element {
  const { id, isConnected, firstSeen, lastSeen, hasPassword, hasToken, software, device } = access
  return xml('client', { id, type: 'session', connected: isConnected ? 'true' : 'false' },
    xml('first-seen', {}, formatDateTime(firstSeen)),
    xml('last-seen', {}, formatDateTime(lastSeen)),
    xml('auth', {}, hasPassword ? xml('password') : undefined, hasToken ? xml('fast') : undefined),
    xml('permission', { status: 'unrestricted' }),
    xml('user-agent', {},
      software === '' ? undefined : xml('software', {}, software),
      device === '' ? undefined : xml('device', {}, device)))
}
