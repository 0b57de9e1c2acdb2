/** XEP-0077 In-Band Registration: new accounts where the operator allows it; a new password, and the end of an account, always. */
import {
  AccountExists, AccountMissing, Cache, child, childElements, defineModule, follow, jidOf, JidError, networkOf, NS, Overloaded,
  PasswordError, PrepError, TokenBucket, setting, StanzaError, textOf, xml,
} from '../lib/api.js'
import type { Batch, Element, Jid, Maybe, Negotiation, Outcome, Request, Session } from '../lib/api.js'

const HOUR = 3600
/** So many tries there are for each account that may be made: who guesses names is to hear of a few, not of all. */
const TRIES = 10

/** What one network may do. */
interface Rates { readonly accounts: TokenBucket, readonly tries: TokenBucket }
/** Addresses that are counted at a time. */
const ADDRESSES = 10_000

export default defineModule({
  name: 'register',
  about: 'Lets users change their password and remove their account, and strangers make one where that is allowed.',
  xeps: ['0077 v2.4'],
  features: { host: [NS.REGISTER] },
  isOff: true,
  settings: {
    open: setting.flag().default(false).says('Whether anybody may make an account here.'),
    hourly: setting.count({ min: 1, max: 100_000 }).default(5).says('Accounts that one IP address may make in an hour.'),
  },

  setup (host) {
    const networks = new Cache<string, Rates>({ max: ADDRESSES })

    for (const to of ['account', 'host'] as const) {
      host.iq.get(to, NS.REGISTER, 'query', request => {
        const { account } = ownerOf(request)
        return xml('query', { xmlns: NS.REGISTER }, xml('registered'), xml('username', {}, account.local), xml('password')) // §3.1
      })
      host.iq.set(to, NS.REGISTER, 'query', request => change(ownerOf(request), request.payload, request.batch))
    }

    /** §3.2, §3.3: a session of this host, speaking of its own account. */
    function ownerOf ({ stanza, session }: Request): Session {
      if (session?.account.domain !== host.domain) throw new StanzaError('service-unavailable')
      if (stanza.to.local !== '' && !stanza.to.equals(session.account)) throw new StanzaError('forbidden')
      return session
    }

    function change (session: Session, payload: Element, batch: Batch): Maybe<void> {
      if (child(payload, NS.REGISTER, 'remove') !== undefined) {
        if (childElements(payload).length > 1) throw new StanzaError('bad-request') // §3.2
        return host.accounts.removing(session.account, batch)
      }
      const { name, password } = wanted(payload)
      return follow(setPassword(session, name, password), () => undefined)
    }

    async function setPassword (session: Session, name: string, password: string): Promise<void> {
      const { account } = session
      if (!addressOf(name, host.domain).equals(account)) throw new StanzaError('not-allowed', 'it is the password of another')
      await refusing(() => host.accounts.setPassword(account, password, session))
    }

    // ---- Before login (§3.1) ------------------------------------------------------------------

    if (!host.settings.open) return
    host.offer({
      namespace: NS.REGISTER,
      offered: stream => stream.secure && stream.identity === undefined ? xml('register', { xmlns: NS.REGISTER_FEATURE }) : undefined,
      take: async (stream, iq) => {
        const id = String(iq.attrs['id'] ?? '')
        try {
          const answer = await register(stream, iq)
          stream.send(xml('iq', { type: 'result', id }, ...answer === undefined ? [] : [answer]))
        } catch (error) {
          if (!(error instanceof StanzaError)) throw error
          stream.send(xml('iq', { type: 'error', id }, error.element()))
        }
        return { go: 'continue' } satisfies Outcome
      },
    })

    async function register (stream: Negotiation, iq: Element): Promise<Element | undefined> {
      const query = child(iq, NS.REGISTER, 'query')
      if (query === undefined) throw new StanzaError('bad-request')
      if (iq.attrs['type'] === 'get') {
        return xml('query', { xmlns: NS.REGISTER }, xml('instructions', {}, 'Choose a name and a password.'), xml('username'), xml('password'))
      }
      const { name, password } = wanted(query)
      const account = addressOf(name, host.domain)
      const rates = ratesOf(stream.address)
      claim(rates.tries)
      if (await host.accounts.exists(account)) throw new StanzaError('conflict')
      claim(rates.accounts)
      try {
        await refusing(() => host.accounts.create(account, password))
      } catch (error) {
        rates.accounts.take(-1)
        throw error
      }
      return undefined
    }

    function ratesOf (from: string): Rates {
      const network = networkOf(from)
      let rates = networks.get(network)
      if (rates !== undefined) return rates
      const { hourly } = host.settings
      rates = { accounts: bucket(hourly), tries: bucket(TRIES * hourly) }
      networks.set(network, rates)
      return rates
    }

    function bucket (hourly: number): TokenBucket { return new TokenBucket(host.clock, hourly / HOUR, hourly) }

    function claim (rate: TokenBucket): void {
      if (rate.claim(1, 0) === undefined) throw new StanzaError('resource-constraint', 'too many accounts from this address', { type: 'wait' })
    }
  },
})

/** §3.1.1: both fields, and neither empty. */
function wanted (payload: Element): { readonly name: string, readonly password: string } {
  const name = child(payload, NS.REGISTER, 'username')
  const password = child(payload, NS.REGISTER, 'password')
  if (name === undefined || password === undefined) throw new StanzaError('bad-request')
  if (textOf(name) === '' || textOf(password) === '') throw new StanzaError('not-acceptable')
  return { name: textOf(name), password: textOf(password) }
}

function addressOf (name: string, domain: string): Jid {
  try {
    return jidOf(name, domain)
  } catch (error) {
    if (!(error instanceof JidError)) throw error
    throw new StanzaError('not-acceptable', 'this name cannot be', { cause: error })
  }
}

/** What is wrong with a name or a password is the user's affair; whatever else happens is ours. */
async function refusing (work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (cause) {
    if (cause instanceof PasswordError) throw new StanzaError('not-acceptable', cause.message, { cause }) // how long it has to be, too
    if (cause instanceof PrepError) throw new StanzaError('not-acceptable', 'the password has a character that passwords cannot have', { cause })
    if (cause instanceof AccountExists) throw new StanzaError('conflict', undefined, { cause }) // another has just taken the name
    if (cause instanceof AccountMissing) throw new StanzaError('item-not-found', undefined, { cause })
    if (cause instanceof Overloaded) throw new StanzaError('resource-constraint', 'too many passwords are being set', { type: 'wait', cause })
    throw cause
  }
}
