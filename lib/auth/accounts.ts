/** The accounts of one host: who there is, and what proves it. Of passwords only keys are kept (RFC 5802 §3). */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { Cache } from '../base/cache.js'
import type { Clock } from '../base/clock.js'
import { follow, type Maybe } from '../base/maybe.js'
import { hasForm } from '../storage/shape.js'
import { records, type Batch, type Records, type Write } from '../storage/store.js'
import { Jid } from '../xmpp/jid.js'
import {
  HASH_NAMES, keysFrom, newKeys, prepareNewPassword, preparePassword, SALT_SIZE, sharedDerivations, type Derivations, type HashName,
  type Keys,
} from './keys.js'
import { Kinds, type AccountKeys, type StoredKinds } from './kinds.js'
import { lackedBy, Lacking } from './lacking.js'

/** An account as it is stored; times are milliseconds since 1970. One that was imported may lack some hashes. */
export interface Account {
  readonly created: number
  readonly keys: AccountKeys
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

/**
 * What is found out about all accounts of a host without reading them. Owner: the domain, key `kinds`; or the domain and the name of a
 * hash, with a key for each account that lacks it.
 */
export const indexShape = records<StoredKinds | true>(1)

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
  readonly index: Records<StoredKinds | true>
  /** Of PBKDF2, for passwords that are set from now on. */
  readonly iterations?: number
  readonly derivations?: Derivations
  /** The least characters of a password that is set from now on. */
  readonly shortest?: () => number
  /** How many accounts' states are kept in memory. */
  readonly cached?: number
}

const ITERATIONS = 10_000
/** The key of the kinds in the index. */
const KINDS = 'kinds'
/** Accounts that are read at a time. */
const PAGE = 1000
/** Characters of the names whose states are kept in memory: who writes to names that nobody has chooses how long they are. */
const NAMES = 8_388_608
/** A name that was given stays taken for so long while its write has not been seen in storage: longer than any commit takes. */
const RESERVED = 60_000

