/** What one device says, in its order (RFC 6120 §10.1): the next stanza is taken once what must come before it is seen. */
import type { Maybe } from '../base/maybe.js'
import { Queue } from '../base/queue.js'
import type { Turns } from '../base/turns.js'
import { Arrivals, type Arrival } from './arrivals.js'

/** Stanzas that may wait for one before them, and bytes. Beyond, the connection is not read. */
const MOST = 100
const MOST_BYTES = 65_536

export interface InputHome {
  /** Something failed that should not: it is logged. */
  defect (error: unknown): void
  /** The stream must end by this. */
  failed (error: unknown): void
}

export class Input {
  readonly #home: InputHome
  readonly #turns: Turns | undefined
  /** Places of stanzas that nobody counts: made where one of them waits. */
  #arrivals: Arrivals | undefined
  /** Stanzas after one that is not done with. What is no stanza (XEP-0198) does not wait here. */
  #line: Queue | undefined
  #bytes = 0
  #rested: (() => void)[] = []

  constructor (home: InputHome, turns: Turns | undefined) {
    this.#home = home
    this.#turns = turns
  }

  /** The next stanza has to wait for one before it. */
  get isBusy (): boolean { return this.#line !== undefined }
  /** The place of a stanza that nobody counts; undefined where none before it waits to be settled. */
  place (): Arrival | undefined { return this.#arrivals?.isClear === false ? this.#arrivals.arrive() : undefined }

  /** A place for a stanza that nobody counts and that waits: those after it are settled after it. */
  arrive (): Arrival { return (this.#arrivals ??= new Arrivals(() => {}, error => { this.#home.defect(error) })).arrive() }

  /** What has just come is not done with: what comes next waits for it. */
  waits (work: Promise<void>): void {
    const line = this.#line = new Queue(Infinity, error => { this.#home.failed(error) }, () => { this.#rests() }, this.#turns)
    line.run(() => work)
  }

  /** Runs `take` after all that waits. Answers with a promise where so much waits that no more is to be read until that resolves. */
  after (bytes: number, take: () => Maybe<void>): Maybe<void> {
    const line = this.#line
    if (line === undefined) return take()
    this.#bytes += bytes
    line.run(() => {
      this.#bytes -= bytes
      return take()
    })
    return line.length < MOST && this.#bytes < MOST_BYTES ? undefined : new Promise(resolve => { this.#rested.push(resolve) })
  }

  /** Resolves once nothing that has come waits for its turn; undefined where nothing does. */
  taken (): Promise<void> | undefined {
    const line = this.#line
    return line === undefined ? undefined : new Promise(resolve => { line.run(resolve) })
  }

  /** Resolves once everything that has come uncounted so far is settled; undefined where it is. */
  settled (): Promise<void> | undefined {
    const line = this.#line
    if (line === undefined && this.#arrivals?.isClear !== false) return undefined
    return new Promise(resolve => {
      const settled = (): void => {
        if (this.#arrivals === undefined) resolve()
        else this.#arrivals.behind(resolve)
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
