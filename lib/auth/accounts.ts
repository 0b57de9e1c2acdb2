/** The accounts of one host, with the keys of their passwords: no password is stored (RFC 5802 §3). */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { Cache } from '../base/cache.js'
import type { Clock } from '../base/clock.js'
import { follow, type Maybe } from '../base/maybe.js'
import { hasForm } from '../storage/shape.js'
import { records, type Batch, type Records, type Write } from '../storage/store.js'
import { Jid } from '../xmpp/jid.js'
import {
  HASH_NAMES, keysFrom, newKeys, prepareNewPassword, preparePassword, SALT_SIZE, sharedDerivations,
  type Derivations, type HashName, type Keys,
} from './keys.js'
import { KeyProfiles, type AccountKeys, type StoredKinds } from './key-profiles.js'
import { lackedBy, MissingHashes } from './missing-hashes.js'

/** An account as it is stored; times are in milliseconds since 1970. An imported account may lack some hashes. */
export interface Account {
  readonly created: number
  readonly keys: AccountKeys
  readonly locked?: { readonly since: number, readonly reason: string }
}

/** The owner is the domain, the key the local part. */
export const accountsShape = records<Account>(1, undefined, { check: isAccount, unreadable: 'kept' })
/** The owner is the domain. The secret makes the answers about unknown accounts unpredictable. */
export const secretShape = records<{ readonly secret: string }>(1, undefined, {
  check: value => hasForm(value, { secret: 'string' }), unreadable: 'moved',
})

/** True if the value is an account. One with an unreadable lock is unreadable: it must not count as unlocked. */
function isAccount (value: unknown): boolean {
  return hasForm(value, { created: 'number', keys: 'object', locked: 'object?' }) &&
    (value['locked'] === undefined || hasForm(value['locked'], { since: 'number', reason: 'string' }))
}

/**
 * Facts about all accounts of a host, known without reading them. The owner is the domain, with the key `kinds`;
 * or the domain and the name of a hash, with a key for each account that lacks the hash.
 */
export const indexShape = records<StoredKinds | true>(1)

export type AccountState = 'missing' | 'active' | 'locked'

/** Thrown if an account to be made exists already. */
export class AccountExists extends Error {}
/** Thrown if an account to be changed does not exist, or is not of this host. */
export class AccountMissing extends Error {}

/** One line of a list of accounts. */
export interface AccountEntry { readonly account: Jid, readonly created: number, readonly locked: Account['locked'] }

export interface AccountsDeps {
  readonly domain: string
  readonly clock: Clock
  readonly records: Records<Account>
  readonly secrets: Records<{ readonly secret: string }>
  readonly index: Records<StoredKinds | true>
  /** PBKDF2 iterations for new passwords. */
  readonly iterations?: number
  readonly derivations?: Derivations
  /** The least number of characters in a new password. */
  readonly shortest?: () => number
  /** How many accounts' states are kept in memory. */
  readonly cached?: number
}

const ITERATIONS = 10_000
/** The key of the kinds in the index. */
const KINDS = 'kinds'
/** Accounts that are read at a time. */
const PAGE = 1000
/** The most characters of all names whose states are kept in memory: senders choose the length of names. */
const NAMES = 8_388_608
/** How long a name stays taken before its write is seen, in milliseconds: longer than any commit takes. */
const RESERVED = 60_000

export class Accounts {
  readonly domain: string
  readonly #clock: Clock
  readonly #records: Records<Account>
  readonly #secret: Uint8Array
  readonly #kinds: KeyProfiles
  readonly #lacking: MissingHashes
  readonly #iterations: number
  readonly #shortest: () => number
  readonly #derivations: Derivations
  readonly #states: Cache<string, AccountState>
  /** Writes not seen in storage yet. Until then a state that is read may be old, and is not cached. */
  readonly #unseen: Cache<string, { readonly state: AccountState, readonly at: number }>
  /** Counts writes, and writes that were seen: a read is not cached if the count changed meanwhile. */
  #turn = 0
  #changes = Promise.resolve()

