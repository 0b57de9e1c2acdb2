/** The block lists of accounts: in memory while in use; each change is a write of the batch that makes it. */
import { follow, PinnedCache, parseJid, StanzaError } from '../../lib/api.js'
import type { Batch, Jid, Maybe, Records } from '../../lib/api.js'
import { matches, textsOf } from './matching.js'

/** The number of block lists of accounts without sessions that stay in memory, and their bytes. */
const IDLE = 5000
const IDLE_BYTES = 16 * 1024 * 1024
/** Bytes that an item adds to an answer beside its address: `<item jid=""/>`. */
const ITEM_TAG = 15

/** The blocked addresses of an account, as strings. Only BlockLists changes it. */
export type BlockList = Set<string>

/** The most items of a list, and the most bytes of the answer that shows it. */
export interface ListBounds { readonly items: number, readonly bytes: number }

/** The block lists of all accounts of a host. */
export class BlockLists {
  readonly #store: Records<true>
  readonly #bounds: ListBounds
  readonly #changed: (account: Jid) => void
  readonly #lists: PinnedCache<BlockList>

  /** `changed` is called with each change of an account's list in memory. */
  constructor (store: Records<true>, bounds: ListBounds, changed: (account: Jid) => void) {
    this.#store = store
    this.#bounds = bounds
    this.#changed = changed
    this.#lists = new PinnedCache(owner => read(store, owner), IDLE, { bytes: IDLE_BYTES, sizeOf: bytesOf })
  }

  /** Returns an account's list; without a promise if it is in memory. */
  of (account: Jid): Maybe<BlockList> { return this.#lists.of(account.bare.toString()) }

  /** True if the account has blocked the address. */
  blocks (account: Jid, other: Jid): Maybe<boolean> {
    return follow(this.of(account), list => matches(list, account, other))
  }

  /** Keeps a list in memory until `unpin` was called as often. */
  pin (account: Jid): Maybe<BlockList> { return this.#lists.hold(account.toString()) }
  /** Ends one `pin`. */
  unpin (account: Jid): void { this.#lists.release(account.toString()) }
  /** Forgets a list; the next `of` reads it again. */
  forget (account: Jid): void { this.#lists.forget(account.toString()) }

  /** Throws StanzaError if these addresses do not fit into the list. */
  checkRoom (list: BlockList, fresh: readonly Jid[]): void {
    const { items, bytes } = this.#bounds
    if (list.size + fresh.length > items || fresh.length > 0 && bytesOf(list) + bytesOf(textsOf(fresh)) > bytes) {
      throw new StanzaError('resource-constraint', 'the block list is full', { type: 'cancel' })
    }
  }

  /**
   * Blocks or unblocks addresses, in memory at once and in storage with the batch. `list` is the account's list. If the
   * batch fails, memory forgets it.
   */
  change (account: Jid, list: BlockList, items: readonly Jid[], isBlocked: boolean, batch: Batch): void {
    const owner = account.toString()
    for (const jid of items) {
      if (isBlocked) list.add(jid.toString())
      else list.delete(jid.toString())
      batch.add(this.#store.putting(owner, jid.toString(), isBlocked ? true : undefined))
    }
    if (items.length > 0) {
      void this.#lists.hold(owner)
      batch.committed(() => { this.#lists.release(owner) })
      batch.failed(() => {
        this.#lists.forget(owner)
        this.#lists.release(owner)
      })
    }
    this.#changed(account)
  }
}

/** Reads a list. Fails closed: if one address cannot be read, the whole list is unreadable. */
async function read (store: Records<true>, owner: string): Promise<BlockList> {
  const list = new Set((await store.all(owner)).keys())
  for (const address of list) {
    try {
      parseJid(address)
    } catch (error) {
      await store.setAside(owner, address, true, error)
    }
  }
  return list
}

/** Returns the bytes of the answer that shows the list, without XML escapes. */
function bytesOf (list: ReadonlySet<string>): number {
  let bytes = 0
  for (const address of list) bytes += ITEM_TAG + Buffer.byteLength(address)
  return bytes
}
