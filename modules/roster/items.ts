/** The rosters of accounts: in memory while in use; each change is a write of the batch that makes it. */
import { hasForm, PinnedCache, parseJid, readJid, StanzaError, writable } from '../../lib/api.js'
import type { Batch, Jid, Maybe, Records, Roster, RosterItem } from '../../lib/api.js'
import { createHash } from 'node:crypto'
import { checkRequest } from './requests.js'
import type { State } from './subscription.js'

/** One contact as it is stored, under its bare address. */
export interface StoredItem {
  readonly name: string
  readonly groups: readonly string[]
  readonly subscription: RosterItem['subscription']
  readonly ask: boolean
  readonly approved: boolean
  /** The user added the contact: it stays in the roster without any subscription. */
  readonly listed: boolean
  /** The contact's pending subscription request, as XML. */
  readonly request?: string
}

const UNKNOWN: StoredItem = { name: '', groups: [], subscription: 'none', ask: false, approved: false, listed: false }

/** The roster of one account. */
export class AccountRoster implements Roster {
  readonly #items: Map<string, StoredItem>
  /** The digest of all visible items, computed when it is first needed. */
  #digest: Buffer | undefined

  /** The bytes of the visible items, and of all items. */
  #shown = 0
  #bytes = 0

  constructor (items: ReadonlyMap<string, StoredItem>) {
    this.#items = new Map(items)
    for (const [address, item] of items) this.#count(address, item, 1)
  }

