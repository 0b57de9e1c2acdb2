/** The stanzas that wait for an inactive device, in order. Of each sender's presence only the last is kept. */
import type { SharedShare, Stanza } from '../../lib/api.js'

/** The part of a device's waiting stanzas in the ledger of all devices. */
export interface DeviceShare extends SharedShare { shrink: () => void }

/** The delayed stanzas of one session. */
export class DelayedStanzas {
  readonly share: DeviceShare
  readonly #waiting = new Map<string | symbol, Stanza>()
  #bytes = 0
  #patient = 0

  /** `flush` sends what waits. */
  constructor (flush: () => void) { this.share = { bytes: 0, shrink: flush } }

  /** The number of waiting stanzas, including those in the session's own outgoing queue. */
  get length (): number { return this.#waiting.size + this.#patient }
  get bytes (): number { return this.#bytes }

  /** Adds a stanza at the end. */
  add (stanza: Stanza): void { this.#put(Symbol(stanza.kind), stanza) }

  /** Replaces the stanza with this key, and returns the former one; adds it at the end if there is none. */
  replace (key: string, stanza: Stanza): Stanza | undefined {
    const before = this.remove(key)
    this.#put(key, stanza)
    return before
  }

  /**
   * Counts a stanza that waits in the session's own outgoing queue, which keeps it until the device acknowledges it.
   */
  note (stanza: Stanza): void {
    this.#patient++
    this.#bytes += stanza.octets().length
  }

  /** Removes and returns the stanza with this key. */
  remove (key: string): Stanza | undefined {
    const found = this.#waiting.get(key)
    if (found === undefined) return undefined
    this.#waiting.delete(key)
    this.#bytes -= found.octets().length
    return found
  }

  /** Removes and returns all stanzas in order. */
  take (): readonly Stanza[] {
    const all = [...this.#waiting.values()]
    this.#waiting.clear()
    this.#bytes = this.#patient = 0
    return all
  }

  #put (key: string | symbol, stanza: Stanza): void {
    const kept = stanza.detached() // a copy, so that the stanza does not keep its input buffer in memory
    this.#waiting.set(key, kept)
    this.#bytes += kept.octets().length
  }
}
