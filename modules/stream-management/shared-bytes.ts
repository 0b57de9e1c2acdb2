/** Bounds the bytes of all bodies of broadcasts that are in memory because devices have not acknowledged them. */
import { LARGEST_ANSWER, service } from '../../lib/api.js'
import type { SharedBody } from './shared-body.js'

/** The most bytes of all bodies, over all hosts. */
const MOST = 64 * LARGEST_ANSWER

/** The bodies of all hosts. */
export const sharedBytes = service<SharedBytes>('stream-management.bodies')

/** The bodies in memory, the oldest first, and their bytes. */
export class SharedBytes {
  most = MOST
  readonly #bodies = new Set<SharedBody>()
  /** Each ends the sessions of one host that hold a body. */
  readonly #enders = new Set<(body: SharedBody) => void>()
  #bytes = 0
  #isEnding = false

  get bytes (): number { return this.#bytes }

  /** Takes a function that ends the sessions of a host that hold a body. Returns a function that takes it away. */
  join (end: (body: SharedBody) => void): () => void {
    this.#enders.add(end)
    return () => { this.#enders.delete(end) }
  }

  /** Notes one more holder of a body. May end the sessions that hold the oldest bodies. */
  hold (body: SharedBody): void {
    if (body.holders++ > 0) return
    this.#bodies.add(body)
    this.#bytes += body.bytes
    if (this.#bytes > this.most && !this.#isEnding) this.#shrink()
  }

  /** Notes that a holder of a body has gone. */
  leave (body: SharedBody): void {
    if (--body.holders === 0) this.#forget(body)
  }

  /** Whoever holds the oldest bodies acknowledges least. */
  #shrink (): void {
    this.#isEnding = true
    for (const body of this.#bodies) {
      if (this.#bytes <= this.most) break
      for (const end of this.#enders) end(body)
      this.#forget(body)
    }
    this.#isEnding = false
  }

  #forget (body: SharedBody): void { if (this.#bodies.delete(body)) this.#bytes -= body.bytes }
}
