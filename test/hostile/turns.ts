/** Measures how much CPU time of the main thread each turn of the event loop uses. */
import { closeSync, openSync, readSync } from 'node:fs'
import { PerformanceObserver } from 'node:perf_hooks'

/** The turns since the last question. */
export interface Turns {
  /** Milliseconds of the main thread's CPU that the dearest turn used. Other threads, and waits for a CPU, do not count. */
  readonly worst: number
  /** Milliseconds of all turns together. */
  readonly total: number
  readonly count: number
  /** The longest collection of garbage, in milliseconds of the clock: if the CPUs are busy it is longer than what it used. */
  readonly collection: number
}

const NANOSECONDS = 1e6

export class TurnMeter {
  /** Linux: the first field is the time on a CPU in nanoseconds. The main thread's id is the process's. */
  readonly #file = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
  readonly #buffer = Buffer.alloc(64)
  #last = this.#read()
  #worst = 0
  #total = 0
  #count = 0
  #collection = 0
  #isOver = false
  readonly #collections = new PerformanceObserver(list => {
    for (const { duration } of list.getEntries()) this.#collection = Math.max(this.#collection, duration)
  })

  start (): void {
    this.#collections.observe({ entryTypes: ['gc'] })
    this.#next()
  }

  /** Measures nothing any more. */
  stop (): void {
    this.#isOver = true
    this.#collections.disconnect()
    closeSync(this.#file)
  }

  /** Answers with the turns so far, and begins anew. */
  take (): Turns {
    this.#mark()
    const turns = { worst: this.#worst / NANOSECONDS, total: this.#total / NANOSECONDS, count: this.#count, collection: this.#collection }
    this.#worst = this.#total = this.#count = this.#collection = 0
    return turns
  }

  /** An immediate without a reference runs once in each turn, and does not keep the loop from waiting for its sockets. */
  #next (): void { setImmediate(() => { this.#turn() }).unref() }

  #turn (): void {
    if (this.#isOver) return
    this.#mark()
    this.#next()
  }

  #mark (): void {
    const now = this.#read()
    const used = now - this.#last
    this.#last = now
    this.#worst = Math.max(this.#worst, used)
    this.#total += used
    this.#count++
  }

  #read (): number {
    const length = readSync(this.#file, this.#buffer, 0, this.#buffer.length, 0)
    return Number(this.#buffer.toString('latin1', 0, length).split(' ', 1)[0])
  }
}
