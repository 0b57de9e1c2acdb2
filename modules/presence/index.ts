/** RFC 6121 §4: who is here. Broadcast, probes, directed presence, and the end of it all. */
import {
  addressed, blocklists, capabilities, children, defineModule, follow, hostOpened, isAddressed, NS, parseJid, presenceArriving, presences,
  presenceSent, records, rosters, serverReturned, sessionClosed, sessionUnavailable, setting, slot, stanza, Stanza, StanzaError,
  subscriptionChanged, textOf, xml,
} from '../../lib/api.js'
import type { Addressed, Jid, Maybe, Presence, Roster, RosterItem, Session } from '../../lib/api.js'
import { Here } from './here.js'
import { ANSWERS, contentOf, KnownPresence } from './known.js'
import { Told } from './told.js'

/** What a device has last said to its subscribers, and when. */
const broadcasted = slot('presence.broadcasted', { initial: () => ({ content: '', at: 0 }) })

/** Bytes that the addresses of directed presence may have on the average, and the longest that there are (RFC 7622 §3.1). */
const ADDRESS = 128
const LONGEST_ADDRESS = 3071

/** When it asked for the presence of its contacts: what is sent to it alone soon after that is an answer. */
const looked = slot('presence.looked', { initial: () => 0 })

/** RFC 6121 §4.6: whom a device has sent its presence besides its subscribers; they hear when it goes. */
const directed = slot('presence.directed', {
  initial: () => new Told(),
  codec: {
    write: told => [...told.keys()].join('\n'),
    read: text => Told.of(text === '' ? [] : text.split('\n')),
  },
})

