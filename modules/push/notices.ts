/**
 * Decides when a registration is notified: at once or later, several events in one notification, and within the rate
 * limits.
 */
import { Cache, shortened, StanzaError, TokenBucket } from '../../lib/api.js'
import type { Clock, Jid, Logger, Maybe, Timer } from '../../lib/api.js'
import { AppServers } from './app-servers.js'
import type { Summary } from './notification.js'
import type { All, Registration } from './registrations.js'
import { Unread } from './unread.js'

/** The settings for the timing of notifications; times in milliseconds. */
export interface Pace {
  readonly collapse: number
  readonly notificationsPerHour: number
  readonly failures: number
}

/** The functions that Notices asks of the module. */
export interface NoticesHome {
  readonly clock: Clock
  readonly log: Logger
  readonly pace: Pace
  registrationsOf (account: Jid): Maybe<All>
  /** True if the registration's device is connected and needs no notification. */
  isHere (account: Jid, registration: Registration): boolean
  /** Returns the number of subscription requests that wait for the account. */
  requestsOf (account: Jid): Maybe<number>
  /** Sends the notification; rejects with the app server's StanzaError. */
  publish (registration: Registration, summary: Summary): Promise<unknown>
  /** Ends a registration that no longer works; `why` is for the log. */
  remove (account: Jid, registration: Registration, why: string): void
  count (metric: 'spared' | 'read' | 'postponed' | 'sent' | 'refused'): void
}

/** The reason for a notification. */
export interface Reason {
  readonly importance: 'call' | 'message' | 'request'
  readonly from: Jid
  readonly archived?: string | undefined
  readonly id?: string | undefined
  readonly body?: string | undefined
}

/** The most registrations whose unseen messages are remembered; beyond that, the least recently used are forgotten. */
const NOTICES = 50_000
/** The most accounts whose rate is measured. */
const ACCOUNTS = 10_000
const HOUR = 3600
/** The most notifications of an hour's rate that may be sent at once. */
const BURST = 20
/** The shortest time between two notifications of one registration, in milliseconds. */
const GAP = 1000
/**
 * A registration is not notified for this time after a temporary error, in milliseconds. Each further error in a row
 * doubles it, up to `LONGEST_PAUSE`.
 */
const FIRST_PAUSE = 30_000
const LONGEST_PAUSE = 3_600_000
/** The longest part of a body that is shown, in characters. */
const LONGEST_BODY = 500

/** The events that one registration has not been notified of yet. */
class PendingNotification {
  readonly account: Jid
  readonly key: string
  readonly unread = new Unread()
  /** There is something that was not notified yet. */
  isDue = false
  isCall = false
  hasRequest = false
  /** The registration was notified, and its device has not been here since. */
  isUnseen = false
  isUnderWay = false
  sentAt = -Infinity
  /** No notification before this time, in milliseconds since 1970. */
  pausedUntil = 0
  failures = 0
  last: { readonly sender: string, readonly body: string | undefined } | undefined
  timer: Timer | undefined
  firesAt = 0

  constructor (account: Jid, key: string) {
    this.account = account
    this.key = key
  }

  /** True if there is something that the device has not seen. */
  get isOpen (): boolean { return this.hasRequest || this.unread.count > 0 }
}

/** The notifications of a host's registrations. */
export class PendingNotifications {
  readonly #home: NoticesHome
  readonly #notices: Cache<string, PendingNotification>
  readonly #rates = new Cache<string, TokenBucket>({ max: ACCOUNTS })
  readonly #servers = new AppServers()
  #isOver = false

  constructor (home: NoticesHome) {
    this.#home = home
    this.#notices = new Cache({ max: NOTICES, dispose: notice => { notice.timer?.cancel() } })
  }

  /**
   * Notes an event for a device that is not here. It is notified after `wait` milliseconds, unless the device has seen
   * it before.
   */
  add (account: Jid, { key }: Registration, reason: Reason, wait: number): void {
    const notice = this.#of(account, key)
    const { importance, from, archived, id, body } = reason
    if (importance === 'request') notice.isDue = notice.hasRequest = true
    else {
      if (!notice.unread.add(from, archived, id)) return
      notice.isDue = true
      notice.isCall ||= importance === 'call'
      notice.last = { sender: from.toString(), body: body === undefined ? undefined : shortened(body, LONGEST_BODY) }
    }
    this.#schedule(notice, notice.isCall ? 0 : wait)
  }

  /** Cancels the notification: the device is here and sees for itself. */
  seen (account: Jid, key: string): void {
    const notice = this.#notices.get(nameOf(account, key))
    if (notice === undefined) return
    if (notice.isDue) this.#home.count('spared')
    notice.unread.clear()
    notice.isUnseen = notice.hasRequest = false
    notice.last = undefined
    this.#settle(notice)
  }

  /** Notes that messages of a contact were read on another device. */
  read (account: Jid, key: string, contact: Jid, id: string | undefined): void {
    const notice = this.#notices.get(nameOf(account, key))
    if (notice === undefined || notice.unread.count === 0) return
    notice.unread.read(contact, id)
    if (notice.isOpen) return
    if (notice.isDue) this.#home.count('read')
    this.#settle(notice)
  }

  /** Resets failures and pauses of a registration that was enabled again. */
  renewed (account: Jid, key: string): void {
    const notice = this.#notices.get(nameOf(account, key))
    if (notice === undefined) return
    notice.failures = 0
    notice.pausedUntil = 0
    this.seen(account, key)
  }

