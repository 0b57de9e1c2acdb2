/** Watches over a silent stream (RFC 6120 §4.6): whitespace keepalives, and the end of those who are gone. */
import type { Clock, Timer } from '../base/clock.js'

/** All in milliseconds. */
export interface WatchTimes {
  /** After so much silence a space is sent, which shows whether the line still stands; undefined: never. */
  readonly keepalive: number | undefined
  /** After so much silence the peer is taken for gone. */
  readonly idle: number
}

/** One timer a stream, set anew only when it runs: what is heard costs no timer. */
export class Watch {
  readonly #clock: Clock
  readonly #times: WatchTimes
  readonly #space: () => void
  readonly #gone: () => void
  #heard: number
  #spaced: number
  #timer: Timer | undefined

  /** `space` sends whitespace; `gone` ends the stream. */
  constructor (clock: Clock, times: WatchTimes, space: () => void, gone: () => void) {
    this.#clock = clock
    this.#times = times
    this.#space = space
    this.#gone = gone
    this.#heard = this.#spaced = clock.now()
    this.#arm()
  }

  /** When the peer was last heard, in milliseconds since 1970. */
  get heard (): number { return this.#heard }

  hear (): void { this.#heard = this.#clock.now() }

  stop (): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  get #nextSpace (): number {
    const { keepalive } = this.#times
    return keepalive === undefined ? Infinity : Math.max(this.#heard, this.#spaced) + keepalive
  }

  #arm (): void {
    const due = Math.min(this.#heard + this.#times.idle, this.#nextSpace)
    this.#timer = this.#clock.after(Math.max(1, due - this.#clock.now()), () => { this.#ring() })
  }

  #ring (): void {
    const now = this.#clock.now()
    this.#timer = undefined
    if (now >= this.#heard + this.#times.idle) { this.#gone(); return }
    if (now >= this.#nextSpace) {
      this.#spaced = now
      this.#space()
    }
    this.#arm()
  }
}
