/** How a host stops: which sessions are saved for the next start, and what it waits for before they are saved. */
import type { Hooks } from '../base/hook.js'
import { hostParting, sessionParting } from './events.js'
import type { Session } from './session.js'
import type { Sessions } from './sessions.js'

/** The parts of the host that a stop uses. */
export interface PartingHome {
  readonly hooks: Hooks
  readonly sessions: Sessions
  defect (error: unknown): void
}

export class PlannedStop {
  readonly #home: PartingHome
  /** The sessions that existed when the stop began. */
  #last: readonly Session[] = []
  /** Those of them that are saved for the next start. */
  #parked: ReadonlySet<Session> = new Set()
  /** Handlers that still run for sessions that closed during the stop. */
  readonly #farewells: Promise<void>[] = []

  constructor (home: PartingHome) { this.#home = home }

  /** True if the session is saved for the next start. */
  keeps (session: Session): boolean { return this.#parked.has(session) }

  /** Chooses the sessions to save. From now on no stanza of their devices is taken. */
  begin (): void {
    this.#last = [...this.#home.sessions.all()]
    this.#parked = new Set(this.#last.filter(session => this.#isKept(session)))
    for (const session of this.#parked) session.freeze()
  }

  #isKept (session: Session): boolean {
    const event = { session, keep: false }
    try {
      void this.#home.hooks.fire(sessionParting, event)
    } catch (error) {
      this.#home.defect(error)
    }
    return event.keep
  }

  /** Adds a handler that `settled` waits for: it was called for a session that closed during the stop. */
  waitsFor (told: Promise<void>): void { this.#farewells.push(told) }

  /**
   * Resolves when all that devices have sent is submitted to storage, and the handlers of closed sessions have ended.
   */
  async settled (): Promise<void> {
    const sessions = this.#last.flatMap(({ manager, input }) => [manager?.settled(), input.settled()])
    await Promise.all([...sessions, ...this.#farewells])
  }

  /** Saves the chosen sessions. Then their connections end, and their streams do not (XEP-0198 §6). */
  async saveForRestart (): Promise<void> {
    try {
      const sessions = [...this.#parked].filter(({ connection }) => connection !== 'closed')
      await this.#home.hooks.fire(hostParting, { sessions })
    } catch (error) {
      this.#home.defect(error)
    }
    for (const session of this.#parked) session.leave()
  }
}
