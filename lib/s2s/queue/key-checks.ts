/** Checks dialback keys with the servers of the domains that they are for (XEP-0220 §2.2). */
import { networkOf } from '../../base/network.js'
import { StanzaError } from '../../xmpp/errors.js'
import type { DomainQueue } from './domain-queue.js'
import { LinkError } from '../ground/link-error.js'

/** The most dialback keys that are being checked at a time: in all, and for callers of one network. */
const MOST = 500
const MOST_OF_NETWORK = 50

/** The needs of key checks, met by their owner. */
export interface KeyChecksOwner {
  /** True if no more streams are opened. */
  readonly isClosed: boolean
  /** Why no link is made for now; undefined if one may be. */
  trouble (local: string, remote: string): LinkError | undefined
  /** Returns the link of a pair, new if there is none. Throws StanzaError if there are too many. */
  linkOf (local: string, remote: string): DomainQueue
  /** Takes note that a link may be idle. */
  idle (link: DomainQueue): void
}

export class KeyChecks {
  readonly #owner: KeyChecksOwner
  #running = 0
  readonly #ofNetwork = new Map<string, number>()

  constructor (owner: KeyChecksOwner) { this.#owner = owner }

  /**
   * True if a key that `local` was shown comes from `remote`'s own server. `caller` is the IP address of the server
   * that showed it. Rejects with LinkError.
   */
  async verify (local: string, remote: string, id: string, key: string, caller: string): Promise<boolean> {
    const owner = this.#owner
    const trouble = owner.trouble(local, remote)
    if (trouble !== undefined) throw trouble
    const network = networkOf(caller)
    if (owner.isClosed || this.#running >= MOST || (this.#ofNetwork.get(network) ?? 0) >= MOST_OF_NETWORK) {
      throw new LinkError('resource-constraint', 'too many keys to check', { isPassing: true, fault: 'us' })
    }
    this.#count(network, 1)
    let link: DomainQueue | undefined
    try {
      link = owner.linkOf(local, remote)
      return await (await link.outgoing()).verify(local, remote, id, key)
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error
      throw new LinkError(error.condition, 'too many links', { isPassing: true, fault: 'us' })
    } finally {
      this.#count(network, -1)
      if (link !== undefined) owner.idle(link)
    }
  }
  #count (network: string, by: number): void {
    this.#running += by
    const left = (this.#ofNetwork.get(network) ?? 0) + by
    if (left > 0) this.#ofNetwork.set(network, left)
    else this.#ofNetwork.delete(network)
  }
}
