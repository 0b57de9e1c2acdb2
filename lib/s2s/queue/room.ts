/** Tells whether another server has room for the next piece of a long answer. */
import type { Room } from '../../host/router.js'
import type { Batch } from '../../storage/store.js'
import { DRAW_WATER } from '../../stream/bounds.js'
import type { Addressed } from '../../xmpp/stanza.js'
import type { DomainQueue } from './domain-queue.js'
import { pairKey } from '../ground/domain-pair.js'

export class Rooms {
  readonly #links: ReadonlyMap<string, DomainQueue>
  readonly #isAway: (local: string, remote: string) => boolean
  /** The bytes of stanzas that wait for their commit, by pair of domains. Their links do not know them yet. */
  readonly #coming = new Map<string, number>()

  /** `links`: by pair of domains. `isAway`: true if the other server cannot be reached for now. */
  constructor (links: ReadonlyMap<string, DomainQueue>, isAway: (local: string, remote: string) => boolean) {
    this.#links = links
    this.#isAway = isAway
  }

  /** Counts a stanza until the returned function is called, or the batch fails. */
  coming (stanza: Addressed, batch: Batch): () => void {
    const pair = pairKey(stanza.from.domain, stanza.to.domain)
    let bytes = stanza.octets().length
    const arrived = (): void => {
      this.#change(pair, -bytes)
      bytes = 0
    }
    this.#change(pair, bytes)
    batch.failed(arrived)
    return arrived
  }

  /** Returns the room that a remote domain has for stanzas from a local one. */
  of (local: string, remote: string): Room {
    const pair = pairKey(local, remote)
    const links = this.#links
    const coming = this.#coming
    const isAway = this.#isAway
    return {
      get isGone () { return links.get(pair)?.hasStream !== true && isAway(local, remote) },
      get hasRoom () { return (coming.get(pair) ?? 0) <= DRAW_WATER && links.get(pair)?.hasRoom !== false },
      drained: then => { links.get(pair)?.carrier?.drained(then) },
    }
  }

  #change (pair: string, by: number): void {
    const bytes = (this.#coming.get(pair) ?? 0) + by
    if (bytes > 0) this.#coming.set(pair, bytes)
    else this.#coming.delete(pair)
  }
}
