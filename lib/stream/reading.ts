/** Decides whether a stream reads: several reasons to stop are kept apart, and reading goes on when none is left. */
import type { Timer } from '../base/clock.js'
import type { Reader } from './framing.js'
import type { StreamSettings } from './stream-settings.js'
import type { Transport } from './transport.js'

/** The reasons to stop reading, as bits. Each is set and cleared on its own. */
export const WORK = 1, SLOW_READER = 2, OWNER = 4
const RATE = 8, TURN = 16

/** After a piece of this many bytes, more has probably come already. */
const LONG = 16 * 1024

/** The reading side of one stream. */
export class Reading {
  readonly #transport: Transport
  readonly #how: Pick<StreamSettings, 'clock' | 'turns'>
  readonly #reader: Pick<Reader, 'stop' | 'resume'>
  readonly #broken: (error: unknown) => void
  #holds = 0
  /** True if the connection itself is paused. */
  #isPaused = false
  #isOver = false
  #rest: Timer | undefined
  /** Until when nothing is read, in milliseconds since 1970. */
  #restsUntil = 0

  /** `broken`: called with what `reader` throws when it continues with the input that it kept. */
  constructor (
    transport: Transport, how: Pick<StreamSettings, 'clock' | 'turns'>, reader: Pick<Reader, 'stop' | 'resume'>,
    broken: (error: unknown) => void,
  ) {
    this.#transport = transport
    this.#how = how
    this.#reader = reader
    this.#broken = broken
  }

  /** Called before each piece of input is parsed: yields if the turn of the event loop is used up. */
  begin (bytes: number): void {
    const isHeld = (this.#holds & TURN) !== 0
    if (!isHeld) this.yield()
    // The later turn usually comes before more input. To pause the connection each time would cost more than it saves.
    if (isHeld || bytes >= LONG && (this.#holds & TURN) !== 0) this.#pause()
  }

  /** Reads on in a later turn of the event loop if this one is used up. */
  yield (): void {
    const { turns } = this.#how
    if (turns?.isSpent !== true || this.#isOver || (this.#holds & TURN) !== 0) return
    this.#holds |= TURN
    this.#reader.stop()
    turns.later(() => { this.release(TURN) })
  }

  /** Reads nothing until `release` is called with the same reason. */
  hold (why: number): void {
    if (this.#isOver) return
    this.#pause()
    this.#holds |= why
    this.#reader.stop()
  }

  release (why: number): void {
    if ((this.#holds & why) === 0 || this.#isOver) return
    this.#holds &= ~why
    if (this.#holds === 0) this.#proceed()
  }

  /** Reads nothing for `ms` milliseconds. Calls do not add up: the longest one counts. */
  rest (ms: number): void {
    if (this.#isOver) return
    const { clock } = this.#how
    const until = clock.now() + ms
    if (this.#rest !== undefined && this.#restsUntil >= until) return
    this.#rest?.cancel()
    this.#restsUntil = until
    this.hold(RATE)
    this.#rest = clock.after(ms, () => {
      this.#rest = undefined
      this.release(RATE)
    })
  }

  /** Reads on for good: to find the end of the stream. Later calls do nothing. */
  end (): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#rest?.cancel()
    if (this.#holds !== 0) this.#proceed()
  }

  #pause (): void {
    if (this.#isPaused) return
    this.#isPaused = true
    this.#transport.pause()
  }

  #proceed (): void {
    this.#holds = 0
    try {
      this.#reader.resume()
    } catch (error) {
      this.#broken(error)
    }
    if (this.#holds !== 0 || !this.#isPaused) return
    this.#isPaused = false
    this.#transport.resume()
  }
}
