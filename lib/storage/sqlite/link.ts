/** The way to the writer's thread and back. */
import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import type { Request, Result, Row, WriterSettings } from './rows.js'
import { startThread } from './threads.js'

/** What a link tells its driver. */
export interface LinkEvents {
  /** The next batches in turn have settled. */
  answered (results: readonly Result[]): void
  /** The writer is gone: nobody knows of what was posted and not answered. The next post starts another. */
  lost (error: Error): void
}

/** One writer; a new one where it has died. */
export class WriterLink {
  readonly #settings: WriterSettings
  readonly #events: LinkEvents
  #worker: Worker | undefined
  #isClosed = false

  constructor (settings: WriterSettings, events: LinkEvents) {
    this.#settings = settings
    this.#events = events
  }

  /** Resolves once the writer stands. Throws what keeps it from that. */
  async open (): Promise<void> {
    await once(this.#start(), 'message')
  }

  post (batches: readonly (readonly Row[])[]): void { this.#send(batches) }

  /** Ends the writer once it has done all that was posted. */
  async close (): Promise<void> {
    this.#isClosed = true
    if (this.#worker === undefined) return
    const ended = once(this.#worker, 'exit')
    this.#send('close')
    await ended
  }

  /** Kills the writer in the middle of what it does: for tests. */
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
