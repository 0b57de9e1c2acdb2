/** What waits for a device that is not looked at, in order, and of presence only the last of each sender. */
import type { Session, Share, Stanza } from '../../lib/api.js'

/** What a device's waiting stanzas add to those of all devices. */
export interface DeviceShare extends Share { readonly session: Session }

export class Held {
  readonly share: DeviceShare
  readonly #waiting = new Map<string | symbol, Stanza>()
  #bytes = 0
  #patient = 0

  constructor (session: Session) { this.share = { bytes: 0, session } }

  /** What waits elsewhere, in its place among what the session sends, is counted here. */
  get length (): number { return this.#waiting.size + this.#patient }
  get bytes (): number { return this.#bytes }

  /** Behind all that waits. */
  add (stanza: Stanza): void { this.#put(Symbol(stanza.kind), stanza) }

  /** The same in place of the one that waits under this key: that one, where there is one. */
  replace (key: string, stanza: Stanza): Stanza | undefined {
    const before = this.remove(key)
    this.#put(key, stanza)
    return before
  }

  /** This waits elsewhere: its session counts it, and keeps it until the device has it. */
  note (stanza: Stanza): void {
    this.#patient++
    this.#bytes += stanza.octets().length
  }

  /** What waits under this key waits no longer here. */
  remove (key: string): Stanza | undefined {
    const found = this.#waiting.get(key)
    if (found === undefined) return undefined
    this.#waiting.delete(key)
    this.#bytes -= found.octets().length
    return found
  }

  /** All of it, in order; nothing is left. */
  take (): readonly Stanza[] {
    const all = [...this.#waiting.values()]
    this.#waiting.clear()
    this.#bytes = this.#patient = 0
    return all
  }

  #put (key: string | symbol, stanza: Stanza): void {
    const kept = stanza.kept() // it must not pin the chunk that it came with
    this.#waiting.set(key, kept)
    this.#bytes += kept.octets().length
  }
}
