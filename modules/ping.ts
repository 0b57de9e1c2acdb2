/** XEP-0199 XMPP Ping: answers, and asks those who have been silent, so that dead sessions are found. */
import { defineModule, NS, setting, StanzaError, StreamError, xml } from '../lib/api.js'
import type { Session } from '../lib/api.js'

export default defineModule({
  name: 'ping',
  about: 'Answers pings, and pings devices that have been silent, so that dead connections are found.',
  xeps: ['0199 v2.0.1'],
  features: { host: [NS.PING], account: [NS.PING] },
  settings: {
    silence: setting.duration({ min: '10s', max: '1d' }).default('4m').says('A device that has been silent for so long is asked for a sign of life.'),
    patience: setting.duration({ min: '1s', max: '10m' }).default('1m').says('The time it has to answer. Then its session ends.'),
  },

  setup (host) {
    const { silence, patience } = host.settings
    host.iq.get('host', NS.PING, 'ping', () => undefined)
    host.iq.get('account', NS.PING, 'ping', () => undefined) // §4.3: the server speaks for the account

    const asked = new Set<Session>()
    const rounds = host.clock.every(Math.max(silence / 4, 1000), () => {
      const now = host.clock.now()
      for (const session of host.sessions.all()) {
        if (session.connection === 'attached' && now - session.lastRead >= silence && !asked.has(session)) void ask(session)
      }
    })
    host.defer(() => { rounds.cancel() })

    /** Whatever it says, an error too, shows that it lives (§4.2). */
    async function ask (session: Session): Promise<void> {
      asked.add(session)
      const since = host.clock.now()
      try {
        await host.ask(session.jid, xml('ping', { xmlns: NS.PING }), { timeout: patience })
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error
        if (error.condition === 'remote-server-timeout' && session.connection === 'attached' && session.lastRead < since) {
          host.count('dead')
          session.close(new StreamError('connection-timeout'))
        }
      } finally {
        asked.delete(session)
      }
    }
  },
})
