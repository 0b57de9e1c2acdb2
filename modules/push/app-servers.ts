/** So many requests at a time for each app server; the others wait their turn. */

/** Under way at one domain at a time, whoever its nodes belong to. */
const AT_A_TIME = 16
/** What may wait for one domain. */
const WAITING = 10_000

interface Lane { under: number, readonly waiting: Set<() => Promise<void>> }

export class AppServers {
  readonly #lanes = new Map<string, Lane>()

  /** Runs it now or later; `work` never rejects. False, and it is not run, where too much waits already. */
  run (domain: string, work: () => Promise<void>): boolean {
    const lane = this.#lanes.get(domain) ?? { under: 0, waiting: new Set() }
    this.#lanes.set(domain, lane)
    if (lane.under < AT_A_TIME) void this.#start(domain, lane, work)
    else if (lane.waiting.size < WAITING) lane.waiting.add(work)
    else return false
    return true
  }

  /** What waits is forgotten. */
  clear (): void {
    for (const { waiting } of this.#lanes.values()) waiting.clear()
  }

  async #start (domain: string, lane: Lane, work: () => Promise<void>): Promise<void> {
    lane.under++
    await work()
    lane.under--
    const [next] = lane.waiting
    if (next !== undefined) {
      lane.waiting.delete(next)
      void this.#start(domain, lane, next)
    } else if (lane.under === 0) this.#lanes.delete(domain)
  }
}
