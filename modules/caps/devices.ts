/** The capabilities of devices: each hash is queried once, and trusted only if the answer matches it. */
import { Cache, child, FairCache, flatten, NS, StanzaError, xml } from '../../lib/api.js'
import type { Jid, ModuleHost, Presence } from '../../lib/api.js'
import { capsOf, featuresOf, isKnownHash, verificationOf, type Caps } from './verification.js'

/** The most answers that are cached, and their bytes. */
const ANSWERS = 2000
const ANSWER_BYTES = 8 * 1024 * 1024
/** Bytes of known devices: of one local account or one remote domain, of all, and of one device beside its names. */
const DEVICES_OF_ONE = 2 * 1024 * 1024
const DEVICES_OF_ALL = 16 * 1024 * 1024
const DEVICE = 100
/** The longest hash with its algorithm name: no known algorithm makes a longer one. */
const LONGEST_KEY = 128
/** The most queries that may be pending at once. */
const QUESTIONS = 100
/** The most features of one answer that are cached, and their characters together: no client needs a third of that. */
const FEATURES = 500
const CHARACTERS = 32_768
/**
 * Devices that may be queried for the same hash at once, so that one silent device does not block the rest; and pending
 * queries to one account.
 */
const ASKED = 3
const QUESTIONS_AN_ACCOUNT = 4
/** The most devices that wait for the reply about one hash. */
const WAITING = 200

/** The features of the devices of a host's accounts and their contacts. */
export class DeviceCaps {
  readonly #host: ModuleHost
  /** The features that each hash stands for. */
  readonly #answers = new Cache<string, ReadonlySet<string>>({
    max: ANSWERS, maxSize: ANSWER_BYTES, sizeCalculation: bytesOf,
  })
  /** The last hash of each device. */
  readonly #devices = new FairCache<string>({
    each: DEVICES_OF_ONE, all: DEVICES_OF_ALL, sizeOf: (name, key) => DEVICE + name.length + key.length,
  })
  readonly #asking = new Counts()
  /** The devices that wait for the reply about a hash. */
  readonly #waiting = new Map<string, Set<Jid>>()
  readonly #learned: (device: Jid) => void
  #questions = 0

  /** `learned` is called for each device whose features have become known after its presence. */
  constructor (host: ModuleHost, learned: (device: Jid) => void) {
    this.#host = host
    this.#learned = learned
  }

  /** Returns the features of a device; undefined if they are not known. */
  of (device: Jid): ReadonlySet<string> | undefined {
    const key = this.#devices.get(this.#groupOf(device), device.toString())
    return key === undefined ? undefined : this.#answers.get(key)
  }

  /** Notes the hash in a device's presence, and queries the device in the name of `asker` if the hash is new. */
  learn (presence: Presence, device: Jid, asker: Jid): void {
    const name = device.toString()
    if (presence.type !== 'available') {
      if (presence.type === 'unavailable') this.#devices.delete(this.#groupOf(device), name)
      return
    }
    const caps = capsOf(presence.child(NS.CAPS, 'c'))
    if (caps === undefined || !isKnownHash(caps.hash)) return
    const key = `${caps.hash} ${caps.ver}`
    if (key.length > LONGEST_KEY) return
    this.#devices.set(this.#groupOf(device), name, key)
    if (this.#answers.has(key)) return
    const mayAsk = this.#mayAsk(key, device)
    if (mayAsk || this.#asking.of(key) > 0) this.#wait(key, device)
    if (mayAsk) void this.#query(device, asker, caps, key)
  }

  #wait (key: string, device: Jid): void {
    const waiting = this.#waiting.get(key) ?? new Set()
    this.#waiting.set(key, waiting)
    if (waiting.size < WAITING) waiting.add(device)
  }

  async #query (device: Jid, asker: Jid, caps: Caps, key: string): Promise<void> {
    const account = device.bare.toString()
    for (const one of [key, account]) this.#asking.add(one, 1)
    this.#questions++
    await this.#ask(device, asker, caps, key).finally(() => {
      for (const one of [key, account]) this.#asking.add(one, -1)
      this.#questions--
      if (this.#asking.of(key) === 0 || this.#answers.has(key)) this.#tell(key)
    })
  }

  /** Tells of the devices that have waited for the features of a hash, unless these are still not known. */
  #tell (key: string): void {
    const waiting = this.#waiting.get(key) ?? []
    this.#waiting.delete(key)
    if (!this.#answers.has(key)) return
    for (const device of waiting) {
      if (this.#devices.get(this.#groupOf(device), device.toString()) === key) this.#learned(device)
    }
  }

  #mayAsk (key: string, device: Jid): boolean {
    if (this.#asking.of(key) >= ASKED || this.#questions >= QUESTIONS) return false
    return this.#asking.of(device.bare.toString()) < QUESTIONS_AN_ACCOUNT
  }

  /**
   * Queries a device, and caches the answer if it matches the hash (§5.4). Otherwise the answer would poison the cache
   * for all devices with that hash.
   */
  async #ask (device: Jid, asker: Jid, caps: Caps, key: string): Promise<void> {
    const { log } = this.#host
    try {
      const query = xml('query', { xmlns: NS.DISCO_INFO, node: `${caps.node}#${caps.ver}` })
      const info = child(await this.#host.ask(device, query, { from: asker }), NS.DISCO_INFO, 'query')
      if (info === undefined || verificationOf(info, caps.hash) !== caps.ver) {
        log.debug('caps rejected', { device: device.toString(), node: caps.node, reason: 'the hash does not match' })
        return
      }
      this.#answers.set(key, new Set(kept(featuresOf(info))))
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error
      log.debug('caps query failed', { device: device.toString(), condition: error.condition })
    }
  }

  /** Returns the account or domain that the cache charges for this device. */
  #groupOf (device: Jid): string {
    return this.#host.router.serves(device.domain) ? device.bare.toString() : device.domain
  }
}

/** Returns the bytes of an answer, with an allowance for each feature. */
function bytesOf (features: ReadonlySet<string>): number {
  let bytes = 1
  for (const feature of features) bytes += 50 + feature.length
  return bytes
}

/** Returns as many features as fit into the bounds, copied into strings of their own. */
function kept (features: readonly string[]): readonly string[] {
  let room = CHARACTERS
  return features.slice(0, FEATURES).filter(feature => (room -= feature.length) >= 0).map(flatten)
}

/** Counts pending queries by name. */
class Counts {
  readonly #counts = new Map<string, number>()

  of (name: string): number { return this.#counts.get(name) ?? 0 }

  add (name: string, by: number): void {
    const count = this.of(name) + by
    if (count > 0) this.#counts.set(name, count)
    else this.#counts.delete(name)
  }
}
