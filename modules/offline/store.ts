/** The stored messages of accounts: their number and bytes within bounds, and their expiry. */
import { checkedPage, fromOctets, PinnedCache, LARGEST_ANSWER, StanzaError } from '../../lib/api.js'
import type {
  Batch, Entry, Jid, Journal, JournalPage, JournalQuery, Maybe, Message, ModuleHost,
} from '../../lib/api.js'
import { delayed } from './delay.js'

/** The number and bytes of the messages stored for an account. Only OfflineStore changes them. */
export interface Amount { entries: number, bytes: number }

/** The most messages of an account, and the most bytes of them. */
export interface StoreBounds { readonly keep: number, readonly bytes: number }

/** The number of accounts whose amounts stay in memory. */
const IDLE = 10_000
/** The most messages, and bytes, that are read at a time. */
export const PAGE = { limit: 50, bytes: LARGEST_ANSWER }
/** The number of expired messages removed at a time. */
const SWEEP = 1000

/** The stored messages of all accounts of a host. */
export class OfflineStore {
  readonly #host: ModuleHost
  readonly #messages: Journal<string>
  readonly #bounds: StoreBounds
  readonly #amounts: PinnedCache<Amount>

  constructor (host: ModuleHost, messages: Journal<string>, bounds: StoreBounds) {
    this.#host = host
    this.#messages = messages
    this.#bounds = bounds
    this.#amounts = new PinnedCache(async owner => ({ ...await messages.size(owner) }), IDLE)
  }

  /** Returns how much is stored for an account; without a promise if it is in memory. */
  amountOf (account: Jid): Maybe<Amount> { return this.#amounts.of(account.toString()) }

  /** True if a message of this size does not fit. `times`: how often the bounds may be used. */
  isFull (amount: Amount, bytes: number, times = 1): boolean {
    return amount.entries >= times * this.#bounds.keep || amount.bytes + bytes > times * this.#bounds.bytes
  }

  /** Makes the entry of a message that arrives now. */
  entryOf (message: Message): Entry<string> {
    const { ids, clock } = this.#host
    return { id: ids.next(), at: clock.now(), with: message.from.toString(), value: fromOctets(message.octets()) }
  }

  /**
   * Stores an entry with the batch. `amount`: the account's. `times`: how often the bounds may be used. Throws
   * StanzaError if there is no room (XEP-0160 §3).
   */
  keep (account: Jid, amount: Amount, entry: Entry<string>, batch: Batch, times = 1): void {
    const bytes = Buffer.byteLength(entry.value)
    if (this.isFull(amount, bytes, times)) throw new StanzaError('service-unavailable', 'too many offline messages')
    amount.entries++
    amount.bytes += bytes
    batch.add(this.#messages.appending(account.toString(), entry))
    batch.failed(() => { this.forget(account) })
  }

  /** True if an entry with this id is stored. */
  async has (account: Jid, id: string): Promise<boolean> {
    const { entries } = await this.#messages.page(account.toString(), { ids: [id], limit: 1 })
    return entries.length > 0
  }

  /** Reads stored messages. A message that cannot be read is put aside. */
  async page (account: Jid, query: JournalQuery): Promise<JournalPage<string>> {
    const owner = account.toString()
    let read = 0
    let unread = 0
    const look = async (): Promise<JournalPage<string>> => {
      const page = await this.#messages.page(owner, query)
      unread += page.unread?.length ?? 0
      read += page.entries.length
      return page
    }
    const page = await checkedPage(this.#messages, owner, look, entry => { delayed(this.#host.domain, entry, account) })
    // A message that was put aside leaves room for another one.
    if (unread > 0 || read > page.entries.length) this.forget(account)
    return page
  }

  /** Yields all stored messages, the oldest first. */
  async * all (account: Jid): AsyncGenerator<Entry<string>> {
    for (let after: string | undefined; ;) {
      const page = await this.page(account, { ...PAGE, ...after === undefined ? {} : { after } })
      yield * page.entries
      after = page.entries.at(-1)?.id
      if (page.complete || after === undefined) return
    }
  }

  /** Removes entries, in one commit with what `fill` adds to the batch. */
  async remove (account: Jid, entries: readonly Entry<string>[], fill?: (batch: Batch) => void): Promise<void> {
    const batch = this.#host.batch()
    batch.add(this.#messages.removing(account.toString(), entries.map(entry => entry.id)))
    fill?.(batch)
    await batch.commit()
    this.forget(account)
  }

  /** Forgets an account's amount; the next `amountOf` counts again. */
  forget (account: Jid): void { this.#amounts.forget(account.toString()) }

  /** Returns the number of messages stored for an account. */
  async count (account: Jid): Promise<number> { return (await this.#messages.size(account.toString())).entries }

  /** Removes the messages that are older than `age` milliseconds. A failure is logged. */
  async expire (age: number): Promise<void> {
    const { clock, log } = this.#host
    try {
      while (await this.#messages.expire(clock.now() - age, SWEEP) >= SWEEP) continue
    } catch (error) {
      log.warn('offline expiry failed', { error })
    }
  }
}
