/** Stores the changes of managed sessions, together and within a second. */
import type { ModuleHost, Timer } from '../../lib/api.js'
import type { ManagedSession } from './managed.js'
import type { Stores } from './stores.js'

/** A change is stored within this many milliseconds. */
const WITHIN = 1000

/** The managed sessions of a host that have changes to be stored. */
export class Writer {
  readonly #host: Pick<ModuleHost, 'batch' | 'clock' | 'domain' | 'log'>
  readonly #broadcasts: Stores['broadcasts']
  readonly #dirty = new Set<ManagedSession>()
  /** Rows of broadcasts that nobody refers to any more. */
  #gone: string[] = []
  #writing: Timer | undefined
  #isOver = false

  constructor (host: Pick<ModuleHost, 'batch' | 'clock' | 'domain' | 'log'>, broadcasts: Stores['broadcasts']) {
    this.#host = host
    this.#broadcasts = broadcasts
  }

  /** Notes that a session has changes. */
  add (managed: ManagedSession): void {
    this.#dirty.add(managed)
    this.#arm()
  }

  /**
   * Notes that nobody refers to the row of a broadcast any more. After `stop` the row stays, and is removed by the next
   * start.
   */
  remove (broadcast: string): void {
    if (this.#isOver) return
    this.#gone.push(broadcast)
    this.#arm()
  }

  /** Forgets the changes of a session that has ended. */
  forget (managed: ManagedSession): void { this.#dirty.delete(managed) }

  /** Stores all changes. A failure is logged. */
  async write (): Promise<void> {
    this.#writing = undefined
    const all = [...this.#dirty]
    this.#dirty.clear()
    this.#clear()
    await this.store(all).catch((error: unknown) => { this.failed(error) })
  }

  /** Stores the changes of these sessions now, in one batch. */
  store (all: readonly ManagedSession[]): Promise<void> {
    const batch = this.#host.batch()
    for (const managed of all) {
      this.#dirty.delete(managed)
      managed.write(batch)
    }
    return batch.commit()
  }

  /** Logs that a session could not be stored. */
  failed (error: unknown): void { this.#host.log.warn('session not stored', { error }) }

  /** Stores all changes now instead of later. */
  stop (): void {
    this.#isOver = true
    this.#writing?.cancel()
    void this.write()
  }

  /** After `stop` nothing is stored later: the next start finds the state as after a crash. */
  #arm (): void {
    if (!this.#isOver) this.#writing ??= this.#host.clock.after(WITHIN, () => { void this.write() })
  }

  /** Removes the rows of broadcasts. What cannot be removed now is removed after the next start. */
  #clear (): void {
    const gone = this.#gone
    if (gone.length === 0) return
    this.#gone = []
    const batch = this.#host.batch()
    batch.add(this.#broadcasts.removing(this.#host.domain, gone))
    batch.commit().catch((error: unknown) => { this.failed(error) })
  }
}
