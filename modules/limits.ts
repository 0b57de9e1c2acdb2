/** XEP-0205: limits on what a device, an address and a sending domain may do. Who is too fast is read more slowly, and loses nothing. */
import {
  Budgets, Cache, defineModule, FairClaims, follow, iqSent, messageArriving, messageSent, networkOf, presenceArriving, presences,
  presenceSent, rosters, sessionBound, sessionClosed, setting, SharedRate, slot, StanzaError, TokenBucket,
} from '../lib/api.js'
import type { Addressed, Clock, Jid, Maybe, Session } from '../lib/api.js'

/** Senders, and domains of senders, that are counted at a time. */
const SENDERS = 10_000
const MINUTE = 60_000
/** Seconds' worth of stanzas that may come at once. */
const BURST = 10
/** Stanzas that an account may send at once, however many others there are at its address. */
const LEAST = 10

export default defineModule({
  name: 'limits',
  about: 'Slows down devices that send too much, and stops floods from strangers.',
  xeps: ['0205 v1.0.2'],
  after: ['roster'],
  settings: {
    session: setting.count({ min: 1, max: 100_000 }).default(50).says('Stanzas a second that a device may send on average.'),
    address: setting.count({ min: 1, max: 1_000_000 }).default(200).says('Stanzas a second that all devices of one IP address (IPv6: one /64) may send together. Each account there has the same part of it for itself, and takes what the others leave.'),
    cost: setting.count({ min: 10, max: 1_000_000 }).default(2000).says('What the devices of an account may cost the server a second on average, all together: one for each device or contact that its stanzas are brought to, for each KiB that it is answered with, and for ten messages of the archive. With more they are read more slowly.'),
    messages: setting.count({ min: 1, max: 1_000_000 }).default(120).says('Messages a minute that a user of this server, or the users of another one together, may send to accounts that have not got them in their rosters, nor entered their room. One user of another server may send as many as are left for the others there.'),
    requests: setting.count({ min: 1, max: 1_000_000 }).default(60).says('Subscription requests a minute that a user of this server, or the users of another one together, may send. One user of another server may send as many as are left for the others there.'),
  },
  counts: {
    paused: 'Stanzas of devices that sent too much, and are read more slowly for it.',
    refused: 'Stanzas of other servers that were refused: their sender, or the whole domain, sent too much.',
  },

  setup (host) {
    const own = slot<TokenBucket | undefined>('limits.rate', { initial: () => undefined })
    const addresses = new Map<string, SharedRate>()
    const messages = new Floods(host.clock)
    const requests = new Floods(host.clock)
    const counted = new WeakMap<Session, string>()
    const budgets = new Budgets(host.clock, host.settings.cost, host.settings.cost * BURST, SENDERS)

    host.on(sessionBound, ({ session }) => { join(session) }, 'record')
    // Those who were here before the settings changed count as well; without this module nobody pays.
    host.whileUp(() => {
      for (const session of host.sessions.all()) join(session)
      return isReplaced => {
        if (!isReplaced) for (const session of host.sessions.all()) session.budget = undefined
      }
    })

    function join (session: Session): void {
      session.budget = budgets.hold(session.account.toString())
      const { address } = host.settings
      const network = networkOf(session.address)
      const known = addresses.get(network) ?? new SharedRate(host.clock, address, BURST, LEAST)
      known.join(session.account.toString())
      addresses.set(network, known)
      counted.set(session, network)
    }

    host.on(sessionClosed, ({ session }) => {
      const address = counted.get(session)
      const known = address === undefined ? undefined : addresses.get(address)
      if (known === undefined || address === undefined) return
      counted.delete(session)
      budgets.leave(session.account.toString())
      known.leave(session.account.toString())
      if (known.size === 0) addresses.delete(address)
    }, 'record')

    host.on(messageSent, ({ session }) => { spend(session) }, 'screen')
    host.on(presenceSent, ({ session }) => { spend(session) }, 'screen')
    host.on(iqSent, ({ session }) => { spend(session) }, 'screen')

    /** The stanza goes on; the next one is read later. */
    function spend (session: Session): void {
      let rate = session.get(own)
      if (rate === undefined) session.put(own, rate = new TokenBucket(host.clock, host.settings.session, host.settings.session * BURST))
      const wait = Math.max(rate.take(1), addresses.get(counted.get(session) ?? '')?.take(session.account.toString(), 1) ?? 0)
      if (wait === 0) return
      host.count('paused')
      session.pause(wait)
    }

    // ---- Floods from strangers -----------------------------------------------------------------

    host.on(messageArriving, ({ message, account }) => {
      if (message.type === 'error') return undefined
      return follow(isStranger(account, message), stranger => {
        if (stranger) admit(messages, message.from, host.settings.messages)
      })
    }, 'screen')
    host.on(presenceArriving, ({ presence }) => {
      if (presence.type === 'subscribe') admit(requests, presence.from, host.settings.requests)
    }, 'screen')

    function isStranger (account: Jid, { from }: Addressed): Maybe<boolean> {
      if (from.bare.equals(account) || from.local === '') return false
      return follow(host.find(rosters)?.of(account), roster => roster?.item(from.bare) === undefined && !isTold(account, from.bare))
    }

    /** A room that a device has entered is no stranger, however much is said there. */
    function isTold (account: Jid, address: Jid): boolean {
      return host.sessions.of(account).some(device => {
        for (const told of host.find(presences)?.told(device) ?? []) if (told.bare.equals(address)) return true
        return false
      })
    }

    /** What is refused is not counted: the flood must not keep the door shut for others. */
    function admit (floods: Floods, from: Jid, perMinute: number): void {
      if (host.router.serves(from.domain) ? floods.ofUser(from, perMinute) : floods.ofServer(from, perMinute)) return
      host.count('refused')
      throw new StanzaError('resource-constraint', 'too much from this domain', { type: 'wait' })
    }
  },
})

/** How much each sender has sent of one kind. */
class Floods {
  readonly #clock: Clock
  readonly #users = new Cache<string, TokenBucket>({ max: SENDERS })
  readonly #servers: FairClaims

  constructor (clock: Clock) {
    this.#clock = clock
    this.#servers = new FairClaims(clock, MINUTE, SENDERS)
  }

  /** A user of this server answers for themselves. */
  ofUser (from: Jid, perMinute: number): boolean {
    const name = from.bare.toString()
    let rate = this.#users.get(name)
    if (rate === undefined) this.#users.set(name, rate = new TokenBucket(this.#clock, perMinute * 1000 / MINUTE, perMinute))
    return rate.claim(1, 0) !== undefined
  }

  /** The users of another server answer together, and one of them does not silence the others. */
  ofServer (from: Jid, perMinute: number): boolean {
    return this.#servers.claim(from.domain, from.bare.toString(), perMinute)
  }
}