export default defineModule({
  name: 'presence',
  about: 'Tells subscribers who is here, and devices who their contacts are.',
  requires: ['roster'],
  stores: { here: records<true>(1, undefined, { check: value => value === true, unreadable: 'moved' }) },
  settings: {
    repeats: setting.duration({ min: '0s', max: '1d' }).default('1h').says('Presence that says just what its device has said before goes to subscribers again after so long, and not sooner. 0s: always.'),
    memory: setting.size({ min: '0B', max: '1GiB' }).default('16MiB').says('What other servers have said of the presence of contacts is remembered while its account is online, in so many bytes: the next device sees at once who is there, and what is known is not delivered again. 0B: nothing is.'),
    directed: setting.count({ min: 1, max: 100_000 }).default(1000).says('The most addresses that a device may send its presence to besides its subscribers, rooms among them.'),
  },
  counts: {
    'spared.stanzas': 'Presence and probes that were not sent, for nothing in them was new, by kind.',
    'spared.bytes': 'Bytes of presence and probes that were not sent, for nothing in them was new, by kind.',
  },

  setup (host) {
    const { repeats, memory } = host.settings
    const roster = (account: Jid): Maybe<Roster> => host.use(rosters).of(account)
    const known = new KnownPresence(memory)
    const here = new Here({
      domain: host.domain,
      clock: host.clock,
      store: host.stores.here,
      seen: (jid, told) => {
        const device = host.sessions.at(jid)
        return device !== undefined && (told === undefined ? device.available : device.get(directed).has(told))
      },
      batch: () => host.batch(),
      trouble: error => { host.log.warn('who is here is not written down', { error }) },
    })
    host.defer(() => here.flush())

    // ---- What a device says --------------------------------------------------------------

    host.on(presenceSent, event => {
      const { presence, session } = event
      if (isAddressed(presence)) return isPresenceType(presence.type) ? remember(session, presence) : undefined
      switch (presence.type) {
        case 'available': {
          const priority = priorityOf(presence)
          const before = session.presence
          const isNews = says(session, presence)
          host.sessions.present(session, presence, priority)
          return follow(roster(session.account), contacts => {
            if (before === undefined) here.changed(session.jid)
            // Over several turns it may have gone meanwhile: then nobody hears any more that it is there.
            const now = session.presence
            const isThere = (): boolean => session.presence === now
            const told = isNews
              ? broadcast(session.account, host.find(capabilities)?.trimmed(presence, before) ?? presence, contacts, session, isThere)
              : spare(session, presence, contacts)
            const seen = before === undefined ? follow(told, () => look(session, contacts)) : told
            return follow(seen, () => 'handled' as const)
          })
        }
        case 'unavailable':
          return follow(leave(session, presence), () => 'handled' as const)
        default: // subscriptions and probes have an address (§4.7.1)
          throw new StanzaError('bad-request')
      }
    })

    host.provide(presences, {
      told: device => device.get(directed).values(),
      untell: (device, whom) => {
        const told = device.get(directed)
        for (const [key, to] of told) if (whom(to) && told.delete(key)) here.changed(device.jid, key)
      },
      forget: account => { known.forget(account) },
    })

    /** §4.6.2: the recipient will hear of its end. */
    function remember (session: Session, presence: Addressed<'presence'>): undefined {
      const told = session.get(directed)
      const key = presence.to.toString()
      const wasTold = told.has(key)
      if (presence.type === 'unavailable') told.delete(key)
      else if (wasTold || hasRoom(told, key)) told.set(key, presence.to)
      else throw new StanzaError('resource-constraint', 'too much directed presence')
      if (told.has(key) !== wasTold) here.changed(session.jid, key)
      return undefined
    }

    function hasRoom (told: Told, key: string): boolean {
      const most = host.settings.directed
      return told.size < most && told.bytes + Buffer.byteLength(key) <= Math.max(most * ADDRESS, LONGEST_ADDRESS)
    }

    /** Whether this is not what it has said before. */
    function says (session: Session, presence: Presence): boolean {
      const now = host.clock.now()
      const before = session.get(broadcasted)
      const content = contentOf(presence)
      if (session.available && content === before.content && now - before.at < repeats) return false
      session.put(broadcasted, { content, at: now })
      return true
    }

    /**
     * §4.4.2 has presence that expresses updated availability broadcast. This is no update: whoever may know it was told, when it was said
     * first, when they came or were let in later; only who said it gets it back.
     */
    function spare (session: Session, presence: Presence, contacts: Roster): void {
      let spared = host.sessions.of(session.account).filter(device => device.available && device !== session).length
      for (const item of contacts.items()) if (hasFrom(item)) spared++
      count('presence', spared, presence)
      session.send(presence.with({ to: session.jid }))
    }

    function count (kind: 'presence' | 'probe', stanzas: number, one: Stanza): void {
      if (stanzas === 0) return
      host.count('spared.stanzas', stanzas, { kind })
      host.count('spared.bytes', stanzas * one.octets().length, { kind })
    }

    /** §4.2.2, §4.4.2, §4.5.2: to the subscribers, and to the account's own devices, itself included. */
    function broadcast (account: Jid, presence: Presence, contacts: Roster, self?: Session, isMeant = (): boolean => true): Maybe<void> {
      const blocked = host.find(blocklists)
      const subscribers = [...contacts.items()].filter(hasFrom)
      self?.charge(subscribers.length)
      const told = host.router.each(subscribers, ({ jid }) => {
        if (!isMeant()) return
        void follow(blocked?.blocks(account, jid) ?? false, isBlocked => {
          if (!isBlocked) host.router.route(addressed(presence.with({ to: jid }), jid))
        })
      })
      return follow(told, () => {
        if (!isMeant()) return
        for (const device of host.sessions.of(account)) {
          if (device.available || device === self) device.send(presence.with({ to: device.jid }))
        }
      })
    }

    /** §4.2.2, §4.3.1: a device that has come sees who is there: what is known at once, the rest when it is answered. */
    function look (session: Session, contacts: Roster): Maybe<void> {
      for (const device of host.sessions.of(session.account)) {
        if (device !== session && device.presence !== undefined) session.send(device.presence.with({ to: session.jid }))
      }
      const now = host.clock.now()
      session.put(looked, now)
      const seen = [...contacts.items()].filter(hasTo)
      session.charge(seen.length)
      return host.router.each(seen, ({ jid }) => {
        if (!session.available) return
        const probe = stanza(xml('presence', { type: 'probe' }), session.jid, jid)
        // §4.2.2: a probe is sent in the absence of presence information.
        if (known.tell(session, jid, now)) {
          count('probe', 1, probe)
          return
        }
        if (!host.router.serves(jid.domain)) known.ask(session.account, jid, now)
        host.router.route(probe)
      })
    }

    /** §4.5.2, §4.6.5: everyone who was told that it is here is told that it is not. */
    function leave (session: Session, presence: Presence): Maybe<void> {
      const wasAvailable = session.available
      if (wasAvailable) here.changed(session.jid)
      host.sessions.present(session, undefined)
      const told = session.get(directed)
      session.put(directed, new Told())
      for (const key of told.keys()) here.changed(session.jid, key)
      session.put(broadcasted, { content: '', at: 0 })
      return follow(roster(session.account), contacts => gone(presence, contacts, wasAvailable, told.values(), session))
    }

    /** To subscribers, where it was available, and to whom it has told besides. */
    function gone (presence: Presence, contacts: Roster, wasAvailable: boolean, told: Iterable<Jid>, self?: Session): Maybe<void> {
      const heard = wasAvailable ? broadcast(presence.from.bare, presence, contacts, self) : undefined
      return follow(heard, () => {
        for (const to of told) {
          if (!wasAvailable || !isSubscriber(contacts, to)) host.router.route(addressed(presence.with({ to }), to))
        }
      })
    }

    host.on(sessionClosed, ({ session }) => {
      if (!session.available && session.get(directed).size === 0) return undefined
      return follow(leave(session, absence(session.jid)), () => undefined)
    }, 'observe')

    host.on(sessionUnavailable, ({ session, last }) => {
      if (last) known.forget(session.account) // nobody hears any more what changes
    }, 'observe')
    host.on(subscriptionChanged, ({ account, contact }) => { known.forget(account, other => other.equals(contact.bare)) }, 'observe')

    // ---- Other servers -------------------------------------------------------------------------------

    // What either has told the other may be out of date: what is so is said, and asked for, again.
    host.on(serverReturned, ({ peer }) => {
      known.forgetDomain(peer)
      return resume(domain => domain === peer).then(() => undefined)
    }, 'observe')
    // Who was here before this process is here again; what others have said meanwhile has not come.
    host.on(hostOpened, () => Promise.all([resume(domain => !host.router.serves(domain)), lay()]).then(() => undefined), 'observe')

    /** Behind a crash: who saw a device that has not come back hears that it is gone. One that has knows whom it has told. */
    async function lay (): Promise<void> {
      for await (const { device, available, told } of here.all()) {
        const contacts = await roster(device.bare)
        const session = host.sessions.at(device)
        for (const key of told) session?.get(directed).set(key, parseJid(key))
        const hasGone = available && session?.available !== true
        if (hasGone) here.changed(device)
        if (session === undefined) for (const key of told) here.changed(device, key)
        await gone(absence(device), contacts, hasGone, session === undefined ? told.map(address => parseJid(address)) : [])
      }
    }

    async function resume (isMeant: (domain: string) => boolean): Promise<void> {
      const isThere = ({ jid }: { readonly jid: Jid }): boolean => isMeant(jid.domain)
      for (const session of [...host.sessions.all()]) {
        if (!session.available) continue
        const contacts = await roster(session.account)
        const { presence } = session
        if (presence === undefined || session.connection === 'closed') continue
        for (const item of [...contacts.items()].filter(isThere)) {
          const { jid } = item
          if (hasTo(item)) host.router.route(stanza(xml('presence', { type: 'probe' }), session.jid, jid))
          if (!hasFrom(item)) continue
          const isBlocked = await host.find(blocklists)?.blocks(session.account, jid)
          if (isBlocked !== true) host.router.route(addressed(presence.with({ to: jid }), jid))
        }
      }
    }

    // ---- What reaches an account --------------------------------------------------------------

    host.on(presenceArriving, event => {
      const { presence, account } = event
      switch (presence.type) {
        case 'probe':
          return follow(answer(presence, account), () => 'handled' as const)
        case 'available': case 'unavailable': case 'error':
          event.recipients = recipients(presence, account)
          if (presence.type === 'error') known.forget(account, contact => contact.equals(presence.from.bare)) // what was asked is not answered
          if (presence.type === 'error' || event.recipients.length === 0 || host.router.serves(presence.from.domain)) return undefined
          return follow(roster(account), contacts => { event.recipients = unheard(account, presence, event.recipients, contacts) })
        case 'subscribe': case 'subscribed': case 'unsubscribe': case 'unsubscribed':
          return undefined
        default:
          throw new StanzaError('bad-request')
      }
    })

    /** §8.5.2.1.2, §8.5.3: to every available device, or to the one that is named. */
    function recipients (presence: Addressed<'presence'>, account: Jid): readonly Session[] {
      if (presence.to.resource === '') return presence.type === 'error' ? [] : host.sessions.of(account).filter(device => device.available)
      const device = host.sessions.at(presence.to)
      return device === undefined ? [] : [device]
    }

    /** Of these, those who do not know it: from a contact on another server, sent to all of them. What is sent to one alone, it gets. */
    function unheard (account: Jid, presence: Addressed<'presence'>, devices: readonly Session[], contacts: Roster): readonly Session[] {
      const item = contacts.item(presence.from.bare)
      if (item === undefined || !hasTo(item)) return devices
      const [device] = devices
      const isForAll = presence.to.resource === ''
      const now = host.clock.now()
      if (!isForAll && (device === undefined || now - device.get(looked) > ANSWERS)) return devices
      const missing = known.hear(account, presence, devices, now)
      if (!isForAll) return devices
      count('presence', devices.length - missing.length, presence)
      return missing
    }

    /** §4.3.2: presence for those who may see it, 'unsubscribed' for others. */
    function answer (probe: Addressed<'presence'>, account: Jid): Maybe<void> {
      const prober = probe.from
      return follow(roster(account), contacts => {
        const mayKnow = prober.bare.equals(account) || isSubscriber(contacts, prober)
        const known = host.sessions.of(account).filter(device => device.presence !== undefined &&
          (mayKnow ? probe.to.resource === '' || device.jid.equals(probe.to) : hasToldOf(device, prober)))
        for (const { presence } of known) if (presence !== undefined) host.router.route(addressed(presence.with({ to: prober }), prober))
        if (known.length > 0) return
        if (!mayKnow) host.router.route(stanza(xml('presence', { type: 'unsubscribed' }), account, prober.bare))
        // On another server there may be a ghost of a device that is gone; on ours there is none.
        else if (!host.router.serves(prober.domain)) host.router.route(stanza(xml('presence', { type: 'unavailable' }), account, prober))
      })
    }

    /** §4.6.4: who was sent directed presence may ask for it again. */
    function hasToldOf (device: Session, prober: Jid): boolean {
      const told = device.get(directed)
      return told.has(prober.toString()) || told.has(prober.bare.toString())
    }
  },
})

function absence (jid: Jid): Presence {
  return new Stanza('presence', xml('presence', { type: 'unavailable' }), jid, undefined)
}

function isPresenceType (type: string): boolean {
  return type === 'available' || type === 'unavailable'
}

function isSubscriber (contacts: Roster, jid: Jid): boolean {
  const item = contacts.item(jid.bare)
  return item !== undefined && hasFrom(item)
}

/** The contact sees the account's presence. */
function hasFrom ({ subscription }: RosterItem): boolean { return subscription === 'from' || subscription === 'both' }
/** The account sees the contact's. */
function hasTo ({ subscription }: RosterItem): boolean { return subscription === 'to' || subscription === 'both' }

/** §4.7.2.3: an integer from -128 to 127, once at most. */
function priorityOf (presence: Presence): number {
  const [first, second] = children(presence.element, NS.CLIENT, 'priority')
  if (first === undefined) return 0
  const text = textOf(first).trim()
  const priority = Number(text)
  if (second !== undefined || !/^[+-]?\d{1,3}$/.test(text) || priority < -128 || priority > 127) {
    throw new StanzaError('bad-request', 'a priority is an integer from -128 to 127')
  }
  return priority
}
