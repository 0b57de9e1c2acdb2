/** Limits the concurrent requests to each app server; further requests wait. */
import { Semaphore } from '../../lib/api.js'

/** Concurrent requests to one domain, for all its nodes together. */
const AT_A_TIME = 16
/** Requests that may wait for one domain. */
const WAITING = 10_000

/** The queues of all app servers. */
export class AppServers {
  readonly #lines = new Map<string, Semaphore>()

  /** Runs `work` now or later; `work` never rejects. Returns false, and does not run it, if too many requests wait. */
  run (domain: string, work: () => Promise<void>): boolean {
    const line = this.#lines.get(domain) ?? new Semaphore(AT_A_TIME, WAITING)
    this.#lines.set(domain, line)
    const done = line.run(work)
    void done?.then(() => { if (line.isIdle) this.#lines.delete(domain) })
    return done !== undefined
  }

  /** Removes all waiting requests. */
  clear (): void {
    for (const line of this.#lines.values()) line.clear()
  }
}
