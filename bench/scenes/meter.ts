/** A stopwatch for both sides: CPU of the servers and of ourselves, and the time that passed. */
import { cpuSeconds } from '../measure.js'
import type { Outcome } from '../jobs.js'

/** Measures from its making on. */
export class Meter {
  readonly #pids: readonly number[]
  readonly #cpu: number
  readonly #own = process.cpuUsage()
  readonly #start = performance.now()

  constructor (pids: readonly number[]) {
    this.#pids = pids
    this.#cpu = cpuSeconds(pids)
  }

  /** What it cost up to now. */
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
