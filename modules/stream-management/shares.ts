/** What the devices of an account, and of all accounts, may leave unacknowledged together. */
import { Ledger } from '../../lib/api.js'

/** A managed session, as far as it counts here. */
export interface Holder {
  /** Bytes that its device has not confirmed. */
  readonly bytes: number
}

/** What the devices of one account hold. */
export interface AccountShare<H extends Holder> { bytes: number, readonly holders: Set<H> }

export class Shares<H extends Holder> {
  readonly #ledger: Ledger<AccountShare<H>>
  readonly #byAccount = new Map<string, AccountShare<H>>()
  readonly #most: number
  readonly #end: (holder: H) => void

  /** `account`, `all`: bytes. With more, `end` is called for the largest holder of that account, or of the account that holds most. */
  constructor (bounds: { readonly account: number, readonly all: number }, end: (holder: H) => void) {
    this.#most = bounds.account
    this.#end = end
    this.#ledger = new Ledger(bounds.all, share => { this.#endLargest(share) })
  }

  /** What all accounts hold together. */
  get bytes (): number { return this.#ledger.bytes }

  join (account: string, holder: H): void {
    const share = this.#byAccount.get(account) ?? { bytes: 0, holders: new Set() }
    this.#byAccount.set(account, share)
    share.holders.add(holder)
    this.#ledger.change(share, holder.bytes)
  }

  /** The session has ended, or is not managed any more. */
  leave (account: string, holder: H): void {
    const share = this.#byAccount.get(account)
    if (share?.holders.delete(holder) !== true) return
    this.#ledger.change(share, -holder.bytes)
    if (share.holders.size === 0) this.#byAccount.delete(account)
  }

  /** The account holds less than half of what it may. */
  hasRoom (account: string): boolean { return (this.#byAccount.get(account)?.bytes ?? 0) < this.#most / 2 }

  change (account: string, by: number): void {
    const share = this.#byAccount.get(account)
    if (share === undefined) return
    this.#ledger.change(share, by)
    if (by > 0 && share.bytes > this.#most) this.#endLargest(share)
  }

  #endLargest ({ holders }: AccountShare<H>): void {
    let largest: H | undefined
    for (const holder of holders) if (largest === undefined || holder.bytes > largest.bytes) largest = holder
    if (largest !== undefined) this.#end(largest)
  }
}
