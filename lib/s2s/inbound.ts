/** What has come on a managed stream of another server (XEP-0198 §4): counted in the order in which it came, and only once it is stored. */
import type { Arrival } from '../host/arrivals.js'
import type { ReleaseOrder } from '../host/order.js'
import { counted } from '../stream/stream-management.js'

export interface Place extends Arrival {
  /** The last that has come is not taken, and nothing comes behind it. */
  refuse (): void
}

interface Counted { isSettled: boolean, isHandled: boolean }

export class Inbound {
  readonly #changed: () => void
  #places: Counted[] = []
  #head = 0
  #handled: number
  #waits: (() => void)[] = []

  /** `changed`: more is handled than before. `handled`: so much is, where it is taken up behind a restart. */
  constructor (changed: () => void, handled = 0) {
    this.#changed = changed
    this.#handled = handled
  }

  /** So many have come, and are stored, answered or of no use to anybody: the `h` of `<a/>`. */
  get handled (): number { return this.#handled }
  /** So many have come, those on their way to storage included. */
  get arrived (): number { return counted(this.#handled, this.#places.length - this.#head) }

  /** One more has come. It is handled once what it stores is stored, and what came before it is handled. */
  arrive (order: ReleaseOrder): Place {
    const place: Counted = { isSettled: false, isHandled: false }
    this.#places.push(place)
    return {
      // One user's stanza does not wait for those of the others.
      isFirst: true,
      whenFirst: run => { run() },
      settle: run => {
        if (place.isSettled) { run(); return }
        place.isSettled = true
        run() // it does not wait for its turn: what one user's stanza waits for is nothing to the others
        order.release(0, () => {
          place.isHandled = true
          this.#count()
        })
      },
      refuse: () => {
        if (this.#places.at(-1) !== place) return
        this.#places.pop()
        this.#told()
      },
    }
  }

  /** Resolves once all that has come so far is handled. */
  settled (): Promise<void> {
    return new Promise(resolve => {
      if (this.#head === this.#places.length) resolve()
      else this.#waits.push(resolve)
    })
  }

  #count (): void {
    const before = this.#head
    while (this.#places[this.#head]?.isHandled === true) this.#head++
    if (this.#head === before) return
    this.#handled = counted(this.#handled, this.#head - before)
    if (this.#head === this.#places.length) {
      this.#places = []
      this.#head = 0
      this.#told()
    } else if (this.#head > 64 && this.#head * 2 > this.#places.length) {
      this.#places = this.#places.slice(this.#head)
      this.#head = 0
    }
    this.#changed()
  }

  #told (): void {
    if (this.#head === this.#places.length) for (const resolve of this.#waits.splice(0)) resolve()
  }
}
