/** Values that are read once and stay in memory: as long as they are held, and after that within a bound. */
import { LRUCache } from 'lru-cache'
import { follow, type Maybe } from './maybe.js'

interface Held<T> { value: T | undefined, holds: number }

export class PinnedCache<T extends object> {
  readonly #read: (key: string) => Promise<T>
  readonly #held = new Map<string, Held<T>>()
  readonly #idle: LRUCache<string, T>
  readonly #reading = new Map<string, Promise<T>>()

  /** `idle` is how many values stay that nobody holds; `room` how many bytes they may have together. */
  constructor (
    read: (key: string) => Promise<T>, idle: number,
    room?: { readonly bytes: number, readonly sizeOf: (value: T) => number },
  ) {
    this.#read = read
    this.#idle = new LRUCache(room === undefined
      ? { max: idle }
      : { max: idle, maxSize: room.bytes, sizeCalculation: value => Math.max(1, room.sizeOf(value)) })
  }

  /** Returns the value, at once if it is in memory. All callers during a read get the same value. */
  of (key: string): Maybe<T> {
    return this.#held.get(key)?.value ?? this.#idle.get(key) ?? this.#start(key)
  }

  /**
   * Removes a value that is held now from those that nobody holds. One that is alone there stays: to empty itself, the
   * LRU clears arrays for as many values as it may have, which takes longer than all else that a request needs.
   */
  #drop (key: string): void { if (this.#idle.size > 1) this.#idle.delete(key) }

  /** Returns the value and holds it in memory until `release` was called as often. */
  hold (key: string): Maybe<T> {
    const held = this.#held.get(key)
    if (held !== undefined) held.holds++
    else {
      this.#held.set(key, { value: this.#idle.get(key), holds: 1 })
      this.#drop(key)
    }
    return follow(this.of(key), value => value)
  }

  /**
   * Sets the value, also for its holders, and holds it. It stays until `release` was called as often as this and
   * `hold`.
   */
  holdAs (key: string, value: T): void {
    this.#reading.delete(key) // a read in progress is only for the callers before this
    this.#idle.delete(key)
    const held = this.#held.get(key)
    if (held === undefined) { this.#held.set(key, { value, holds: 1 }); return }
    held.holds++
    held.value = value
  }

  release (key: string): void {
    const held = this.#held.get(key)
    if (held === undefined || --held.holds > 0) return
    this.#held.delete(key)
    if (held.value !== undefined) this.#idle.set(key, held.value)
  }

  /** Makes the next call of `of` or `hold` read the value again. Existing holds stay, and hold the new value. */
  forget (key: string): void {
    const held = this.#held.get(key)
    if (held !== undefined) held.value = undefined
    this.#idle.delete(key)
    this.#reading.delete(key)
  }

  /** The number of values that are in memory or held; one may count twice (see `#drop`). */
  get size (): number { return this.#held.size + this.#idle.size }

  #start (key: string): Promise<T> {
    const under = this.#reading.get(key)
    if (under !== undefined) return under
    const reading: Promise<T> = this.#read(key).then(value => {
      // A value that was forgotten meanwhile may be out of date: it goes only to the waiting callers.
      if (this.#reading.get(key) === reading) this.#keep(key, value)
      return value
    }).finally(() => {
      if (this.#reading.get(key) === reading) this.#reading.delete(key)
    })
    this.#reading.set(key, reading)
    return reading
  }

  #keep (key: string, value: T): void {
    const held = this.#held.get(key)
    if (held !== undefined) held.value = value
    else this.#idle.set(key, value)
  }
}
