/** The push registrations of accounts (XEP-0357 §5): stored, and in memory while in use. */
import { hasForm, ownersAt, PinnedCache, parseJid } from '../../lib/api.js'
import type { Batch, Jid, Maybe, Records } from '../../lib/api.js'
import { createHash } from 'node:crypto'

/** A registration as it is stored, under the digest of its service and node. */
export interface Stored {
  /** The id of this registration: enabling the same node again makes a new one. */
  readonly id: string
  readonly service: string
  readonly node?: string
  /** The client's publish-options, as XML. */
  readonly options?: string
  /** The device of the registration, as `deviceOf` names it. */
  readonly device: string
  /** When the device was last in use, in milliseconds since 1970. */
  readonly seen: number
}

/** A registration in memory, with its key. */
export interface Registration extends Omit<Stored, 'service'> {
  readonly key: string
  readonly service: Jid
}

/** The registrations of one account, by key. */
export type All = ReadonlyMap<string, Registration>

/** The number of accounts whose registrations stay in memory, and their bytes. */
const IDLE = 10_000
const IDLE_BYTES = 16 * 1024 * 1024
const NONE: All = new Map()

/** Returns the key of a registration: one per service and node (§5). */
export function keyOf (service: Jid, node: string | undefined): string {
  return createHash('sha256').update(`${service.toString()}\n${node === undefined ? '' : `=${node}`}`).digest('base64url')
}

/** The registrations of all accounts of a host. */
export class Registrations {
  readonly #store: Records<Stored>
  readonly #kept: PinnedCache<Map<string, Registration>>
  /**
   * Accounts that have registrations, or had some at the last lookup. Once it is complete, storage is not read for
   * other accounts.
   */
  readonly #owners = new Set<string>()
  #isComplete = false

  constructor (store: Records<Stored>) {
    this.#store = store
    this.#kept = new PinnedCache(async owner => await read(store, owner), IDLE, { bytes: IDLE_BYTES, sizeOf: bytesOf })
  }

  /** Learns which accounts of this domain have registrations. From then on, all others cost no read. */
  async learn (domain: string): Promise<void> {
    for await (const owner of ownersAt(this.#store, domain)) this.#owners.add(owner)
    this.#isComplete = true
  }

  /** Returns the registrations by key; without a promise for an account that has none. */
  of (account: Jid): Maybe<All> {
    const owner = account.toString()
    return this.#isComplete && !this.#owners.has(owner) ? NONE : this.#kept.of(owner)
  }

  /** Runs `run` if the account has registrations. An account without any costs one lookup. */
  ifAny (account: Jid, run: (all: All) => void): Maybe<void> {
    const all = this.of(account)
    if (all instanceof Promise) return all.then(all => { if (all.size > 0) run(all) })
    if (all.size > 0) run(all)
    return undefined
  }

  /**
   * Changes registrations in memory at once and in storage with the batch. `next` returns the changes (undefined
   * removes one) and may throw a StanzaError. If the batch fails, memory forgets the account.
   */
  async change (
    account: Jid, next: (all: All) => ReadonlyMap<string, Registration | undefined>, batch: Batch,
  ): Promise<void> {
    const owner = account.toString()
    const all = await this.#hold(owner)
    const changes = this.#decide(owner, () => next(all))
    if (changes === undefined) return
    for (const [key, wanted] of changes) {
      if (wanted === undefined) all.delete(key)
      else all.set(key, wanted)
      batch.add(this.#store.putting(owner, key, wanted === undefined ? undefined : stored(wanted)))
    }
    if (all.size > 0) this.#owners.add(owner)
    batch.committed(() => {
      this.#kept.release(owner)
      if (all.size === 0) this.#owners.delete(owner)
    })
    batch.failed(() => {
      this.#kept.forget(owner)
      this.#kept.release(owner)
      this.#owners.add(owner)
    })
  }

  async #hold (owner: string): Promise<Map<string, Registration>> {
    try {
      return await this.#kept.hold(owner)
    } catch (error) {
      this.#kept.release(owner)
      throw error
    }
  }

  /** Returns the changes; undefined if there are none, and then releases the account. */
  #decide<T extends ReadonlyMap<string, unknown>> (owner: string, next: () => T): T | undefined {
    let changes: T | undefined
    try {
      changes = next()
    } finally {
      if (changes === undefined || changes.size === 0) this.#kept.release(owner)
    }
    return changes.size === 0 ? undefined : changes
  }

  /** Forgets an account that was removed. */
  forget (account: Jid): void {
    this.#kept.forget(account.toString())
    this.#owners.delete(account.toString())
  }
}

/** Returns about how many bytes the registrations hold. */
function bytesOf (all: All): number {
  let bytes = 0
  for (const { key, service, node = '', options = '' } of all.values()) {
    bytes += 200 + key.length + service.toString().length + node.length + options.length
  }
  return bytes
}

async function read (store: Records<Stored>, owner: string): Promise<Map<string, Registration>> {
  const found = new Map<string, Registration>()
  for (const [key, stored] of await store.all(owner)) {
    try {
      found.set(key, registration(key, stored))
    } catch (error) {
      await store.setAside(owner, key, stored, error)
    }
  }
  return found
}

/** True if a stored value is a registration. */
export function isStored (value: unknown): boolean {
  return hasForm(value, { id: 'string', service: 'string', node: 'string?', options: 'string?', device: 'string', seen: 'number' })
}

function registration (key: string, { service, ...rest }: Stored): Registration {
  return { ...rest, key, service: parseJid(service) }
}

function stored ({ key: _, service, ...rest }: Registration): Stored {
  return { ...rest, service: service.toString() }
}
