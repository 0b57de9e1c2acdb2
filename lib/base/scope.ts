/** A scope remembers what was taken, and gives it back in reverse order. */

export type Cleanup = () => void | Promise<void>

export class Scope {
  #cleanups: Cleanup[] = []
  #disposed = false

  get disposed (): boolean { return this.#disposed }

  /** Has `cleanup` run when the scope is disposed of. Throws where that has already happened. */
  defer (cleanup: Cleanup): void {
    if (this.#disposed) throw new Error('this scope is disposed of')
    this.#cleanups.push(cleanup)
  }

  /** Runs every cleanup, the latest first. One that throws does not stop the others; the first error is thrown at the end. */
  async dispose (): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    const cleanups = this.#cleanups.reverse()
    this.#cleanups = []
    const errors: unknown[] = []
    for (const cleanup of cleanups) {
      try { await cleanup() } catch (error) { errors.push(error) }
    }
    if (errors.length > 0) throw errors[0]
  }
}
