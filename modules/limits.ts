/**
 * XEP-0205: limits the rate of a device, an IP address and a sending domain. A device that is too fast is read more
 * slowly and loses nothing.
 */
import {
  Budgets, Cache, defineModule, FairClaims, follow, iqSent, messageArriving, messageSent, networkOf, presenceArriving,
  presences, presenceSent, rosters, sessionBound, sessionClosed, setting, SharedRate, slot, StanzaError, TokenBucket,
} from '../lib/api.js'
import type { Addressed, Clock, Jid, Maybe, ModuleHost, Session } from '../lib/api.js'

/** The most senders, and domains of senders, that are counted at a time. */
const SENDERS = 10_000
const MINUTE = 60_000
/** Seconds of the average rate that may arrive at once. */
const BURST = 10
/** Stanzas that an account may send at once, however many accounts share its IP address. */
const LEAST = 10

export default defineModule({
  name: 'limits',
  about: 'Slows down devices that send too much, and stops floods from unknown senders.',
  xeps: ['0205 v1.0.2'],
  after: ['roster'],
  settings: {
    sessionStanzasPerSecond: setting.count({ min: 1, max: 100_000 }).default(50).was('session').says('Stanzas per second that a device may send on average.'),
    addressStanzasPerSecond: setting.count({ min: 1, max: 1_000_000 }).default(200).was('address').says('Stanzas per second that all devices at one IP address (IPv6: one /64) may send together. Each account there has an equal share, and may also use what the others leave.'),
    accountCostPerSecond: setting.count({ min: 10, max: 1_000_000 }).default(2000).was('cost').says('Cost per second that all devices of an account may cause on average: one unit for each device or contact that receives one of their stanzas, for each KiB of answers, and for ten messages of the archive. Above it, the devices are read more slowly.'),
    strangerMessagesPerMinute: setting.count({ min: 1, max: 1_000_000 }).default(120).was('messages').says('Messages per minute that a user of this server, or all users of another server together, may send to accounts that neither have them in their roster nor joined their room. A single user of another server may use at most half of what the others there leave.'),
    subscriptionRequestsPerMinute: setting.count({ min: 1, max: 1_000_000 }).default(60).was('requests').says('Subscription requests per minute that a user of this server, or all users of another server together, may send. A single user of another server may use at most half of what the others there leave.'),
  },
  counts: {
    paused: 'Stanzas above the rate of a device or IP address, after which the device was read more slowly.',
    refused: 'Stanzas that were refused because their sender or its domain exceeded its rate.',
  },

  setup (host) {
    const { settings } = host
    const rates = new DeviceRates(host.clock, settings)
    host.on(sessionBound, ({ session }) => { rates.join(session) }, 'record')
    // Sessions from before a reload count too; without this module, sessions have no budget.
    host.whileUp(() => {
      for (const session of host.sessions.all()) rates.join(session)
      return isReplaced => {
        if (!isReplaced) for (const session of host.sessions.all()) session.budget = undefined
      }
    })
    host.on(sessionClosed, ({ session }) => { rates.leave(session) }, 'record')
    const spend = (session: Session): void => {
      if (rates.spend(session)) host.count('paused')
    }
    host.on(messageSent, ({ session }) => { spend(session) }, 'screen')
    host.on(presenceSent, ({ session }) => { spend(session) }, 'screen')
    host.on(iqSent, ({ session }) => { spend(session) }, 'screen')

    const messages = new Floods(host.clock, settings.strangerMessagesPerMinute)
    const requests = new Floods(host.clock, settings.subscriptionRequestsPerMinute)
    host.on(messageArriving, ({ message, account }) => {
      if (message.type === 'error') return undefined
      return follow(isStranger(host, account, message), stranger => {
        if (stranger) admit(host, messages, message.from)
      })
    }, 'screen')
    host.on(presenceArriving, ({ presence }) => {
      if (presence.type === 'subscribe') admit(host, requests, presence.from)
    }, 'screen')
  },
})

interface DeviceSettings {
  readonly sessionStanzasPerSecond: number
  readonly addressStanzasPerSecond: number
  readonly accountCostPerSecond: number
}

