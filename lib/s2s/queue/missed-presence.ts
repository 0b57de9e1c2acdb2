/** Remembers which servers were away, and the unavailable presence that they missed, until they are back. */
import { Cache } from '../../base/cache.js'
import { serverReturned } from '../../host/events.js'
import { xml } from '../../xml/element.js'
import { stanza as stanzaOf, type Addressed } from '../../xmpp/stanza.js'
import { pairKey } from '../ground/domain-pair.js'
import type { FederationContext } from './context.js'

/** The most pairs of domains, and the most presences that are kept for all pairs together. */
const MOST_PAIRS = 10_000
const MOST_OWED = 20_000

/**
 * A pair of domains whose link was lost or could not be made, and is there again. `owed`: the presences that the peer
 * missed.
 */
export interface Returned { readonly local: string, readonly remote: string, readonly owed: readonly Addressed[] }

export class MissedPresence {
  /** The pairs that are away. Each has its missed presences, by sender and recipient. */
  readonly #away = new Cache<string, Map<string, Addressed>>({
    max: MOST_PAIRS, dispose: owed => { this.#count -= owed.size },
  })
  readonly #back = new Map<string, { readonly local: string, readonly remote: string }>()
  #count = 0

  /** Marks a pair as away: stanzas on their way in either direction may be lost. */
  away (local: string, remote: string): void {
    const key = pairKey(local, remote)
    if (!this.#away.has(key)) this.#away.set(key, new Map())
  }

  /** Marks a pair as back. The next `settle` returns it. */
  back (local: string, remote: string): void {
    const key = pairKey(local, remote)
    if (this.#away.has(key)) this.#back.set(key, { local, remote })
  }

  /**
   * Records a presence that could not be delivered. Only unavailable presence is kept; available presence is sent again
   * anyway.
   */
  lost (stanza: Addressed): void {
    const { from, to } = stanza
    this.away(from.domain, to.domain)
    const owed = this.#owedTo(stanza)
    if (owed === undefined || stanza.type !== 'unavailable' || this.#count >= MOST_OWED) return
    const key = keyOf(stanza)
    if (!owed.has(key)) this.#count++
    // keeps nothing of the stanza that was parsed
    owed.set(key, stanzaOf(xml('presence', { type: 'unavailable' }), from, to))
  }

  /** Removes the missed presence of a sender and recipient, because a later one replaces it. */
  overtaken (stanza: Addressed): void {
    if (this.#count > 0 && this.#owedTo(stanza)?.delete(keyOf(stanza)) === true) this.#count--
  }

  /** Returns the pairs that came back since the last call, and forgets them. */
  settle (): readonly Returned[] {
    const returned: Returned[] = []
    for (const [key, { local, remote }] of this.#back) {
      const owed = this.#away.get(key)
      if (owed !== undefined) returned.push({ local, remote, owed: [...owed.values()] })
      this.#away.delete(key)
    }
    this.#back.clear()
    return returned
  }

  #owedTo ({ from, to }: Addressed): Map<string, Addressed> | undefined {
    return this.#away.get(pairKey(from.domain, to.domain))
  }
}

/** Sends the presences that returned servers missed, and tells our hosts that these servers are back. */
export function settleReturned (amends: MissedPresence, world: FederationContext): void {
  for (const { local, remote, owed } of amends.settle()) {
    for (const stanza of owed) world.pipeline.route(stanza)
    void world.host(local)?.hooks.fire(serverReturned, { peer: remote })
  }
}

function keyOf ({ from, to }: Addressed): string { return `${from.toString()} ${to.toString()}` }
