/** Which devices are here, and whom else they have told so, written down: what a crash leaves of them in the eyes of others is a ghost. */
import { jidOf, parseJid } from '../../lib/api.js'
import type { Clock, Jid, ModuleHost, Records, Timer } from '../../lib/api.js'

/** What has changed is written down within so many milliseconds, together with what else has. */
const WITHIN = 1000
/** With so many to be written down nobody waits for more. */
const MANY = 5000
/** Accounts that are looked at at a time. */
const PAGE = 500

/** How others saw a device. `told`: whom it had sent its presence besides its subscribers (RFC 6121 §4.6). */
export interface Seen { readonly device: Jid, readonly available: boolean, readonly told: readonly string[] }

interface HereHost {
  readonly domain: string
  readonly clock: Clock
  /** Key: the resource of a device that is available; or that, a line feed, which no resource has, and an address that was told so. */
  readonly store: Records<true>
  /** Whether the device is available now, or whether this address has been told so. */
  seen (device: Jid, told: string | undefined): boolean
  batch (): ReturnType<ModuleHost['batch']>
  trouble (error: unknown): void
}

export class Here {
  readonly #host: HereHost
  /** What is to be written down, as it is by then. */
  #changed = new Map<string, readonly [device: Jid, told: string | undefined]>()
  #timer: Timer | undefined

  constructor (host: HereHost) { this.#host = host }

  /** A device has come or gone; or, where it is said who was told so, that has changed. */
  changed (device: Jid, told?: string): void {
    this.#changed.set(`${device.toString()}\n${told ?? ''}`, [device, told])
    if (this.#changed.size >= MANY) void this.flush()
    else this.#timer ??= this.#host.clock.after(WITHIN, () => { void this.flush() })
  }

  /** Writes down what is due. */
  async flush (): Promise<void> {
    this.#timer?.cancel()
    this.#timer = undefined
    const { store } = this.#host
    const changed = this.#changed
    this.#changed = new Map()
    if (changed.size === 0) return
    const batch = this.#host.batch()
    for (const [device, told] of changed.values()) {
      const key = told === undefined ? device.resource : `${device.resource}\n${told}`
      batch.add(store.putting(device.bare.toString(), key, this.#host.seen(device, told) ? true : undefined))
    }
    await batch.commit().catch((error: unknown) => { this.#host.trouble(error) })
  }

  /** Those that others saw at last. */
  async * all (): AsyncGenerator<Seen> {
    const { store, domain } = this.#host
    for (let after: string | undefined; ;) {
      const owners = await store.owners({ limit: PAGE, ...after === undefined ? {} : { after } })
      for (const owner of owners) {
        if (owner.endsWith(`@${domain}`)) yield * await this.#seenAt(owner)
      }
      after = owners.at(-1)
      if (owners.length < PAGE || after === undefined) return
    }
  }

  /** What is written down of an account. */
  async #seenAt (owner: string): Promise<Iterable<Seen>> {
    try {
      const account = parseJid(owner)
      return seenBy(account, await sound(this.#host.store, account))
    } catch (error) {
      this.#host.trouble(error) // nobody has such an address
      return []
    }
  }
}

/** The keys that name a device. */
async function sound (store: Records<true>, account: Jid): Promise<readonly string[]> {
  const keys: string[] = []
  for (const key of (await store.all(account.toString())).keys()) {
    try {
      jidOf(account.local, account.domain, key.split('\n', 1)[0] ?? '')
      keys.push(key)
    } catch (error) {
      await store.setAside(account.toString(), key, true, error)
    }
  }
  return keys
}

/** What the keys of one account say. */
function seenBy (account: Jid, keys: Iterable<string>): Iterable<Seen> {
  const devices = new Map<string, { readonly device: Jid, available: boolean, readonly told: string[] }>()
  for (const key of keys) {
    const [resource = '', told] = key.split('\n', 2)
    let seen = devices.get(resource)
    if (seen === undefined) {
      seen = { device: jidOf(account.local, account.domain, resource), available: false, told: [] }
      devices.set(resource, seen)
    }
    if (told === undefined) seen.available = true
    else seen.told.push(told)
  }
  return devices.values()
}
