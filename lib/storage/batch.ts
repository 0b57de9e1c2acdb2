/** A stanza's writes, and who waits for them. */
import type { Batch, Storage, Write } from './store.js'

const NOTHING: readonly Write[] = []

/** Gathers what one stanza commits. Costs nothing while it is empty. */
export class PendingBatch implements Batch {
  #writes: Write[] | undefined
  #submitting: (() => void)[] | undefined
  #delivering: (() => void)[] | undefined
  #committed: (() => void)[] | undefined
  #failed: ((error: Error) => void)[] | undefined

  add (write: Write): void { (this.#writes ??= []).push(write) }
  submitting (run: () => void): void { (this.#submitting ??= []).push(run) }
  delivering (run: () => void): void { (this.#delivering ??= []).push(run) }
  committed (run: () => void): void { (this.#committed ??= []).push(run) }
  failed (run: (error: Error) => void): void { (this.#failed ??= []).push(run) }

  get writes (): readonly Write[] { return this.#writes ?? NOTHING }

  /** The last that may add to it do so. */
  complete (): void {
    for (let runs = this.#submitting; runs !== undefined; runs = this.#submitting) {
      this.#submitting = undefined
      for (const run of runs) run()
    }
  }

  /** Hands the writes over; their commit number, or 0 where there are none. */
  submit (storage: Storage): number {
    this.complete()
    const writes = this.#writes
    if (writes === undefined) return 0
    this.#writes = undefined
    return storage.submit(writes)
  }

  /** It is stored, and what it was for has happened: those who wait for that run, each once; who asks meanwhile comes last. */
  done (): void {
    for (let runs = this.#delivering; runs !== undefined; runs = this.#delivering) {
      this.#delivering = undefined
      for (const run of runs) run()
    }
    for (let runs = this.#committed; runs !== undefined; runs = this.#committed) {
      this.#committed = undefined
      for (const run of runs) run()
    }
  }

  /** It could not be stored. */
  fail (error: Error): void {
    const runs = this.#failed
    this.#failed = undefined
    this.#delivering = undefined
    this.#committed = undefined
    if (runs !== undefined) for (const run of runs) run(error)
  }
}