  /**
   * The version of the roster (RFC 6121 §2.6), a digest of its visible items. Equal items have equal versions, also
   * after a restored backup or if an account was created again.
   */
  get version (): string {
    if (this.#digest === undefined) {
      this.#digest = Buffer.alloc(DIGEST)
      for (const [address, item] of this.#items) this.#mix(this.#digest, address, item)
    }
    return this.#digest.toString('base64url')
  }

  /** The number of contacts, including those that only have a pending request. */
  get size (): number { return this.#items.size }
  /** The approximate bytes of the answer that shows the roster. */
  get shownBytes (): number { return this.#shown }
  /** The approximate bytes of all items. */
  get bytes (): number { return this.#bytes }

  /** Returns by how many bytes the answer that shows the roster grows with this item. */
  growth (contact: Jid, item: StoredItem): number {
    const key = contact.bare.toString()
    return shownBytesOf(key, item) - shownBytesOf(key, this.#items.get(key))
  }

  /** The number of pending requests. */
  get requests (): number {
    let count = 0
    for (const item of this.#items.values()) if (item.request !== undefined) count++
    return count
  }

  /** Yields the pending requests, each with its contact's bare address. */
  * waiting (): Iterable<readonly [contact: string, request: string]> {
    for (const [address, { request }] of this.#items) if (request !== undefined) yield [address, request]
  }

  /** Returns a contact's stored item; an empty one if there is none. */
  stored (contact: Jid): StoredItem { return this.#items.get(contact.bare.toString()) ?? UNKNOWN }
  /** True if something is stored for the contact. */
  has (contact: Jid): boolean { return this.#items.has(contact.bare.toString()) }

  /** Returns the state of the subscriptions with a contact. */
  state (contact: Jid): State {
    const { subscription, ask, approved, request } = this.stored(contact)
    return { subscription, ask, approved, pendingIn: request !== undefined }
  }

  /** Returns a contact's item, if it is visible. */
  item (contact: Jid): RosterItem | undefined {
    const stored = this.#items.get(contact.bare.toString())
    return stored === undefined || !isVisible(stored) ? undefined : itemOf(contact.bare, stored)
  }

  /** Yields the visible items. */
  * items (): Iterable<RosterItem> {
    for (const [address, stored] of this.#items) if (isVisible(stored)) yield itemOf(parseJid(address), stored)
  }

  /** Yields all contacts with a state, including invisible ones. */
  * all (): Iterable<readonly [Jid, StoredItem]> {
    for (const [address, stored] of this.#items) yield [parseJid(address), stored]
  }

  /** Returns a contact's pending request, as XML. */
  pendingIn (contact: Jid): string | undefined { return this.stored(contact).request }

  /** Sets or removes an item in memory. Only AccountRosters calls it. */
  set (contact: Jid, item: StoredItem | undefined): void {
    const key = contact.bare.toString()
    if (this.#digest !== undefined) {
      this.#mix(this.#digest, key, this.#items.get(key))
      this.#mix(this.#digest, key, item)
    }
    this.#count(key, this.#items.get(key), -1)
    this.#count(key, item, 1)
    if (item === undefined) this.#items.delete(key)
    else this.#items.set(key, item)
  }

  #count (address: string, item: StoredItem | undefined, times: 1 | -1): void {
    const shown = shownBytesOf(address, item)
    this.#shown += times * shown
    this.#bytes += times * (shown + address.length + (item?.request?.length ?? 0))
  }

  /** Adds an item to the digest, or removes it (XOR). */
  #mix (digest: Buffer, address: string, item: StoredItem | undefined): void {
    if (item === undefined || !isVisible(item)) return
    const { name, groups, subscription, ask, approved } = item
    const one = createHash('sha256').update(JSON.stringify([address, name, groups, subscription, ask, approved])).digest()
    for (let at = 0; at < DIGEST; at++) digest[at] = (digest[at] ?? 0) ^ (one[at] ?? 0)
  }
}

/**
 * Bytes that an item and a group add to an answer beside their texts: `<item jid="" subscription="both" name=""/>`,
 * `<group></group>`.
 */
const ITEM_TAG = 50
const GROUP_TAG = 15

/** Returns the bytes of an item as clients see it, without XML escapes. */
function shownBytesOf (address: string, item: StoredItem | undefined): number {
  if (item === undefined || !isVisible(item)) return 0
  let bytes = ITEM_TAG + Buffer.byteLength(address) + Buffer.byteLength(item.name)
  for (const group of item.groups) bytes += GROUP_TAG + Buffer.byteLength(group)
  return bytes
}

/** The bytes of a version. */
const DIGEST = 18

/** True if clients see the item (RFC 6121 §2.1). A contact with only a pending request is invisible (§3.1.3). */
function isVisible (item: StoredItem): boolean {
  return item.listed || item.subscription !== 'none' || item.ask || item.approved
}

function itemOf (jid: Jid, { name, groups, subscription, ask, approved }: StoredItem): RosterItem {
  return { jid, name, groups, subscription, ask, approved }
}

/** The number of rosters of accounts without sessions that stay in memory, and their bytes. */
const IDLE = 2000
const IDLE_BYTES = 32 * 1024 * 1024

/** The rosters of all accounts of a host. */
export class AccountRosters {
  readonly #items: Records<StoredItem>
  readonly #rosters: PinnedCache<AccountRoster>

  constructor (items: Records<StoredItem>) {
    this.#items = items
    this.#rosters = new PinnedCache(async key => new AccountRoster(await readable(items, key)), IDLE, {
      bytes: IDLE_BYTES, sizeOf: roster => roster.bytes,
    })
  }

  /** Returns an account's roster; without a promise if it is in memory. */
  of (account: Jid): Maybe<AccountRoster> { return this.#rosters.of(account.bare.toString()) }
  /**
   * Keeps a roster in memory until `unpin` was called as often: the roster of an account with sessions is always in
   * memory.
   */
  pin (account: Jid): Maybe<AccountRoster> { return this.#rosters.hold(account.bare.toString()) }
  /** Ends one `pin`. */
  unpin (account: Jid): void { this.#rosters.release(account.bare.toString()) }
  /** Forgets a roster; the next `of` reads it again. */
  forget (account: Jid): void { this.#rosters.forget(account.bare.toString()) }

  /** Changes an item in memory at once and in storage with the batch. If the batch fails, memory forgets the roster. */
  change (account: Jid, roster: AccountRoster, contact: Jid, item: StoredItem | undefined, batch: Batch): void {
    const owner = account.bare.toString()
    const kept = item !== undefined && (isVisible(item) || item.request !== undefined) ? item : undefined
    roster.set(contact, kept)
    batch.add(this.#items.putting(owner, contact.bare.toString(), kept))
    // Until the write is settled, nobody may read the old state from storage.
    void this.#rosters.hold(owner)
    batch.committed(() => { this.#rosters.release(owner) })
    batch.failed(() => {
      this.#rosters.forget(owner)
      this.#rosters.release(owner)
    })
  }
}

/** True if a stored value is a valid item: an unreadable subscription must not be guessed. */
export function isStoredItem (value: unknown): boolean {
  return hasForm(value, {
    name: 'string', groups: 'strings', subscription: 'string', ask: 'boolean', approved: 'boolean', listed: 'boolean', request: 'string?',
  }) && SUBSCRIPTIONS.has(value['subscription'])
}

const SUBSCRIPTIONS: ReadonlySet<unknown> = new Set(['none', 'to', 'from', 'both'])

/**
 * Reads the items of an account. An unreadable address or subscription makes the whole roster unreadable, for it would
 * be a guess who may see whose presence. Names with characters that XML does not allow, which older versions stored,
 * are cleaned.
 */
async function readable (items: Records<StoredItem>, owner: string): Promise<ReadonlyMap<string, StoredItem>> {
  const all = await items.all(owner)
  const sound = new Map<string, StoredItem>()
  for (const [address, item] of all) {
    try {
      parseJid(address)
    } catch (error) {
      await items.setAside(owner, address, item, error)
    }
    const known = await withRequest(items, owner, address, item)
    sound.set(address, { ...known, name: writable(item.name), groups: item.groups.map(writable) })
  }
  return sound
}

/** Puts a request aside that cannot be read. The fact that there is one stays known. */
async function withRequest (
  items: Records<StoredItem>, owner: string, address: string, item: StoredItem,
): Promise<StoredItem> {
  if (item.request === undefined) return item
  try {
    checkRequest(item.request)
    return item
  } catch (error) {
    const instead = { ...item, request: '' }
    await items.setAside(owner, address, item, error, instead)
    return instead
  }
}

type Mutable = Omit<StoredItem, 'listed'> & { listed: boolean }

/** Returns the item with a new subscription state and pending request. */
export function withState (item: StoredItem, state: State, request: string | undefined): StoredItem {
  const { request: _, ...rest } = item
  const next: Mutable = { ...rest, subscription: state.subscription, ask: state.ask, approved: state.approved }
  // RFC 6121 §3.2, §3.3: an item that was in the roster stays there until the user removes it (§2.5).
  if (isVisible(next)) next.listed = true
  return state.pendingIn && request !== undefined ? { ...next, request } : next
}

/** Reads a contact's bare address from an item. Throws StanzaError. */
export function contactOf (text: string | undefined): Jid {
  if (text === undefined) throw new StanzaError('bad-request', 'an item needs a jid')
  return readJid(text).bare
}
