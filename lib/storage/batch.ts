/** The writes of one stanza, and the callbacks that wait for them. */
import type { Batch, Write } from './store.js'
import type { Storage } from './storage.js'

const NOTHING: readonly Write[] = []

/** Collects what one stanza commits. Allocates nothing while it is empty. */
export class PendingBatch implements Batch {
  #writes: Write[] | undefined
  #submitting: (() => void)[] | undefined
  #answering: (() => void)[] | undefined
  #delivering: (() => void)[] | undefined
  #committed: (() => void)[] | undefined
  #failed: ((error: Error) => void)[] | undefined
  #isSubmitted = false
  /** The batch whose writes come first in the same commit. */
  #first: PendingBatch | undefined

  add (write: Write): void { (this.#writes ??= []).push(write) }
  submitting (run: () => void): void { (this.#submitting ??= []).push(run) }
  answering (run: () => void): void { (this.#answering ??= []).push(run) }
  delivering (run: () => void): void { (this.#delivering ??= []).push(run) }
  committed (run: () => void): void { (this.#committed ??= []).push(run) }
  failed (run: (error: Error) => void): void { (this.#failed ??= []).push(run) }

  get writes (): readonly Write[] { return this.#writes ?? NOTHING }

  /** True after `submit`: a failure now means that storing failed, not that the stanza was refused. */
  get isSubmitted (): boolean { return this.#isSubmitted }

  /**
   * Returns a batch for all that is added from now on. One commit stores both batches, unless `part` is called on the
   * new one. If this batch is still empty, returns this batch itself.
   */
  divide (): PendingBatch {
    if (this.#isEmpty) return this
    const next = new PendingBatch()
    next.#first = this
    return next
  }

  /**
   * Removes and returns the batch on which `divide` was called. From now on each of the two is stored in a commit of
   * its own.
   */
  part (): PendingBatch {
    const first = this.#first ?? new PendingBatch()
    this.#first = undefined
    return first
  }

  get #isEmpty (): boolean {
    return this.#writes === undefined && this.#submitting === undefined && this.#delivering === undefined &&
      this.#committed === undefined && this.#failed === undefined && this.#answering === undefined &&
      this.#first === undefined
  }

  /**
   * Runs the `submitting` callbacks, which may add more to the batch. Throws the error of a callback: nothing of the
   * batch may be stored then.
   */
  complete (): void {
    for (let runs = this.#takeSubmitting(); runs !== undefined; runs = this.#takeSubmitting()) {
      for (const run of runs) run()
    }
    const first = this.#first
    if (first === undefined) return
    const writes = first.#writes
    if (writes === undefined) return
    first.#writes = undefined
    if (this.#writes !== undefined) writes.push(...this.#writes)
    this.#writes = writes
  }

  /**
   * Takes the callbacks of this batch and of the one before it. Callbacks that are added while these run are taken by
   * the next call.
   */
  #takeSubmitting (): (() => void)[] | undefined {
    const own = this.#submitting
    this.#submitting = undefined
    return this.#first === undefined ? own : joined(this.#first.#takeSubmitting(), own)
  }

  /** Submits the writes; returns their commit number, or 0 if there are none. */
  submit (storage: Storage): number {
    this.complete()
    const writes = this.#writes
    this.#isSubmitted = true
    if (writes === undefined) return 0
    this.#writes = undefined
    return storage.submit(writes)
  }

  /** Commits this batch by itself. Rejects if it is not stored. */
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

  /** Forgets the `failed` callbacks: the writes are stored, or there were none. */
  stored (): void {
    this.#failed = undefined
    this.#first?.stored()
  }

  /**
   * Runs the `answering` callbacks: the batch is stored, and the answer has not gone out yet. Runs all of them, then
   * throws the first error.
   */
  answer (): void {
    let runs = this.#takeAnswering()
    if (runs === undefined) return
    const errors: unknown[] = []
    for (; runs !== undefined; runs = this.#takeAnswering()) {
      for (const run of runs) attempt(run, errors)
    }
    if (errors.length > 0) throw errors[0]
  }

  #takeAnswering (): (() => void)[] | undefined {
    const own = this.#answering
    this.#answering = undefined
    return this.#first === undefined ? own : joined(this.#first.#takeAnswering(), own)
  }

  #takeDelivering (): (() => void)[] | undefined {
    const own = this.#delivering
    this.#delivering = undefined
    return this.#first === undefined ? own : joined(this.#first.#takeDelivering(), own)
  }

  #takeCommitted (): (() => void)[] | undefined {
    const own = this.#committed
    this.#committed = undefined
    return this.#first === undefined ? own : joined(this.#first.#takeCommitted(), own)
  }

  /**
   * Runs the callbacks that wait for the stored batch, each once: `answering`, `delivering`, then `committed`.
   * Callbacks that are added meanwhile run last. Runs all of them, then throws the first error.
   */
  done (): void {
    const errors: unknown[] = []
    for (let runs = this.#takeAnswering(); runs !== undefined; runs = this.#takeAnswering()) {
      for (const run of runs) attempt(run, errors)
    }
    for (let runs = this.#takeDelivering(); runs !== undefined; runs = this.#takeDelivering()) {
      for (const run of runs) attempt(run, errors)
    }
    for (let runs = this.#takeCommitted(); runs !== undefined; runs = this.#takeCommitted()) {
      for (const run of runs) attempt(run, errors)
    }
    if (errors.length > 0) throw errors[0]
  }

  /**
   * Discards the batch, which will never be stored, and runs the `failed` callbacks, which undo its changes in memory.
   * Runs all of them, then throws the first error.
   */
  fail (error: Error): void {
    const runs = this.#failed
    this.#writes = undefined
    this.#submitting = undefined
    this.#answering = undefined
    this.#delivering = undefined
    this.#committed = undefined
    this.#failed = undefined
    const first = this.#first
    if (runs === undefined && first === undefined) return
    const errors: unknown[] = []
    if (first !== undefined) attempt(() => { first.fail(error) }, errors)
    for (const run of runs ?? []) attempt(() => { run(error) }, errors)
    if (errors.length > 0) throw errors[0]
  }
}

/** Resolves when the commit has settled; rejects with its error if it failed. */
function settled (storage: Storage, number: number): Promise<void> {
  return new Promise((resolve, reject) => {
    storage.after(number, error => {
      if (error === undefined) resolve()
      else reject(error)
    })
  })
}

function joined<T> (first: T[] | undefined, own: T[] | undefined): T[] | undefined {
  if (first === undefined) return own
  return own === undefined ? first : [...first, ...own]
}

/** Runs `run`; adds the error that it throws to `errors`. */
function attempt (run: () => void, errors: unknown[]): void {
  try {
    run()
  } catch (error) {
    errors.push(error)
  }
}
