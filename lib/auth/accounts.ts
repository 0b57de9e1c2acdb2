/** The accounts of one host: who there is, and what proves it. Of passwords only keys are kept (RFC 5802 §3). */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { Cache } from '../base/cache.js'
import type { Clock } from '../base/clock.js'
import { follow, type Maybe } from '../base/maybe.js'
import { hasForm } from '../storage/shape.js'
import { records, type Records, type Write } from '../storage/store.js'
import { Jid } from '../xmpp/jid.js'
import {
  fakeKeys, HASH_NAMES, keysFrom, newKeys, preparePassword, SALT_SIZE, sharedDerivations, type Derivations, type HashName, type Keys,
} from './keys.js'

/** An account as it is stored; times are milliseconds since 1970. One that was imported may lack some hashes. */
export interface Account {
  readonly created: number
  readonly keys: { readonly [hash in HashName]?: Keys }
  readonly locked?: { readonly since: number, readonly reason: string }
}

/** Owner: the domain. Key: the local part. */
export const accountsShape = records<Account>(1, undefined, { check: isAccount, unreadable: 'kept' })
/** Owner: the domain. What makes the answers about unknown accounts unpredictable. */
export const secretShape = records<{ readonly secret: string }>(1, undefined, {
  check: value => hasForm(value, { secret: 'string' }), unreadable: 'moved',
})

/** A lock that cannot be read is none that was lifted: then the account cannot be read. */
function isAccount (value: unknown): boolean {
  return hasForm(value, { created: 'number', keys: 'object', locked: 'object?' }) &&
    (value['locked'] === undefined || hasForm(value['locked'], { since: 'number', reason: 'string' }))
}

export type AccountState = 'missing' | 'active' | 'locked'

/** An account that is to be made, and stands already. */
export class AccountExists extends Error {}
/** An account that is to be changed, and does not stand. */
export class AccountMissing extends Error {}

/** One line of a list of accounts. */
export interface AccountEntry { readonly account: Jid, readonly created: number, readonly locked: Account['locked'] }

export interface AccountsParts {
  readonly domain: string
  readonly clock: Clock
  readonly records: Records<Account>
  readonly secrets: Records<{ readonly secret: string }>
  /** Of PBKDF2, for passwords that are set from now on. */
  readonly iterations?: number
  readonly derivations?: Derivations
  /** How many accounts' states are kept in memory. */
  readonly cached?: number
}

const ITERATIONS = 10_000
/** Characters of the names whose states are kept in memory: who writes to names that nobody has chooses how long they are. */
const NAMES = 8_388_608
/** A name that was given stays taken for so long while its write has not been seen in storage: longer than any commit takes. */
const RESERVED = 60_000

export class Accounts {
  readonly domain: string
  readonly #clock: Clock
  readonly #records: Records<Account>
  readonly #secret: Uint8Array
  readonly #iterations: number
  readonly #derivations: Derivations
  readonly #states: Cache<string, AccountState>
  /** Writes that were made and have not been seen in storage yet: until then a state that is read may be the old one, and is not cached. */
  readonly #unseen: Cache<string, { readonly state: AccountState, readonly at: number }>
  /** Counts writes, and those seen: a read that was overtaken is not cached. */
  #turn = 0
  #changes = Promise.resolve()

  /** The accounts of a host. Makes the host's secret where there is none. */
  static async open (parts: AccountsParts): Promise<Accounts> {
    const made = randomBytes(32).toString('base64')
    await parts.secrets.change(parts.domain, old => old.has('secret') ? new Map() : new Map([['secret', { secret: made }]]))
    const kept = await parts.secrets.get(parts.domain, 'secret')
    return new Accounts(parts, Buffer.from(kept?.secret ?? made, 'base64'))
  }

  private constructor (parts: AccountsParts, secret: Uint8Array) {
    this.domain = parts.domain
    this.#clock = parts.clock
    this.#records = parts.records
    this.#secret = secret
    this.#iterations = parts.iterations ?? ITERATIONS
    this.#derivations = parts.derivations ?? sharedDerivations
    this.#states = new Cache({ max: parts.cached ?? 100_000, maxSize: NAMES, sizeCalculation: (_, local) => local.length })
    this.#unseen = new Cache({ max: 10_000 })
  }

