/** Measures how much CPU time of the main thread each turn of the event loop uses. */
import { closeSync, openSync, readSync } from 'node:fs'
import { PerformanceObserver } from 'node:perf_hooks'
import type { Test } from 'tap'

/** The turns since the last call. */
export interface Turns {
  /**
   * The CPU time of the main thread in the longest turn, in milliseconds of a machine of usual speed. Other threads and
   * waits for a CPU do not count.
   */
  readonly worst: number
  /** The CPU time of all turns, in milliseconds. */
  readonly total: number
  readonly count: number
  /**
   * The longest garbage collection, in milliseconds of wall-clock time. If the CPUs are busy, that is longer than its
   * CPU time.
   */
  readonly collection: number
}

/** The most CPU time of the main thread that one turn of the event loop may use, in milliseconds. */
const LONGEST_TURN = 50
/** How often something is measured before it counts as too much. */
const ATTEMPTS = 3

/**
 * Measures up to three times, and fails only if each result is `most` or more. Other work on the machine makes code use
 * more CPU time (a core is shared by two threads, caches are cold), but not each time; a fault of the code is there
 * each time, so `attempt` must do all of its work anew. `said` returns the name of the check.
 */
export async function staysBelow (
  t: Test, most: number, attempt: () => Promise<number>, said: (least: number) => string,
): Promise<void> {
  let least = Infinity
  for (let n = 0; n < ATTEMPTS && least >= most; n++) least = Math.min(least, await attempt())
  t.ok(least < most, said(least))
}

/** Fails if the longest turn, which `attempt` returns in milliseconds, is too long in each of three attempts. */
export async function turnsStayShort (t: Test, attempt: () => Promise<number>): Promise<void> {
  await staysBelow(t, LONGEST_TURN, attempt, worst => `a turn of the event loop used ${worst.toFixed(1)} ms of CPU`)
}

const NANOSECONDS = 1e6

/** The CPU time of the sample on a machine of usual speed, in nanoseconds. */
const SAMPLE = 1_200_000
/** How long samples are taken, in nanoseconds. The system may count the CPU time in steps of 4 ms. */
const SAMPLING = 24_000_000
const PARTS = Array.from({ length: 600 }, (_, n) => `part ${n} of the sample`)

/** Does what a server does most: it makes texts and objects, and looks them up. */
function sample (): number {
  const found = new Map<string, { readonly text: string, readonly length: number }>()
  for (const part of PARTS) {
    const text = part.replaceAll(' ', '-').toUpperCase() + JSON.stringify({ part })
    found.set(text, { text, length: text.length })
  }
  let sum = 0
  for (const { text } of found.values()) sum += found.get(text)?.length ?? 0
  return sum
}

export class TurnMeter {
  /** On Linux the first field is the CPU time in nanoseconds. The main thread's id is the id of the process. */
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
    this.#slowness() // the sample is compiled
    this.#collections.observe({ entryTypes: ['gc'] })
    this.#next()
  }

  /** Stops measuring. */
  stop (): void {
    this.#isOver = true
    this.#collections.disconnect()
    closeSync(this.#file)
  }

  /** Does what is no work of the server, and counts its CPU time to no turn. */
  without (work: () => void): void {
    this.#mark()
    work()
    this.#last = this.#read()
  }

  /** Returns the turns so far and resets the meter. */
  take (): Turns {
    this.#mark()
    const turns = {
      worst: this.#worst / NANOSECONDS / this.#slowness(), total: this.#total / NANOSECONDS,
      count: this.#count, collection: this.#collection,
    }
    this.#worst = this.#total = this.#count = this.#collection = 0
    return turns
  }

  /** An unreferenced immediate runs once in each turn, and does not keep the loop from waiting for its sockets. */
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

  /** Returns how many times as long as usual the machine takes now; 1 at least. */
  #slowness (): number {
    const began = this.#read()
    let samples = 0
    while (this.#read() - began < SAMPLING) {
      sample()
      samples++
    }
    this.#last = this.#read()
    return Math.max(1, (this.#last - began) / samples / SAMPLE)
  }

  #read (): number {
    const length = readSync(this.#file, this.#buffer, 0, this.#buffer.length, 0)
    return Number(this.#buffer.toString('latin1', 0, length).split(' ', 1)[0])
  }
}
