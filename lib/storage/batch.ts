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
  /** Goes before it in the same commit. */
  #first: PendingBatch | undefined

  add (write: Write): void { (this.#writes ??= []).push(write) }
  submitting (run: () => void): void { (this.#submitting ??= []).push(run) }
  answering (run: () => void): void { (this.#answering ??= []).push(run) }
  delivering (run: () => void): void { (this.#delivering ??= []).push(run) }
  committed (run: () => void): void { (this.#committed ??= []).push(run) }
  failed (run: (error: Error) => void): void { (this.#failed ??= []).push(run) }

  get writes (): readonly Write[] { return this.#writes ?? NOTHING }

  /** The batch was handed over: if it fails now, it was not refused. */
  get isSubmitted (): boolean { return this.#isSubmitted }

  /**
   * A batch for what is added from now on: one commit stores both, unless `part` is called on it. While this one is empty, it is that batch
   * itself.
   */
  divide (): PendingBatch {
    if (this.#isEmpty) return this
    const next = new PendingBatch()
    next.#first = this
    return next
  }

  /** Takes out what was there before `divide`: from now on the two are stored each by itself. */
  part (): PendingBatch {
    const first = this.#first ?? new PendingBatch()
    this.#first = undefined
    return first
  }

  get #isEmpty (): boolean {
    return this.#writes === undefined && this.#submitting === undefined && this.#delivering === undefined &&
      this.#committed === undefined && this.#failed === undefined && this.#answering === undefined && this.#first === undefined
  }

  /** The last that may add to it do so. Throws what one of them throws: then nothing of the batch may be stored. */
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

  /** What one batch has, or both that are stored together; who asks while these run comes after them. */
  #takeSubmitting (): (() => void)[] | undefined {
    const own = this.#submitting
    this.#submitting = undefined
    return this.#first === undefined ? own : joined(this.#first.#takeSubmitting(), own)
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
  stored (): void {
    this.#failed = undefined
    this.#first?.stored()
  }

  /** It is stored, and the answer is about to go out: runs what goes before it. Throws the first error, after the last has run. */
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
   * It is stored, and what it was for has happened: those who wait for that run, each once; who asks meanwhile comes last. All of them
   * run; the first error of one of them is thrown after the last has run.
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
    const first = this.#first
    if (runs === undefined && first === undefined) return
    const errors: unknown[] = []
    if (first !== undefined) attempt(() => { first.fail(error) }, errors)
    for (const run of runs ?? []) attempt(() => { run(error) }, errors)
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

function joined<T> (first: T[] | undefined, own: T[] | undefined): T[] | undefined {
  if (first === undefined) return own
  return own === undefined ? first : [...first, ...own]
}

/** Runs it; what it throws is put to the others. */
function attempt (run: () => void, errors: unknown[]): void {
  try {
    run()
  } catch (error) {
    errors.push(error)
  }
}