  /** Whether there is such an account here, locked or not; at once where it is known. */
  exists (account: Jid): Maybe<boolean> {
    return follow(this.state(account), state => state !== 'missing')
  }

  /** At once where it is known. */
  state (account: Jid): Maybe<AccountState> {
    if (account.domain !== this.domain || account.local === '') return 'missing'
    return this.#states.get(account.local) ?? this.#readState(account.local)
  }

  /** Makes an account. Throws AccountExists, PasswordError, PrepError, Overloaded. */
  async create (account: Jid, password: string): Promise<void> {
    const { local, stored } = await this.#make(account, password)
    await this.#records.put(this.domain, local, stored)
  }

  /** As `create`, as a write for a batch; the name is taken from now on. Throws as `create` does. */
  async creating (account: Jid, password: string): Promise<Write> {
    const { local, stored } = await this.#make(account, password)
    return this.#records.putting(this.domain, local, stored)
  }

  /**
   * The write for an account that comes from elsewhere, with keys of its own (`addKeys`) or a password; without either nobody can log in
   * to it. The name is taken from now on. Throws as `create` does.
   */
  async arriving (account: Jid, password: string | undefined): Promise<Write> {
    const { local, stored } = await this.#make(account, password)
    return this.#records.putting(this.domain, local, stored)
  }

  /**
   * Adds the keys of one hash that another server (XEP-0227) or a client (XEP-0480) has made. Keys that are there stay: they may be of a
   * newer password. Throws AccountMissing.
   */
  async addKeys (account: Jid, hash: HashName, keys: Keys): Promise<void> {
    await this.#change(account, old => ({ ...old, keys: { [hash]: keys, ...old.keys } }))
  }

  /** What is stored of an account: for an export. */
  async stored (account: Jid): Promise<Account | undefined> {
    return await this.#records.get(this.domain, this.#local(account))
  }

  /** The write that removes the account itself; what others keep of it is the host's to remove. */
  removing (account: Jid): Write {
    const local = this.#local(account)
    this.#expect(local, 'missing')
    return this.#records.putting(this.domain, local, undefined)
  }

  /** Throws AccountMissing, PasswordError, PrepError, Overloaded. */
  async setPassword (account: Jid, password: string): Promise<void> {
    const keys = await this.#keys(password)
    await this.#change(account, old => ({ ...old, keys }))
  }

  /** Keeps the account from logging in; its sessions are the host's to end. Throws AccountMissing. */
  async lock (account: Jid, reason: string, since = this.#clock.now()): Promise<void> {
    await this.#change(account, old => ({ ...old, locked: { since, reason } }))
  }

  /** Throws AccountMissing. */
  async unlock (account: Jid): Promise<void> {
    await this.#change(account, ({ created, keys }) => ({ created, keys }))
  }

  /** The accounts in the order of their names, the first `limit` after `after`, which is a local part. */
  async list (page: { readonly after?: string, readonly limit: number }): Promise<readonly AccountEntry[]> {
    const found = await this.#records.all(this.domain, page)
    return Array.from(found, ([local, { created, locked }]) => ({ account: this.address(local), created, locked }))
  }

  /** The account of this name. Throws JidError where no account could have it. */
  address (name: string): Jid {
    return Jid.of(name, this.domain, '')
  }

