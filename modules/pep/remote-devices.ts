/**
 * The devices of contacts on other servers, as far as their presence has come for an account of this host. Bounded in
 * bytes: for a device that is forgotten, the last items are sent again with its next presence.
 */
import { FairCache, jidOf } from '../../lib/api.js'
import type { Jid } from '../../lib/api.js'

/** Bytes of the contacts of one other domain, and of all. */
const OF_ONE = 2 * 1024 * 1024
const OF_ALL = 16 * 1024 * 1024
/** Bytes of a contact, of a device and of an account beside their names, about. */
const CONTACT = 200
const DEVICE = 200
const ACCOUNT = 60
/** Bytes of a node that a device is interested in beside its name, and of the nodes of usual software, about. */
const NODE = 60
const USUAL = 4096
/** The most devices of one contact. */
const MOST = 30

/** By account: the nodes whose last items the device has got from it. */
type Served = Map<string, ReadonlySet<string>>
/** By resource. */
type Devices = Map<string, Served>

const NOTHING: ReadonlySet<string> = new Set()

export class RemoteDevices {
  readonly #contacts = new FairCache<Devices>({ each: OF_ONE, all: OF_ALL, sizeOf: bytesOf })

  /** Notes that a device is available for an account. Returns false if there are too many. */
  came (device: Jid, account: Jid): boolean {
    const { domain, resource } = device
    const devices = this.#contacts.get(domain, keyOf(device)) ?? new Map<string, Served>()
    const served = devices.get(resource) ?? new Map<string, ReadonlySet<string>>()
    if (served.has(account.toString())) return true
    if (!devices.has(resource) && devices.size >= MOST) return false
    devices.set(resource, served.set(account.toString(), NOTHING))
    this.#contacts.set(domain, keyOf(device), devices)
    return true
  }

  /** Notes that a device, or without a resource all devices of a contact, are gone for an account. */
  left (device: Jid, account: Jid): void {
    const { domain, resource } = device
    const devices = this.#contacts.get(domain, keyOf(device))
    if (devices === undefined) return
    for (const [name, served] of [...devices]) {
      if (resource !== '' && name !== resource) continue
      served.delete(account.toString())
      if (served.size === 0) devices.delete(name)
    }
    if (devices.size === 0) this.#contacts.delete(domain, keyOf(device))
    else this.#contacts.set(domain, keyOf(device), devices)
  }

  /** Returns the devices of a contact that are available for an account. */
  of (contact: Jid, account: Jid): readonly Jid[] {
    const devices = this.#contacts.get(contact.domain, keyOf(contact))
    if (devices === undefined) return []
    return [...devices].filter(([, served]) => served.has(account.toString()))
      .map(([resource]) => jidOf(contact.local, contact.domain, resource))
  }

  /** Returns the accounts for which a device is available. */
  accountsOf (device: Jid): readonly string[] {
    return [...this.#contacts.get(device.domain, keyOf(device))?.get(device.resource)?.keys() ?? []]
  }

  /** Returns the nodes whose last items the device has got from the account, and replaces them by others. */
  serve (device: Jid, account: Jid, nodes: ReadonlySet<string>): ReadonlySet<string> {
    const devices = this.#contacts.get(device.domain, keyOf(device))
    const served = devices?.get(device.resource)
    const before = served?.get(account.toString())
    if (devices === undefined || served === undefined || before === undefined) return NOTHING
    if (before === nodes) return before
    served.set(account.toString(), nodes)
    this.#contacts.set(device.domain, keyOf(device), devices) // has another size now
    return before
  }
}

function keyOf (jid: Jid): string { return jid.bare.toString() }

function bytesOf (key: string, devices: Devices): number {
  let bytes = CONTACT + key.length
  for (const [resource, served] of devices) {
    bytes += DEVICE + resource.length
    for (const [account, nodes] of served) bytes += ACCOUNT + account.length + bytesOfInterest(nodes)
  }
  return bytes
}

/** Devices with the same software share a set, so only what is more than usual counts. */
function bytesOfInterest (nodes: ReadonlySet<string>): number {
  let bytes = 0
  for (const node of nodes) bytes += NODE + 2 * node.length
  return Math.max(0, bytes - USUAL)
}
