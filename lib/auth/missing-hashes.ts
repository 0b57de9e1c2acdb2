/**
 * The hashes that some account of a host has no keys for. Their mechanisms are not offered there, because clients
 * choose the strongest.
 */
import type { Records } from '../storage/store.js'
import { HASH_NAMES, type HashName } from './keys.js'
import type { AccountKeys } from './key-profiles.js'

/** The hashes that this account lacks. Empty for an account without any keys: nobody can log in to it anyway. */
export function lackedBy (keys: AccountKeys): readonly HashName[] {
  const lacked = HASH_NAMES.filter(hash => keys[hash] === undefined)
  return lacked.length === HASH_NAMES.length ? [] : lacked
}

/**
 * Tracks the accounts that lack a hash. The owner of a row is the domain and the name of a hash, its key the account's
 * local part.
 */
export class MissingHashes {
  readonly #domain: string
  readonly #rows: Records<unknown>
  /** Tells whether a stored account lacks a hash. */
  readonly #lacks: (local: string, hash: HashName) => Promise<boolean>
  readonly #hashes = new Set<HashName>()
  /** Counts the times that an account began to lack a hash: its rows may not be stored yet. */
  #added = 0
  #checks = Promise.resolve()

  constructor (domain: string, rows: Records<unknown>, lacks: (local: string, hash: HashName) => Promise<boolean>) {
    this.#domain = domain
    this.#rows = rows
    this.#lacks = lacks
  }

  /** The hashes that at least one account lacks. */
  get hashes (): ReadonlySet<HashName> { return this.#hashes }

  /** Counts the accounts that lack a hash, up to `most`. */
  async count (hash: HashName, most: number): Promise<number> {
    return (await this.#rows.all(this.#owner(hash), { limit: most })).size
  }

  /** Reads what is stored. Removes a row whose account has the keys now, or no longer exists. */
  async check (hashes: readonly HashName[] = HASH_NAMES): Promise<void> {
    this.#checks = this.#checks.then(async () => {
      for (const hash of hashes) await this.#check(hash)
    })
    const done = this.#checks
    this.#checks = done.catch(() => {})
    await done
  }

  /**
   * Call right before an account is stored that may lack more hashes than before. Its rows are stored with it or
   * earlier. A needless row only holds a mechanism back until the next check; a missing row would keep somebody from
   * logging in.
   */
  async before (local: string, old: AccountKeys, next: AccountKeys): Promise<void> {
    const had = lackedBy(old)
    const added = lackedBy(next).filter(hash => !had.includes(hash))
    if (added.length === 0) return
    this.#added++
    for (const hash of added) this.#hashes.add(hash)
    await Promise.all(added.map(hash => this.#rows.put(this.#owner(hash), local, true)))
  }

  /** Call after an account is stored that lacks fewer hashes than before. */
  async after (local: string, old: AccountKeys, next: AccountKeys): Promise<void> {
    const has = lackedBy(next)
    await this.#remove(local, lackedBy(old).filter(hash => !has.includes(hash)))
  }

  /** Call after an account is removed. */
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
      // An account was added meanwhile, and it may be this one: its row must stay.
      if (added === this.#added) await this.#rows.put(this.#owner(hash), first, undefined)
    }
  }

  #owner (hash: HashName): string { return `${this.#domain} ${hash}` }
}
