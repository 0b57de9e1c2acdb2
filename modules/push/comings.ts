/** Devices that come and go: notifications end when they come, and begin when they are lost (XEP-0357 §7). */
import { deviceOf } from '../../lib/api.js'
import type { Jid, Maybe, ModuleHost, Session } from '../../lib/api.js'
import type { Devices } from './devices.js'
import type { Events } from './events.js'
import type { PendingNotifications } from './notices.js'
import type { Registration, Registrations } from './registrations.js'

/** How often it is stored that a device is in use, in milliseconds. */
const DAY = 86_400_000

/** The dependencies of Comings. */
export interface ComingsDeps {
  readonly registrations: Registrations
  readonly notices: PendingNotifications
  readonly devices: Devices
  readonly events: Events
}

/** Follows the sessions of a host. */
export class Comings {
  readonly #host: ModuleHost
  readonly #parts: ComingsDeps
  /** Hibernating sessions: their devices were already notified of unacknowledged messages. */
  readonly #waiting = new WeakSet<Session>()

  constructor (host: ModuleHost, parts: ComingsDeps) {
    this.#host = host
    this.#parts = parts
  }

  /** Notes the hibernating sessions that were here before a reload of the module. */
  start (): void {
    for (const session of this.#host.sessions.all()) if (session.connection === 'waiting') this.#waiting.add(session)
  }

  /** Notes that a session's device is in use: it sees for itself. */
  came (session: Session): Maybe<void> {
    const { registrations, devices, notices } = this.#parts
    return registrations.ifAny(session.account, all => {
      const device = deviceOf(session)
      if (!devices.isHere([session], false)) return
      const mine = [...all.values()].filter(one => one.device === device)
      for (const { key } of mine) notices.seen(session.account, key)
      this.#note(session.account, mine)
    })
  }

  /** Notes that a session hibernates. */
  detached (session: Session): void {
    this.#waiting.add(session)
    this.#left(session)
  }

  /** Notes that a session was resumed. */
  resumed (session: Session): void { this.#waiting.delete(session) }

  /** Notes that a session was closed. */
  closed (session: Session): void { if (!this.#waiting.has(session)) this.#left(session) }

  /** Notifies the devices of restored sessions again: nothing is known of what the previous process sent them. */
  recall (): void {
    const { events } = this.#parts
    for (const session of this.#host.sessions.all()) {
      if (session.connection !== 'waiting') continue
      this.#waiting.add(session)
      events.quietly(events.missed(session))
    }
  }

  /** Notifies a session's device of unacknowledged messages, and stores that it was in use until now. */
  #left (session: Session): void {
    const { registrations, events } = this.#parts
    const device = deviceOf(session)
    events.quietly(events.missed(session))
    events.quietly(registrations.ifAny(session.account, all => {
      this.#note(session.account, [...all.values()].filter(one => one.device === device))
    }))
  }

  /** Stores that these registrations' device is in use, at most once a day. */
  #note (account: Jid, mine: readonly Registration[]): void {
    const now = this.#host.clock.now()
    const due = mine.filter(({ seen }) => seen < now - DAY)
    if (due.length === 0) return
    const batch = this.#host.batch()
    this.#parts.registrations.change(account, all => new Map(due.flatMap(({ key }) => {
      const one = all.get(key)
      return one === undefined ? [] : [[key, { ...one, seen: now }] as const]
    })), batch).then(() => batch.commit()).catch((error: unknown) => {
      this.#host.log.warn('push registration not updated', { account: account.toString(), error })
    })
  }
}
