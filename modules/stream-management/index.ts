/**
 * XEP-0198 Stream Management: acknowledges stanzas in both directions, and lets sessions outlive their connection and
 * the process.
 */
import {
  defineModule, hostParting, hostRaised, sessionClosed, sessionDetached, sessionParting, sessionResumed, setting,
  StreamError,
} from '../../lib/api.js'
import type { ModuleHost } from '../../lib/api.js'
import { acknowledge } from './acknowledging.js'
import { Enabling } from './enabling.js'
import { ManagedSession } from './managed.js'
import { forgo, recall } from './restoring.js'
import { offerResumption } from './resuming.js'
import { ManagedSessions, submit } from './sessions.js'
import { shapes } from './stores.js'
import { undelivered } from './undelivered.js'
import { Writer } from './writer.js'

export default defineModule({
  name: 'stream-management',
  about: 'Acknowledges stanzas in both directions, and keeps the session of a device whose connection is lost, also while the server restarts.',
  xeps: ['0198 v1.6.3'],
  stores: shapes,
  settings: {
    resumeTimeout: setting.duration({ min: '0s', max: '30d' }).default('15m').was('resume').says('How long a session without a connection can be resumed. 0s: not at all.'),
    stanzas: setting.count({ min: 10, max: 1_000_000 }).default(2000).says('The most stanzas to a device that it has not acknowledged, sent or not. With more, its session ends, and its messages go to the other devices of the account, or are stored if there are none.'),
    bytes: setting.size({ min: '64KiB', max: '1GiB' }).default('8MiB').says('The most bytes of such stanzas to a device.'),
    accountBytes: setting.size({ min: '64KiB', max: '16GiB' }).default('32MiB').was('account').says('The most bytes of such stanzas to all devices of an account together. With more, the session that holds most ends, and its messages go to the other devices of the account, or are stored if there are none.'),
    totalBytes: setting.size({ min: '1MiB', max: '1TiB' }).default('256MiB').was('all').says('The most bytes of such stanzas to the devices of all hosts together; of several hosts, the largest setting counts. With more, sessions of the account that holds most end.'),
    ackTimeout: setting.duration({ min: '5s', max: '1h' }).default('1m').was('patience').says('How long a device may take to acknowledge before its connection is closed.'),
  },
  counts: {
    overflowed: 'Sessions that ended because too much was unacknowledged.',
    unacknowledged: 'Connections that were closed because the device did not acknowledge in time.',
    expired: 'Sessions that ended because they were not resumed in time.',
    resumed: 'Sessions that were resumed (XEP-0198).',
  },

  setup (host) {
    const { settings, stores } = host
    const sessions = new ManagedSessions(host, stores, settings, new Writer(host, stores.broadcasts))
    const enabling = new Enabling(host, sessions, settings.resumeTimeout)
    enabling.offer()
    acknowledge(host, sessions, settings.ackTimeout)
    offerResumption(host, sessions)

    host.on(sessionDetached, event => {
      const { manager } = event.session
      if (!(manager instanceof ManagedSession) || manager.resumeTimeout === 0) return
      event.keep = true
      manager.detached()
      sessions.wait(manager)
    })
    host.on(sessionResumed, ({ session }) => {
      if (session.manager instanceof ManagedSession) sessions.stopWaiting(session.manager)
    })
    host.on(sessionClosed, ({ session }) => { if (session.manager instanceof ManagedSession) sessions.end(session.manager) }, 'observe')
    surviveRestart(host, sessions, enabling)
    host.whileUp(() => {
      const release = sessions.start()
      return isReplaced => {
        if (!isReplaced) sessions.closeAll()
        release()
      }
    })
  },

  /** Ends stored sessions, which can no longer be resumed, and hands back their unacknowledged stanzas. */
  async forgo (host) {
    await forgo(host, {
      stores: host.stores,
      undelivered: (octets, at, removing) => { undelivered(host, octets, at, removing) },
      submit: write => { submit(host, write) },
    })
  },
})

/** Saves resumable sessions when the server stops, and restores them at the next start. */
function surviveRestart (host: ModuleHost, sessions: ManagedSessions, enabling: Enabling): void {
  host.on(sessionParting, event => {
    if (event.session.manager instanceof ManagedSession && event.session.manager.resumeTimeout > 0) event.keep = true
  })
  host.on(hostParting, async event => {
    await enabling.settled()
    const all = event.sessions.map(({ manager }) => manager).filter(manager => manager instanceof ManagedSession)
    // Its device was not told, and cannot resume it.
    for (const { hasBegun, session } of all) if (!hasBegun) session.close(new StreamError('system-shutdown'))
    await sessions.handedBack()
    const parting = all.filter(({ hasBegun }) => hasBegun)
    const batch = host.batch()
    for (const managed of parting) managed.park(batch)
    await batch.commit()
    for (const managed of parting) managed.farewell()
  })
  host.on(hostRaised, async () => {
    for await (const managed of recall(host, sessions)) {
      sessions.enter(managed)
      sessions.wait(managed)
    }
  })
}
