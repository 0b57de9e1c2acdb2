/** A stanza's writes, and who waits for them. */
import type { Batch, Storage, Write } from './store.js'

const NOTHING: readonly Write[] = []

/** Gathers what one stanza commits. Costs nothing while it is empty. */
export class PendingBatch implements Batch {
  #writes: Write[] | undefined
  #submitting: (() => void)[] | undefined
  #answering: (() => void)[] | undefined
  #delivering: (() => void)[] | undefined
  #committed: (() => void)[] | undefined
  #failed: ((error: Error) => void)[] | undefined
  #isSubmitted = false

  add (write: Write): void { (this.#writes ??= []).push(write) }
  submitting (run: () => void): void { (this.#submitting ??= []).push(run) }
  answering (run: () => void): void { (this.#answering ??= []).push(run) }
  delivering (run: () => void): void { (this.#delivering ??= []).push(run) }
  committed (run: () => void): void { (this.#committed ??= []).push(run) }
  failed (run: (error: Error) => void): void { (this.#failed ??= []).push(run) }

  get writes (): readonly Write[] { return this.#writes ?? NOTHING }

  /** It was handed over: if it fails now, it was not refused. */
  get isSubmitted (): boolean { return this.#isSubmitted }

  /** The last that may add to it do so. Throws what one of them throws: then nothing of the batch may be stored. */
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
    this.#isSubmitted = true
    if (writes === undefined) return 0
    this.#writes = undefined
    return storage.submit(writes)
  }

  /** Stores it by itself. Rejects if it is not stored. */
  async commit (storage: Storage): Promise<void> {
    try {
      const number = this.submit(storage)
      if (number !== 0) await settled(storage, number)
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
    this.stored()
    this.done()
  }

  /** The writes are stored, or there were none: what `failed` was given never runs. */
  stored (): void { this.#failed = undefined }

  /** It is stored, and the answer is about to go out: runs what goes before it. Throws the first error, after the last has run. */
  answer (): void {
    const runs = this.#answering
    if (runs === undefined) return
    this.#answering = undefined
    const errors: unknown[] = []
    for (const run of runs) attempt(run, errors)
    if (errors.length > 0) throw errors[0]
  }

  /**
   * It is stored, and what it was for has happened: those who wait for that run, each once; who asks meanwhile comes last. All of them
   * run; the first error of one of them is thrown after the last has run.
   */
  done (): void {
    const errors: unknown[] = []
    if (this.#answering !== undefined) attempt(() => { this.answer() }, errors)
    for (let runs = this.#delivering; runs !== undefined; runs = this.#delivering) {
      this.#delivering = undefined
      for (const run of runs) attempt(run, errors)
    }
    for (let runs = this.#committed; runs !== undefined; runs = this.#committed) {
      this.#committed = undefined
      for (const run of runs) attempt(run, errors)
    }
    if (errors.length > 0) throw errors[0]
  }

  /**
   * It is not stored, and never will be: it is forgotten, and those run that give back what memory held of it. All of them run; the first
   * error of one of them is thrown after the last has run.
   */
  fail (error: Error): void {
    const runs = this.#failed
    this.#writes = undefined
    this.#submitting = undefined
    this.#answering = undefined
    this.#delivering = undefined
    this.#committed = undefined
    this.#failed = undefined
    if (runs === undefined) return
    const errors: unknown[] = []
    for (const run of runs) attempt(() => { run(error) }, errors)
    if (errors.length > 0) throw errors[0]
  }
}

/** Resolves once this commit has settled; rejects with the error by which it failed. */
function settled (storage: Storage, number: number): Promise<void> {
  return new Promise((resolve, reject) => {
    storage.after(number, error => {
      if (error === undefined) resolve()
      else reject(error)
    })
  })
}

/** Runs it; what it throws is put to the others. */
function attempt (run: () => void, errors: unknown[]): void {
  try {
    run()
  } catch (error) {
    errors.push(error)
  }
}
