/**
 * The stanzas of one device, in order (RFC 6120 §10.1): the next one is taken after the effects of those before it can
 * be seen.
 */
import type { Maybe } from '../base/maybe.js'
import { Queue } from '../base/queue.js'
import type { Turns } from '../base/turns.js'
import { Arrivals, type Arrival } from './arrivals.js'

/** The most stanzas and bytes that may wait for an earlier stanza. Beyond that, the connection is not read. */
const MOST = 100
const MOST_BYTES = 65_536

export interface InputHome {
  /** Called with an unexpected error, to log it. */
  defect (error: unknown): void
  /** Called with an error that must end the stream. */
  failed (error: unknown): void
}

export class Input {
  readonly #home: InputHome
  readonly #turns: Turns | undefined
  /** The places of stanzas that no manager counts. Made when one of them waits. */
  #arrivals: Arrivals | undefined
  /** Stanzas that wait for an earlier one. Nonzas (XEP-0198) do not wait here. */
  #line: Queue | undefined
  #bytes = 0
  #rested: (() => void)[] = []
  readonly #fillings = new Set<() => void>()

  constructor (home: InputHome, turns: Turns | undefined) {
    this.#home = home
    this.#turns = turns
  }

  /** True if the next stanza must wait for an earlier one. */
  get isBusy (): boolean { return this.#line !== undefined }
  /** Returns the place of a stanza that no manager counts; undefined if no earlier stanza waits to be settled. */
  place (): Arrival | undefined { return this.#arrivals?.isClear === false ? this.#arrivals.arrive() : undefined }

  /** Makes a place for a stanza that waits and that no manager counts. Later stanzas are settled after it. */
  arrive (): Arrival {
    this.#arrivals ??= new Arrivals(() => {}, error => { this.#home.defect(error) })
    return this.#arrivals.arrive()
  }

  /** Lets the next stanzas wait until `work` ends. */
  waits (work: Promise<void>): void {
    const failed = (error: unknown): void => { this.#home.failed(error) }
    const line = this.#line = new Queue(Infinity, failed, () => { this.#rests() }, this.#turns)
    line.run(() => work)
  }

  /** Runs `take` after all that waits. Returns a promise if too much waits: read no more until it resolves. */
  after (bytes: number, take: () => Maybe<void>): Maybe<void> {
    const line = this.#line
    if (line === undefined) return take()
    this.#bytes += bytes
    line.run(() => {
      this.#bytes -= bytes
      return take()
    })
    if (line.length < MOST && this.#bytes < MOST_BYTES) return undefined
    for (const tell of [...this.#fillings]) tell()
    return new Promise(resolve => { this.#rested.push(resolve) })
  }

  /**
   * Runs `tell` when the device is not read because too much waits, which may be at once: then its acknowledgements are
   * not read either. Returns a function that cancels it.
   */
  whenFull (tell: () => void): () => void {
    this.#fillings.add(tell)
    if (this.#rested.length > 0) tell()
    return () => { this.#fillings.delete(tell) }
  }

  /** Resolves when no stanza waits for its turn; returns undefined if none does. */
  taken (): Promise<void> | undefined {
    const line = this.#line
    return line === undefined ? undefined : new Promise(resolve => { line.run(resolve) })
  }

  /** Resolves when all stanzas so far that no manager counts are settled; returns undefined if they are. */
  settled (): Promise<void> | undefined {
    const line = this.#line
    if (line === undefined && this.#arrivals?.isClear !== false) return undefined
    return new Promise(resolve => {
      const settled = (): void => {
        if (this.#arrivals === undefined) resolve()
        else this.#arrivals.afterAll(resolve)
      }
      if (line === undefined) settled()
      else line.run(settled)
    })
  }

  #rests (): void {
    this.#line = undefined
    for (const resolve of this.#rested.splice(0)) resolve()
  }
}