  /**
   * The keys that a SCRAM login is checked against. For a name without an account they are made up, the same each time,
   * and by the same calls to storage and cryptography, so that nobody learns who is here.
   */
  async credentials (local: string, hash: HashName): Promise<Keys> {
    const stored = await this.#records.get(this.domain, local)
    const fake = fakeKeys(this.#secret, local, hash, this.#iterations)
    return stored?.keys[hash] ?? fake
  }

  /** Whether this is the account's password; takes as long where there is no such account. Throws Overloaded. */
  async verifyPassword (local: string, prepared: string): Promise<boolean> {
    const stored = await this.#records.get(this.domain, local)
    const fake = fakeKeys(this.#secret, local, 'sha-256', this.#iterations)
    const hash = PREFERRED.find(hash => stored?.keys[hash] !== undefined) ?? 'sha-256'
    const keys = stored?.keys[hash] ?? fake
    const salted = await this.#derivations.derive(prepared, Buffer.from(keys.salt, 'base64'), keys.iterations, hash)
    const given = keysFrom(salted, hash)
    return timingSafeEqual(Buffer.from(given.storedKey, 'base64'), Buffer.from(keys.storedKey, 'base64'))
  }

  /** Whether the account has no keys for this hash: it was imported, or made before there was the hash. */
  async lacks (account: Jid, hash: HashName): Promise<boolean> {
    const stored = await this.#records.get(this.domain, this.#local(account))
    return stored !== undefined && stored.keys[hash] === undefined
  }

  /** A salt and a number of iterations for new keys. */
  newSalt (): { readonly salt: Buffer, readonly iterations: number } {
    return { salt: randomBytes(SALT_SIZE), iterations: this.#iterations }
  }

  /** The same text for the same text each time, from which that cannot be told. */
  pseudonym (text: string): string {
    return createHmac('sha256', this.#secret).update(`pseudonym ${text}`).digest('base64url')
  }

  async #readState (local: string): Promise<AccountState> {
    const turn = this.#turn
    const stored = await this.#records.get(this.domain, local)
    const state = stored === undefined ? 'missing' : stored.locked === undefined ? 'active' : 'locked'
    if (turn !== this.#turn) return state
    const unseen = this.#unseen.get(local)
    if (unseen !== undefined && unseen.state !== state) return state
    if (unseen !== undefined) {
      this.#unseen.delete(local)
      this.#turn++
    }
    this.#states.set(local, state)
    return state
  }

  /** From now on storage will say `state`, once the write that was just made is committed. */
  #expect (local: string, state: AccountState): void {
    this.#turn++
    this.#states.delete(local)
    this.#unseen.set(local, { state, at: this.#clock.now() })
  }

  async #make (account: Jid, password: string | undefined): Promise<{ readonly local: string, readonly stored: Account }> {
    const local = this.#local(account)
    if (this.#taken(local) || await this.#readState(local) !== 'missing') throw new AccountExists(`${account.toString()} exists`)
    const keys = password === undefined ? {} : await this.#keys(password)
    // Another may have taken the name meanwhile: nothing waits between here and the reservation.
    if (this.#taken(local)) throw new AccountExists(`${account.toString()} exists`)
    this.#expect(local, 'active')
    return { local, stored: { created: this.#clock.now(), keys } }
  }

  #taken (local: string): boolean {
    const state = this.#expected(local) ?? this.#states.get(local) ?? 'missing'
    return state !== 'missing'
  }

  /** What a write that is on its way will leave. One that has not been seen for long has failed. */
  #expected (local: string): AccountState | undefined {
    const unseen = this.#unseen.get(local)
    return unseen === undefined || this.#clock.now() >= unseen.at + RESERVED ? undefined : unseen.state
  }

  async #keys (password: string): Promise<Account['keys']> {
    const prepared = preparePassword(password)
    const keys = await Promise.all(HASH_NAMES.map(async hash =>
      [hash, await newKeys(prepared, hash, this.#iterations, this.#derivations)] as const))
    return Object.fromEntries(keys)
  }

  /** One change after the other: each is made to what the one before left. */
  async #change (account: Jid, next: (old: Account) => Account): Promise<void> {
    const change = this.#changes.then(() => this.#changeNow(account, next))
    this.#changes = change.then(() => {}, () => {})
    await change
  }

  async #changeNow (account: Jid, next: (old: Account) => Account): Promise<void> {
    const local = this.#local(account)
    const old = await this.#records.get(this.domain, local)
    // Removed meanwhile: it must not come back.
    if (old === undefined || this.#expected(local) === 'missing') throw new AccountMissing(`there is no ${account.toString()}`)
    const stored = next(old)
    this.#expect(local, stored.locked === undefined ? 'active' : 'locked')
    await this.#records.put(this.domain, local, stored)
  }

  #local (account: Jid): string {
    if (account.domain === this.domain && account.local !== '') return account.local
    throw new AccountMissing(`${account.toString()} is no account of ${this.domain}`)
  }
}

/** Which keys a password is checked against: the quickest strong ones first. */
const PREFERRED: readonly HashName[] = ['sha-256', 'sha-512', 'sha-1']
