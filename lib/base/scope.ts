/** A scope collects cleanups and runs them in reverse order. */

export type Cleanup = () => void | Promise<void>

export class Scope {
  #cleanups: Cleanup[] = []
  #disposed = false

  get disposed (): boolean { return this.#disposed }

  /** Adds a cleanup that runs when the scope is disposed. Throws if it is disposed already. */
  defer (cleanup: Cleanup): void {
    if (this.#disposed) throw new Error('this scope is disposed')
    this.#cleanups.push(cleanup)
  }

  /**
   * Runs every cleanup, the latest first. If one throws, the others still run, and the first error is thrown at the
   * end.
   */
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
