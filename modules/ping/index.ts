/**
 * XEP-0199 XMPP Ping: answers pings, and pings silent devices as rarely as their neighbourhood allows, to find dead
 * connections.
 */
import {
  defineModule, follow, heartbeats, mayKnow, NS, rosters, sessionBound, sessionClosed, sessionDetached, sessionResumed,
  setting, StanzaError,
} from '../../lib/api.js'
import { Watch } from './watch.js'

export default defineModule({
  name: 'ping',
  about: 'Answers pings, and pings silent devices as rarely as their neighbourhood (/24 or /48) allows, to keep connections alive and find dead ones.',
  xeps: ['0199 v2.0.1'],
  at: 'everywhere',
  features: { host: [NS.PING], account: [NS.PING], entity: [NS.PING] },
  after: ['roster'],
  settings: {
    initialInterval: setting.duration({ min: '10s', max: '1d' }).default('4m').was('silence').says('How long a device may be silent before it is pinged, if nothing is known of its neighbourhood (the /24 or /48 of its address) yet. What a neighbourhood allows is learned: 30s more after each silence that a connection survives, less if connections die in one.'),
    minInterval: setting.duration({ min: '10s', max: '1d' }).default('1m').was('shortest').says('The lower limit for what is learned. No device is pinged sooner, unless `initialInterval` is shorter.'),
    maxInterval: setting.duration({ min: '10s', max: '1d' }).default('15m').was('longest').says('The upper limit for what is learned, unless `initialInterval` is longer. Together with `pongTimeout`, this is the time in which a dead connection is noticed.'),
    maxResumableInterval: setting.duration({ min: '10s', max: '1d' }).default('30m').was('resumable').says('The upper limit for devices whose session can be resumed (module `stream-management`), if it is more than `maxInterval`: they lose nothing with their connection.'),
    pongTimeout: setting.duration({ min: '1s', max: '10m' }).default('1m').was('patience').says('How long a device may take to answer a ping before its connection is closed.'),
  },
  counts: {
    dead: 'Connections that were closed because the device did not answer a ping.',
    asked: 'Pings sent to silent devices.',
    cut: 'Connections that a neighbourhood dropped silently: their devices reconnected soon after.',
  },

  setup (host) {
    const watch = new Watch(host, host.settings)

    host.iq.get('host', NS.PING, 'ping', () => undefined)
    host.iq.get('entity', NS.PING, 'ping', () => undefined)
    // §4.3: the server answers for the account if the sender may see its presence; RFC 6121 §8.5.1: for others it does
    // not exist.
    host.iq.get('account', NS.PING, 'ping', ({ stanza }) => follow(mayKnow(stanza.from, stanza.to, host.find(rosters)), allowed => {
      if (!allowed) throw new StanzaError('service-unavailable')
    }))
    host.provide(heartbeats, {
      silenceAt: address => watch.silenceAt(address),
      answered: (session, silence) => { watch.survived(session, silence) },
    })

    host.on(sessionBound, ({ session }) => {
      watch.start(session)
      watch.returned(session, false)
    }, 'observe')
    host.on(sessionResumed, ({ session }) => {
      watch.leave(session, undefined)
      watch.start(session)
      watch.returned(session, true)
    }, 'observe')
    host.on(sessionDetached, ({ session, reason }) => { watch.leave(session, reason) }, 'observe')
    host.on(sessionClosed, ({ session, reason }) => { watch.leave(session, reason) }, 'observe')
    host.whileUp(() => {
      for (const session of host.sessions.all()) watch.start(session)
      return () => { watch.end() }
    })
  },
})
