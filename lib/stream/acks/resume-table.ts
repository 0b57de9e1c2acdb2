/** Finds what can be resumed by its id (XEP-0198 §5), and the counts of what has ended. */
import { Cache } from '../../base/cache.js'
import type { Clock, Timer } from '../../base/clock.js'
import type { Maybe } from '../../base/maybe.js'

export interface ResumeTableSettings<T> {
  readonly clock: Pick<Clock, 'after'>
  /** How many ended ones are remembered, so that their peers learn how much was handled. */
  readonly ended: number
  /** The most that wait to be resumed; with more, the oldest one expires. */
  readonly waiting?: number
  /** Called if one was not resumed in time. It still is in the table, and no longer waits. */
  expired (value: T): void
}

interface Place<T> {
  /** Who may resume it: only an id that its own owner shows is found. */
  readonly owner: string
  readonly value: T
  /** The end of its time; undefined while it has a stream. */
  timer: Timer | undefined
  /** The number of attempts to resume it. */
  attempts: number
}

/** The count of an ended one: of its stanzas that were handled. */
export interface EndedCount {
  readonly handled: number
  /** Resolves once all that came is handled; absent if it is. */
  settled? (): Promise<unknown>
}

interface Ended { readonly owner: string, readonly count: EndedCount }

/** Sessions or streams of type `T` by the id that the peer was told. */
export class ResumeTable<T> {
  readonly #how: ResumeTableSettings<T>
  readonly #places = new Map<string, Place<T>>()
  /** The places that wait, the oldest first. */
  readonly #waiting = new Map<string, Place<T>>()
  readonly #ended: Cache<string, Ended>

  constructor (how: ResumeTableSettings<T>) {
    this.#how = how
    this.#ended = new Cache({ max: how.ended })
  }

  /** Adds one that has a stream. It replaces one with the same id. */
  enter (id: string, owner: string, value: T): void {
    this.leave(id)
    this.#places.set(id, { owner, value, timer: undefined, attempts: 0 })
  }

  /** Removes one without a trace. */
  leave (id: string): void {
    this.stopWaiting(id)
    this.#places.delete(id)
  }

  /** Returns the one with this id if it is the owner's. */
  at (id: string, owner: string): T | undefined {
    const place = this.#places.get(id)
    return place?.owner === owner ? place.value : undefined
  }

  /** True if this is in the table under this id. */
  has (id: string, value: T): boolean { return this.#places.get(id)?.value === value }

  /** Yields all, with and without a stream. */
  * all (): Generator<T> { for (const { value } of this.#places.values()) yield value }

  /** Returns all that wait to be resumed; if `owner` is given, those of this owner. */
  waiting (owner?: string): readonly T[] {
    const all = [...this.#waiting.values()]
    return (owner === undefined ? all : all.filter(place => place.owner === owner)).map(({ value }) => value)
  }

  isWaiting (id: string): boolean { return this.#waiting.has(id) }

  /** Lets one wait, which has lost its stream, for `ms` milliseconds. After that it expires. */
  wait (id: string, ms: number): void {
    const place = this.#places.get(id)
    if (place === undefined) return
    this.stopWaiting(id)
    const [oldest] = this.#waiting.keys()
    if (oldest !== undefined && this.#waiting.size >= (this.#how.waiting ?? Infinity)) this.#expire(oldest)
    place.timer = this.#how.clock.after(ms, () => { this.#expire(id) })
    this.#waiting.set(id, place)
  }

  /** Stops the time of one that was resumed or has ended. */
  stopWaiting (id: string): void {
    const place = this.#waiting.get(id)
    if (place === undefined) return
    place.timer?.cancel()
    place.timer = undefined
    this.#waiting.delete(id)
  }

  /** Removes one that has ended, and remembers its count. */
  end (id: string, count: EndedCount): void {
    const place = this.#places.get(id)
    if (place === undefined) return
    this.leave(id)
    this.remember(id, place.owner, count)
  }

  /** Remembers the count of one that has ended. */
  remember (id: string, owner: string, count: EndedCount): void { this.#ended.set(id, { owner, count }) }

  /** Returns the count of an ended one if it was the owner's; undefined if it is not known. */
  countOf (id: string, owner: string): Maybe<number> | undefined {
    const ended = this.#ended.get(id)
    if (ended?.owner !== owner) return undefined
    const { count } = ended
    return count.settled === undefined ? count.handled : count.settled().then(() => count.handled)
  }

  /** Returns all ended ones, the latest first. */
  ended (): readonly (readonly [id: string, owner: string, handled: number])[] {
    return [...this.#ended.entries()].map(([id, { owner, count }]) => [id, owner, count.handled])
  }

  /**
   * Locks one to resume it, until `settled` has run: all that came on its former stream is handled then. Resolves with
   * false if it has ended since, or somebody has locked it later: of several who resume it at a time, the last one has
   * it.
   */
  async lock (id: string, settled: () => Promise<unknown>): Promise<boolean> {
    const place = this.#places.get(id)
    if (place === undefined) return false
    const attempt = ++place.attempts
    await settled()
    return this.#places.get(id) === place && place.attempts === attempt
  }

  /** Stops all waiting, without an end: another table takes over, or the server stops. */
  stop (): void { for (const id of [...this.#waiting.keys()]) this.stopWaiting(id) }

  #expire (id: string): void {
    const place = this.#waiting.get(id)
    if (place === undefined) return
    this.stopWaiting(id)
    this.#how.expired(place.value)
  }
}
