/** The connection between the driver and the writer's thread. */
import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import type { Request, Result, Row, WriterSettings } from './rows.js'
import { startThread } from './threads.js'

/** The callbacks of a link. */
export interface LinkEvents {
  /** Called when the next batches in order have settled. */
  answered (results: readonly Result[]): void
  /**
   * Called when the writer has ended: the result of the posted and unanswered batches is unknown. The next post starts
   * a new writer.
   */
  lost (error: Error): void
}

/** Runs one writer, and starts a new one if it has died. */
export class WriterLink {
  readonly #settings: WriterSettings
  readonly #events: LinkEvents
  #worker: Worker | undefined
  #isClosed = false

  constructor (settings: WriterSettings, events: LinkEvents) {
    this.#settings = settings
    this.#events = events
  }

  /** Resolves when the writer is ready. Throws if it cannot start. */
  async open (): Promise<void> {
    await once(this.#start(), 'message')
  }

  post (batches: readonly (readonly Row[])[]): void { this.#send(batches) }

  /** Ends the writer after it has done all that was posted. */
  async close (): Promise<void> {
    this.#isClosed = true
    if (this.#worker === undefined) return
    const ended = once(this.#worker, 'exit')
    this.#send('close')
    await ended
  }

  /** Kills the writer in the middle of its work, for tests. */
  async kill (): Promise<void> { await this.#worker?.terminate() }

  #send (request: Request): void { (this.#worker ?? this.#start()).postMessage(request) }

  #start (): Worker {
    const worker = startThread('writer', this.#settings)
    let why: Error | undefined
    worker.on('message', (results: readonly Result[]) => { this.#events.answered(results) })
    worker.on('error', (error: unknown) => { why = error instanceof Error ? error : new Error(String(error)) })
    worker.on('exit', code => {
      this.#worker = undefined
      if (!this.#isClosed) this.#events.lost(why ?? new Error(`the writer ended with code ${code}`))
    })
    this.#worker = worker
    return worker
  }
}
