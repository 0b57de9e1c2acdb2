/** Sends stanzas, keeps them until the peer acknowledges them, and sends them again on a resumed stream (XEP-0198). */
import { tooHigh } from './elements.js'
import { Unacknowledged, type Sized } from './unacknowledged.js'

/** The needs of `Outbound`, met by its owner: the stream that carries the stanzas now. */
export interface OutboundHome {
  /** Writes one stanza to the stream. */
  write (octets: string): void
  /** True if there is a stream with little unsent data. */
  hasRoom (): boolean
  /**
   * Runs `then` once written data was taken, or the stream has changed. Returns false, and runs nothing, if there is no
   * stream.
   */
  drained (then: () => void): boolean
}

/** The outgoing side of a stream. It outlives the stream. Its owner bounds it by `length` and `bytes`. */
export class Outbound<T extends Sized> {
  readonly #home: OutboundHome
  #items: Unacknowledged<T>
  /** How many of the unacknowledged stanzas are written to the present stream. */
  #written = 0
  #isWaiting = false

  /** `acknowledged`: how many stanzas the peer has acknowledged, if the count goes on. */
  constructor (home: OutboundHome, acknowledged = 0) {
    this.#home = home
    this.#items = new Unacknowledged(acknowledged)
  }

  get length (): number { return this.#items.length }
  get bytes (): number { return this.#items.bytes }
  /** The count of stanzas that the peer has handled. */
  get acknowledged (): number { return this.#items.acknowledged }
  /** The count of stanzas that were sent. */
  get sent (): number { return this.#items.sent }
  /** The last stanza, if it is not acknowledged. */
  get last (): T | undefined { return this.#items.last }
  /** Returns the unacknowledged stanza at an index, counted from the oldest. */
  at (place: number): T | undefined { return this.#items.at(place) }
  /** Returns all unacknowledged stanzas, the oldest first. */
  all (): readonly T[] { return this.#items.all() }

  /** Adds a stanza, which the next `flush` writes. */
  push (item: T): void { this.#items.push(item) }

  /**
   * Writes as much as the peer takes; the rest waits until the stream has drained. So everything unacknowledged can be
   * sent again, however slowly the peer reads. Writing may end the owner, which then takes everything from here.
   */
  flush (): void {
    while (this.#written < this.#items.length) {
      if (!this.#home.hasRoom()) {
        this.#isWaiting ||= this.#home.drained(() => {
          this.#isWaiting = false
          this.flush()
        })
        return
      }
      const item = this.#items.at(this.#written++)
      if (item !== undefined) this.#home.write(item.octets)
    }
  }

  /** §5: sends everything unacknowledged again, on a new stream. */
  repeat (): void {
    this.#written = 0
    this.flush()
  }

  /** Removes and returns what the peer newly acknowledges. Throws StreamError for an impossible count (§6). */
  acknowledge (h: number): readonly T[] {
    const handled = this.#items.acknowledge(h)
    if (handled === undefined) throw tooHigh(h, this.#items.sent)
    this.#written = Math.max(0, this.#written - handled.length)
    return handled
  }

  /** True if `acknowledge` would accept this count. */
  covers (h: number): boolean { return this.#items.covers(h) }

  /** Removes and returns everything unacknowledged. */
  take (): readonly T[] {
    this.#written = 0
    return this.#items.take()
  }

  /** Removes and returns everything unacknowledged, and counts anew from `acknowledged`. */
  restart (acknowledged = 0): readonly T[] {
    const all = this.take()
    this.#items = new Unacknowledged(acknowledged)
    return all
  }
}
