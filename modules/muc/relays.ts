/** Requests that occupants send to each other, while their answers are awaited (XEP-0045 §17.4). */
import type { Jid } from '../../lib/api.js'

/**
 * A request on its way. `asker` and `id` are those of the request, `from` is the occupant whom it was sent to. `at`:
 * in milliseconds since 1970.
 */
export interface Relay { readonly asker: Jid, readonly id: string, readonly from: Jid, readonly at: number }

/** The most requests of a room that wait for an answer. */
const MOST = 200

export class Relays {
  /** By the address that answers, and the id that the room gave the request. */
  readonly #waiting = new Map<string, Relay>()

  /** Notes a request. Returns the oldest one if there are too many now: nobody waits for it any more. */
  add (answerer: Jid, id: string, relay: Relay): Relay | undefined {
    const [oldest] = this.#waiting.size < MOST ? [] : this.#waiting
    if (oldest !== undefined) this.#waiting.delete(oldest[0])
    this.#waiting.set(nameOf(answerer, id), relay)
    return oldest?.[1]
  }

  /** Removes and returns the requests from before a moment: nobody has answered them. */
  expire (before: number): readonly Relay[] {
    const late: Relay[] = []
    for (const [name, relay] of this.#waiting) {
      if (relay.at >= before) break // they are in the order in which they came
      this.#waiting.delete(name)
      late.push(relay)
    }
    return late
  }

  /** Returns the request that this answers, once; undefined if there is none. */
  take (answerer: Jid, id: string): Relay | undefined {
    const name = nameOf(answerer, id)
    const relay = this.#waiting.get(name)
    this.#waiting.delete(name)
    return relay
  }
}

function nameOf (answerer: Jid, id: string): string { return `${id} ${answerer.toString()}` }
