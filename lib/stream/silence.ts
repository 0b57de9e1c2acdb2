/** Watches a stream for silence (RFC 6120 §4.6): sends keepalives, and detects peers that are gone. */
import type { Clock, Timer } from '../base/clock.js'

/** Times of silence, in milliseconds. */
export interface WatchTimes {
  /** The silence after which a keepalive is sent, which shows whether the connection still works; undefined: never. */
  readonly keepalive: number | undefined
  /** The silence after which the peer counts as gone. */
  readonly idle: number
}

/** Uses one timer per stream and sets it only when it runs, so that received data costs no timer. */
export class Watch {
  readonly #clock: Clock
  readonly #times: WatchTimes
  readonly #send: () => void
  readonly #gone: () => void
  #heard: number
  #sent: number
  #timer: Timer | undefined

  /** `send`: sends a keepalive. `gone`: ends the stream. */
  constructor (clock: Clock, times: WatchTimes, send: () => void, gone: () => void) {
    this.#clock = clock
    this.#times = times
    this.#send = send
    this.#gone = gone
    this.#heard = this.#sent = clock.now()
    this.#arm()
  }

  /** When the peer was last heard, in milliseconds since 1970. */
  get heard (): number { return this.#heard }

  hear (): void { this.#heard = this.#clock.now() }

  stop (): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  get #next (): number {
    const { keepalive } = this.#times
    return keepalive === undefined ? Infinity : Math.max(this.#heard, this.#sent) + keepalive
  }

  #arm (): void {
    const due = Math.min(this.#heard + this.#times.idle, this.#next)
    this.#timer = this.#clock.after(Math.max(1, due - this.#clock.now()), () => { this.#ring() })
  }

  #ring (): void {
    const now = this.#clock.now()
    this.#timer = undefined
    if (now >= this.#heard + this.#times.idle) { this.#gone(); return }
    if (now >= this.#next) {
      this.#sent = now
      this.#send()
    }
    this.#arm()
  }
}
