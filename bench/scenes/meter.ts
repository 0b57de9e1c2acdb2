/** A meter of the servers' CPU time, of this process's CPU time, and of the time that passed. */
import { cpuSeconds } from '../measure.js'
import type { Outcome } from '../jobs.js'

/** Measures from its construction on. */
export class Meter {
  readonly #pids: readonly number[]
  readonly #cpu: number
  readonly #own = process.cpuUsage()
  readonly #start = performance.now()

  constructor (pids: readonly number[]) {
    this.#pids = pids
    this.#cpu = cpuSeconds(pids)
  }

  /** Returns the cost until now. */
  read (count: number, bytes = 0): Outcome {
    const own = process.cpuUsage(this.#own)
    return {
      count,
      bytes,
      cpu: cpuSeconds(this.#pids) - this.#cpu,
      own: (own.user + own.system) / 1e6,
      wall: (performance.now() - this.#start) / 1000,
    }
  }
}
