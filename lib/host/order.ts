/**
 * The order in which callbacks that wait for commits run: each after those before it, whether the commit succeeded or
 * failed.
 */
import type { Storage } from '../storage/storage.js'

export class ReleaseOrder {
  readonly #storage: Pick<Storage, 'after' | 'settled'>
  #released = 0

  constructor (storage: Pick<Storage, 'after' | 'settled'>) { this.#storage = storage }

  /** True if no earlier callback waits for its commit. */
  get isClear (): boolean { return this.#released <= this.#storage.settled }

  /** Runs `then` after commit `number` has settled (0: no commit), and after all earlier callbacks. */
  release (number: number, then: (error: Error | undefined) => void): void {
    const storage = this.#storage
    if (number !== 0) {
      this.#released = number
      storage.after(number, then)
    } else if (this.#released <= storage.settled) then(undefined)
    else storage.after(this.#released, () => { then(undefined) })
  }
}
