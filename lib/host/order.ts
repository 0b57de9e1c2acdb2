/** The order in which things are released that wait for commits: each behind those before it, stored or not. */
import type { Storage } from '../storage/store.js'

export class ReleaseOrder {
  readonly #storage: Pick<Storage, 'after' | 'settled'>
  #released = 0

  constructor (storage: Pick<Storage, 'after' | 'settled'>) { this.#storage = storage }

  /** Nothing that was released waits for its commit. */
  get isClear (): boolean { return this.#released <= this.#storage.settled }

  /** Runs `then` once commit `number` has settled (0: there is none), and behind all that was released before. */
  release (number: number, then: (error: Error | undefined) => void): void {
    const storage = this.#storage
    if (number !== 0) {
      this.#released = number
      storage.after(number, then)
    } else if (this.#released <= storage.settled) then(undefined)
    else storage.after(this.#released, () => { then(undefined) })
  }
}
