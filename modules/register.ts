/**
 * XEP-0077 In-Band Registration: registers accounts if the operator allows it; always lets users change their password
 * or remove their account.
 */
import {
  AccountExists, AccountMissing, Cache, child, childElements, defineModule, follow, JidError, jidOf, networkOf, NS,
  Overloaded, PasswordError, PrepError, setting, StanzaError, textOf, TokenBucket, xml,
} from '../lib/api.js'
import type { Batch, Element, Jid, Maybe, ModuleHost, Negotiation, Outcome, Request, Session } from '../lib/api.js'

const HOUR = 3600
/** Name checks per allowed registration: an attacker who guesses names learns few of them. */
const TRIES = 10

/** The rates of one network: registrations, and attempts. */
interface Rates { readonly accounts: TokenBucket, readonly tries: TokenBucket }
/** The most networks that are counted at a time. */
const ADDRESSES = 10_000

export default defineModule({
  name: 'register',
  about: 'Lets users change their password and remove their account, and anybody register one if that is allowed.',
  xeps: ['0077 v2.4'],
  features: { host: [NS.REGISTER] },
  isOff: true,
  settings: {
    open: setting.flag().default(false).says('Whether anybody may register an account.'),
    accountsPerHour: setting.count({ min: 1, max: 100_000 }).default(5).was('hourly').says('Accounts that may be registered from one IP address in an hour.'),
  },

  setup (host) {
    const { open, accountsPerHour } = host.settings
    for (const to of ['account', 'host'] as const) {
      host.iq.get(to, NS.REGISTER, 'query', request => {
        const { account } = ownerOf(host, request)
        return xml('query', { xmlns: NS.REGISTER }, xml('registered'), xml('username', {}, account.local), xml('password')) // §3.1
      })
      host.iq.set(to, NS.REGISTER, 'query', request => change(host, ownerOf(host, request), request.payload, request.batch))
    }
    if (open) offerRegistration(host, new Registrar(host, accountsPerHour))
  },
})

/**
 * Returns the sender's session. Throws StanzaError unless it is a session of this host that asks about its own account
 * (§3.2, §3.3).
 */
function ownerOf (host: ModuleHost, { stanza, session }: Request): Session {
  if (session?.account.domain !== host.domain) throw new StanzaError('service-unavailable')
  if (stanza.to.local !== '' && !stanza.to.equals(session.account)) throw new StanzaError('forbidden')
  return session
}

/** Removes the account (§3.2), or changes its password (§3.3). */
function change (host: ModuleHost, session: Session, payload: Element, batch: Batch): Maybe<void> {
  if (child(payload, NS.REGISTER, 'remove') !== undefined) {
    if (childElements(payload).length > 1) throw new StanzaError('bad-request') // §3.2
    return host.accounts.removing(session.account, batch)
  }
  const { name, password } = wanted(payload)
  return follow(setPassword(host, session, name, password), () => undefined)
}

async function setPassword (host: ModuleHost, session: Session, name: string, password: string): Promise<void> {
  const { account } = session
  if (!addressOf(name, host.domain).equals(account)) throw new StanzaError('not-allowed', 'only the password of the own account can be changed')
  await refusing(() => host.accounts.setPassword(account, password, session))
}

/** Offers registration before login (§3.1), on encrypted streams. */
function offerRegistration (host: ModuleHost, registrar: Registrar): void {
  host.offer({
    namespace: NS.REGISTER,
    offered: stream => stream.secure && stream.identity === undefined ? xml('register', { xmlns: NS.REGISTER_FEATURE }) : undefined,
    take: async (stream, iq) => {
      const id = String(iq.attrs['id'] ?? '')
      try {
        const answer = await registrar.answer(stream, iq)
        stream.send(xml('iq', { type: 'result', id }, ...answer === undefined ? [] : [answer]))
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error
        stream.send(xml('iq', { type: 'error', id }, error.element()))
      }
      return { go: 'continue' } satisfies Outcome
    },
  })
}

/** Registers accounts, within a rate for each network. */
class Registrar {
  readonly #host: ModuleHost
  readonly #accountsPerHour: number
  readonly #networks = new Cache<string, Rates>({ max: ADDRESSES })

  /** `accountsPerHour`: the accounts that one network may register. */
  constructor (host: ModuleHost, accountsPerHour: number) {
    this.#host = host
    this.#accountsPerHour = accountsPerHour
  }

  /** Answers a registration request: returns the form, or registers the account. Rejects with StanzaError. */
  async answer (stream: Negotiation, iq: Element): Promise<Element | undefined> {
    const query = child(iq, NS.REGISTER, 'query')
    if (query === undefined) throw new StanzaError('bad-request')
    if (iq.attrs['type'] === 'get') {
      return xml('query', { xmlns: NS.REGISTER }, xml('instructions', {}, 'Choose a name and a password.'), xml('username'), xml('password'))
    }
    const { name, password } = wanted(query)
    const { accounts, domain } = this.#host
    const account = addressOf(name, domain)
    const rates = this.#ratesOf(stream.address)
    claim(rates.tries)
    if (await accounts.exists(account)) throw new StanzaError('conflict')
    claim(rates.accounts)
    try {
      await refusing(() => accounts.create(account, password))
    } catch (error) {
      rates.accounts.take(-1)
      throw error
    }
    return undefined
  }

  #ratesOf (from: string): Rates {
    const network = networkOf(from)
    let rates = this.#networks.get(network)
    if (rates !== undefined) return rates
    rates = { accounts: this.#bucket(this.#accountsPerHour), tries: this.#bucket(TRIES * this.#accountsPerHour) }
    this.#networks.set(network, rates)
    return rates
  }

  #bucket (perHour: number): TokenBucket { return new TokenBucket(this.#host.clock, perHour / HOUR, perHour) }
}

function claim (rate: TokenBucket): void {
  if (rate.claim(1, 0) === undefined) throw new StanzaError('resource-constraint', 'too many registrations from this IP address', { type: 'wait' })
}

/** Reads name and password. Throws StanzaError if one is missing or empty (§3.1.1). */
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
    throw new StanzaError('not-acceptable', 'this name is not allowed', { cause: error })
  }
}

/** Runs `work`; turns errors that the user can correct into StanzaErrors and rethrows all others. */
async function refusing (work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (cause) {
    // the text says how long the password has to be
    if (cause instanceof PasswordError) throw new StanzaError('not-acceptable', cause.message, { cause })
    if (cause instanceof PrepError) throw new StanzaError('not-acceptable', 'the password contains a character that is not allowed', { cause })
    // another client has just registered this name
    if (cause instanceof AccountExists) throw new StanzaError('conflict', undefined, { cause })
    if (cause instanceof AccountMissing) throw new StanzaError('item-not-found', undefined, { cause })
    if (cause instanceof Overloaded) throw new StanzaError('resource-constraint', 'too many passwords are being changed', { type: 'wait', cause })
    throw cause
  }
}
