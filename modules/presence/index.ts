/** RFC 6121 §4: presence. Broadcasts, probes, directed presence, and unavailable presence at the end of a session. */
import {
  defineModule, follow, hostOpened, presenceArriving, presences, presenceSent, records, serverReturned, sessionClosed,
  sessionUnavailable, setting, subscriptionChanged,
} from '../../lib/api.js'
import type { ModuleHost } from '../../lib/api.js'
import { Directed } from './directed.js'
import { StoredPresence } from './stored-presence.js'
import { RemotePresenceCache } from './remote-presence.js'
import { OwnPresence, type PresenceDeps } from './own.js'
import { receive } from './received.js'
import { announceGhostsGone, renew } from './recovery.js'

export default defineModule({
  name: 'presence',
  about: 'Sends presence to subscribers, and shows devices the presence of contacts.',
  requires: ['roster'],
  stores: { here: records<true>(1, undefined, { check: value => value === true, unreadable: 'moved', byHost: true }) },
  settings: {
    repeatAfter: setting.duration({ min: '0s', max: '1d' }).default('1h').was('repeats').says('How long repeated presence of a device is not sent to subscribers again. 0s: it is always sent.'),
    cacheSize: setting.size({ min: '0B', max: '1GiB' }).default('16MiB').was('memory').says('The size of the cache for the presence of contacts on other servers while an account is online: its next device sees it at once, and known presence is not delivered again. 0B: no cache.'),
    directedRecipients: setting.count({ min: 1, max: 100_000 }).default(1000).was('directed').says('The most addresses to which a device may send directed presence, rooms among them.'),
  },
  counts: {
    'spared.stanzas': 'Presence and probes that were not sent because they brought nothing new, by kind.',
    'spared.bytes': 'Bytes of presence and probes that were not sent because they brought nothing new, by kind.',
  },

  setup (host) {
    const { repeatAfter, cacheSize, directedRecipients } = host.settings
    const known = new RemotePresenceCache(cacheSize)
    const here: StoredPresence = new StoredPresence({
      domain: host.domain,
      clock: host.clock,
      store: host.stores.here,
      seen: (jid, told) => {
        const device = host.sessions.at(jid)
        return device !== undefined && (told === undefined ? device.available : directed.of(device).has(told))
      },
      batch: () => host.batch(),
      trouble: error => { host.log.warn('presence not stored', { error }) },
    })
    host.defer(() => here.flush())
    const directed = new Directed(here, directedRecipients)
    host.provide(presences, {
      directedTo: device => directed.of(device).values(),
      directedAt: (device, bare) => directed.at(device, bare),
      forgetDirected: (device, whom) => { directed.forget(device, whom) },
      forget: account => { known.forget(account) },
    })

    const parts = { here, directed, known }
    const own = new OwnPresence(host, parts, repeatAfter)
    host.on(presenceSent, ({ presence, session }) => own.sent(session, presence))
    host.on(sessionClosed, ({ session }) => follow(own.closed(session), () => undefined), 'observe')
    host.on(presenceArriving, event => receive(host, parts, event))
    // Without sessions, the account no longer receives updates.
    host.on(sessionUnavailable, ({ session, last }) => { if (last) known.forget(session.account) }, 'observe')
    host.on(subscriptionChanged, ({ account, contact }) => { known.forget(account, other => other.equals(contact.bare)) }, 'observe')
    watchServers(host, parts)
  },
})

/** Brings presence up to date after an outage of another server, and after a start of this one. */
function watchServers (host: ModuleHost, parts: PresenceDeps): void {
  // After an outage, presence on both sides may be stale: it is sent and probed again.
  host.on(serverReturned, ({ peer }) => {
    parts.known.forgetDomain(peer)
    return renew(host, domain => domain === peer).then(() => undefined)
  }, 'observe')
  // Restored sessions are available again; the presence that others sent meanwhile was missed.
  host.on(hostOpened, () => Promise.all([renew(host, domain => !host.router.serves(domain)), announceGhostsGone(host, parts)]).then(() => undefined), 'observe')
}
