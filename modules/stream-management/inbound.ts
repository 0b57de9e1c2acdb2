/** What has come from a device (XEP-0198 §4): counted in the order in which it came, and acknowledged once that is stored. */
import { Arrivals, management } from '../../lib/api.js'
import type { Arrival, Batch } from '../../lib/api.js'

/** How the count is stored, and told to the device. */
export interface InboundHome {
  /** Adds what says how many have come, and whatever else is due. */
  write (batch: Batch): void
  /** Stores it now, with nothing else; it is told by `write` and its outcome. */
  commit (): void
  /** It could not be stored: it is due again. */
  unstored (): void
  tell (octets: string): void
  /** What settled a stanza has thrown: a defect, to be logged. */
  failed (error: unknown): void
}

export class Inbound {
  readonly #home: InboundHome
  readonly #arrivals: Arrivals
  #count: number
  /** How many have come, as far as storage knows, and as far as it has been told. */
  #stored: number
  #submitted: number
  /** The device waits to hear of so many. */
  #owed: number | undefined

  constructor (home: InboundHome, count = 0) {
    this.#home = home
    this.#arrivals = new Arrivals(() => { this.#count++ }, error => { home.failed(error) })
    this.#count = this.#stored = this.#submitted = count
  }

  /** How many have come and are settled. */
  get count (): number { return this.#count }
  /** All of them are stored: they may be told. */
  get isStored (): boolean { return this.#stored >= this.#count }
  /** Storage has not been told of all of them. */
  get isBehind (): boolean { return this.#submitted < this.#count }

  arrive (): Arrival { return this.#arrivals.arrive() }

  /** `<r/>`: it is answered with all that came before it. */
  asked (): void {
    this.#arrivals.behind(() => {
      this.#owed = this.#count
      if (!this.#answer() && this.isBehind) this.#home.commit()
    })
  }

  /** The count is part of this batch. */
  submitted (batch: Batch): void {
    const count = this.#submitted = this.#count
    batch.committed(() => {
      this.#stored = Math.max(this.#stored, count)
      this.#answer()
    })
    // The next batch says it anew. Until one is stored the device hears nothing: it may not forget what it has said.
    batch.failed(() => {
      this.#submitted = this.#stored
      this.#home.unstored()
    })
  }

  /** Resolves with the count once everything that has come is settled. */
  settled (): Promise<number> {
    return new Promise(resolve => { this.#arrivals.behind(() => { resolve(this.#count) }) })
  }

  /** Who resumes is told by `<resumed/>`. */
  forget (): void { this.#owed = undefined }

  /** Says what is owed, if it is stored by now. */
  #answer (): boolean {
    if (this.#owed === undefined || this.#stored < this.#owed) return false
    this.#owed = undefined
    this.#home.tell(management.answer(management.counted(this.#stored, 0)))
    return true
  }
}
