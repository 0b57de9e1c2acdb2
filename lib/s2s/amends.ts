/** What servers that were away have to hear once they are back: who of ours has gone meanwhile; and that they were away. */
import { Cache } from '../base/cache.js'
import { xml } from '../xml/element.js'
import { stanza as stanzaOf, type Addressed } from '../xmpp/stanza.js'
import { pairKey } from './waiting.js'

/** Pairs of domains; and presences that are owed to all of them together. */
const MOST_PAIRS = 10_000
const MOST_OWED = 20_000

/** A pair of domains whose link was cut, or could not be made, and is there again. */
export interface Returned { readonly local: string, readonly remote: string, readonly owed: readonly Addressed[] }

export class Amends {
  /** Pairs that are away, each with what is owed: by sender and recipient. */
  readonly #away = new Cache<string, Map<string, Addressed>>({ max: MOST_PAIRS, dispose: owed => { this.#count -= owed.size } })
  readonly #back = new Map<string, { readonly local: string, readonly remote: string }>()
  #count = 0

  /** What was under way to it, or from it, may be lost. */
  away (local: string, remote: string): void {
    const key = pairKey(local, remote)
    if (!this.#away.has(key)) this.#away.set(key, new Map())
  }

  /** It is there again: `settle` will say so. */
  back (local: string, remote: string): void {
    const key = pairKey(local, remote)
    if (this.#away.has(key)) this.#back.set(key, { local, remote })
  }

  /** A presence did not reach it. That somebody is gone is owed; who is here will be told anew. */
  lost (stanza: Addressed): void {
    const { from, to } = stanza
    this.away(from.domain, to.domain)
    const owed = this.#owedTo(stanza)
    if (owed === undefined || stanza.type !== 'unavailable' || this.#count >= MOST_OWED) return
    const key = keyOf(stanza)
    if (!owed.has(key)) this.#count++
    owed.set(key, stanzaOf(xml('presence', { type: 'unavailable' }), from, to)) // nothing of what it was parsed from is kept
  }

  /** A later presence of the same to the same: what was owed is out of date. */
  overtaken (stanza: Addressed): void {
    if (this.#count > 0 && this.#owedTo(stanza)?.delete(keyOf(stanza)) === true) this.#count--
  }

  /** Those that are back since the last call. */
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

  #owedTo ({ from, to }: Addressed): Map<string, Addressed> | undefined { return this.#away.get(pairKey(from.domain, to.domain)) }
}

function keyOf ({ from, to }: Addressed): string { return `${from.toString()} ${to.toString()}` }
