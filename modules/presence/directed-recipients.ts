/** The recipients of a device's directed presence, and the bytes of their addresses. */
import { parseJid } from '../../lib/api.js'
import type { Jid } from '../../lib/api.js'

const NONE: readonly Jid[] = []

/** A map of recipients that counts the bytes of its keys, and finds all recipients at one bare address. */
export class DirectedRecipients extends Map<string, Jid> {
  #bytes = 0
  /** By bare address. */
  readonly #byBare = new Map<string, readonly Jid[]>()

  /** Makes a map from addresses as they were stored. */
  static of (addresses: readonly string[]): DirectedRecipients {
    const told = new DirectedRecipients()
    for (const address of addresses) told.set(address, parseJid(address))
    return told
  }

  /** The bytes of all addresses. */
  get bytes (): number { return this.#bytes }

  /** The recipients that have this bare address, without a look at any other. */
  at (bare: Jid): readonly Jid[] { return this.#byBare.get(bare.toString()) ?? NONE }

  override set (key: string, to: Jid): this {
    this.delete(key)
    this.#bytes += Buffer.byteLength(key)
    const bare = to.bare.toString()
    this.#byBare.set(bare, [...this.#byBare.get(bare) ?? NONE, to])
    return super.set(key, to)
  }

  override delete (key: string): boolean {
    const to = this.get(key)
    if (to === undefined) return false
    this.#bytes -= Buffer.byteLength(key)
    const bare = to.bare.toString()
    const others = this.at(to.bare).filter(other => other !== to)
    if (others.length > 0) this.#byBare.set(bare, others)
    else this.#byBare.delete(bare)
    return super.delete(key)
  }

  override clear (): void {
    this.#bytes = 0
    this.#byBare.clear()
    super.clear()
  }
}
