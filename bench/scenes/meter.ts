/** A stopwatch for both processes: CPU of the server and of ourselves, and the time that passed. */
import { cpuSeconds } from '../measure.js'
import type { Outcome } from '../jobs.js'

/** Measures from its making on. */
export class Meter {
  readonly #pid: number
  readonly #cpu: number
  readonly #own = process.cpuUsage()
  readonly #start = performance.now()

  constructor (pid: number) {
    this.#pid = pid
    this.#cpu = cpuSeconds(pid)
  }

  /** What it cost up to now. */
  read (count: number, bytes = 0): Outcome {
    const own = process.cpuUsage(this.#own)
    return {
      count,
      bytes,
      cpu: cpuSeconds(this.#pid) - this.#cpu,
      own: (own.user + own.system) / 1e6,
      wall: (performance.now() - this.#start) / 1000,
    }
  }
}
