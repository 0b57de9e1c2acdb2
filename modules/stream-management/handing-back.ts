/**
 * Hands back what the devices of ended sessions did not acknowledge: in as many turns of the event loop as needed, and
 * in order.
 */
import type { Maybe, ModuleHost } from '../../lib/api.js'

/** The most bytes that wait to be handed back. What comes on top is handed back at once. */
const MOST_WAITING = 32 * 1024 * 1024
/** How many stanzas are handed back before the clock is read. */
const AT_ONCE = 4

/** The stanzas of one session. */
interface Run {
  /** Hands back all that is left. */
  hurry (): void
  readonly done: Promise<void>
}

export class HandingBack {
  readonly #each: ModuleHost['router']['each']
  readonly #runs = new Set<Run>()
  #bytes = 0
  #isHurried = false

  constructor (each: ModuleHost['router']['each']) { this.#each = each }

  /**
   * Calls `back` for each item, in order: at once for the first ones, later for the rest. `bytes`: what the items hold.
   * Resolves after the last one. Throws, or rejects with, what `back` throws.
   */
  run<T> (items: readonly T[], bytes: number, back: (item: T) => void): Maybe<void> {
    if (this.#isHurried || this.#bytes + bytes > MOST_WAITING) {
      for (const item of items) back(item)
      return
    }
    const rest = items.values()
    const waits = this.#each(items, () => {
      const { done, value } = rest.next()
      if (done !== true) back(value)
    }, AT_ONCE)
    if (waits === undefined) return
    this.#bytes += bytes
    const done = waits.finally(() => {
      this.#bytes -= bytes
      this.#runs.delete(run)
    })
    const run: Run = { done, hurry () { for (const item of rest) back(item) } }
    this.#runs.add(run)
    return done
  }

  /** From now on stanzas are handed back in turns. */
  begin (): void { this.#isHurried = false }

  /** Hands back all that waits at once, and from now on everything: nobody is there later to do it. */
  hurry (): void {
    this.#isHurried = true
    for (const run of this.#runs) run.hurry()
  }

  /** Resolves when all that waits now is handed back. */
  async settled (): Promise<void> { await Promise.allSettled([...this.#runs].map(({ done }) => done)) }
}
