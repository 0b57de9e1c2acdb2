/**
 * Counts the stanzas of a managed stream of another server (XEP-0198 §4) in the order in which they came, once they are
 * stored. Unlike those of a client they are not settled in this order: the stanzas of one user do not wait for those of
 * others.
 */
import { Fifo } from '../../base/fifo.js'
import type { Arrival } from '../../host/arrivals.js'
import type { ReleaseOrder } from '../../host/order.js'

export interface CountedArrival extends Arrival {
  /** Takes this arrival back if it is the last: the stanza is not accepted, and none comes after it. */
  refuse (): void
}

interface Counted { isSettled: boolean, isHandled: boolean }

export class Arrived {
  readonly #changed: (handled: number) => void
  readonly #places = new Fifo<Counted>()
  #handled: number
  #waits: (() => void)[] = []

  /**
   * `changed`: called when more stanzas are handled. `handled`: the count that a stream has when it is resumed after a
   * restart.
   */
  constructor (changed: (handled: number) => void, handled = 0) {
    this.#changed = changed
    this.#handled = handled
  }

  /** The number of stanzas that are stored, answered or dropped. */
  get handled (): number { return this.#handled }
  /** The number of stanzas that came, including those that are not stored yet. */
  get arrived (): number { return this.#handled + this.#places.length }

  /** Counts an arrival. It is handled once its writes are stored and all earlier arrivals are handled. */
  arrive (order: ReleaseOrder): CountedArrival {
    const place: Counted = { isSettled: false, isHandled: false }
    this.#places.push(place)
    return {
      // The stanzas of one user do not wait for those of others.
      isFirst: true,
      whenFirst: run => { run() },
      settle: run => {
        if (place.isSettled) { run(); return }
        place.isSettled = true
        run() // at once: the stanzas of other users do not concern this one
        order.release(0, () => {
          place.isHandled = true
          this.#count()
        })
      },
      refuse: () => {
        if (this.#places.last !== place) return
        this.#places.pop()
        this.#told()
      },
    }
  }

  /** Resolves once all stanzas that came so far are handled. */
  settled (): Promise<void> {
    return new Promise(resolve => {
      if (this.#places.length === 0) resolve()
      else this.#waits.push(resolve)
    })
  }

  #count (): void {
    const before = this.#places.length
    while (this.#places.first?.isHandled === true) this.#places.shift()
    const count = before - this.#places.length
    if (count === 0) return
    this.#handled += count
    this.#told()
    this.#changed(this.#handled)
  }

  #told (): void {
    if (this.#places.length === 0) for (const resolve of this.#waits.splice(0)) resolve()
  }
}
