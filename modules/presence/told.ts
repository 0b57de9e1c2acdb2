/** Whom a device has sent its presence besides its subscribers, and how many bytes their addresses have together. */
import { parseJid } from '../../lib/api.js'
import type { Jid } from '../../lib/api.js'

export class Told extends Map<string, Jid> {
  #bytes = 0

  /** `addresses`: as they were written. */
  static of (addresses: readonly string[]): Told {
    const told = new Told()
    for (const address of addresses) told.set(address, parseJid(address))
    return told
  }

  get bytes (): number { return this.#bytes }

  override set (key: string, to: Jid): this {
    if (!this.has(key)) this.#bytes += Buffer.byteLength(key)
    return super.set(key, to)
  }

  override delete (key: string): boolean {
    if (this.has(key)) this.#bytes -= Buffer.byteLength(key)
    return super.delete(key)
  }

  override clear (): void {
    this.#bytes = 0
    super.clear()
  }
}
