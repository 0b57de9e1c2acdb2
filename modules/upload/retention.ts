/** Removes slots and files whose time is over, and the oldest files if there are too many bytes. */
import type { Clock, Logger, TableRow, Timer } from '../../lib/api.js'
import type { Rules } from './rules.js'
import type { Stock } from './stock.js'
import type { Upload, UploadStores } from './uploads.js'

/** How often the service looks, in milliseconds. A file whose time is over is not given out before that either. */
const LOOK = 60_000
/** The most rows of the day table that are removed at a time. */
const DAY_ROWS = 1000

export interface RetentionDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly stock: Stock
  readonly rules: Rules
  readonly day: UploadStores['day']
  /** True if the file of a slot is coming. */
  readonly isComing: (id: string) => boolean
  readonly count: (metric: 'removed') => void
}

export class Retention {
  readonly #deps: RetentionDeps
  #timer: Timer | undefined
  #looking: Promise<void> | undefined

  constructor (deps: RetentionDeps) { this.#deps = deps }

  start (): void { this.#timer = this.#deps.clock.every(LOOK, () => { void this.look() }) }
  /** Ends the timer. A look under way is not waited for: it stops at its next row. */
  stop (): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** Looks once. What cannot be removed is logged, and tried again at the next look. */
  look (): Promise<void> {
    return this.#looking ??= this.#look()
      .catch((error: unknown) => { this.#deps.log.warn('uploads not read', { error }) })
      .finally(() => { this.#looking = undefined })
  }

  async #look (): Promise<void> {
    const { clock, stock, rules, day, isComing } = this.#deps
    const now = clock.now()
    for await (const row of stock.over(now)) {
      if (this.#timer === undefined) return
      if (!isComing(row.value.id)) await this.#remove(row)
    }
    let excess = await stock.bytes() - rules.settings.bytes
    if (excess > 0) {
      for await (const row of stock.oldest()) {
        if (this.#timer === undefined || excess <= 0) break
        if (await this.#remove(row)) excess -= row.value.size
      }
    }
    while (await day.expire('due', now, DAY_ROWS) === DAY_ROWS);
  }

  /** Removes one. One that cannot be removed does not stop the others. Resolves with whether it was removed. */
  async #remove (row: TableRow<Upload>): Promise<boolean> {
    const { stock, log, count } = this.#deps
    try {
      await stock.remove(row)
    } catch (error) {
      log.warn('file not removed', { id: row.value.id, error })
      return false
    }
    if (row.value.state === 'file') count('removed')
    return true
  }
}
