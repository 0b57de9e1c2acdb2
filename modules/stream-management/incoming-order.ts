/** Counts stanzas from a device in order of arrival, and acknowledges them once they are stored (XEP-0198 §4). */
import { Arrivals, management } from '../../lib/api.js'
import type { Arrival, Batch, Timer } from '../../lib/api.js'

/** The longest time that an answer to `<r/>` waits for storage, in milliseconds (XEP-0198 §4). */
const LONGEST = 5000

/** The functions that IncomingOrder asks of its session: how the count is stored and sent. */
export interface IncomingOrderHome {
  /** Stores the count now by itself; the outcome is reported by the batch that `submitted` gets. */
  commit (): void
  /** Called if the count could not be stored and is due again. */
  unstored (): void
  tell (octets: string): void
  /** Logs an exception that was thrown when a stanza was settled. */
  failed (error: unknown): void
  /** Runs `run` after `ms` milliseconds. */
  after (ms: number, run: () => void): Timer
}

/** The incoming side of one managed session. Its stanzas are settled in the order of their arrival. */
export class IncomingOrder implements management.InboundHome {
  readonly #home: IncomingOrderHome
  readonly #arrivals: Arrivals
  readonly #inbound: management.Inbound
  #count: number
  /** The count that was submitted to storage. */
  #submitted: number

  constructor (home: IncomingOrderHome, count = 0) {
    this.#home = home
    this.#arrivals = new Arrivals(() => { this.#count++ }, error => { home.failed(error) })
    this.#count = this.#submitted = count
    this.#inbound = new management.Inbound(this, LONGEST, count)
  }

  // ---- For the answers to `<r/>` -------------------------------------------------------------

  whenCounted (then: (count: number) => void): void { this.#arrivals.afterAll(() => { then(this.#count) }) }
  isAwaited (): void { if (this.isBehind) this.#home.commit() }
  tell (octets: string): void { this.#home.tell(octets) }
  after (ms: number, run: () => void): Timer { return this.#home.after(ms, run) }

  // ---- For the session -----------------------------------------------------------------------

  /** The number of stanzas that have arrived and are settled. */
  get count (): number { return this.#count }
  /** True if all of them are stored and can be acknowledged. */
  get isStored (): boolean { return this.#inbound.stored >= this.#count }
  /** True if some of them were not submitted to storage. */
  get isBehind (): boolean { return this.#submitted < this.#count }

  /** Notes the arrival of a stanza. */
  arrive (): Arrival { return this.#arrivals.arrive() }

  /** Handles `<r/>`. */
  asked (): void { this.#inbound.asked() }

  /** Called if stanzas wait for earlier ones. If `isSo` still holds after 5 s, the count is sent. */
  waits (isSo: () => boolean): void { this.#inbound.waits(isSo) }

  /** Notes that the count is part of this batch. */
  submitted (batch: Batch): void {
    const count = this.#submitted = this.#count
    batch.committed(() => { this.#inbound.store(count) })
    // The next batch stores the count again. Until one is committed, the device gets no acknowledgement and keeps its
    // stanzas.
    batch.failed(() => {
      this.#submitted = this.#inbound.stored
      this.#home.unstored()
    })
  }

  /** Resolves with the count once all stanzas that have arrived are settled. */
  settled (): Promise<number> {
    return new Promise(resolve => { this.#arrivals.afterAll(() => { resolve(this.#count) }) })
  }

  /** Sends `<a/>` with the count that is stored. */
  acknowledge (): void { this.#inbound.tell() }

  /** Cancels a due answer: a resumed session gets the count with `<resumed/>`. */
  forget (): void { this.#inbound.forget() }
}
