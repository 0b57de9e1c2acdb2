/** Bounds the unacknowledged bytes of each account, and of all accounts together. */
import type { SharedLedger, SharedShare } from '../../lib/api.js'

/** A managed session as Shares sees it. */
export interface Holder {
  /** Its unacknowledged bytes. */
  readonly bytes: number
}

/** The unacknowledged bytes of one account's sessions. */
interface AccountShare<H extends Holder> extends SharedShare { readonly holders: Set<H> }

/** The unacknowledged bytes of all managed sessions of a host, which count in a ledger of all hosts. */
export class Shares<H extends Holder> {
  readonly #ledger: SharedLedger
  readonly #byAccount = new Map<string, AccountShare<H>>()
  readonly #most: number
  readonly #end: (holder: H) => void

  /**
   * `account`: the bound of each account, in bytes. Beyond that, or if the ledger takes from the account, `end` is
   * called for its largest holder.
   */
  constructor (ledger: SharedLedger, account: number, end: (holder: H) => void) {
    this.#ledger = ledger
    this.#most = account
    this.#end = end
  }

  /** Adds a session. */
  join (account: string, holder: H): void {
    const share = this.#byAccount.get(account) ?? this.#shareOf(new Set())
    this.#byAccount.set(account, share)
    share.holders.add(holder)
    this.#ledger.change(share, holder.bytes)
  }

  /** Removes a session that has ended or is no longer managed. */
  leave (account: string, holder: H): void {
    const share = this.#byAccount.get(account)
    if (share?.holders.delete(holder) !== true) return
    this.#ledger.change(share, -holder.bytes)
    if (share.holders.size === 0) this.#byAccount.delete(account)
  }

  /** Removes all sessions: another instance of the module counts them, or none does. */
  clear (): void {
    for (const share of this.#byAccount.values()) this.#ledger.change(share, -share.bytes)
    this.#byAccount.clear()
  }

  /**
   * True if the account holds less than half of its bound, or the session less than its part of that half: a device
   * that acknowledges nothing takes nothing from another of the account.
   */
  hasRoom (account: string, { bytes }: Holder): boolean {
    const share = this.#byAccount.get(account)
    return share === undefined || share.bytes < this.#most / 2 || bytes < this.#most / 2 / share.holders.size
  }

  /** Notes that the bytes of an account changed by `by`. May call `end`. */
  change (account: string, by: number): void {
    const share = this.#byAccount.get(account)
    if (share === undefined) return
    this.#ledger.change(share, by)
    if (by > 0 && share.bytes > this.#most) this.#endLargest(share.holders)
  }

  #shareOf (holders: Set<H>): AccountShare<H> {
    return { bytes: 0, holders, shrink: () => { this.#endLargest(holders) } }
  }

  #endLargest (holders: Set<H>): void {
    let largest: H | undefined
    for (const holder of holders) if (largest === undefined || holder.bytes > largest.bytes) largest = holder
    if (largest !== undefined) this.#end(largest)
  }
}
