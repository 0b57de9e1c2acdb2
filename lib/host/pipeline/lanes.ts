/** Lanes: stanzas for one account keep their order, also while some of them wait for something. */
import { FairRoom } from '../../base/fair-room.js'
import { Queue } from '../../base/queue.js'
import type { Turns } from '../../base/turns.js'
import { BACKLOG } from '../../stream/bounds.js'
import type { Storage } from '../../storage/storage.js'

export interface LanesHome {
  readonly storage: Pick<Storage, 'after' | 'settled' | 'submitted'>
  readonly turns: Turns | undefined
  defect (error: unknown): void
}

/**
 * The most bytes that may wait, for one account and over all. An account with less than `least` waiting is never
 * refused. A sender (another account, or the site of another domain) may fill half of what others leave, for one
 * account and over all; with less than `leastOfSender` it is refused only if twice as much waits.
 */
export interface LaneBounds {
  readonly account: number
  readonly overAll: number
  readonly least: number
  readonly leastOfSender: number
}

const BOUNDS = { account: BACKLOG, overAll: 8 * BACKLOG, least: BACKLOG / 32, leastOfSender: BACKLOG / 256 }
const NOBODY: readonly string[] = []
/** The bytes that a waiting stanza needs besides its octets, about. */
const OVERHEAD = 1024

/** The stanzas that wait for one account. */
interface Lane { readonly queue: Queue, readonly room: FairRoom }

/** A stanza that waits for its turn. */
export interface Waiting {
  /** The size of the stanza. */
  readonly bytes: number
  /**
   * Who shares the room of the account with others (`FairRoom.take`). Undefined for a stanza that waited for a device
   * before, within the bounds of its session: it is never refused.
   */
  readonly sender: readonly string[] | undefined
}

export class Lanes {
  readonly #home: LanesHome
  readonly #bounds: LaneBounds
  readonly #lanes = new Map<string, Lane>()
  /** The room of all lanes. */
  readonly #all: FairRoom
  /** By account: stanzas that have left the lane, and are submitted after earlier stanzas of the same sender. */
  readonly #unsubmitted = new Map<string, Set<Promise<void>>>()
  #idle: (() => void)[] = []

  constructor (home: LanesHome, bounds: LaneBounds = BOUNDS) {
    this.#home = home
    this.#bounds = bounds
    this.#all = new FairRoom(bounds.overAll, bounds.leastOfSender)
  }

  /** Resolves when nothing waits in any lane. */
  idle (): Promise<void> {
    return new Promise(resolve => {
      if (this.#lanes.size === 0) resolve()
      else this.#idle.push(resolve)
    })
  }

  isBusy (account: string): boolean { return this.#lanes.has(account) }

  /**
   * Runs `work` after all that is in the lane. Returns false, and runs nothing, if there is no room for its sender
   * there.
   */
  after (account: string, { bytes, sender }: Waiting, work: () => void | Promise<void>): boolean {
    const { queue, room } = this.#lane(account)
    const size = bytes + OVERHEAD
    if (sender !== undefined && !this.#take(room, sender, size)) return false
    this.#all.add(sender ?? NOBODY, size)
    return queue.run(() => {
      this.#all.giveBack(sender ?? NOBODY, size)
      if (sender !== undefined) room.giveBack(sender, size)
      return work()
    })
  }

  #take (room: FairRoom, sender: readonly string[], size: number): boolean {
    const isFree = this.#all.isFree(sender, size) || room.bytes + size <= this.#bounds.least
    return isFree && room.take(sender, size)
  }

  /** Lets later stanzas for the account wait until `work` ends. */
  begin (account: string, work: Promise<void>): void { this.#lane(account).queue.run(() => work) }

  /** Notes a stanza that has left the lane. `submitted` resolves when it is submitted. */
  passes (account: string, submitted: Promise<void>): void {
    const waiting = this.#unsubmitted.get(account) ?? new Set()
    this.#unsubmitted.set(account, waiting.add(submitted))
    void submitted.then(() => {
      waiting.delete(submitted)
      if (waiting.size === 0) this.#unsubmitted.delete(account)
    })
  }

  /**
   * Runs `work` in turn: stanzas that have found their recipients are stored by then, and all others wait until the
   * work ends. A turn never waits for a stanza that waits for the turn, so two turns never wait for each other.
   */
  turn (account: string, work: () => Promise<void>): void {
    const turn = async (): Promise<void> => {
      await this.#stored(account)
      await work()
    }
    if (this.isBusy(account)) this.#lane(account).queue.runNext(turn)
    else this.begin(account, this.#isStored(account) ? work() : turn())
  }

  /** Resolves after all that has come for the account so far is stored; returns undefined if it is stored already. */
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
    const failed = (error: unknown): void => { this.#home.defect(error) }
    const queue = new Queue(Infinity, failed, () => { this.#emptied(account) }, this.#home.turns)
    const lane: Lane = { queue, room: new FairRoom(this.#bounds.account, this.#bounds.leastOfSender) }
    this.#lanes.set(account, lane)
    return lane
  }

  #emptied (account: string): void {
    this.#lanes.delete(account)
    if (this.#lanes.size > 0) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }
}