/** The rates of sessions and IP addresses, and the budgets of accounts. */
class DeviceRates {
  readonly #clock: Clock
  readonly #settings: DeviceSettings
  /** The rate of a session, made with its first stanza. */
  readonly #own = slot<TokenBucket | undefined>('limits.rate', { initial: () => undefined })
  readonly #addresses = new Map<string, SharedRate>()
  /** The network under which a session is counted. */
  readonly #counted = new WeakMap<Session, string>()
  readonly #budgets: Budgets

  constructor (clock: Clock, settings: DeviceSettings) {
    this.#clock = clock
    this.#settings = settings
    this.#budgets = new Budgets(clock, settings.accountCostPerSecond, settings.accountCostPerSecond * BURST, SENDERS)
  }

  /** Counts a session at its IP address, and gives it its account's budget. */
  join (session: Session): void {
    session.budget = this.#budgets.hold(session.account.toString())
    const network = networkOf(session.address)
    const { addressStanzasPerSecond: perSecond } = this.#settings
    const known = this.#addresses.get(network) ?? new SharedRate(this.#clock, perSecond, BURST, LEAST)
    known.join(session.account.toString())
    this.#addresses.set(network, known)
    this.#counted.set(session, network)
  }

  /** Counts a session no longer. */
  leave (session: Session): void {
    const address = this.#counted.get(session)
    const known = address === undefined ? undefined : this.#addresses.get(address)
    if (known === undefined || address === undefined) return
    this.#counted.delete(session)
    this.#budgets.leave(session.account.toString())
    known.leave(session.account.toString())
    if (known.size === 0) this.#addresses.delete(address)
  }

  /** Counts a stanza, which goes on in any case. If the rate is exceeded, returns true, and the next is read later. */
  spend (session: Session): boolean {
    let rate = session.get(this.#own)
    if (rate === undefined) {
      const { sessionStanzasPerSecond: perSecond } = this.#settings
      session.put(this.#own, rate = new TokenBucket(this.#clock, perSecond, perSecond * BURST))
    }
    const shared = this.#addresses.get(this.#counted.get(session) ?? '')
    const wait = Math.max(rate.take(1), shared?.take(session.account.toString(), 1) ?? 0)
    if (wait === 0) return false
    session.pause(wait)
    return true
  }
}

/** True if the sender is neither in the account's roster nor a room that a device of the account has joined. */
function isStranger (host: ModuleHost, account: Jid, { from }: Addressed): Maybe<boolean> {
  if (from.bare.equals(account) || from.local === '') return false
  return follow(host.find(rosters)?.of(account), roster =>
    roster?.item(from.bare) === undefined && !isTold(host, account, from.bare))
}

/** True if a device of the account has sent presence to the address: a joined room, however busy, is no stranger. */
function isTold (host: ModuleHost, account: Jid, address: Jid): boolean {
  const presence = host.find(presences)
  return presence !== undefined &&
    host.sessions.of(account).some(device => presence.directedAt(device, address).length > 0)
}

/** Refuses a stanza above the rate. Refused stanzas do not count, or a flood would block other senders for longer. */
function admit (host: ModuleHost, floods: Floods, from: Jid): void {
  if (host.router.serves(from.domain) ? floods.ofUser(from) : floods.ofServer(from)) return
  host.count('refused')
  throw new StanzaError('resource-constraint', 'too many stanzas from this sender or its domain', { type: 'wait' })
}

/** Counts the stanzas of one kind by sender. */
class Floods {
  readonly #clock: Clock
  readonly #perMinute: number
  readonly #users = new Cache<string, TokenBucket>({ max: SENDERS })
  readonly #servers: FairClaims

  constructor (clock: Clock, perMinute: number) {
    this.#clock = clock
    this.#perMinute = perMinute
    this.#servers = new FairClaims(clock, MINUTE, SENDERS)
  }

  /** Counts a stanza of a local user. False if the user's rate is exceeded. */
  ofUser (from: Jid): boolean {
    const name = from.bare.toString()
    const most = this.#perMinute
    let rate = this.#users.get(name)
    if (rate === undefined) this.#users.set(name, rate = new TokenBucket(this.#clock, most * 1000 / MINUTE, most))
    return rate.claim(1, 0) !== undefined
  }

  /** Counts a stanza of a remote user. The users of one server share a rate, and no single user can exhaust it. */
  ofServer (from: Jid): boolean {
    return this.#servers.claim(from.domain, from.bare.toString(), this.#perMinute)
  }
}
