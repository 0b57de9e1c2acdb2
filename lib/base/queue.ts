/** One task after the other, with a bound. */
import type { Turns } from './turns.js'

/** A task answers at once, or with a promise; the next waits for it. */
export type Task = () => void | Promise<void>

/**
 * Runs tasks in the order given. A task that finds the queue idle runs at once, within `run`, and costs no promise unless it
 * waits itself. A task must not throw: errors are answered where the task knows to whom; what escapes goes to `failed`.
 */
export class Queue {
  readonly bound: number
  readonly #failed: (error: unknown) => void
  readonly #idle: () => void
  readonly #turns: Turns | undefined
  #tasks: Task[] = []
  #head = 0
  #busy = false

  /**
   * `bound`: how many tasks may wait. `idle` is called each time the last waiting task has ended. `turns`: tasks that waited go on in a
   * later turn of the event loop once this one is used up.
   */
  constructor (bound: number, failed: (error: unknown) => void, idle: () => void = () => {}, turns?: Turns) {
    this.bound = bound
    this.#failed = failed
    this.#idle = idle
    this.#turns = turns
  }

  /** How many tasks wait, the running one not counted. */
  get length (): number { return this.#tasks.length - this.#head }
  get busy (): boolean { return this.#busy }
  get full (): boolean { return this.length >= this.bound }

  /** False, and nothing is run, where the queue is full. */
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

  /** The same, before all tasks that wait, whatever the bound. */
  runNext (task: Task): void {
    if (this.#busy) this.#tasks.splice(this.#head, 0, task)
    else this.run(task)
  }

  /** Forgets the tasks that wait. The running one goes on. */
  clear (): void {
    this.#tasks = []
    this.#head = 0
  }

  /** True where the task has ended. */
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
    while (this.#head < this.#tasks.length) {
      if (this.#turns?.isSpent === true) {
        this.#turns.later(() => { this.#drain() })
        return
      }
      const task = this.#tasks[this.#head++]
      if (this.#head > 64 && this.#head * 2 > this.#tasks.length) {
        this.#tasks = this.#tasks.slice(this.#head)
        this.#head = 0
      }
      if (task !== undefined && !this.#start(task)) return
    }
    this.clear()
    this.#busy = false
    this.#idle()
  }
}
