/** Answers `<r/>` with the count of stanzas that came and are stored (XEP-0198 §4). */
import type { Timer } from '../../base/clock.js'
import { answer } from './elements.js'

/** The needs of `Inbound`, met by its owner. */
export interface InboundHome {
  /** Calls `then` with the count of all stanzas that have come so far, as soon as they are counted. */
  whenCounted (then: (count: number) => void): void
  /** Called if the peer waits for a count that is not stored: it may be stored now. */
  isAwaited? (): void
  /** Writes to the stream, if there is one. */
  tell (octets: string): void
  /** Runs `run` after `ms` milliseconds. */
  after (ms: number, run: () => void): Timer
}

/**
 * The incoming side of a stream. It outlives the stream. Counts are not wrapped here: 2⁵³ stanzas are enough for one
 * session.
 */
export class Inbound {
  readonly #home: InboundHome
  readonly #longest: number
  #stored: number
  /** The count that the peer waits for. */
  #owed: number | undefined
  /** The peer has sent `<r/>` and not been answered since. */
  #isAsked = false
  #timer: Timer | undefined

  /**
   * `longest`: how long an answer may wait for storage, in milliseconds. `stored`: the count so far, if the stream
   * resumes another.
   */
  constructor (home: InboundHome, longest: number, stored = 0) {
    this.#home = home
    this.#longest = longest
    this.#stored = stored
  }

  /** The number of stanzas that came and are stored, so that the peer may forget them. */
  get stored (): number { return this.#stored }

  /** Notes that the first `count` stanzas are stored. */
  store (count: number): void {
    if (count <= this.#stored) return
    this.#stored = count
    this.#answer()
  }

  /**
   * Handles `<r/>`: answers once everything before it is stored. §4: the answer must not be withheld. After `longest`
   * it says how much is stored so far, and is repeated once the rest is stored.
   */
  asked (): void {
    this.#isAsked = true
    this.#home.whenCounted(count => {
      this.#owed = count
      if (!this.#answer()) this.#home.isAwaited?.()
    })
    if (this.isAsked) this.#wait(() => false)
  }

  /**
   * Called if stanzas wait for earlier ones, with possibly an `<r/>` among them. If `isSo` still holds after `longest`,
   * the count is sent.
   */
  waits (isSo: () => boolean): void { this.#wait(isSo) }

  /** Sends the last `<a/>` on a stream. */
  tell (): void {
    this.#rest()
    this.#home.tell(answer(this.#stored))
  }

  /** Cancels a due answer: on a resumed stream the count comes with `<resumed/>`. */
  forget (): void {
    this.#owed = undefined
    this.#rest()
  }

  /** The peer has sent `<r/>` and not been answered since. */
  get isAsked (): boolean { return this.#isAsked }

  #wait (isBlocked: () => boolean): void {
    if (this.#longest === 0) { this.tell(); return }
    this.#timer ??= this.#home.after(this.#longest, () => {
      this.#timer = undefined
      if (this.#isAsked || isBlocked()) this.tell()
    })
  }

  /** Sends the due answer if it is stored. True if it was sent. */
  #answer (): boolean {
    if (this.#owed === undefined || this.#stored < this.#owed) return false
    this.#owed = undefined
    this.tell()
    return true
  }

  #rest (): void {
    this.#isAsked = false
    this.#timer?.cancel()
    this.#timer = undefined
  }
}
