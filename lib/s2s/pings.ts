/** Whether another server without stream management has come as far as this: a ping (XEP-0199) behind what was sent, and its answer. */
import { Cache } from '../base/cache.js'
import type { Timer } from '../base/clock.js'
import { xml } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { octets } from '../xml/writer.js'
import type { Bearer } from './managed.js'
import { pairKey } from './waiting.js'
import type { FederationWorld } from './world.js'

/** How long an answer may take, in milliseconds; it comes on another stream. */
const PATIENCE = 30_000
/** Pings that wait for an answer, and servers that are known to answer. */
const MOST = 20_000

interface Asked { readonly timer: Timer, readonly answered: (isThere: boolean) => void }

export class Pings {
  readonly #world: FederationWorld
  readonly #asked = new Map<string, Asked>()
  readonly #answering = new Cache<string, true>({ max: MOST })

  constructor (world: FederationWorld) { this.#world = world }

  /** It has answered before. An error is an answer too. */
  isAnswering (remote: string): boolean { return this.#answering.has(remote) }

  /** Asks in the name of `local`. False where too many wait for an answer. */
  ping (local: string, remote: string, bearer: Pick<Bearer, 'write'>, answered: (isThere: boolean) => void): boolean {
    if (this.#asked.size >= MOST) return false
    const id = this.#world.ids.next()
    const key = `${pairKey(local, remote)} ${id}`
    const timer = this.#world.clock.after(PATIENCE, () => {
      this.#asked.delete(key)
      answered(false)
    })
    this.#asked.set(key, { timer, answered })
    bearer.write(octets(xml('iq', { type: 'get', id, from: local, to: remote }, xml('ping', { xmlns: NS.PING }))))
    return true
  }

  /** The same; resolves with whether it has answered. */
  asks (local: string, remote: string, bearer: Pick<Bearer, 'write'>): Promise<boolean> {
    return new Promise(resolve => {
      if (!this.ping(local, remote, bearer, resolve)) resolve(false)
    })
  }

  /** Whether this is one. Called with domains that were checked: `remote` has said it to `local`. */
  isAnswer (local: string, remote: string, id: string): boolean {
    const key = `${pairKey(local, remote)} ${id}`
    const asked = this.#asked.get(key)
    if (asked === undefined) return false
    this.#asked.delete(key)
    this.#answering.set(remote, true)
    asked.timer.cancel()
    asked.answered(true)
    return true
  }

  clear (): void {
    for (const { timer } of this.#asked.values()) timer.cancel()
    this.#asked.clear()
  }
}