  /** Forgets a registration. */
  drop (account: Jid, key: string): void { this.#notices.delete(nameOf(account, key)) }

  /** Returns the state of a registration, for the operator. */
  of (account: Jid, key: string): { readonly messages: number, readonly failures: number } {
    const notice = this.#notices.peek(nameOf(account, key))
    return { messages: notice?.unread.count ?? 0, failures: notice?.failures ?? 0 }
  }

  /** Stops: no notification is sent any more. */
  end (): void {
    this.#isOver = true
    this.#servers.clear()
    this.#notices.clear()
  }

  #of (account: Jid, key: string): PendingNotification {
    const name = nameOf(account, key)
    const known = this.#notices.get(name)
    if (known !== undefined) return known
    const notice = new PendingNotification(account, key)
    this.#notices.set(name, notice)
    return notice
  }

  /** Cancels the timer: nothing is left to notify. */
  #settle (notice: PendingNotification): void {
    notice.isDue = notice.isCall = false
    notice.timer?.cancel()
    notice.timer = undefined
  }

  #schedule (notice: PendingNotification, wait: number): void {
    if (this.#isOver || notice.isUnderWay) return // work under way looks at it again when it ends
    const now = this.#home.clock.now()
    const gap = notice.isUnseen && !notice.isCall ? Math.max(this.#home.pace.collapse, GAP) : GAP
    const at = Math.max(now + wait, notice.sentAt + gap, notice.pausedUntil)
    if (notice.timer !== undefined) {
      if (notice.firesAt <= at) return
      notice.timer.cancel()
      notice.timer = undefined
    }
    if (at <= now) { this.#fire(notice); return }
    notice.firesAt = at
    notice.timer = this.#home.clock.after(at - now, () => {
      notice.timer = undefined
      this.#fire(notice)
    })
  }

  /** Sends the notification if the rates of its account and its app server allow it. */
  #fire (notice: PendingNotification): void {
    void this.#current(notice, registration => {
      if (registration === undefined || !notice.isDue || notice.isUnderWay || this.#isOver) return
      if (this.#rateOf(notice.account).claim(1, 0) === undefined) { this.#later(notice); return }
      notice.isUnderWay = true
      const work = (): Promise<void> => this.#tell(notice).finally(() => {
        notice.isUnderWay = false
        if (notice.isDue && this.#isKnown(notice)) this.#schedule(notice, 0)
      })
      if (this.#servers.run(registration.service.domain, work)) return
      notice.isUnderWay = false
      this.#later(notice)
    })
  }

  /** Postpones a notification above the rate; later events are sent with it. */
  #later (notice: PendingNotification): void {
    this.#home.count('postponed')
    notice.pausedUntil = this.#home.clock.now() + Math.max(this.#home.pace.collapse, GAP)
    this.#schedule(notice, 0)
  }

  async #tell (notice: PendingNotification): Promise<void> {
    try {
      const requests = await this.#home.requestsOf(notice.account)
      const registration = (await this.#home.registrationsOf(notice.account)).get(notice.key)
      if (registration === undefined || !notice.isDue || this.#isOver || !this.#isKnown(notice)) return
      // the request was answered on another device
      if (notice.unread.count === 0 && requests === 0) notice.hasRequest = false
      if (!notice.isOpen || this.#home.isHere(notice.account, registration)) {
        this.seen(notice.account, notice.key)
        return
      }
      await this.#publish(notice, registration, requests)
    } catch (error) {
      this.#home.log.error('push failed', { account: notice.account.toString(), error })
    }
  }

  async #publish (notice: PendingNotification, registration: Registration, requests: number): Promise<void> {
    const { unread, last } = notice
    this.#settle(notice)
    notice.isUnseen = true
    notice.sentAt = this.#home.clock.now()
    this.#home.count('sent')
    try {
      await this.#home.publish(registration, {
        messages: unread.count, requests, sender: last?.sender, body: last?.body,
      })
      notice.failures = 0
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error
      await this.#refused(notice, registration, error)
    }
  }

  /** §7.1: an error ends the registration, unless the error is temporary and has not occurred too often in a row. */
  async #refused (notice: PendingNotification, told: Registration, error: StanzaError): Promise<void> {
    if (this.#isOver) return
    this.#home.count('refused')
    const now = (await this.#home.registrationsOf(notice.account)).get(notice.key)
    if (now?.id !== told.id) return // the registration was disabled, or enabled again meanwhile
    if (!mayPass(error) || ++notice.failures >= this.#home.pace.failures) {
      this.#home.remove(notice.account, now, error.condition)
      return
    }
    notice.pausedUntil = this.#home.clock.now() + Math.min(FIRST_PAUSE * 2 ** (notice.failures - 1), LONGEST_PAUSE)
    notice.isDue ||= notice.isOpen
  }

  #isKnown ({ account, key }: PendingNotification): boolean { return this.#notices.has(nameOf(account, key)) }

  async #current (notice: PendingNotification, then: (registration: Registration | undefined) => void): Promise<void> {
    try {
      const all = this.#home.registrationsOf(notice.account)
      then((all instanceof Promise ? await all : all).get(notice.key))
    } catch (error) {
      this.#home.log.error('push failed', { account: notice.account.toString(), error })
    }
  }

  #rateOf (account: Jid): TokenBucket {
    const { clock, pace } = this.#home
    const owner = account.toString()
    let rate = this.#rates.get(owner)
    if (rate === undefined) {
      rate = new TokenBucket(clock, pace.notificationsPerHour / HOUR, Math.min(BURST, pace.notificationsPerHour))
      this.#rates.set(owner, rate)
    }
    return rate
  }
}

function nameOf (account: Jid, key: string): string { return `${account.toString()} ${key}` }

/** True for a temporary error: type 'wait' (RFC 6120 §8.3.2), or a fault of the app server that may be fixed. */
function mayPass ({ type, condition }: StanzaError): boolean {
  return type === 'wait' || condition === 'internal-server-error'
}