  /** Opens the accounts of a host. Makes the host's secret if there is none. */
  static async open (parts: AccountsDeps): Promise<Accounts> {
    const made = randomBytes(32).toString('base64')
    await parts.secrets.change(parts.domain, old => new Map(old.has('secret') ? [] : [['secret', { secret: made }]]))
    const kept = await parts.secrets.get(parts.domain, 'secret')
    const kinds = await parts.index.get(parts.domain, KINDS)
    const secret = Buffer.from(kept?.secret ?? made, 'base64')
    const accounts = new Accounts(parts, secret, kinds === true ? undefined : kinds)
    if (kinds === undefined) await accounts.#count()
    await accounts.#lacking.check()
    return accounts
  }

  private constructor (parts: AccountsDeps, secret: Uint8Array, kinds: StoredKinds | undefined) {
    this.domain = parts.domain
    this.#clock = parts.clock
    this.#records = parts.records
    this.#secret = secret
    this.#iterations = parts.iterations ?? ITERATIONS
    this.#kinds = new KeyProfiles(secret, this.#iterations, kinds, next => parts.index.put(parts.domain, KINDS, next))
    this.#lacking = new MissingHashes(parts.domain, parts.index, async (local, hash) => {
      const stored = await this.#records.get(this.domain, local)
      return stored !== undefined && lackedBy(stored.keys).includes(hash)
    })
    this.#shortest = parts.shortest ?? (() => 1)
    this.#derivations = parts.derivations ?? sharedDerivations
    this.#states = new Cache({
      max: parts.cached ?? 100_000, maxSize: NAMES, sizeCalculation: (_, local) => local.length,
    })
    this.#unseen = new Cache({ max: 10_000 })
  }

  /** True if the account exists at this host, locked or not. No promise if the state is in memory. */
  exists (account: Jid): Maybe<boolean> {
    return follow(this.state(account), state => state !== 'missing')
  }

  /** Returns the state of an account. No promise if it is in memory. */
  state (account: Jid): Maybe<AccountState> {
    if (account.domain !== this.domain || account.local === '') return 'missing'
    return this.#states.get(account.local) ?? this.#readState(account.local)
  }

  /** Makes an account. Throws AccountExists, PasswordError, PrepError, Overloaded. */
  async create (account: Jid, password: string): Promise<void> {
    const { local, stored } = await this.#make(account, prepareNewPassword(password, this.#shortest()))
    await this.#records.put(this.domain, local, stored)
  }

  /** Makes an account as a write for a batch. The name is taken at once. Throws what `create` throws. */
  async creating (account: Jid, password: string): Promise<Write> {
    const { local, stored } = await this.#make(account, prepareNewPassword(password, this.#shortest()))
    return this.#records.putting(this.domain, local, stored)
  }

  /**
   * Returns the write for an imported account, with its own keys (`keys`, or later `addKeys`) or a password. Without
   * either nobody can log in to it. The name is taken at once. The password may be shorter than a new one. Throws what
   * `create` throws.
   */
  async arriving (account: Jid, password: string | undefined, keys?: AccountKeys): Promise<Write> {
    const prepared = password === undefined ? undefined : preparePassword(password)
    const { local, stored } = await this.#make(account, prepared, keys)
    return this.#records.putting(this.domain, local, stored)
  }

  /**
   * Adds the keys of one hash that another server (XEP-0227) or a client (XEP-0480) has made. Existing keys stay: they
   * may belong to a newer password. Throws AccountMissing.
   */
  async addKeys (account: Jid, hash: HashName, keys: Keys): Promise<void> {
    await this.#change(account, old => ({ ...old, keys: { [hash]: keys, ...old.keys } }))
  }

  /** Returns what is stored of an account, for an export. */
  async stored (account: Jid): Promise<Account | undefined> {
    return await this.#records.get(this.domain, this.#local(account))
  }

  /**
   * Returns the write that removes the account itself. The host removes what others store of it. Call `removed` after
   * the write is stored.
   */
  removing (account: Jid): Write {
    const local = this.#local(account)
    this.#expect(local, 'missing')
    // Read before it is removed. An error only makes the count of kinds off by one.
    void this.#records.get(this.domain, local).then(stored => { this.#kinds.moved(stored?.keys, undefined) }, () => {})
    return this.#records.putting(this.domain, local, undefined)
  }

  /**
   * Removes an account as part of a batch, and calls `removed` after the commit. A row that cannot be removed is
   * checked at the next start.
   */
  removingIn (batch: Batch, account: Jid): void {
    batch.add(this.removing(account))
    batch.committed(() => { this.removed(account).catch(() => {}) })
  }

  /** Forgets the keys of an account that is no longer stored. */
  async removed (account: Jid): Promise<void> {
    await this.#lacking.gone(this.#local(account))
  }

  /**
   * The hashes that at least one account lacks although it can log in by others: the host does not offer mechanisms of
   * those.
   */
  get lacking (): ReadonlySet<HashName> { return this.#lacking.hashes }

  /** Counts the accounts that lack a hash, up to `most`. */
  async countLacking (hash: HashName, most: number): Promise<number> {
    return await this.#lacking.count(hash, most)
  }

  /** Sets a new password. Throws AccountMissing, PasswordError, PrepError, Overloaded. */
  async setPassword (account: Jid, password: string): Promise<void> {
    const keys = await this.#derive(prepareNewPassword(password, this.#shortest()), HASH_NAMES)
    await this.#change(account, old => ({ ...old, keys }))
  }

  /** Locks the account, so that nobody can log in to it. The host ends its sessions. Throws AccountMissing. */
  async lock (account: Jid, reason: string, since = this.#clock.now()): Promise<void> {
    await this.#change(account, old => ({ ...old, locked: { since, reason } }))
  }

  /** Unlocks the account. Throws AccountMissing. */
  async unlock (account: Jid): Promise<void> {
    await this.#change(account, ({ created, keys }) => ({ created, keys }))
  }

  /** The accounts by name: the first `limit` after `after`, which is a local part. */
  async list (page: { readonly after?: string, readonly limit: number }): Promise<readonly AccountEntry[]> {
    const found = await this.#records.all(this.domain, page)
    return Array.from(found, ([local, { created, locked }]) => ({ account: this.address(local), created, locked }))
  }

  /** Returns the address of the account with this name. Throws JidError if the name is not valid. */
  address (name: string): Jid {
    return Jid.of(name, this.domain, '')
  }

  /**
   * Returns the keys that a SCRAM login is checked against. For an unknown account they are made up: the same each
   * time, and by the same calls to storage and cryptography, so that nobody learns which accounts exist.
   */
  async credentials (local: string, hash: HashName): Promise<Keys> {
    const stored = await this.#records.get(this.domain, local)
    const made = this.#kinds.keysFor(local, [hash])
    return stored?.keys[hash] ?? made.keys
  }

  /** True if this is the account's password. Takes as long for an unknown account. Throws Overloaded. */
  async verifyPassword (local: string, prepared: string): Promise<boolean> {
    const stored = await this.#records.get(this.domain, local)
    const made = this.#kinds.keysFor(local, PREFERRED)
    const { hash, keys } = storedKeys(stored) ?? made
    const salted = await this.#derivations.derive(prepared, Buffer.from(keys.salt, 'base64'), keys.iterations, hash)
    const given = keysFrom(salted, hash)
    return timingSafeEqual(Buffer.from(given.storedKey, 'base64'), Buffer.from(keys.storedKey, 'base64'))
  }

  /**
   * Derives the keys that the account lacks from the password that it has just logged in with. Throws Overloaded, or an
   * error if nothing can be stored.
   */
  async complete (account: Jid, prepared: string): Promise<void> {
    if (this.#lacking.hashes.size === 0) return
    const stored = await this.stored(account)
    const lacked = stored === undefined ? [] : lackedBy(stored.keys)
    if (lacked.length === 0) return
    const made = await this.#derive(prepared, lacked)
    // If another password was set meanwhile, these keys are useless.
    await this.#change(account, old =>
      isSame(old.keys, stored?.keys) ? { ...old, keys: { ...made, ...old.keys } } : old)
  }

  /** True if the account has no keys for this hash: it was imported, or made before the hash was supported. */
  async lacks (account: Jid, hash: HashName): Promise<boolean> {
    const stored = await this.#records.get(this.domain, this.#local(account))
    return stored !== undefined && stored.keys[hash] === undefined
  }

  /** Makes a salt and a number of iterations for new keys. */
  newSalt (): { readonly salt: Buffer, readonly iterations: number } {
    return { salt: randomBytes(SALT_SIZE), iterations: this.#iterations }
  }

  /** Returns the same text for the same text each time. The input cannot be found from the result. */
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

  /** Notes that storage will have this state once the write just made is committed. */
  #expect (local: string, state: AccountState): void {
    this.#turn++
    this.#states.delete(local)
    this.#unseen.set(local, { state, at: this.#clock.now() })
  }

  async #make (
    account: Jid, prepared: string | undefined, given: AccountKeys = {},
  ): Promise<{ readonly local: string, readonly stored: Account }> {
    const local = this.#local(account)
    if (this.#taken(local) || await this.#readState(local) !== 'missing') {
      throw new AccountExists(`${account.toString()} exists`)
    }
    const keys = prepared === undefined ? given : await this.#derive(prepared, HASH_NAMES)
    // Another request may have taken the name meanwhile. From here to the reservation there is no await.
    if (this.#taken(local)) throw new AccountExists(`${account.toString()} exists`)
    this.#expect(local, 'active')
    this.#kinds.moved(undefined, keys)
    return { local, stored: { created: this.#clock.now(), keys } }
  }

  #taken (local: string): boolean {
    const state = this.#expected(local) ?? this.#states.get(local) ?? 'missing'
    return state !== 'missing'
  }

  /** The state that a pending write will leave. A write that was not seen for RESERVED has failed. */
  #expected (local: string): AccountState | undefined {
    const unseen = this.#unseen.get(local)
    return unseen === undefined || this.#clock.now() >= unseen.at + RESERVED ? undefined : unseen.state
  }

  async #derive (prepared: string, hashes: readonly HashName[]): Promise<AccountKeys> {
    const keys = await Promise.all(hashes.map(async hash =>
      [hash, await newKeys(prepared, hash, this.#iterations, this.#derivations)] as const))
    return Object.fromEntries(keys)
  }

  /** Reads all accounts once, for a server that did not keep the index yet. */
  async #count (): Promise<void> {
    for (let after: string | undefined; ;) {
      const page = await this.#records.all(this.domain, { limit: PAGE, ...after === undefined ? {} : { after } })
      for (const { keys } of page.values()) this.#kinds.moved(undefined, keys)
      await Promise.all([...page].map(([local, { keys }]) => this.#lacking.before(local, {}, keys)))
      after = [...page.keys()].at(-1)
      if (page.size < PAGE || after === undefined) break
    }
    await this.#kinds.save()
  }

  /** Makes one change after the other: each starts from the result of the one before. */
  async #change (account: Jid, next: (old: Account) => Account): Promise<void> {
    const change = this.#changes.then(() => this.#changeNow(account, next))
    this.#changes = change.then(() => {}, () => {})
    await change
  }

  async #changeNow (account: Jid, next: (old: Account) => Account): Promise<void> {
    const local = this.#local(account)
    const old = await this.#records.get(this.domain, local)
    // An account that was removed meanwhile must not come back.
    if (old === undefined || this.#expected(local) === 'missing') {
      throw new AccountMissing(`there is no ${account.toString()}`)
    }
    const stored = next(old)
    this.#expect(local, stored.locked === undefined ? 'active' : 'locked')
    // Both writes are made in this turn of the event loop: they are stored together.
    const lacking = this.#lacking.before(local, old.keys, stored.keys)
    await Promise.all([lacking, this.#records.put(this.domain, local, stored)])
    this.#kinds.moved(old.keys, stored.keys)
    await this.#lacking.after(local, old.keys, stored.keys)
  }

  #local (account: Jid): string {
    if (account.domain === this.domain && account.local !== '') return account.local
    throw new AccountMissing(`${account.toString()} is not an account of ${this.domain}`)
  }
}

/** The order in which hashes are chosen to check a password: the quickest strong ones first. */
const PREFERRED: readonly HashName[] = ['sha-256', 'sha-512', 'sha-1']

function storedKeys (account: Account | undefined): { readonly hash: HashName, readonly keys: Keys } | undefined {
  for (const hash of PREFERRED) {
    const keys = account?.keys[hash]
    if (keys !== undefined) return { hash, keys }
  }
  return undefined
}

/** True if the keys belong to the same password: they were stored together, or one set was made from the other. */
function isSame (a: AccountKeys, b: AccountKeys | undefined): boolean {
  return HASH_NAMES.some(hash => a[hash] !== undefined && a[hash].storedKey === b?.[hash]?.storedKey)
}
