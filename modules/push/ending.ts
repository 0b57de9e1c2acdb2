/** The ends of push registrations that no client asked for. */
import { follow } from '../../lib/api.js'
import type { Batch, Jid, Maybe, MessageArriving, ModuleHost, Session } from '../../lib/api.js'
import type { Devices } from './devices.js'
import type { PendingNotifications } from './notices.js'
import type { Registration, Registrations } from './registrations.js'
import { withdrawnIn } from './request.js'

/** The dependencies of Ending. `forget`: how long a device may be away, in milliseconds. */
export interface EndingDeps {
  readonly registrations: Registrations
  readonly notices: PendingNotifications
  readonly devices: Devices
  readonly forget: number
}

/** Ends registrations. */
export class Ending {
  readonly #host: ModuleHost
  readonly #parts: EndingDeps

  constructor (host: ModuleHost, parts: EndingDeps) {
    this.#host = host
    this.#parts = parts
  }

  /** Removes registrations with the batch, and returns them. */
  async remove (account: Jid, whose: (one: Registration) => boolean, batch: Batch): Promise<readonly Registration[]> {
    const { registrations, notices } = this.#parts
    let gone: readonly Registration[] = []
    await registrations.change(account, all => {
      gone = [...all.values()].filter(whose)
      return new Map(gone.map(({ key }) => [key, undefined]))
    }, batch)
    for (const { key } of gone) batch.committed(() => { notices.drop(account, key) })
    return gone
  }

  /** Ends registrations without a request of the client, stores that, and logs it. `reason` is for the log. */
  async end (account: Jid, whose: (one: Registration) => boolean, reason: string): Promise<void> {
    try {
      const batch = this.#host.batch()
      const gone = await this.remove(account, whose, batch)
      await batch.commit()
      this.#log(account, gone, reason)
    } catch (error) {
      this.#host.log.warn('push not disabled', { account: account.toString(), error })
    }
  }

  /** True if the registration's device has been away for too long. */
  isForgotten (account: Jid, registration: Registration): boolean {
    const { devices, forget } = this.#parts
    return registration.seen < this.#host.clock.now() - forget && devices.sessionsOf(account, registration).length === 0
  }

  /** Ends a registration whose device has been away for too long. True if it ends. */
  isOver (account: Jid, registration: Registration): boolean {
    if (!this.isForgotten(account, registration)) return false
    void this.end(account, one => one.id === registration.id, 'forgotten')
    return true
  }

  /**
   * Ends the registration that its service withdraws (§8). Only the service itself can do so; from anyone else this is
   * an ordinary message. 'handled' if a registration ends.
   */
  withdraw ({ message, account, batch }: MessageArriving): Maybe<'handled' | undefined> {
    const withdrawn = withdrawnIn(message, account)
    if (withdrawn === undefined) return undefined
    const isMeant = (one: Registration): boolean => one.service.equals(message.from) && one.node === withdrawn.node
    return this.remove(account, isMeant, batch).then(gone => {
      batch.committed(() => { this.#log(account, gone, 'withdrawn') })
      return gone.length > 0 ? 'handled' : undefined
    })
  }

  /** Ends the registrations of devices that are not connected: after a new password they cannot come back. */
  passwordChanged (account: Jid): Promise<void> {
    const { devices } = this.#parts
    const isConnected = ({ connection }: Session): boolean => connection === 'attached'
    return this.end(account, one => !devices.sessionsOf(account, one).some(isConnected), 'password changed')
  }

  /** Forgets the registrations of an account that is removed with the batch. */
  accountRemoved (account: Jid, batch: Batch): Maybe<void> {
    const { registrations, notices } = this.#parts
    return follow(registrations.of(account), all => {
      const keys = [...all.keys()]
      batch.committed(() => {
        registrations.forget(account)
        for (const key of keys) notices.drop(account, key)
      })
    })
  }

  #log (account: Jid, gone: readonly Registration[], reason: string): void {
    const { log } = this.#host
    if (gone.length > 0) this.#host.count('disabled', gone.length)
    for (const { service } of gone) log.info('push disabled', { account: account.toString(), service: service.toString(), reason })
  }
}
