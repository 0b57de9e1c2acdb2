/** Slow mode: the time between two messages of one user in a room (XEP-0500). */
import { StanzaError } from '../../lib/api.js'

/** The most users of a room whose last message is remembered. */
const MOST = 10_000
/** About how many bytes of memory one of them takes, besides the address. */
const ENTRY = 100

/** When the users of one room last spoke. */
export class SlowMode {
  /** By bare address, in milliseconds since 1970; the one who spoke last is the last. */
  readonly #spoke = new Map<string, number>()
  #bytes = 0

  /** About how many bytes of memory it takes. */
  get bytes (): number { return this.#bytes }

  /**
   * Notes that a user speaks now. Returns when they spoke before, if that is known. Throws policy-violation of type
   * `wait` if that was less than `seconds` ago.
   */
  take (user: string, now: number, seconds: number): number | undefined {
    const before = this.#spoke.get(user)
    const left = before === undefined ? 0 : before + seconds * 1000 - now
    if (left > 0 && before !== undefined && before <= now) { // the clock may have been set back
      const text = `this room is in slow mode: wait ${seconds} s between two messages, and ${Math.ceil(left / 1000)} s now`
      throw new StanzaError('policy-violation', text, { type: 'wait' })
    }
    this.#set(user, now)
    this.#forget(now - seconds * 1000)
    return before
  }

  /** Notes that the message of a user was not said after all. `at`: when it was; `before`: when they spoke before. */
  giveBack (user: string, at: number, before: number | undefined): void {
    if (this.#spoke.get(user) !== at) return // they have spoken since
    if (before === undefined) this.#remove(user)
    else this.#set(user, before)
  }

  #set (user: string, at: number): void {
    this.#remove(user)
    this.#spoke.set(user, at)
    this.#bytes += ENTRY + 2 * user.length
  }

  #remove (user: string): void {
    if (this.#spoke.delete(user)) this.#bytes -= ENTRY + 2 * user.length
  }

  /** Forgets those who may speak again, and the oldest if there are too many. */
  #forget (until: number): void {
    for (const [user, at] of this.#spoke) {
      if (at > until && this.#spoke.size <= MOST) return
      this.#remove(user)
    }
  }
}
