/** The archive preferences of accounts (XEP-0441): in memory while in use; each change is a write of the batch. */
import { follow, PinnedCache, NS } from '../../lib/api.js'
import type { Batch, Element, Jid, Maybe, ModuleHost, Records } from '../../lib/api.js'
import { bytesOf, preferencesElement, readPreferences, type Habit, type Preferences } from './preferences.js'

/** The number of accounts without sessions whose preferences stay in memory, and their bytes. */
const IDLE = 10_000
const IDLE_BYTES = 16 * 1024 * 1024
/** The most addresses in an account's preferences. */
const ADDRESSES = 1000
/** The key of the only record of an account. */
const KEY = 'preferences'

/** The preferences of all accounts of a host. */
export class Wishes {
  readonly #store: Records<Preferences>
  readonly #kept: PinnedCache<Preferences>

  /** `habit` applies to accounts without preferences of their own. */
  constructor (store: Records<Preferences>, habit: Habit) {
    const usual: Preferences = { habit, always: [], never: [] }
    this.#store = store
    this.#kept = new PinnedCache(async owner => await store.get(owner, KEY) ?? usual, IDLE, {
      bytes: IDLE_BYTES, sizeOf: bytesOf,
    })
  }

  /** Returns an account's preferences; without a promise if they are in memory. */
  of (account: Jid): Maybe<Preferences> { return this.#kept.of(account.toString()) }

  /** Returns the preferences that the account has stored; undefined if it has none. */
  async stored (account: Jid): Promise<Preferences | undefined> {
    return await this.#store.get(account.toString(), KEY)
  }

  /**
   * Sets preferences, in memory at once and in storage with the batch. Until they are stored, nobody may load the old
   * ones. If the batch fails, memory forgets them.
   */
  set (account: Jid, wanted: Preferences, batch: Batch): void {
    const owner = account.toString()
    batch.add(this.#store.putting(owner, KEY, wanted))
    this.#kept.holdAs(owner, wanted)
    batch.committed(() => { this.#kept.release(owner) })
    batch.failed(() => {
      this.#kept.forget(owner)
      this.#kept.release(owner)
    })
  }

  /** Sets imported preferences, in storage with the batch and in memory after it. */
  take (account: Jid, wanted: Preferences, batch: Batch): void {
    batch.add(this.#store.putting(account.toString(), KEY, wanted))
    batch.committed(() => { this.forget(account) })
  }

  /** Removes preferences with the batch. */
  clear (account: Jid, batch: Batch): void {
    batch.add(this.#store.putting(account.toString(), KEY, undefined))
    batch.committed(() => { this.forget(account) })
  }

  /** Forgets an account's preferences; the next `of` reads them again. */
  forget (account: Jid): void { this.#kept.forget(account.toString()) }
}

/** Answers requests for preferences. */
export function answerPreferences (host: ModuleHost, wishes: Wishes): void {
  host.iq.get('self', NS.MAM, 'prefs', ({ session }) => follow(wishes.of(session.account), preferencesElement))
  host.iq.set('self', NS.MAM, 'prefs', ({ session, payload, batch }) => follow(wishIn(host, payload), wanted => {
    wishes.set(session.account, wanted, batch)
    return preferencesElement(wanted)
  }))
}

/** Reads preferences from a request or an import. Throws, or rejects with, StanzaError. */
export function wishIn (host: ModuleHost, element: Element): Maybe<Preferences> {
  return readPreferences(element, ADDRESSES, host.router.each)
}