export class Accounts {
  readonly domain: string
  readonly #clock: Clock
  readonly #records: Records<Account>
  readonly #secret: Uint8Array
  readonly #kinds: Kinds
  readonly #lacking: Lacking
  readonly #iterations: number
  readonly #shortest: () => number
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
    const kinds = await parts.index.get(parts.domain, KINDS)
    const accounts = new Accounts(parts, Buffer.from(kept?.secret ?? made, 'base64'), kinds === true ? undefined : kinds)
    if (kinds === undefined) await accounts.#count()
    await accounts.#lacking.check()
    return accounts
  }

  private constructor (parts: AccountsParts, secret: Uint8Array, kinds: StoredKinds | undefined) {
    this.domain = parts.domain
    this.#clock = parts.clock
    this.#records = parts.records
    this.#secret = secret
    this.#iterations = parts.iterations ?? ITERATIONS
    this.#kinds = new Kinds(secret, this.#iterations, kinds, next => parts.index.put(parts.domain, KINDS, next))
    this.#lacking = new Lacking(parts.domain, parts.index, async (local, hash) => {
      const stored = await this.#records.get(this.domain, local)
      return stored !== undefined && lackedBy(stored.keys).includes(hash)
    })
    this.#shortest = parts.shortest ?? (() => 1)
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
    const { local, stored } = await this.#make(account, prepareNewPassword(password, this.#shortest()))
    await this.#records.put(this.domain, local, stored)
  }

  /** As `create`, as a write for a batch; the name is taken from now on. Throws as `create` does. */
  async creating (account: Jid, password: string): Promise<Write> {
    const { local, stored } = await this.#make(account, prepareNewPassword(password, this.#shortest()))
    return this.#records.putting(this.domain, local, stored)
  }

  /**
   * The write for an account that comes from elsewhere, with its own keys (`keys`, or later `addKeys`) or a password; without either nobody
   * can log in to it. The name is taken from now on. A password may be shorter than those that are set here. Throws as `create` does.
   */
  async arriving (account: Jid, password: string | undefined, keys?: AccountKeys): Promise<Write> {
    const { local, stored } = await this.#make(account, password === undefined ? undefined : preparePassword(password), keys)
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

  /**
   * The write that removes the account itself; what others keep of it is the host's to remove. `removed` is to be called once that is
   * stored.
   */
  removing (account: Jid): Write {
    const local = this.#local(account)
    this.#expect(local, 'missing')
    // Read before it is removed. The count is one of many: an error costs nothing.
    void this.#records.get(this.domain, local).then(stored => { this.#kinds.moved(stored?.keys, undefined) }, () => {})
    return this.#records.putting(this.domain, local, undefined)
  }

  /** As `removing`, in a batch, and with all that follows. A row that cannot be removed is seen to at the next start. */
  removingIn (batch: Batch, account: Jid): void {
    batch.add(this.removing(account))
    batch.committed(() => { this.removed(account).catch(() => {}) })
  }

  /** The account is no longer stored: what was known of its keys is forgotten. */
  async removed (account: Jid): Promise<void> {
    await this.#lacking.gone(this.#local(account))
  }

  /** The hashes that at least one account lacks that can log in by others: mechanisms of those are not for this host. */
  get lacking (): ReadonlySet<HashName> { return this.#lacking.hashes }

  /** How many accounts lack a hash; no more than `most` are counted. */
  async countLacking (hash: HashName, most: number): Promise<number> {
    return await this.#lacking.count(hash, most)
  }

  /** Throws AccountMissing, PasswordError, PrepError, Overloaded. */
  async setPassword (account: Jid, password: string): Promise<void> {
    const keys = await this.#derive(prepareNewPassword(password, this.#shortest()), HASH_NAMES)
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
    const made = this.#kinds.keysFor(local, [hash])
    return stored?.keys[hash] ?? made.keys
  }

  /** Whether this is the account's password; takes as long for a name without an account. Throws Overloaded. */
  async verifyPassword (local: string, prepared: string): Promise<boolean> {
    const stored = await this.#records.get(this.domain, local)
    const made = this.#kinds.keysFor(local, PREFERRED)
    const { hash, keys } = storedKeys(stored) ?? made
    const salted = await this.#derivations.derive(prepared, Buffer.from(keys.salt, 'base64'), keys.iterations, hash)
    const given = keysFrom(salted, hash)
    return timingSafeEqual(Buffer.from(given.storedKey, 'base64'), Buffer.from(keys.storedKey, 'base64'))
  }

  /**
   * Gives the account the keys that it lacks, of the password that it has just logged in with. Throws Overloaded, and where nothing can
   * be stored.
   */
  async complete (account: Jid, prepared: string): Promise<void> {
    if (this.#lacking.hashes.size === 0) return
    const stored = await this.stored(account)
    const lacked = stored === undefined ? [] : lackedBy(stored.keys)
    if (lacked.length === 0) return
    const made = await this.#derive(prepared, lacked)
    // Another password may have been set meanwhile: then these keys are worth nothing.
    await this.#change(account, old => isSame(old.keys, stored?.keys) ? { ...old, keys: { ...made, ...old.keys } } : old)
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

  async #make (
    account: Jid, prepared: string | undefined, given: AccountKeys = {},
  ): Promise<{ readonly local: string, readonly stored: Account }> {
    const local = this.#local(account)
    if (this.#taken(local) || await this.#readState(local) !== 'missing') throw new AccountExists(`${account.toString()} exists`)
    const keys = prepared === undefined ? given : await this.#derive(prepared, HASH_NAMES)
    // Another may have taken the name meanwhile: nothing waits between here and the reservation.
    if (this.#taken(local)) throw new AccountExists(`${account.toString()} exists`)
    this.#expect(local, 'active')
    this.#kinds.moved(undefined, keys)
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

  async #derive (prepared: string, hashes: readonly HashName[]): Promise<AccountKeys> {
    const keys = await Promise.all(hashes.map(async hash =>
      [hash, await newKeys(prepared, hash, this.#iterations, this.#derivations)] as const))
    return Object.fromEntries(keys)
  }

  /** Reads all accounts once: those of a server that did not keep the index yet. */
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
    // Both in this turn of the event loop: they are stored together.
    const lacking = this.#lacking.before(local, old.keys, stored.keys)
    await Promise.all([lacking, this.#records.put(this.domain, local, stored)])
    this.#kinds.moved(old.keys, stored.keys)
    await this.#lacking.after(local, old.keys, stored.keys)
  }

  #local (account: Jid): string {
    if (account.domain === this.domain && account.local !== '') return account.local
    throw new AccountMissing(`${account.toString()} is no account of ${this.domain}`)
  }
}

/** Which keys a password is checked against: the quickest strong ones first. */
const PREFERRED: readonly HashName[] = ['sha-256', 'sha-512', 'sha-1']

function storedKeys (account: Account | undefined): { readonly hash: HashName, readonly keys: Keys } | undefined {
  for (const hash of PREFERRED) {
    const keys = account?.keys[hash]
    if (keys !== undefined) return { hash, keys }
  }
  return undefined
}

/** Whether these are keys of the same password: they were stored together, or one is from the other. */
function isSame (a: AccountKeys, b: AccountKeys | undefined): boolean {
  return HASH_NAMES.some(hash => a[hash] !== undefined && a[hash].storedKey === b?.[hash]?.storedKey)
}
