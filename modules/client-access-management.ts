/** XEP-0494 Client Access Management: a user sees what may use the account, and takes that away. */
import { accessEnded, attributeOf, clientOf, defineModule, deviceOf, formatDateTime, NS, StanzaError, StreamError, xml } from '../lib/api.js'
import type { Batch, ClientsOfHost, Element, Jid, Maybe, Session } from '../lib/api.js'

type Client = Awaited<ReturnType<ClientsOfHost['of']>> extends ReadonlyMap<string, infer T> ? T : never

/** One line of the list: a client that is remembered, or a session whose client does not say what it is. */
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

/** What the id of a session begins with; those of clients are as long as they are, and have no colon. */
const SESSION = 'session:'

export default defineModule({
  name: 'client-access-management',
  about: 'Users see which clients may use their account, and revoke one.',
  xeps: ['0494 v0.2.0'],
  features: { account: [NS.CAM] },
  counts: {
    revoked: 'Clients whose access their users have taken away (XEP-0494).',
  },

  setup (host) {
    host.iq.get('self', NS.CAM, 'list', async ({ session }) => {
      const clients = await host.clients.of(session.account)
      const sessions = host.sessions.of(session.account)
      const now = host.clock.now()
      const known = [...clients].map(([key, client]) => ofClient(client, sessions.filter(one => one.get(clientOf) === key), now))
      const others = sessions.filter(one => !clients.has(one.get(clientOf))).map(ofSession)
      const all = [...known, ...others].sort((a, b) => b.lastSeen - a.lastSeen)
      return xml('clients', { xmlns: NS.CAM }, ...all.map(clientElement))
    })

    host.iq.set('self', NS.CAM, 'revoke', async ({ session, payload, batch }) => {
      const id = attributeOf(payload, 'id') ?? ''
      if (id === '') throw new StanzaError('bad-request', 'which client is meant?')
      if (id.startsWith(SESSION)) {
        const found = host.sessions.of(session.account).find(one => sessionId(one) === id)
        if (found === undefined) throw new StanzaError('item-not-found')
        end([found].filter(one => one !== session))
        await ended(session.account, deviceOf(found))
        throw passwordNeeded()
      }
      const revoked = await host.clients.revoke(session.account, id)
      if (revoked === undefined) throw new StanzaError('item-not-found')
      const [key, client] = revoked
      const sessions = host.sessions.of(session.account).filter(one => one.get(clientOf) === key)
      host.count('revoked')
      end(sessions.filter(one => one !== session))
      await ended(session.account, key)
      if (client.password !== undefined) throw passwordNeeded()
      // Who revokes itself is told so, and gone.
      if (sessions.includes(session)) endAfter(session, batch)
    })

    function ended (account: Jid, device: string): Maybe<unknown> {
      return host.fire(accessEnded, { account, device })
    }

    function end (sessions: readonly Session[]): void {
      for (const one of sessions) {
        host.log.info('access revoked', { jid: one.jid.toString() })
        one.close(new StreamError('not-authorized', 'its access was revoked'))
      }
    }

    function endAfter (session: Session, batch: Batch): void {
      batch.committed(() => { end([session]) })
    }
  },
})

/** §3.2: what could be taken away is, and yet it can come back by its password. */
function passwordNeeded (): StanzaError {
  return new StanzaError('service-unavailable', 'it knows the password: a new one keeps it out', { plus: xml('password-reset-required', { xmlns: NS.CAM }) })
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

/** Its client does not say which it is (XEP-0388 §2.3), and has no token (XEP-0484 §4.1). */
function ofSession (session: Session): Access {
  const { since, lastRead } = session
  return {
    id: sessionId(session), firstSeen: since, lastSeen: lastRead, isConnected: true, hasPassword: true, hasToken: false, software: '',
    device: session.jid.resource,
  }
}

function sessionId ({ jid }: Session): string { return SESSION + jid.resource }

/** §3.1 */
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
