/** RFC 6121 §4: who is here. Broadcast, probes, directed presence, and the end of it all. */
import {
  addressed, blocklists, capabilities, children, defineModule, follow, isAddressed, NS, parseJid, presenceArriving, presences, presenceSent,
  rosters, serverReturned, sessionClosed, setting, slot, stanza, Stanza, StanzaError, textOf, xml,
} from '../lib/api.js'
import type { Addressed, Jid, Maybe, Presence, Roster, Session } from '../lib/api.js'

/** RFC 6121 §4.6: whom a device has sent its presence besides its subscribers; they hear when it goes. */
const directed = slot('presence.directed', {
  initial: () => new Map<string, Jid>(),
  codec: {
    write: told => [...told.keys()].join('\n'),
    read: text => new Map(text === '' ? [] : text.split('\n').map(address => [address, parseJid(address)] as const)),
  },
})

export default defineModule({
  name: 'presence',
  about: 'Tells subscribers who is here, and devices who their contacts are.',
  requires: ['roster'],
  settings: {
    directed: setting.count({ min: 1, max: 100_000 }).default(1000).says('The most addresses that a device may send its presence to besides its subscribers, rooms among them.'),
  },

  setup (host) {
    const roster = (account: Jid): Maybe<Roster> => host.use(rosters).of(account)

    // ---- What a device says --------------------------------------------------------------

    host.on(presenceSent, event => {
      const { presence, session } = event
      if (isAddressed(presence)) return isPresenceType(presence.type) ? remember(session, presence) : undefined
      switch (presence.type) {
        case 'available': {
          const priority = priorityOf(presence)
          const before = session.presence
          host.sessions.present(session, presence, priority)
          return follow(roster(session.account), contacts => {
            broadcast(session, host.find(capabilities)?.trimmed(presence, before) ?? presence, contacts)
            if (before === undefined) look(session, contacts)
            return 'handled' as const
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
        for (const [key, to] of told) if (whom(to)) told.delete(key)
      },
    })

    /** §4.6.2: the recipient will hear of its end. */
    function remember (session: Session, presence: Addressed<'presence'>): undefined {
      const known = session.get(directed)
      const key = presence.to.toString()
      if (presence.type === 'unavailable') known.delete(key)
      else if (known.size < host.settings.directed || known.has(key)) known.set(key, presence.to)
      else throw new StanzaError('resource-constraint', 'too much directed presence')
      return undefined
    }

    /** §4.2.2, §4.4.2, §4.5.2: to the subscribers, and to the account's own devices, itself included. */
    function broadcast (session: Session, presence: Presence, contacts: Roster): void {
      const blocked = host.find(blocklists)
      for (const { jid, subscription } of contacts.items()) {
        if (subscription !== 'from' && subscription !== 'both') continue
        void follow(blocked?.blocks(session.account, jid) ?? false, isBlocked => {
          if (!isBlocked) host.router.route(addressed(presence.with({ to: jid }), jid))
        })
      }
      for (const device of host.sessions.of(session.account)) {
        if (device.available || device === session) device.send(presence.with({ to: device.jid }))
      }
    }

    /** §4.2.2, §4.3.1: a device that has come sees who is there. */
    function look (session: Session, contacts: Roster): void {
      for (const device of host.sessions.of(session.account)) {
        if (device !== session && device.presence !== undefined) session.send(device.presence.with({ to: session.jid }))
      }
      for (const { jid, subscription } of contacts.items()) {
        if (subscription === 'to' || subscription === 'both') host.router.route(stanza(xml('presence', { type: 'probe' }), session.jid, jid))
      }
    }

    /** §4.5.2, §4.6.5: everyone who was told that it is here is told that it is not. */
    function leave (session: Session, presence: Presence): Maybe<void> {
      const wasAvailable = session.available
      host.sessions.present(session, undefined)
      const told = session.get(directed)
      session.put(directed, new Map())
      return follow(roster(session.account), contacts => {
        if (wasAvailable) broadcast(session, presence, contacts)
        for (const to of told.values()) {
          if (!wasAvailable || !isSubscriber(contacts, to)) host.router.route(addressed(presence.with({ to }), to))
        }
      })
    }

    host.on(sessionClosed, ({ session }) => {
      if (!session.available && session.get(directed).size === 0) return undefined
      return follow(leave(session, new Stanza('presence', xml('presence', { type: 'unavailable' }), session.jid, undefined)), () => undefined)
    }, 'observe')

    // ---- Other servers -------------------------------------------------------------------------------

    // What either has told the other may be out of date: what is so is said, and asked for, again.
    host.on(serverReturned, ({ peer }) => resume(peer).then(() => undefined), 'observe')

    async function resume (peer: string): Promise<void> {
      const isThere = ({ jid }: { readonly jid: Jid }): boolean => jid.domain === peer
      for (const session of [...host.sessions.all()]) {
        if (!session.available) continue
        const contacts = await roster(session.account)
        const { presence } = session
        if (presence === undefined || session.connection === 'closed') continue
        for (const { jid, subscription } of [...contacts.items()].filter(isThere)) {
          if (subscription === 'to' || subscription === 'both') host.router.route(stanza(xml('presence', { type: 'probe' }), session.jid, jid))
          if (subscription !== 'from' && subscription !== 'both') continue
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
          return undefined
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

function isPresenceType (type: string): boolean {
  return type === 'available' || type === 'unavailable'
}

function isSubscriber (contacts: Roster, jid: Jid): boolean {
  const subscription = contacts.item(jid.bare)?.subscription
  return subscription === 'from' || subscription === 'both'
}

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
