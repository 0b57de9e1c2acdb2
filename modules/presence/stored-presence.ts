/**
 * Stores which devices are available and the recipients of their directed presence. After a crash, others still see
 * those devices: ghosts.
 */
import { jidOf, ownersAt, parseJid } from '../../lib/api.js'
import type { Clock, Jid, ModuleHost, Records, Timer } from '../../lib/api.js'

/** A change is stored within this many milliseconds, together with others. */
const WITHIN = 1000
/** With this many changes, they are stored at once. */
const MANY = 5000

/** How others saw a device. `told`: the recipients of its directed presence (RFC 6121 §4.6). */
export interface StoredDevice { readonly device: Jid, readonly available: boolean, readonly told: readonly string[] }

interface HereHost {
  readonly domain: string
  readonly clock: Clock
  /**
   * Key: the resource of an available device; or resource, line feed (which no resource contains) and the address of a
   * recipient of directed presence.
   */
  readonly store: Records<true>
  /** True if the device is available now; with `told`, true if that address has its directed presence. */
  seen (device: Jid, told: string | undefined): boolean
  batch (): ReturnType<ModuleHost['batch']>
  trouble (error: unknown): void
}

/** The stored presence of this host's devices. */
export class StoredPresence {
  readonly #host: HereHost
  /** The changes to be stored. The values are read when they are stored. */
  #changed = new Map<string, readonly [device: Jid, told: string | undefined]>()
  #timer: Timer | undefined

  constructor (host: HereHost) { this.#host = host }

  /**
   * Notes that a device became available or unavailable; with `told`, that its directed presence to that address
   * changed.
   */
  changed (device: Jid, told?: string): void {
    this.#changed.set(`${device.toString()}\n${told ?? ''}`, [device, told])
    if (this.#changed.size >= MANY) void this.flush()
    else this.#timer ??= this.#host.clock.after(WITHIN, () => { void this.flush() })
  }

  /** Stores all changes. */
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

  /** Yields the devices that others saw before the restart. */
  async * all (): AsyncGenerator<StoredDevice> {
    const { store, domain } = this.#host
    for await (const owner of ownersAt(store, domain)) yield * await this.#seenAt(owner)
  }

  /** Reads the stored devices of one account. */
  async #seenAt (owner: string): Promise<Iterable<StoredDevice>> {
    try {
      const account = parseJid(owner)
      return seenBy(account, await sound(this.#host.store, account))
    } catch (error) {
      this.#host.trouble(error) // the owner is no valid address
      return []
    }
  }
}

/** Returns the keys with a valid resource. The others are put aside. */
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

/** Groups the keys of one account by device. */
function seenBy (account: Jid, keys: Iterable<string>): Iterable<StoredDevice> {
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
