/** Lets a bounded number of works run at a time. Others wait for their turn, in order and with a bound. */
import { Fifo } from './fifo.js'

export class Semaphore {
  readonly #atOnce: number
  readonly #most: number
  readonly #waiting = new Fifo<() => void>()
  #running = 0

  /** `atOnce`: how many works run at a time. `most`: how many may wait. */
  constructor (atOnce: number, most: number) {
    this.#atOnce = atOnce
    this.#most = most
  }

  /** The number of works that wait for their turn. */
  get waiting (): number { return this.#waiting.length }
  /** True if nothing runs, and so nothing waits. */
  get isIdle (): boolean { return this.#running === 0 }

  /**
   * Runs `work` now or in its turn; settles as `work` does. Returns undefined, and runs nothing, if too many works
   * wait, unless the work is urgent: it comes last, but is never refused.
   */
  run<T> (work: () => Promise<T>, how: { readonly isUrgent?: boolean } = {}): Promise<T> | undefined {
    if (this.#running < this.#atOnce) return this.#start(work)
    if (this.#waiting.length >= this.#most && how.isUrgent !== true) return undefined
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => { this.#start(work).then(resolve, reject) })
    })
  }

  /** Drops the works that wait: they never run, and their promises never settle. */
  clear (): void { this.#waiting.clear() }

  async #start<T> (work: () => Promise<T>): Promise<T> {
    this.#running++
    try {
      return await work()
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }
}
