/** Which app servers an account wants to be told (XEP-0357 §5): stored, and in memory while they are used. */
import { createHash } from 'node:crypto'
import { hasForm, Kept, parseJid } from '../../lib/api.js'
import type { Batch, Jid, Maybe, Records } from '../../lib/api.js'

/** One of them as it is stored, under the digest of its service and node. */
export interface Stored {
  /** Of this enabling: another one for the same node is another registration. */
  readonly id: string
  readonly service: string
  readonly node?: string
  /** The publish-options as they came, as text. */
  readonly options?: string
  /** The device that it belongs to, as `deviceOf` names it. */
  readonly device: string
  /** When its device was last seen, in milliseconds since 1970. */
  readonly seen: number
}

export interface Registration extends Omit<Stored, 'service'> {
  readonly key: string
  readonly service: Jid
}

export type All = ReadonlyMap<string, Registration>

/** Accounts that have some, whose registrations are kept in memory. */
const IDLE = 10_000
const IDLE_BYTES = 16 * 1024 * 1024
const PAGE = 1000
const NONE: All = new Map()

/** What a registration is found by: §5, one a service and node. */
export function keyOf (service: Jid, node: string | undefined): string {
  return createHash('sha256').update(`${service.toString()}\n${node === undefined ? '' : `=${node}`}`).digest('base64url')
}

export class Registrations {
  readonly #store: Records<Stored>
  readonly #kept: Kept<Map<string, Registration>>
  /** Accounts that have some, or had when they were looked up; nobody else is read for once that is complete. */
  readonly #owners = new Set<string>()
  #isComplete = false

  constructor (store: Records<Stored>) {
    this.#store = store
    this.#kept = new Kept(async owner => await read(store, owner), IDLE, { bytes: IDLE_BYTES, sizeOf: bytesOf })
  }

  /** Learns which accounts of this domain have some: from then on the others cost nothing. */
  async learn (domain: string): Promise<void> {
    for (let after: string | undefined; ;) {
      const owners = await this.#store.owners({ limit: PAGE, ...after === undefined ? {} : { after } })
      for (const owner of owners) if (owner.endsWith(`@${domain}`)) this.#owners.add(owner)
      after = owners.at(-1)
      if (owners.length < PAGE || after === undefined) break
    }
    this.#isComplete = true
  }

  /** By key. At once for an account that has none. */
  of (account: Jid): Maybe<All> {
    const owner = account.toString()
    return this.#isComplete && !this.#owners.has(owner) ? NONE : this.#kept.of(owner)
  }

  /**
   * Changes them now, and on disk with the batch: `next` says to what, undefined removes, and may refuse by a StanzaError. Where storing
   * fails, memory forgets it as well.
   */
  async change (account: Jid, next: (all: All) => ReadonlyMap<string, Registration | undefined>, batch: Batch): Promise<void> {
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

  /** undefined where nothing changes; then nothing is held any more. */
  #decide<T extends ReadonlyMap<string, unknown>> (owner: string, next: () => T): T | undefined {
    let changes: T | undefined
    try {
      changes = next()
    } finally {
      if (changes === undefined || changes.size === 0) this.#kept.release(owner)
    }
    return changes.size === 0 ? undefined : changes
  }

  /** The account is no more. */
  forget (account: Jid): void {
    this.#kept.forget(account.toString())
    this.#owners.delete(account.toString())
  }
}

/** What the registrations of an account hold, nearly. */
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

/** Whether what is stored is a registration. */
export function isStored (value: unknown): boolean {
  return hasForm(value, { id: 'string', service: 'string', node: 'string?', options: 'string?', device: 'string', seen: 'number' })
}

function registration (key: string, { service, ...rest }: Stored): Registration {
  return { ...rest, key, service: parseJid(service) }
}

function stored ({ key: _, service, ...rest }: Registration): Stored {
  return { ...rest, service: service.toString() }
}
