/** The rosters of accounts: in memory while they are used, each change a write of the batch that asks for it. */
import { createHash } from 'node:crypto'
import { hasForm, jidOf, Kept, parseJid, StanzaError, writable } from '../../lib/api.js'
import type { Batch, Jid, Maybe, Records, Roster, RosterItem } from '../../lib/api.js'
import type { State } from './subscription.js'

/** One contact as it is stored, under its bare address. */
export interface StoredItem {
  readonly name: string
  readonly groups: readonly string[]
  readonly subscription: RosterItem['subscription']
  readonly ask: boolean
  readonly approved: boolean
  /** The user put it there: it stays in the roster with no subscription at all. */
  readonly listed: boolean
  /** The contact's request that waits for an answer, as XML. */
  readonly request?: string
}

const UNKNOWN: StoredItem = { name: '', groups: [], subscription: 'none', ask: false, approved: false, listed: false }

export class AccountRoster implements Roster {
  readonly #items: Map<string, StoredItem>
  /** Of all items that clients see, made when it is first asked for. */
  #digest: Buffer | undefined

  /** Bytes of the items that clients see, and of all. */
  #shown = 0
  #bytes = 0

  constructor (items: ReadonlyMap<string, StoredItem>) {
    this.#items = new Map(items)
    for (const [address, item] of items) this.#count(address, item, 1)
  }

