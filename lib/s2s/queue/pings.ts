/** Pings (XEP-0199) servers without stream management: the answer shows that all that was sent before has come. */
import { Cache } from '../../base/cache.js'
import type { Timer } from '../../base/clock.js'
import { xml } from '../../xml/element.js'
import { NS } from '../../xml/namespaces.js'
import { octets } from '../../xml/writer.js'
import type { AckedStream } from '../acks/acks.js'
import { pairKey } from '../ground/domain-pair.js'
import type { FederationContext } from './context.js'

/** How long an answer may take, in milliseconds. It comes on another stream. */
const PING_TIMEOUT = 30_000
/** The most pings that wait for an answer, and the most servers known to answer. */
const MOST = 20_000

interface Asked { readonly timer: Timer, readonly answered: (isThere: boolean) => void }

export class Pings {
  readonly #world: FederationContext
  readonly #asked = new Map<string, Asked>()
  readonly #answering = new Cache<string, true>({ max: MOST })

  constructor (world: FederationContext) { this.#world = world }

  /** True if a server has answered before. An error is an answer, too. */
  isAnswering (remote: string): boolean { return this.#answering.has(remote) }

  /** Pings `remote` in the name of `local`. Returns false if too many pings wait for an answer. */
  ping (local: string, remote: string, bearer: Pick<AckedStream, 'write'>, answered: (isThere: boolean) => void): boolean {
    if (this.#asked.size >= MOST) return false
    const id = this.#world.ids.next()
    const key = `${pairKey(local, remote)} ${id}`
    const timer = this.#world.clock.after(PING_TIMEOUT, () => {
      this.#asked.delete(key)
      answered(false)
    })
    this.#asked.set(key, { timer, answered })
    bearer.write(octets(xml('iq', { type: 'get', id, from: local, to: remote }, xml('ping', { xmlns: NS.PING }))))
    return true
  }

  /** Pings as `ping` does. Resolves with true if an answer came. */
  asks (local: string, remote: string, bearer: Pick<AckedStream, 'write'>): Promise<boolean> {
    return new Promise(resolve => {
      if (!this.ping(local, remote, bearer, resolve)) resolve(false)
    })
  }

  /**
   * True if an id answers one of the pings; settles it then. The caller has checked that `remote` sent it to `local`.
   */
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
