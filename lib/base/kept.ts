/** Values that are read once and then kept in memory: as long as somebody holds them, and beyond that within a bound. */
import { LRUCache } from 'lru-cache'
import { follow, type Maybe } from './maybe.js'

interface Held<T> { value: T | undefined, holds: number }

export class Kept<T extends object> {
  readonly #read: (key: string) => Promise<T>
  readonly #held = new Map<string, Held<T>>()
  readonly #idle: LRUCache<string, T>
  readonly #reading = new Map<string, Promise<T>>()

  /** `idle`: how many values stay that nobody holds; `room`: and how many bytes they may have together. */
  constructor (read: (key: string) => Promise<T>, idle: number, room?: { readonly bytes: number, readonly sizeOf: (value: T) => number }) {
    this.#read = read
    this.#idle = new LRUCache(room === undefined
      ? { max: idle }
      : { max: idle, maxSize: room.bytes, sizeCalculation: value => Math.max(1, room.sizeOf(value)) })
  }

  /** The value, at once where it is in memory; all who ask while it is being read get the same one. */
  of (key: string): Maybe<T> {
    return this.#held.get(key)?.value ?? this.#idle.get(key) ?? this.#start(key)
  }

  /** The same, and it stays until `release` was called as often. */
  hold (key: string): Maybe<T> {
    const held = this.#held.get(key)
    if (held !== undefined) held.holds++
    else {
      this.#held.set(key, { value: this.#idle.get(key), holds: 1 })
      this.#idle.delete(key)
    }
    return follow(this.of(key), value => value)
  }

  /** This is the value from now on, for those as well who hold it; it stays until `release` was called as often as this and `hold`. */
  holdAs (key: string, value: T): void {
    this.#reading.delete(key) // what is read meanwhile is for those who asked before
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

  /** The next who asks gets it read anew. Who holds it goes on holding, what is read then. */
  forget (key: string): void {
    const held = this.#held.get(key)
    if (held !== undefined) held.value = undefined
    this.#idle.delete(key)
    this.#reading.delete(key)
  }

  /** How many are in memory, or held. */
  get size (): number { return this.#held.size + this.#idle.size }

  #start (key: string): Promise<T> {
    const under = this.#reading.get(key)
    if (under !== undefined) return under
    const reading: Promise<T> = this.#read(key).then(value => {
      // What was forgotten meanwhile may be out of date: it is for those who asked, and nobody else.
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
