/** How a host stops: which sessions live on after the next start, and what is waited for until they are written down. */
import type { Hooks } from '../base/hook.js'
import { hostParting, sessionParting } from './events.js'
import type { Session } from './session.js'
import type { Sessions } from './sessions.js'

/** What a stop needs of its host. */
export interface PartingHome {
  readonly hooks: Hooks
  readonly sessions: Sessions
  defect (error: unknown): void
}

export class Parting {
  readonly #home: PartingHome
  /** Those that were here when it began. */
  #last: readonly Session[] = []
  /** Of these, those that live on. */
  #parked: ReadonlySet<Session> = new Set()
  /** Others are being told of sessions that have ended since. */
  readonly #farewells: Promise<void>[] = []

  constructor (home: PartingHome) { this.#home = home }

  /** It lives on after the next start. */
  keeps (session: Session): boolean { return this.#parked.has(session) }

  /** Asks which sessions are to live on. Nothing more is taken from these. */
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

  /** A session has ended meanwhile, and others are being told. */
  waitsFor (told: Promise<void>): void { this.#farewells.push(told) }

  /** Resolves once all that devices have said is on its way to storage, and others have been told of the sessions that have ended. */
  async settled (): Promise<void> {
    await Promise.all([...this.#last.flatMap(({ manager, input }) => [manager?.settled(), input.settled()]), ...this.#farewells])
  }

  /** Has them written down. Then their connections end, and their streams do not (XEP-0198 §6). */
  async park (): Promise<void> {
    try {
      await this.#home.hooks.fire(hostParting, { sessions: [...this.#parked].filter(({ connection }) => connection !== 'closed') })
    } catch (error) {
      this.#home.defect(error)
    }
    for (const session of this.#parked) session.leave()
  }
}
