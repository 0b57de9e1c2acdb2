/**
 * XEP-0357 Push Notifications: wakes devices that are away through the server of their app, which learns little more
 * than that something waits.
 */
import {
  accessEnded, accountRemoved, broadcastDelivered, defineModule, deviceOf, follow, formatDateTime, hostRaised,
  messageArriving, messageDelivered, messagesDisplayed, messageSent, messageUndelivered, NS, parseJid, passwordChanged,
  presenceArriving, records, rosters, sessionActive, sessionClosed, sessionDetached, sessionPresent, sessionResumed,
  setting, StanzaError,
} from '../../lib/api.js'
import type { Jid, ModuleHost } from '../../lib/api.js'
import { Comings } from './comings.js'
import { Devices } from './devices.js'
import { Ending } from './ending.js'
import { Events } from './events.js'
import { PendingNotifications, type Pace } from './notices.js'
import { publication, type Content } from './notification.js'
import { answerRequests } from './registering.js'
import { isStored, Registrations, type Stored } from './registrations.js'

export default defineModule({
  name: 'push',
  about: 'Wakes devices that are away through the server of their app.',
  xeps: ['0357 v0.4.1', '0492 v0.2.0'],
  features: { account: [NS.PUSH] },
  after: ['message', 'roster', 'carbons', 'mam', 'offline', 'stream-management', 'csi'],
  settings: {
    content: setting.choice('nothing', 'counts', 'senders', 'bodies').default('counts').says('The information that app servers get, which others run: only that there is something; the number of messages and subscription requests; also the sender of the last message; also its text.'),
    rooms: setting.choice('never', 'mentions', 'all').default('mentions').says('Which group-chat messages trigger a push notification: never, mentions, all. A user may choose otherwise for a chat (XEP-0492), except if this is "never".'),
    inactive: setting.choice('always', 'unacknowledged', 'never').default('always').says('Whether a connected but inactive device is notified: of each important message, of those that it has not acknowledged within `delay`, or not at all.'),
    delay: setting.duration({ min: '0s', max: '10m' }).default('3s').says('How long a notification waits if the message may be read on another device in use, or if the device itself may come back.'),
    collapse: setting.duration({ min: '1s', max: '1h' }).default('30s').says('After a notification, a device that does not come back gets no other for this time, except for calls. Then one notification covers everything since.'),
    notificationsPerHour: setting.count({ min: 1, max: 100_000 }).default(600).was('hourly').says('The most notifications per hour for the devices of an account.'),
    failures: setting.count({ min: 1, max: 1000 }).default(8).says('The number of temporary errors of an app server in a row after which a registration ends. A permanent error ends it at once.'),
    registrations: setting.count({ min: 1, max: 1000 }).default(20).says('The most registrations of an account.'),
    expire: setting.duration({ min: '1d', max: '10y' }).default('90d').was('forget').says('A registration ends if its device was not online for this long.'),
    services: setting.list(setting.domain()).default([]).says('Domains whose app servers may be registered. Empty: all domains.'),
  },
  stores: { registrations: records<Stored>(1, undefined, { check: isStored, unreadable: 'moved', byHost: true }) },
  counts: {
    disabled: 'Registrations that ended.',
    spared: 'Notifications that were not sent because the device was back.',
    read: 'Notifications that were not sent because everything was read on another device.',
    postponed: 'Notifications that were postponed because of the rate of their account or the queue of their app server.',
    sent: 'Notifications that were sent.',
    refused: 'Notifications that an app server answered with an error.',
  },

  setup (host) {
    const { settings } = host
    const registrations = new Registrations(host.stores.registrations)
    const devices = new Devices(host, settings)
    const end = (account: Jid, id: string, reason: string): void => {
      void ending.end(account, one => one.id === id, reason)
    }
    const notices = noticesOf(host, { registrations, devices, settings, end })
    const ending = new Ending(host, { registrations, notices, devices, forget: settings.expire })
    const { rooms, delay } = settings
    const events = new Events(host, { registrations, notices, devices, ending, rooms, delay })
    const comings = new Comings(host, { registrations, notices, devices, events })
    answerRequests(host, { registrations, notices, ending, settings })
    watchEnds(host, ending)
    watchEvents(host, events)
    watchSessions(host, comings)

    let learnt: Promise<void> | undefined
    host.whileUp(() => {
      comings.start()
      learnt = registrations.learn(host.domain).catch((error: unknown) => { host.log.error('push registrations not read', { error }) })
      return () => { notices.end() }
    })
    host.on(hostRaised, () => { void learnt?.then(() => { comings.recall() }) }, 'observe')
    host.command('push', ([address]) => show(host, registrations, notices, address))
  },
})

