/** Requests acknowledgements, one at a time (XEP-0198 §4). */
import type { Timer } from '../../base/clock.js'
import { counted, distance } from './counters.js'
import { REQUEST } from './elements.js'

/** The needs of a request loop, met by its owner. */
export interface RequestLoopHome {
  /** The time in milliseconds since 1970. */
  now (): number
  /** Writes to the stream, if there is one. */
  write (octets: string): void
}

/**
 * How an answer that does not come is missed. A peer that stores before it acknowledges may answer twice: then the
 * first answer is not enough, and without progress the request is repeated.
 */
export interface RequestPatience {
  /** The milliseconds after which a request is repeated. */
  readonly again: number
  /** How often it is sent without progress. After that, `gaveUp` is called. */
  readonly times: number
  /** Runs `run` after `ms` milliseconds. */
  after (ms: number, run: () => void): Timer
  gaveUp (): void
}

/** At most one `<r/>` is open at a time: its answer covers everything sent before. */
export class RequestLoop {
  readonly #home: RequestLoopHome
  readonly #patience: RequestPatience | undefined
  #askedAt: number | undefined
  /** The count that the answer has to reach. */
  #target = 0
  #times = 0
  #timer: Timer | undefined

  /** Without `patience` every answer counts, and the owner looks at `askedAt`. */
  constructor (home: RequestLoopHome, patience?: RequestPatience) {
    this.#home = home
    this.#patience = patience
  }

  /** When the open `<r/>` was sent, in milliseconds since 1970; undefined if none is open. */
  get askedAt (): number | undefined { return this.#askedAt }

  /** Sends `<r/>` unless one is open. `sent`: the count of stanzas that were sent. True if it was sent. */
  ask (sent: number): boolean {
    if (this.#askedAt !== undefined) return false
    this.#ask(sent)
    return true
  }

  /**
   * Handles `<a/>`. `before`: the count of acknowledged stanzas before it. `sent`: the count of sent ones. Returns true
   * if `h` covers all that was sent before the last `<r/>`.
   */
  answered (h: number, before: number, sent: number): boolean {
    if (h !== before) this.#times = 0
    const covers = isReached(this.#target, h, sent)
    if (this.#askedAt !== undefined && (covers || this.#patience === undefined)) this.rest()
    return covers
  }

  /** Stops waiting for an answer. */
  rest (): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#askedAt = undefined
    this.#times = 0
  }

  #ask (sent: number): void {
    const patience = this.#patience
    this.#target = counted(sent, 0)
    this.#askedAt = this.#home.now()
    this.#home.write(REQUEST)
    if (patience === undefined) return
    this.#timer?.cancel()
    this.#timer = patience.after(patience.again, () => {
      if (++this.#times < patience.times) this.#ask(this.#target)
      else patience.gaveUp()
    })
  }
}

/** True if `h` has reached the target, or the target is no count of sent stanzas any more. */
function isReached (target: number, h: number, sent: number): boolean {
  const missing = distance(h, target)
  return missing === 0 || missing > distance(h, sent)
}
