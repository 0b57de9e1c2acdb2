/** Which hashes some account of a host has no keys for: mechanisms of those are not offered there, for clients take the strongest. */
import type { Records } from '../storage/store.js'
import { HASH_NAMES, type HashName } from './keys.js'
import type { AccountKeys } from './kinds.js'

/** The hashes that this account lacks: none without any keys, for nobody can log in to it in any way. */
export function lackedBy (keys: AccountKeys): readonly HashName[] {
  const lacked = HASH_NAMES.filter(hash => keys[hash] === undefined)
  return lacked.length === HASH_NAMES.length ? [] : lacked
}

/** Owner: the domain and the name of a hash. Key: the local part of an account that lacks it. */
export class Lacking {
  readonly #domain: string
  readonly #rows: Records<unknown>
  /** Whether an account lacks a hash, as it is stored. */
  readonly #lacks: (local: string, hash: HashName) => Promise<boolean>
  readonly #hashes = new Set<HashName>()
  /** Accounts that have just come to lack a hash, whose rows may not be stored yet. */
  #added = 0
  #checks = Promise.resolve()

  constructor (domain: string, rows: Records<unknown>, lacks: (local: string, hash: HashName) => Promise<boolean>) {
    this.#domain = domain
    this.#rows = rows
    this.#lacks = lacks
  }

  /** The hashes that at least one account lacks. */
  get hashes (): ReadonlySet<HashName> { return this.#hashes }

  /** How many accounts lack a hash; no more than `most` are counted. */
  async count (hash: HashName, most: number): Promise<number> {
    return (await this.#rows.all(this.#owner(hash), { limit: most })).size
  }

  /** Reads what is stored. A row whose account has the keys by now, or is gone, is removed. */
  async check (hashes: readonly HashName[] = HASH_NAMES): Promise<void> {
    this.#checks = this.#checks.then(async () => {
      for (const hash of hashes) await this.#check(hash)
    })
    const done = this.#checks
    this.#checks = done.catch(() => {})
    await done
  }

  /**
   * Called right before an account is stored that may lack more than it did: its rows go down with it, or before it. A row too many keeps
   * a mechanism back until the next check; a row too few would lock somebody out.
   */
  async before (local: string, old: AccountKeys, next: AccountKeys): Promise<void> {
    const had = lackedBy(old)
    const added = lackedBy(next).filter(hash => !had.includes(hash))
    if (added.length === 0) return
    this.#added++
    for (const hash of added) this.#hashes.add(hash)
    await Promise.all(added.map(hash => this.#rows.put(this.#owner(hash), local, true)))
  }

  /** Called once an account is stored that lacks less than it did. */
  async after (local: string, old: AccountKeys, next: AccountKeys): Promise<void> {
    const has = lackedBy(next)
    await this.#remove(local, lackedBy(old).filter(hash => !has.includes(hash)))
  }

  /** Called once an account is gone. */
  async gone (local: string): Promise<void> {
    await this.#remove(local, [...this.#hashes])
  }

  async #remove (local: string, hashes: readonly HashName[]): Promise<void> {
    if (hashes.length === 0) return
    await Promise.all(hashes.map(hash => this.#rows.put(this.#owner(hash), local, undefined)))
    await this.check(hashes)
  }

  async #check (hash: HashName): Promise<void> {
    for (;;) {
      const added = this.#added
      const first = [...(await this.#rows.all(this.#owner(hash), { limit: 1 })).keys()][0]
      if (first === undefined) {
        if (added === this.#added) this.#hashes.delete(hash)
        return
      }
      this.#hashes.add(hash)
      if (await this.#lacks(first, hash)) return
      // Another has come meanwhile, and it may be the same: its row must not be taken away.
      if (added === this.#added) await this.#rows.put(this.#owner(hash), first, undefined)
    }
  }

  #owner (hash: HashName): string { return `${this.#domain} ${hash}` }
}