  /**
   * RFC 6121 §2.6: what clients see, as a name. It says the same of the same items, and of no others: also behind a backup, and where an
   * account was made anew.
   */
  get version (): string {
    if (this.#digest === undefined) {
      this.#digest = Buffer.alloc(DIGEST)
      for (const [address, item] of this.#items) this.#mix(this.#digest, address, item)
    }
    return this.#digest.toString('base64url')
  }

  /** Contacts, those who only wait for an answer included. */
  get size (): number { return this.#items.size }
  /** Bytes of the answer that shows it, nearly. */
  get shownBytes (): number { return this.#shown }
  /** Bytes of all that is kept, nearly. */
  get bytes (): number { return this.#bytes }

  /** How much longer the answer that shows the roster is with this item in it. */
  growth (contact: Jid, item: StoredItem): number {
    const key = contact.bare.toString()
    return shownBytesOf(key, item) - shownBytesOf(key, this.#items.get(key))
  }

  /** Requests that wait for an answer. */
  get requests (): number {
    let count = 0
    for (const item of this.#items.values()) if (item.request !== undefined) count++
    return count
  }

  /** The requests that wait for an answer, each by its contact's bare address. */
  * waiting (): Iterable<readonly [contact: string, request: string]> {
    for (const [address, { request }] of this.#items) if (request !== undefined) yield [address, request]
  }

  stored (contact: Jid): StoredItem { return this.#items.get(contact.bare.toString()) ?? UNKNOWN }
  has (contact: Jid): boolean { return this.#items.has(contact.bare.toString()) }

  state (contact: Jid): State {
    const { subscription, ask, approved, request } = this.stored(contact)
    return { subscription, ask, approved, pendingIn: request !== undefined }
  }

  item (contact: Jid): RosterItem | undefined {
    const stored = this.#items.get(contact.bare.toString())
    return stored === undefined || !isVisible(stored) ? undefined : itemOf(contact.bare, stored)
  }

  * items (): Iterable<RosterItem> {
    for (const [address, stored] of this.#items) if (isVisible(stored)) yield itemOf(parseJid(address), stored)
  }

  /** All contacts with a state, those not visible included. */
  * all (): Iterable<readonly [Jid, StoredItem]> {
    for (const [address, stored] of this.#items) yield [parseJid(address), stored]
  }

  pendingIn (contact: Jid): string | undefined { return this.stored(contact).request }

  /** For AccountRosters alone. */
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

  /** Puts an item in, or takes it out. */
  #mix (digest: Buffer, address: string, item: StoredItem | undefined): void {
    if (item === undefined || !isVisible(item)) return
    const { name, groups, subscription, ask, approved } = item
    const one = createHash('sha256').update(JSON.stringify([address, name, groups, subscription, ask, approved])).digest()
    for (let at = 0; at < DIGEST; at++) digest[at] = (digest[at] ?? 0) ^ (one[at] ?? 0)
  }
}

/** An item and a group, beside what they say: `<item jid="" subscription="both" name=""/>`, `<group></group>`. */
const ITEM_TAG = 50
const GROUP_TAG = 15

/** Bytes of an item as clients see it, but for what escaping adds. */
function shownBytesOf (address: string, item: StoredItem | undefined): number {
  if (item === undefined || !isVisible(item)) return 0
  let bytes = ITEM_TAG + Buffer.byteLength(address) + Buffer.byteLength(item.name)
  for (const group of item.groups) bytes += GROUP_TAG + Buffer.byteLength(group)
  return bytes
}

/** Bytes of a version. */
const DIGEST = 18

/** RFC 6121 §2.1: in the roster, as far as clients see it. A contact who has only asked is not (§3.1.3). */
function isVisible (item: StoredItem): boolean {
  return item.listed || item.subscription !== 'none' || item.ask || item.approved
}

function itemOf (jid: Jid, { name, groups, subscription, ask, approved }: StoredItem): RosterItem {
  return { jid, name, groups, subscription, ask, approved }
}

/** Rosters kept in memory although nobody of the account is there; and bytes of them. */
const IDLE = 2000
const IDLE_BYTES = 32 * 1024 * 1024

export class AccountRosters {
  readonly #items: Records<StoredItem>
  readonly #rosters: Kept<AccountRoster>

  constructor (items: Records<StoredItem>) {
    this.#items = items
    this.#rosters = new Kept(async key => new AccountRoster(await readable(items, key)), IDLE, {
      bytes: IDLE_BYTES, sizeOf: roster => roster.bytes,
    })
  }

  of (account: Jid): Maybe<AccountRoster> { return this.#rosters.of(account.bare.toString()) }
  /** Keeps it in memory until `unpin` was called as often: an account with sessions has its roster at hand. */
  pin (account: Jid): Maybe<AccountRoster> { return this.#rosters.hold(account.bare.toString()) }
  unpin (account: Jid): void { this.#rosters.release(account.bare.toString()) }
  forget (account: Jid): void { this.#rosters.forget(account.bare.toString()) }

  /** Changes an item now, and on disk with the batch. Where that fails, memory forgets it as well. */
  change (account: Jid, roster: AccountRoster, contact: Jid, item: StoredItem | undefined, batch: Batch): void {
    const owner = account.bare.toString()
    const kept = item !== undefined && (isVisible(item) || item.request !== undefined) ? item : undefined
    roster.set(contact, kept)
    batch.add(this.#items.putting(owner, contact.bare.toString(), kept))
    // Until the write has settled, nobody may read the old state from disk.
    void this.#rosters.hold(owner)
    batch.committed(() => { this.#rosters.release(owner) })
    batch.failed(() => {
      this.#rosters.forget(owner)
      this.#rosters.release(owner)
    })
  }
}

/** Whether what is stored is a contact: nobody's subscription is guessed at. */
export function isStoredItem (value: unknown): boolean {
  return hasForm(value, {
    name: 'string', groups: 'strings', subscription: 'string', ask: 'boolean', approved: 'boolean', listed: 'boolean', request: 'string?',
  }) && SUBSCRIPTIONS.has(value['subscription'])
}

const SUBSCRIPTIONS: ReadonlySet<unknown> = new Set(['none', 'to', 'from', 'both'])

/**
 * The items of an account. One whose address or subscription cannot be read makes the roster unreadable: who may see whose presence would
 * be a guess. Of a name that XML cannot carry, which older versions stored, the rest is kept.
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
    sound.set(address, { ...item, name: writable(item.name), groups: item.groups.map(writable) })
  }
  return sound
}

type Mutable = Omit<StoredItem, 'listed'> & { listed: boolean }

/** An item that takes over a state, its request aside. */
export function withState (item: StoredItem, state: State, request: string | undefined): StoredItem {
  const { request: _, ...rest } = item
  const next: Mutable = { ...rest, subscription: state.subscription, ask: state.ask, approved: state.approved }
  // RFC 6121 §3.2, §3.3: who once stood in the roster goes on standing there until the user takes them out (§2.5).
  if (isVisible(next)) next.listed = true
  return state.pendingIn && request !== undefined ? { ...next, request } : next
}

/** Reads a contact's address from an item. Throws StanzaError. */
export function contactOf (text: string | undefined): Jid {
  if (text === undefined) throw new StanzaError('bad-request', 'an item has a jid')
  try {
    const jid = parseJid(text)
    return jid.resource === '' ? jid : jidOf(jid.local, jid.domain)
  } catch (error) {
    throw new StanzaError('jid-malformed', undefined, { cause: error })
  }
}

