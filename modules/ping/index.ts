/** XEP-0199 XMPP Ping: answers, and asks those who have been silent, as rarely as their network allows: who is dead is found. */
import {
  Cache, defineModule, follow, heartbeats, mayKnow, NS, rosters, sessionBound, sessionClosed, sessionDetached, sessionResumed, setting,
  StanzaError, StreamError, watchedOver, xml,
} from '../../lib/api.js'
import type { Session } from '../../lib/api.js'
import { Line, Net, type LineHome } from './line.js'
import { Networks } from './networks.js'

/** Networks that are remembered, of all that devices have come from. */
const NETWORKS = 10_000
/** Accounts whose connection died in silence are remembered for so long, and so many of them: whose device comes back is well. */
const RETURN = 30 * 60_000
const FALLEN = 10_000

interface Fallen { readonly device: string, readonly network: string, readonly silence: number, readonly at: number }

export default defineModule({
  name: 'ping',
  about: 'Answers pings, and pings devices that have been silent, as rarely as their network allows, so that connections live and dead ones are found.',
  xeps: ['0199 v2.0.1'],
  features: { host: [NS.PING], account: [NS.PING] },
  after: ['roster'],
  settings: {
    silence: setting.duration({ min: '10s', max: '1d' }).default('4m').says('After so long a silence a device is asked for a sign of life, where nothing is known of its network (/24 or /48) yet. What its network lets live is learnt: 30s more after each silence that was survived, back where connections died in one.'),
    shortest: setting.duration({ min: '10s', max: '1d' }).default('1m').says('No device is asked after less, or after less than `silence` where that is shorter.'),
    longest: setting.duration({ min: '10s', max: '1d' }).default('15m').says('No device is silent for longer without being asked, or for longer than `silence` where that is longer: with `patience`, the time in which a dead connection is noticed.'),
    resumable: setting.duration({ min: '10s', max: '1d' }).default('30m').says('The same, where it is more than `longest`, for a device whose session waits for it to come back (module `stream-management`): nothing is lost with its connection.'),
    patience: setting.duration({ min: '1s', max: '10m' }).default('1m').says('The time it has to answer. Then its connection is given up.'),
  },
  counts: {
    dead: 'Connections that were given up: they did not answer.',
    asked: 'Silent connections that were asked whether they are there.',
    cut: 'Connections that a network on their way had dropped in silence: their devices came back within moments.',
  },

  setup (host) {
    const { settings } = host
    const longest = Math.max(settings.silence, settings.longest)
    const resumable = Math.max(longest, settings.resumable)
    const shortest = Math.min(settings.shortest, settings.silence)
    const networks = new Networks({ shortest, first: settings.silence, longest: resumable }, NETWORKS)
    const lines = new Map<Session, Line>()
    const nets = new Map<string, Net>()
    const fallen = new Cache<string, Fallen>({ max: FALLEN })

    host.iq.get('host', NS.PING, 'ping', () => undefined)
    // §4.3: the server speaks for the account, to those who may know that there is one; RFC 6121 §8.5.1: to others there is none.
    host.iq.get('account', NS.PING, 'ping', ({ stanza }) => follow(mayKnow(stanza.from, stanza.to, host.find(rosters)), allowed => {
      if (!allowed) throw new StanzaError('service-unavailable')
    }))

    const home: LineHome = {
      clock: host.clock,
      most: session => session.manager?.isResumable === true ? resumable : longest,
      ask,
      gone: session => {
        host.count('dead')
        session.disconnect(new StreamError('connection-timeout'))
      },
    }

    /** Whatever it says, an error too, shows that it lives (§4.2). */
    async function ask (session: Session): Promise<boolean | undefined> {
      const since = host.clock.now()
      host.count('asked')
      try {
        await host.ask(session.jid, xml('ping', { xmlns: NS.PING }), { timeout: settings.patience })
        return true
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error
        if (session.connection !== 'attached') return undefined
        if (error.condition !== 'remote-server-timeout') return true
        return session.lastRead > since ? undefined : false
      }
    }

    host.provide(heartbeats, {
      silenceAt: address => Math.min(networks.at(address).interval, longest),
      answered: (session, silence) => { lines.get(session)?.net.network.survived(silence) },
    })

    // ---- Connections come and go --------------------------------------------------------------

    host.on(sessionBound, ({ session }) => {
      watch(session)
      returned(session, false)
    }, 'observe')
    host.on(sessionResumed, ({ session }) => {
      leave(session, undefined)
      watch(session)
      returned(session, true)
    }, 'observe')
    host.on(sessionDetached, ({ session, reason }) => { leave(session, reason) }, 'observe')
    host.on(sessionClosed, ({ session, reason }) => { leave(session, reason) }, 'observe')

    function watch (session: Session): void {
      session.put(watchedOver, true)
      if (session.connection !== 'attached' || lines.has(session)) return
      const network = networks.at(session.address)
      let net = nets.get(network.key)
      if (net === undefined) nets.set(network.key, net = new Net(network))
      lines.set(session, new Line(home, session, net))
    }

    function leave (session: Session, reason: Error | undefined): void {
      const line = lines.get(session)
      if (line === undefined) return
      end(line)
      const silence = deadly(session, reason)
      if (silence === undefined) return
      const { network } = line.net
      const at = host.clock.now()
      fallen.set(session.account.toString(), { device: session.jid.toString(), network: network.key, silence, at })
      network.fell(silence, at)
    }

    function end (line: Line): void {
      line.end()
      lines.delete(line.session)
      if (line.net.lines.size === 0) nets.delete(line.net.network.key)
    }

    /** In how long a silence its connection may have died, where it has died and nobody said so. */
    function deadly (session: Session, reason: Error | undefined): number | undefined {
      // The system has sent something again and again, and nobody has taken it.
      if (reason !== undefined && 'code' in reason && reason.code === 'ETIMEDOUT') return session.unanswered
      if (!(reason instanceof StreamError)) return undefined
      // A ping, or a question of stream management, was not answered.
      if (reason.condition === 'connection-timeout') return session.unanswered
      // Its device is back by another connection, while this one still looked alive.
      if (reason.condition === 'conflict') return Math.max(session.unanswered, host.clock.now() - session.lastActive)
      return undefined
    }

    /**
     * A device that was switched off does not come back soon, and one that has moved to another network comes from there: neither says
     * anything of a network. One that is back by a new connection from where the old one died was cut off.
     */
    function returned (session: Session, isResumed: boolean): void {
      const line = lines.get(session)
      const account = session.account.toString()
      const found = fallen.get(account)
      if (line === undefined || found === undefined) return
      const { network } = line.net
      const isIts = found.device === session.jid.toString()
      if (isResumed ? !isIts : !isIts && found.network !== network.key) return
      fallen.delete(account)
      const now = host.clock.now()
      if (found.network !== network.key || now - found.at > RETURN) return
      host.count('cut')
      if (network.died(found.silence, now)) line.net.hurry()
    }

    host.whileUp(() => {
      for (const session of host.sessions.all()) watch(session)
      return () => {
        for (const line of [...lines.values()]) end(line)
        for (const session of host.sessions.all()) session.put(watchedOver, false)
      }
    })
  },
})
