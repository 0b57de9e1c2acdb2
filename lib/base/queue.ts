/** Runs one task after the other, with a bound. */
import { Fifo } from './fifo.js'
import type { Turns } from './turns.js'

/** A task. If it returns a promise, the next task waits for it. */
export type Task = () => void | Promise<void>

/**
 * Runs tasks in the given order. If the queue is idle, a task runs at once, within `run`, and needs no promise unless
 * it waits itself. A task must handle its own errors: an error that escapes goes to `failed`.
 */
export class Queue {
  readonly bound: number
  readonly #failed: (error: unknown) => void
  readonly #idle: () => void
  readonly #turns: Turns | undefined
  readonly #tasks = new Fifo<Task>()
  #busy = false

  /**
   * `bound` is how many tasks may wait. `idle` is called each time the last waiting task has ended. `turns`: when the
   * current turn of the event loop is used up, waiting tasks continue in a later one.
   */
  constructor (bound: number, failed: (error: unknown) => void, idle: () => void = () => {}, turns?: Turns) {
    this.bound = bound
    this.#failed = failed
    this.#idle = idle
    this.#turns = turns
  }

  /** The number of waiting tasks, without the running one. */
  get length (): number { return this.#tasks.length }
  get busy (): boolean { return this.#busy }
  get full (): boolean { return this.length >= this.bound }

  /** Runs a task in its turn. Returns false, and runs nothing, if the queue is full. */
  run (task: Task): boolean {
    if (this.#busy) {
      if (this.full) return false
      this.#tasks.push(task)
      return true
    }
    this.#busy = true
    if (this.#start(task)) this.#drain()
    return true
  }

  /** Runs a task before all waiting ones, whatever the bound. */
  runNext (task: Task): void {
    if (this.#busy) this.#tasks.unshift(task)
    else this.run(task)
  }

  /** Removes the waiting tasks. The running one continues. */
  clear (): void { this.#tasks.clear() }

  /** Starts a task. True if it has ended. */
  #start (task: Task): boolean {
    try {
      const wait = task()
      if (wait === undefined) return true
      wait.then(() => this.#drain(), (error: unknown) => { this.#failed(error); this.#drain() })
      return false
    } catch (error) {
      this.#failed(error)
      return true
    }
  }

  #drain (): void {
    for (;;) {
      if (this.#turns?.isSpent === true && this.#tasks.length > 0) {
        this.#turns.later(() => { this.#drain() })
        return
      }
      const task = this.#tasks.shift()
      if (task === undefined) break
      if (!this.#start(task)) return
    }
    this.#busy = false
    this.#idle()
  }
}
