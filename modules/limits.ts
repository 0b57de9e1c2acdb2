/** XEP-0205: limits on what a device, an address and a sending domain may do. Who is too fast is read more slowly, and loses nothing. */
import {
  Cache, defineModule, follow, iqSent, messageArriving, messageSent, networkOf, presenceArriving, presences, presenceSent, TokenBucket,
  rosters, sessionBound, sessionClosed, setting, slot, StanzaError,
} from '../lib/api.js'
import type { Addressed, Jid, Maybe, Session } from '../lib/api.js'

/** Sending domains that are counted at a time. */
const DOMAINS = 10_000
const MINUTE = 60
/** Seconds' worth of stanzas that may come at once. */
const BURST = 10

export default defineModule({
  name: 'limits',
  about: 'Slows down devices that send too much, and stops floods from strangers.',
  xeps: ['0205 v1.0.2'],
  after: ['roster'],
  settings: {
    session: setting.count({ min: 1, max: 100_000 }).default(50).says('Stanzas a second that a device may send on average.'),
    address: setting.count({ min: 1, max: 1_000_000 }).default(200).says('Stanzas a second that all devices of one IP address may send together.'),
    messages: setting.count({ min: 1, max: 1_000_000 }).default(120).says('Messages a minute that a user of this server, or the users of another one together, may send to accounts that have not got them in their rosters, nor entered their room.'),
    requests: setting.count({ min: 1, max: 1_000_000 }).default(60).says('Subscription requests a minute that a user of this server, or the users of another one together, may send.'),
  },
  counts: {
    paused: 'Stanzas of devices that sent too much, and are read more slowly for it.',
    refused: 'Stanzas of other servers that were refused: their domain sent too much.',
  },

  setup (host) {
    const own = slot<TokenBucket | undefined>('limits.rate', { initial: () => undefined })
    const addresses = new Map<string, { readonly rate: TokenBucket, sessions: number }>()
    const messages = new Cache<string, TokenBucket>({ max: DOMAINS })
    const requests = new Cache<string, TokenBucket>({ max: DOMAINS })
    const counted = new WeakMap<Session, string>()

    host.on(sessionBound, ({ session }) => {
      const { address } = host.settings
      const network = networkOf(session.address)
      const known = addresses.get(network) ?? { rate: new TokenBucket(host.clock, address, address * BURST), sessions: 0 }
      known.sessions++
      addresses.set(network, known)
      counted.set(session, network)
    }, 'record')
    host.on(sessionClosed, ({ session }) => {
      const address = counted.get(session)
      const known = address === undefined ? undefined : addresses.get(address)
      if (known === undefined || address === undefined) return
      counted.delete(session)
      if (--known.sessions === 0) addresses.delete(address)
    }, 'record')

    host.on(messageSent, ({ session }) => { spend(session) }, 'screen')
    host.on(presenceSent, ({ session }) => { spend(session) }, 'screen')
    host.on(iqSent, ({ session }) => { spend(session) }, 'screen')

    /** The stanza goes on; the next one is read later. */
    function spend (session: Session): void {
      let rate = session.get(own)
      if (rate === undefined) session.put(own, rate = new TokenBucket(host.clock, host.settings.session, host.settings.session * BURST))
      const wait = Math.max(rate.take(1), addresses.get(counted.get(session) ?? '')?.rate.take(1) ?? 0)
      if (wait === 0) return
      host.count('paused')
      session.pause(wait)
    }

    // ---- Floods from strangers -----------------------------------------------------------------

    host.on(messageArriving, ({ message, account }) => {
      if (message.type === 'error') return undefined
      return follow(isStranger(account, message), stranger => {
        if (stranger) admit(messages, sourceOf(message.from), host.settings.messages)
      })
    }, 'screen')
    host.on(presenceArriving, ({ presence }) => {
      if (presence.type === 'subscribe') admit(requests, sourceOf(presence.from), host.settings.requests)
    }, 'screen')

    /** Another server answers for its users together; of our own each answers for themselves, or one of them could silence the others. */
    function sourceOf (from: Jid): string {
      return host.router.serves(from.domain) ? from.bare.toString() : from.domain
    }

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

    function admit (rates: Cache<string, TokenBucket>, domain: string, perMinute: number): void {
      let rate = rates.get(domain)
      if (rate === undefined) rates.set(domain, rate = new TokenBucket(host.clock, perMinute / MINUTE, perMinute))
      if (rate.take(1) === 0) return
      rate.take(-1) // what is refused is not counted: the flood must not keep the door shut for others
      host.count('refused')
      throw new StanzaError('resource-constraint', 'too much from this domain', { type: 'wait' })
    }
  },
})
