/**
 * The commit of a stanza: the one place that gives a stanza's batch to the storage. Stanzas of one stream are settled
 * in the order of arrival (arrivals.ts), and what they release keeps the order of their commits (order.ts).
 */
import type { Write } from '../../storage/store.js'
import type { Storage } from '../../storage/storage.js'
import type { Passage, Settled } from './passage.js'
import { later, type Replies } from './reply.js'
import type { Watch } from './watch.js'

export class Commits {
  readonly #storage: Storage
  readonly #replies: Replies
  readonly #watch: Watch

  constructor (storage: Storage, replies: Replies, watch: Watch) {
    this.#storage = storage
    this.#replies = replies
    this.#watch = watch
  }

  /**
   * Settles a stanza in its turn among the stanzas of its stream: its batch is committed, then what waits for the
   * commit is released. Called once for each stanza.
   */
  settle (passage: Passage, outcome: Settled): void {
    passage.stage = 'ready'
    if (passage.arrival === undefined) this.#submit(passage, outcome)
    else passage.arrival.settle(() => { this.#submit(passage, outcome) })
    if (!passage.isSettled) passage.hold?.lags(passage)
  }

  /**
   * Stores writes that a refused stanza leaves: the removal of the row that held it. `failed` is called if they cannot
   * be stored.
   */
  store (writes: readonly Write[], failed: (error: unknown) => void): void {
    try {
      this.#storage.after(this.#storage.submit(writes), error => { if (error !== undefined) failed(error) })
    } catch (error) {
      failed(error)
    }
  }

  /** Never throws: an error here fails this stanza alone, not the one whose turn led here. */
  #submit (passage: Passage, outcome: Settled): void {
    const { session, peer, batch } = passage
    let number: number
    try {
      batch.complete()
      if (passage.arrival !== undefined) {
        session?.manager?.settling(batch, batch.writes.length === 0, outcome.go === 'answered')
      }
      number = batch.submit(this.#storage)
    } catch (error) {
      this.#refuse(passage, error)
      return
    }
    passage.settle()
    const stored = (error: Error | undefined): void => {
      if (error === undefined) this.#stored(passage, outcome)
      else this.#refuse(passage, later(error))
    }
    const keeper = session ?? peer?.order
    if (keeper !== undefined) keeper.release(number, stored)
    else if (number === 0) stored(undefined)
    else this.#storage.after(number, stored)
  }

  /** Runs the callbacks of a stored batch. If one of them throws, the others still run. */
  #stored (passage: Passage, outcome: Settled): void {
    const { batch } = passage
    batch.stored()
    try {
      try {
        batch.answer()
        if (outcome.go === 'answered') this.#replies.result(passage, outcome.reply)
      } finally {
        batch.done()
      }
    } catch (error) {
      this.#refuse(passage, error)
      return
    }
    if (this.#watch.isOn) this.#watch.stored(passage, outcome)
  }

  #refuse (passage: Passage, error: unknown): void {
    if (this.#watch.isOn) this.#watch.refused(passage, 'commit', error)
    this.#replies.refuse(passage, error)
  }
}
