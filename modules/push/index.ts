/** XEP-0357 Push Notifications: who is away is called back by their app's server, which learns that something waits, and little else. */
import {
  accessEnded, accountRemoved, attributeOf, carbons, clientStates, defineModule, deviceOf, follow, formatDateTime, hostRaised,
  messageArriving, messageDelivered, messagesDisplayed, messageSent, messageUndelivered, NS, parseJid, passwordChanged, presenceArriving,
  presences, records, rosters, sessionActive, sessionClosed, sessionDetached, sessionPresent, sessionResumed, setting, StanzaError,
  urgencyOf, urgencyRules,
} from '../../lib/api.js'
import type { Batch, Jid, Maybe, Message, Session } from '../../lib/api.js'
import { archivedAs, bodyOf, importanceOf, messageIn, type Importance, type Questions } from './importance.js'
import { Notices, type Reason } from './notices.js'
import { publication } from './notification.js'
import { isStored, keyOf, Registrations, type All, type Registration, type Stored } from './registrations.js'
import { optionsIn, targetIn, withdrawnIn } from './request.js'

/** How often it is written down that a device was seen, in milliseconds. */
const DAY = 86_400_000

export default defineModule({
  name: 'push',
  about: 'Has devices that are away called back by the server of their app.',
  xeps: ['0357 v0.4.1'],
  features: { account: [NS.PUSH] },
  after: ['message', 'roster', 'carbons', 'mam', 'offline', 'stream-management', 'csi'],
  settings: {
    content: setting.choice('nothing', 'counts', 'senders', 'bodies').default('counts').says('What app servers learn, which are none of ours: that there is something; how many messages and subscription requests; also whom the last is from; also what it says.'),
    rooms: setting.choice('never', 'mentions', 'all').default('mentions').says('What of the talk in rooms a device that is away is called for.'),
    inactive: setting.choice('always', 'unacknowledged', 'never').default('always').says('Whether a device that is connected, and that nobody looks at, is called: for each message of importance, for those that it has not acknowledged within `delay`, or not at all.'),
    delay: setting.duration({ min: '0s', max: '10m' }).default('3s').says('How long a message may be read on another device that is in use, or its own device come back, before it is called.'),
    collapse: setting.duration({ min: '1s', max: '1h' }).default('30s').says('How long a device that was called and has not come is not called again, except to the phone. Then once for all that has come meanwhile.'),
    hourly: setting.count({ min: 1, max: 100_000 }).default(600).says('How often the devices of an account may be called in an hour.'),
    failures: setting.count({ min: 1, max: 1000 }).default(8).says('Errors of an app server that may pass, in a row, after which a registration ends. One that will not pass ends it at once.'),
    registrations: setting.count({ min: 1, max: 1000 }).default(20).says('The most that an account may have registered.'),
    forget: setting.duration({ min: '1d', max: '10y' }).default('90d').says('A registration ends whose device was not seen for so long.'),
    services: setting.list(setting.domain()).default([]).says('Domains whose app servers may be registered. None: all may.'),
  },
  stores: { registrations: records<Stored>(1, undefined, { check: isStored, unreadable: 'moved' }) },
  counts: {
    disabled: 'Registrations that ended.',
    spared: 'Notifications that were not sent, for the device was here by then.',
    read: 'Notifications that were not sent, for all was read on another device by then.',
    postponed: 'Notifications that had to wait: too much waits for their app server.',
    sent: 'Notifications that were sent.',
    refused: 'Notifications that an app server answered with an error.',
  },

  setup (host) {
    const { settings } = host
    const registrations = new Registrations(host.stores.registrations)
    const rules = urgencyRules({ now: [], hold: [] })

    const notices = new Notices({
      clock: host.clock,
      log: host.log,
      pace: settings,
      registrationsOf: account => registrations.of(account),
      isHere: (account, registration) => isHere(sessionsOf(account, registration), true),
      requestsOf: account => follow(host.find(rosters)?.of(account), roster => roster?.requests ?? 0),
      publish: (registration, summary) => host.ask(registration.service, publication(registration, summary, settings.content), { type: 'set' }),
      remove: (account, { id }, why) => { void end(account, one => one.id === id, why) },
      count: metric => { host.count(metric) },
    })
    /** Sessions that wait for their device: what it had not acknowledged has called it. */
    const waiting = new WeakSet<Session>()
    let learnt: Promise<void> | undefined
    host.whileUp(() => {
      for (const session of host.sessions.all()) if (session.connection === 'waiting') waiting.add(session)
      learnt = registrations.learn(host.domain).catch((error: unknown) => { host.log.error('push registrations not read', { error }) })
      return () => { notices.end() }
    })

    // ---- Registering (§5, §6) ---------------------------------------------------------------

    host.iq.set('self', NS.PUSH, 'enable', async ({ session, payload, batch }) => {
      const { service, node } = targetIn(payload)
      const options = optionsIn(payload)
      if (settings.services.length > 0 && !settings.services.includes(service.domain)) throw new StanzaError('not-allowed', 'not an app server that may be used here')
      const { account } = session
      const key = keyOf(service, node)
      const fresh: Registration = {
        id: host.ids.next(), key, service, device: deviceOf(session), seen: host.clock.now(),
        ...node === undefined ? {} : { node },
        ...options === undefined ? {} : { options },
      }
      await registrations.change(account, all => {
        const stale = [...all.values()].filter(one => one.key !== key && isForgotten(account, one))
        // §5: the last request for a node is the one that counts.
        if (!all.has(key) && all.size - stale.length >= settings.registrations) throw new StanzaError('resource-constraint', 'no more can be registered', { type: 'cancel' })
        return new Map([...stale.map(one => [one.key, undefined] as const), [key, fresh]])
      }, batch)
      batch.committed(() => { notices.renewed(account, key) })
    })

    host.iq.set('self', NS.PUSH, 'disable', async ({ session, payload, batch }) => {
      const { service, node } = targetIn(payload)
      // §6: without a node, all of the service.
      await remove(session.account, one => one.service.equals(service) && (node === undefined || one.node === node), batch)
    })

    async function remove (account: Jid, whose: (one: Registration) => boolean, batch: Batch): Promise<readonly Registration[]> {
      let gone: readonly Registration[] = []
      await registrations.change(account, all => {
        gone = [...all.values()].filter(whose)
        return new Map(gone.map(({ key }) => [key, undefined]))
      }, batch)
      for (const { key } of gone) batch.committed(() => { notices.drop(account, key) })
      return gone
    }

    /** These are over, and no client has asked for it. */
    async function end (account: Jid, whose: (one: Registration) => boolean, why: string): Promise<void> {
      try {
        const batch = host.batch()
        const gone = await remove(account, whose, batch)
        await batch.commit()
        told(account, gone, why)
      } catch (error) {
        host.log.warn('push not disabled', { account: account.toString(), error })
      }
    }

    function told (account: Jid, gone: readonly Registration[], why: string): void {
      if (gone.length > 0) host.count('disabled', gone.length)
      for (const { service } of gone) host.log.info('push disabled', { account: account.toString(), service: service.toString(), why })
    }

    function isForgotten (account: Jid, registration: Registration): boolean {
      return registration.seen < host.clock.now() - settings.forget && sessionsOf(account, registration).length === 0
    }

    // §8. Only the service itself may say so; of anybody else it is a message like others.
    host.on(messageArriving, ({ message, account, batch }) => {
      const withdrawn = withdrawnIn(message, account)
      if (withdrawn === undefined) return undefined
      return remove(account, one => one.service.equals(message.from) && one.node === withdrawn.node, batch).then(gone => {
        batch.committed(() => { told(account, gone, 'withdrawn') })
        return gone.length > 0 ? 'handled' : undefined
      })
    }, 'stamp')

    // Who cannot come back is not called, and nothing more is said of the account.
    host.on(accessEnded, ({ account, device }) => end(account, one => one.device === device, 'access ended'))
    host.on(passwordChanged, ({ account }) =>
      end(account, one => !sessionsOf(account, one).some(({ connection }) => connection === 'attached'), 'password changed'))
    host.on(accountRemoved, ({ account, batch }) => follow(registrations.of(account), all => {
      const keys = [...all.keys()]
      batch.committed(() => {
        registrations.forget(account)
        for (const key of keys) notices.drop(account, key)
      })
    }), 'record')

    // ---- Devices --------------------------------------------------------------------------------

    function sessionsOf (account: Jid, { device }: Registration): readonly Session[] {
      return host.sessions.of(account).filter(session => deviceOf(session) === device)
    }

    /** `hasWaited`: it has had the time to acknowledge. */
    function isHere (sessions: readonly Session[], hasWaited: boolean): boolean {
      return sessions.some(session => {
        if (session.connection !== 'attached') return false
        if (isActive(session) || settings.inactive === 'never') return true
        return hasWaited && settings.inactive === 'unacknowledged' && hasAll(session)
      })
    }

    function isActive (session: Session): boolean { return host.find(clientStates)?.isInactive(session) !== true }

    /** How long it may be seen before its device is called, in milliseconds. */
    function waitFor (account: Jid, registration: Registration, own: readonly Session[]): number {
      const isElsewhere = host.sessions.of(account).some(session =>
        session.connection === 'attached' && session.available && deviceOf(session) !== registration.device && isActive(session))
      const mayAnswer = settings.inactive === 'unacknowledged' && own.some(({ connection }) => connection === 'attached')
      return isElsewhere || mayAnswer ? settings.delay : 0
    }

    function came (session: Session): Maybe<void> {
      return ifAny(session.account, all => {
        const device = deviceOf(session)
        if (!isHere([session], false)) return
        const mine = [...all.values()].filter(one => one.device === device)
        for (const { key } of mine) notices.seen(session.account, key)
        note(session.account, mine)
      })
    }
    for (const hook of [sessionResumed, sessionActive]) host.on(hook, ({ session }) => came(session), 'observe')
    host.on(sessionPresent, ({ session }) => came(session), 'observe')

    /** Their device is in use. */
    function note (account: Jid, mine: readonly Registration[]): void {
      const now = host.clock.now()
      const due = mine.filter(({ seen }) => seen < now - DAY)
      if (due.length === 0) return
      const batch = host.batch()
      registrations.change(account, all => new Map(due.flatMap(({ key }) => {
        const one = all.get(key)
        return one === undefined ? [] : [[key, { ...one, seen: now }] as const]
      })), batch).then(() => batch.commit()).catch((error: unknown) => { host.log.warn('push registration not renewed', { account: account.toString(), error }) })
    }

    // ---- What comes while they are away -----------------------------------------------------------

    const questions: Omit<Questions, 'nickIn'> = { rooms: settings.rooms, urgencyOf: stanza => host.find(clientStates)?.urgencyOf(stanza) ?? urgencyOf(stanza, rules) }

    function importance (message: Message, account: Jid): Importance | undefined {
      return importanceOf(message, account, { ...questions, nickIn: room => nickIn(account, room) })
    }

    /** XEP-0045 §7.2: what a device has called itself when it entered. */
    function nickIn (account: Jid, room: Jid): string | undefined {
      for (const device of host.sessions.of(account)) {
        for (const told of host.find(presences)?.told(device) ?? []) if (told.bare.equals(room) && told.resource !== '') return told.resource
      }
      return undefined
    }

    host.on(messageDelivered, ({ message, account, recipients }) =>
      ifAny(account, all => { arrived(message, account, recipients, all.values()) }), 'observe')

    // What its archive has a device was called for when it came; and who has been called, and has not come, will find this as well.
    host.on(messageUndelivered, ({ message, account, recipients, batch }) => ifAny(account, all => {
      if (archivedAs(message, account) !== undefined) return
      batch.committed(() => {
        arrived(message, account, recipients, [...all.values()].filter(({ key }) => notices.of(account, key).messages === 0))
      })
    }), 'observe')

    function arrived (message: Message, account: Jid, recipients: readonly Session[], all: Iterable<Registration>): void {
      const kind = importance(message, account)
      if (kind === undefined) return
      const archived = archivedAs(message, account)
      const isStored = archived !== undefined || recipients.length === 0 && isKept(message)
      for (const registration of all) {
        const own = sessionsOf(account, registration)
        if (isHere(own, false)) continue
        const isMeant = isStored || own.some(device => recipients.includes(device) || host.find(carbons)?.goesTo(message, device) === true)
        if (!isMeant || isOver(account, registration)) continue
        notices.add(account, registration, reasonOf(kind, message, archived), waitFor(account, registration, own))
      }
    }

    function isOver (account: Jid, registration: Registration): boolean {
      if (!isForgotten(account, registration)) return false
      void end(account, one => one.id === registration.id, 'forgotten')
      return true
    }

    host.on(presenceArriving, ({ presence, account, batch }) => {
      if (presence.type !== 'subscribe' || presence.from.bare.equals(account) || host.find(rosters) === undefined) return undefined
      return ifAny(account, all => {
        batch.committed(() => {
          for (const registration of all.values()) {
            const own = sessionsOf(account, registration)
            if (isHere(own, false) || isOver(account, registration)) continue
            notices.add(account, registration, { importance: 'request', from: presence.from }, waitFor(account, registration, own))
          }
        })
      })
    }, 'observe')

    // ---- What they had not acknowledged when their line broke -------------------------------------------

    host.on(sessionDetached, ({ session, keep }) => {
      if (!keep) return
      waiting.add(session)
      left(session)
    }, 'observe')
    host.on(sessionResumed, ({ session }) => { waiting.delete(session) }, 'screen')
    // Before its stream management lets go of it.
    host.on(sessionClosed, ({ session }) => { if (!waiting.has(session)) left(session) }, 'record')

    /** Until now it was here. */
    function left (session: Session): void {
      const device = deviceOf(session)
      quietly(missed(session))
      quietly(ifAny(session.account, all => { note(session.account, [...all.values()].filter(one => one.device === device)) }))
    }

    // Of another life of the process: what their devices were to be told then is not known any more.
    host.on(hostRaised, () => { void learnt?.then(recall) }, 'observe')
    function recall (): void {
      for (const session of host.sessions.all()) {
        if (session.connection !== 'waiting') continue
        waiting.add(session)
        quietly(missed(session))
      }
    }

    function missed (session: Session): Maybe<void> {
      const { account, manager } = session
      if (manager === undefined) return undefined
      const device = deviceOf(session)
      let texts: readonly string[] | undefined
      const tell = (all: All): void => {
        const mine = [...all.values()].filter(one => one.device === device && !isHere(sessionsOf(account, one), false))
        if (mine.length === 0) return
        for (const text of texts ?? manager.unconfirmed()) {
          const message = messageIn(text)
          const kind = message === undefined ? undefined : importance(message, account)
          if (message === undefined || kind === undefined) continue
          const reason = reasonOf(kind, message, archivedAs(message, account))
          for (const registration of mine) notices.add(account, registration, reason, settings.delay)
        }
      }
      const all = registrations.of(account)
      if (all instanceof Promise) texts = [...manager.unconfirmed()]
      return follow(all, tell)
    }

    // ---- What is read elsewhere (XEP-0490, XEP-0333) ----------------------------------------------------

    host.on(messagesDisplayed, ({ account, contact, id }) => read(account, contact, id), 'observe')
    // The message does not wait for that.
    host.on(messageSent, ({ message, session }) => { quietly(ifAny(session.account, () => {
      const marker = message.child(NS.CHAT_MARKERS, 'displayed')
      const id = marker === undefined ? undefined : attributeOf(marker, 'id')
      if (id !== undefined) quietly(read(session.account, message.to, id))
      // Who answers has read.
      else if (marker === undefined && message.type !== 'error' && questions.urgencyOf(message) === 'now') quietly(read(session.account, message.to, undefined))
    })) }, 'observe')

    function read (account: Jid, contact: Jid, id: string | undefined): Maybe<void> {
      return ifAny(account, all => { for (const key of all.keys()) notices.read(account, key, contact, id) })
    }

    /** Nobody waits for it. */
    function quietly (work: Maybe<void>): void {
      if (work instanceof Promise) work.catch((error: unknown) => { host.log.warn('push registrations not read', { error }) })
    }

    /** Costs a look-up where the account has registered nothing. */
    function ifAny (account: Jid, run: (all: All) => void): Maybe<void> {
      const all = registrations.of(account)
      if (all instanceof Promise) return all.then(all => { if (all.size > 0) run(all) })
      if (all.size > 0) run(all)
      return undefined
    }

    // ---- For the operator -----------------------------------------------------------------------------------

    host.command('push', async ([address]) => {
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
    })
  },
})

function reasonOf (importance: Importance, message: Message, archived: string | undefined): Reason {
  return { importance, from: message.from, archived, id: message.id, body: bodyOf(message) }
}

/** XEP-0160 §3, XEP-0334 §4: what waits for a device where none is there. */
function isKept (message: Message): boolean {
  return (message.type === 'chat' || message.type === 'normal') && !message.has(NS.HINTS, 'no-store')
}

function hasAll ({ manager }: Session): boolean {
  return manager !== undefined && [...manager.unconfirmed()].length === 0
}