/** The dependencies of the notifications, and how a registration ends that no longer works. */
interface NoticesDeps {
  readonly registrations: Registrations
  readonly devices: Devices
  readonly settings: Pace & { readonly content: Content }
  readonly end: (account: Jid, id: string, reason: string) => void
}

function noticesOf (host: ModuleHost, { registrations, devices, settings, end }: NoticesDeps): PendingNotifications {
  return new PendingNotifications({
    clock: host.clock,
    log: host.log,
    pace: settings,
    registrationsOf: account => registrations.of(account),
    isHere: (account, registration) => devices.isHere(devices.sessionsOf(account, registration), true),
    requestsOf: account => follow(host.find(rosters)?.of(account), roster => roster?.requests ?? 0),
    publish: (registration, summary) => host.ask(registration.service, publication(registration, summary, settings.content), { type: 'set' }),
    remove: (account, { id }, why) => { end(account, id, why) },
    count: metric => { host.count(metric) },
  })
}

/** Ends registrations that are withdrawn (§8), or whose device or account is gone. */
function watchEnds (host: ModuleHost, ending: Ending): void {
  host.on(messageArriving, event => ending.withdraw(event), 'stamp')
  // A device that has lost access is not notified any more, so that nothing leaks.
  host.on(accessEnded, ({ account, device }) => ending.end(account, one => one.device === device, 'access ended'))
  host.on(passwordChanged, ({ account }) => ending.passwordChanged(account))
  host.on(accountRemoved, ({ account, batch }) => ending.accountRemoved(account, batch), 'record')
}

/** Takes what arrives for accounts, and what is read on their other devices (XEP-0490, XEP-0333). */
function watchEvents (host: ModuleHost, events: Events): void {
  host.on(messageDelivered, ({ message, account, recipients }) => events.delivered(message, account, recipients), 'observe')
  host.on(broadcastDelivered, ({ stanza, recipients }) => { events.broadcast(stanza, recipients) }, 'observe')
  host.on(messageUndelivered, event => events.undelivered(event), 'observe')
  host.on(presenceArriving, event => events.presence(event), 'observe')
  host.on(messagesDisplayed, ({ account, contact, id }) => events.read(account, contact, id), 'observe')
  // The message does not wait for this.
  host.on(messageSent, ({ message, session }) => { events.quietly(events.sent(message, session.account)) }, 'observe')
}

/** Follows the sessions of devices. */
function watchSessions (host: ModuleHost, comings: Comings): void {
  for (const hook of [sessionResumed, sessionActive]) host.on(hook, ({ session }) => comings.came(session), 'observe')
  host.on(sessionPresent, ({ session }) => comings.came(session), 'observe')
  host.on(sessionDetached, ({ session, keep }) => { if (keep) comings.detached(session) }, 'observe')
  host.on(sessionResumed, ({ session }) => { comings.resumed(session) }, 'screen')
  // Before stream management forgets the session's unacknowledged stanzas.
  host.on(sessionClosed, ({ session }) => { comings.closed(session) }, 'record')
}

/** `sestina push ADDRESS`: shows the registrations of an account. Rejects with StanzaError if it does not exist. */
async function show (
  host: ModuleHost, registrations: Registrations, notices: PendingNotifications, address: string | undefined,
): Promise<unknown> {
  if (address === undefined) throw new StanzaError('bad-request', 'push ADDRESS')
  const account = parseJid(address).bare
  if (account.domain !== host.domain || !await host.accounts.exists(account)) throw new StanzaError('item-not-found', `there is no ${account.toString()}`)
  const all = await registrations.of(account)
  return [...all.values()].map(({ key, service, seen, device }) => ({
    service: service.toString(),
    seen: formatDateTime(seen),
    online: host.sessions.of(account).some(session => deviceOf(session) === device),
    ...notices.of(account, key),
  }))
}
