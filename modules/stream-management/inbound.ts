/** What has come from a device (XEP-0198 §4): counted in the order in which it came, and acknowledged once that is stored. */
import { Arrivals, management } from '../../lib/api.js'
import type { Arrival, Batch, Timer } from '../../lib/api.js'

/** How long an answer to `<r/>` may wait for what came before it to be stored, in milliseconds (XEP-0198 §4). */
const LONGEST = 5000

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
  /** Runs `run` in so many milliseconds. */
  after (ms: number, run: () => void): Timer
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
  /** The device has asked, and has heard nothing since. */
  #isAsked = false
  #patience: Timer | undefined

  constructor (home: InboundHome, count = 0) {
    this.#home = home
    this.#arrivals = new Arrivals(() => { this.#count++ }, error => { home.failed(error) })
    this.#count = this.#stored = this.#submitted = count
  }

  /** How many have come and are settled. */
  get count (): number { return this.#count }
  /** So many of them are stored: the device may forget these. */
  get stored (): number { return this.#stored }
  /** The device has asked, and has heard nothing since. */
  get isAsked (): boolean { return this.#isAsked }
  /** All of them are stored: they may be told. */
  get isStored (): boolean { return this.#stored >= this.#count }
  /** Storage has not been told of all of them. */
  get isBehind (): boolean { return this.#submitted < this.#count }

  arrive (): Arrival { return this.#arrivals.arrive() }

  /**
   * `<r/>`: it is answered with all that came before it, as soon as that is stored. §4: the answer is not withheld. After 5 s it says what
   * is stored so far, and is given once more when the rest is.
   */
  asked (): void {
    this.#isAsked = true
    this.#arrivals.behind(() => {
      this.#owed = this.#count
      if (!this.#answer() && this.isBehind) this.#home.commit()
    })
    if (this.isAsked) this.#patience ??= this.#home.after(LONGEST, () => { this.#late(() => false) })
  }

  /** What the device says waits for stanzas before it: it may have asked among that. If it still does after 5 s, it is answered. */
  waits (isSo: () => boolean): void { this.#patience ??= this.#home.after(LONGEST, () => { this.#late(isSo) }) }

  #late (isBlocked: () => boolean): void {
    this.#patience = undefined
    if (this.#isAsked || isBlocked()) this.#tell()
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

  /** Nothing is owed any more: who resumes is told by `<resumed/>`. */
  forget (): void {
    this.#owed = undefined
    this.#rest()
  }

  /** Says what is owed, if it is stored by now. */
  #answer (): boolean {
    if (this.#owed === undefined || this.#stored < this.#owed) return false
    this.#owed = undefined
    this.#tell()
    return true
  }

  #tell (): void {
    this.#rest()
    this.#home.tell(management.answer(management.counted(this.#stored, 0)))
  }

  #rest (): void {
    this.#isAsked = false
    this.#patience?.cancel()
    this.#patience = undefined
  }
}
