/** Lanes: what comes for one account keeps its order, also while some of it waits for something. */
import { Queue } from '../base/queue.js'
import type { Turns } from '../base/turns.js'
import { BACKLOG } from '../stream/bounds.js'
import type { Storage } from '../storage/store.js'

export interface LanesHome {
  readonly storage: Pick<Storage, 'after' | 'settled' | 'submitted'>
  readonly turns: Turns | undefined
  defect (error: unknown): void
}

/** How many stanzas may wait for one account. */
const MOST = 1000
/** And how many bytes, for one account, and over all; an account for which less than the least waits is refused nothing. */
const MOST_BYTES = BACKLOG
const MOST_OVER_ALL = 8 * BACKLOG
const LEAST = BACKLOG / 32

/** What waits for one account. */
interface Lane { readonly queue: Queue, bytes: number }

export class Lanes {
  readonly #home: LanesHome
  readonly #lanes = new Map<string, Lane>()
  /** Bytes that wait in all of them. */
  #bytes = 0
  /** By account: what has passed its lane, and waits to be submitted until stanzas of the same sender are. */
  readonly #unsubmitted = new Map<string, Set<Promise<void>>>()
  #idle: (() => void)[] = []

  constructor (home: LanesHome) { this.#home = home }

  /** Resolves when nothing waits in any lane. */
  idle (): Promise<void> {
    return new Promise(resolve => {
      if (this.#lanes.size === 0) resolve()
      else this.#idle.push(resolve)
    })
  }

  isBusy (account: string): boolean { return this.#lanes.has(account) }

  /** Runs it after all that is in the lane. False, and nothing is run, where too much waits there. `bytes`: of the stanza that waits. */
  after (account: string, bytes: number, work: () => void | Promise<void>): boolean {
    const lane = this.#lane(account)
    if (!this.#mayWait(lane, bytes)) return false
    this.#count(lane, bytes)
    return lane.queue.run(() => {
      this.#count(lane, -bytes)
      return work()
    })
  }

  #mayWait ({ queue, bytes }: Lane, more: number): boolean {
    if (queue.length >= MOST || bytes + more > MOST_BYTES) return false
    return this.#bytes + more <= MOST_OVER_ALL || bytes + more <= LEAST
  }

  #count (lane: Lane, by: number): void {
    lane.bytes += by
    this.#bytes += by
  }

  /** What has come is not done with: what comes later for the account waits for it. */
  begin (account: string, work: Promise<void>): void { this.#lane(account).queue.run(() => work) }

  /** What has passed the lane is submitted once this resolves. */
  passes (account: string, submitted: Promise<void>): void {
    const waiting = this.#unsubmitted.get(account) ?? new Set()
    this.#unsubmitted.set(account, waiting.add(submitted))
    void submitted.then(() => {
      waiting.delete(submitted)
      if (waiting.size === 0) this.#unsubmitted.delete(account)
    })
  }

  /**
   * Runs `work` in its turn: what has found its recipients so far is stored by then, and what has not, or comes later, waits until the work
   * is done. Never waits for what waits for it, so two such turns never wait for each other.
   */
  turn (account: string, work: () => Promise<void>): void {
    const turn = async (): Promise<void> => {
      await this.#stored(account)
      await work()
    }
    if (this.isBusy(account)) this.#lane(account).queue.runNext(turn)
    else this.begin(account, this.#isStored(account) ? work() : turn())
  }

  /** Resolves once all that has come for the account so far is stored; undefined where it is. */
  stored (account: string): Promise<void> | undefined {
    const lane = this.#lanes.get(account)
    if (lane === undefined) return this.#isStored(account) ? undefined : this.#stored(account)
    return new Promise<void>(resolve => { lane.queue.run(resolve) }).then(() => this.#stored(account))
  }

  #isStored (account: string): boolean {
    const { storage } = this.#home
    return storage.settled >= storage.submitted && !this.#unsubmitted.has(account)
  }

  async #stored (account: string): Promise<void> {
    await Promise.all([...this.#unsubmitted.get(account) ?? []])
    const { storage } = this.#home
    await new Promise<void>(resolve => { storage.after(storage.submitted, () => { resolve() }) })
  }

  #lane (account: string): Lane {
    const known = this.#lanes.get(account)
    if (known !== undefined) return known
    const queue = new Queue(Infinity, error => { this.#home.defect(error) }, () => { this.#emptied(account) }, this.#home.turns)
    const lane: Lane = { queue, bytes: 0 }
    this.#lanes.set(account, lane)
    return lane
  }

  #emptied (account: string): void {
    this.#lanes.delete(account)
    if (this.#lanes.size > 0) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }
}
