/** The devices of push registrations: whether they are here, and how long a notification waits for them. */
import { clientStates, deviceOf } from '../../lib/api.js'
import type { Jid, ModuleHost, Session } from '../../lib/api.js'
import type { Registration } from './registrations.js'

/** The settings for devices; `delay` in milliseconds. */
export interface DeviceSettings {
  readonly inactive: 'always' | 'unacknowledged' | 'never'
  readonly delay: number
}

/** The sessions of a host's accounts, as the devices of their registrations. */
export class Devices {
  readonly #host: ModuleHost
  readonly #settings: DeviceSettings

  constructor (host: ModuleHost, settings: DeviceSettings) {
    this.#host = host
    this.#settings = settings
  }

  /** Returns the sessions of a registration's device. */
  sessionsOf (account: Jid, { device }: Registration): readonly Session[] {
    return this.#host.sessions.of(account).filter(session => deviceOf(session) === device)
  }

  /** True if a device is connected and needs no notification. `hasWaited`: it has had the time to acknowledge. */
  isHere (sessions: readonly Session[], hasWaited: boolean): boolean {
    const { inactive } = this.#settings
    return sessions.some(session => {
      if (session.connection !== 'attached') return false
      if (this.#isActive(session) || inactive === 'never') return true
      return hasWaited && inactive === 'unacknowledged' && hasAll(session)
    })
  }

  /** Returns how long a notification waits, in milliseconds, in case the message is read or acknowledged meanwhile. */
  waitFor (account: Jid, registration: Registration, own: readonly Session[]): number {
    const isElsewhere = this.#host.sessions.of(account).some(session =>
      session.connection === 'attached' && session.available && deviceOf(session) !== registration.device && this.#isActive(session))
    const mayAnswer = this.#settings.inactive === 'unacknowledged' && own.some(({ connection }) => connection === 'attached')
    return isElsewhere || mayAnswer ? this.#settings.delay : 0
  }

  #isActive (session: Session): boolean { return this.#host.find(clientStates)?.isInactive(session) !== true }
}

/** True if the device has acknowledged all stanzas. */
function hasAll ({ manager }: Session): boolean {
  return manager !== undefined && [...manager.unconfirmed()].length === 0
}
