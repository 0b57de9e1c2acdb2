/**
 * Runs long reads in a thread of their own. Owners take turns, step by step, so that none makes the others wait for
 * long.
 */
import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import { StorageUnavailable } from '../store.js'
import type { EntryRow, Read, ReadAnswer, Step, WriterSettings } from './rows.js'
import { startThread } from './threads.js'

/** The number of requests that the thread has at a time: two, so that the second is ready when the first is done. */
const UNDER_WAY = 2

interface Waiting {
  readonly read: Read
  readonly resolve: (found: unknown) => void
  readonly reject: (error: Error) => void
}

export class LongReads {
  readonly #settings: WriterSettings
  /** Waiting reads by owner; the owner whose turn is next comes first. */
  readonly #waiting = new Map<string, Waiting[]>()
  readonly #underWay = new Map<number, Waiting>()
  #numbers = 0
  #worker: Worker | undefined
  #isClosed = false

  constructor (settings: WriterSettings) { this.#settings = settings }

  /** Returns rows as arrays of their columns. Throws StorageUnavailable. */
  async rows (owner: string, sql: string, values: readonly (string | number)[]): Promise<readonly unknown[]> {
    return await this.#ask(owner, { what: 'rows', sql, values }) as readonly unknown[]
  }

  /** Returns rows of a table until they have more than `bytes` bytes; the fourth column is their size. */
  async some (
    owner: string, sql: string, values: readonly (string | number)[], bytes: number,
  ): Promise<readonly unknown[]> {
    return await this.#ask(owner, { what: 'some', sql, values, bytes }) as readonly unknown[]
  }

  /**
   * Returns the next step of a page: its entries, and the place where the next step begins; undefined if nothing more
   * matches.
   */
  async page (owner: string, read: Omit<Extract<Read, { what: 'page' }>, 'what'>): Promise<Step<readonly EntryRow[]>> {
    return await this.#ask(owner, { what: 'page', ...read }) as Step<readonly EntryRow[]>
  }

  /** Skips matches; returns the place of the last of them, or undefined if there are fewer. */
  async skip (owner: string, read: Omit<Extract<Read, { what: 'skip' }>, 'what' | 'seen'>): Promise<number | undefined> {
    let left = read.most
    let seen: number | undefined
    do {
      const step = await this.#ask(owner, { what: 'skip', ...read, most: left, seen }) as Step<number>
      left -= step.found
      seen = step.seen
    } while (left > 0 && seen !== undefined)
    return seen
  }

  /** Returns how many entries match, and the bytes of their values, after as many steps as that takes. */
  async count (owner: string, read: Omit<Extract<Read, { what: 'count' }>, 'what' | 'seen'>): Promise<{ readonly entries: number, readonly bytes: number }> {
    let [entries, bytes] = [0, 0]
    let seen: number | undefined
    do {
      const step = await this.#ask(owner, { what: 'count', ...read, seen }) as Step<{ readonly entries: number, readonly bytes: number }>
      entries += step.found.entries
      bytes += step.found.bytes
      seen = step.seen
    } while (seen !== undefined)
    return { entries, bytes }
  }

  /** Closes the thread. Waiting reads reject: the storage is closed. */
  async close (): Promise<void> {
    this.#isClosed = true
    const worker = this.#worker
    this.#fail(new StorageUnavailable('storage is closed'))
    if (worker === undefined) return
    const ended = once(worker, 'exit')
    worker.postMessage('close')
    await ended
  }

  #ask (owner: string, read: Read): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) { reject(new StorageUnavailable('storage is closed')); return }
      const one = { read, resolve, reject }
      const waiting = this.#waiting.get(owner)
      if (waiting === undefined) this.#waiting.set(owner, [one])
      else waiting.push(one)
      this.#next()
    })
  }

  #next (): void {
    while (this.#underWay.size < UNDER_WAY) {
      const [turn] = this.#waiting
      if (turn === undefined) return
      const [owner, waiting] = turn
      this.#waiting.delete(owner)
      const one = waiting.shift()
      if (waiting.length > 0) this.#waiting.set(owner, waiting) // after the other owners
      if (one === undefined) continue
      const number = ++this.#numbers
      this.#underWay.set(number, one)
      ;(this.#worker ??= this.#start()).postMessage({ number, ...one.read })
    }
  }

  #start (): Worker {
    const worker = startThread('reader', this.#settings)
    let why = new Error('the reader ended')
    worker.on('message', ([number, found, text]: ReadAnswer) => {
      const one = this.#underWay.get(number)
      this.#underWay.delete(number)
      if (text === undefined) one?.resolve(found)
      else one?.reject(new StorageUnavailable(text))
      // In a later turn: answers that come while others are handled are handled in the same turn, up to a thousand.
      setImmediate(() => { this.#next() })
    })
    worker.on('error', (error: unknown) => { why = error instanceof Error ? error : new Error(String(error)) })
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = undefined
      this.#fail(new StorageUnavailable(why.message, { cause: why }))
    })
    return worker
  }

  #fail (error: StorageUnavailable): void {
    const failed = [...this.#underWay.values(), ...[...this.#waiting.values()].flat()]
    this.#underWay.clear()
    this.#waiting.clear()
    for (const { reject } of failed) reject(error)
  }
}
