/** When which registration is told: at once, or later and once for all; never faster than it may be. */
import { Cache, shortened, StanzaError, TokenBucket } from '../../lib/api.js'
import type { Clock, Jid, Logger, Maybe, Timer } from '../../lib/api.js'
import { AppServers } from './app-servers.js'
import type { Summary } from './notification.js'
import type { All, Registration } from './registrations.js'
import { Unread } from './unread.js'

/** The settings that it goes by; times in milliseconds. */
export interface Pace {
  readonly collapse: number
  readonly hourly: number
  readonly failures: number
}

export interface NoticesHome {
  readonly clock: Clock
  readonly log: Logger
  readonly pace: Pace
  registrationsOf (account: Jid): Maybe<All>
  /** Whether its device is here, and needs no call. */
  isHere (account: Jid, registration: Registration): boolean
  /** Requests for a subscription that wait for the account. */
  requestsOf (account: Jid): Maybe<number>
  /** Publishes it; rejects with the StanzaError that came. */
  publish (registration: Registration, summary: Summary): Promise<unknown>
  /** It is of no use any more. */
  remove (account: Jid, registration: Registration, why: string): void
  count (metric: 'spared' | 'read' | 'postponed' | 'sent' | 'refused'): void
}

/** Why a registration is told. */
export interface Reason {
  readonly importance: 'call' | 'message' | 'request'
  readonly from: Jid
  readonly archived?: string | undefined
  readonly id?: string | undefined
  readonly body?: string | undefined
}

/** Registrations of which is known what their devices have not seen; beyond, those are forgotten that were not touched for longest. */
const NOTICES = 50_000
/** Accounts whose pace is measured. */
const ACCOUNTS = 10_000
const HOUR = 3600
/** So much of an hour's notifications may come at once. */
const BURST = 20
/** Between two of one registration, whatever they are for, in milliseconds. */
const GAP = 1000
/** After an error that may pass: doubled with each in a row, in milliseconds. */
const FIRST_PAUSE = 30_000
const LONGEST_PAUSE = 3_600_000
/** What is shown of a message at most, in characters. */
const LONGEST_BODY = 500

/** What one registration has still to be told. */
class Notice {
  readonly account: Jid
  readonly key: string
  readonly unread = new Unread()
  /** There is something that it has not been told. */
  isDue = false
  isCall = false
  hasRequest = false
  /** It has been told something, and its device has not been here since. */
  isUnseen = false
  isUnderWay = false
  sentAt = -Infinity
  /** Not before this time, in milliseconds since 1970. */
  pausedUntil = 0
  failures = 0
  last: { readonly sender: string, readonly body: string | undefined } | undefined
  timer: Timer | undefined
  firesAt = 0

  constructor (account: Jid, key: string) {
    this.account = account
    this.key = key
  }

  /** There is something that its device has not seen. */
  get isOpen (): boolean { return this.hasRequest || this.unread.count > 0 }
}

export class Notices {
  readonly #home: NoticesHome
  readonly #notices: Cache<string, Notice>
  readonly #rates = new Cache<string, TokenBucket>({ max: ACCOUNTS })
  readonly #servers = new AppServers()
  #isOver = false

  constructor (home: NoticesHome) {
    this.#home = home
    this.#notices = new Cache({ max: NOTICES, dispose: notice => { notice.timer?.cancel() } })
  }

  /** Something has come for the registration's device, which is not here. Told in `wait` milliseconds, unless it is seen before. */
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

  /** Its device is here: it sees for itself. */
  seen (account: Jid, key: string): void {
    const notice = this.#notices.get(nameOf(account, key))
    if (notice === undefined) return
    if (notice.isDue) this.#home.count('spared')
    notice.unread.clear()
    notice.isUnseen = notice.hasRequest = false
    notice.last = undefined
    this.#settle(notice)
  }

  /** What somebody has written was read elsewhere. */
  read (account: Jid, key: string, contact: Jid, id: string | undefined): void {
    const notice = this.#notices.get(nameOf(account, key))
    if (notice === undefined || notice.unread.count === 0) return
    notice.unread.read(contact, id)
    if (notice.isOpen) return
    if (notice.isDue) this.#home.count('read')
    this.#settle(notice)
  }

  /** It was enabled anew: what went wrong before says nothing of it. */
  renewed (account: Jid, key: string): void {
    const notice = this.#notices.get(nameOf(account, key))
    if (notice === undefined) return
    notice.failures = 0
    notice.pausedUntil = 0
    this.seen(account, key)
  }

  drop (account: Jid, key: string): void { this.#notices.delete(nameOf(account, key)) }

  /** What is known of one, for the operator. */
  of (account: Jid, key: string): { readonly messages: number, readonly failures: number } {
    const notice = this.#notices.peek(nameOf(account, key))
    return { messages: notice?.unread.count ?? 0, failures: notice?.failures ?? 0 }
  }

  /** Nothing is told any more. */
  end (): void {
    this.#isOver = true
    this.#servers.clear()
    this.#notices.clear()
  }

  #of (account: Jid, key: string): Notice {
    const name = nameOf(account, key)
    const known = this.#notices.get(name)
    if (known !== undefined) return known
    const notice = new Notice(account, key)
    this.#notices.set(name, notice)
    return notice
  }

  /** There is nothing to be told. */
  #settle (notice: Notice): void {
    notice.isDue = notice.isCall = false
    notice.timer?.cancel()
    notice.timer = undefined
  }

  #schedule (notice: Notice, wait: number): void {
    if (this.#isOver || notice.isUnderWay) return // it is looked at again then
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

  /** Its turn, if its account may go on and its app server is not too busy. */
  #fire (notice: Notice): void {
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

  /** Too much for now: what has come meanwhile is told with it. */
  #later (notice: Notice): void {
    this.#home.count('postponed')
    notice.pausedUntil = this.#home.clock.now() + Math.max(this.#home.pace.collapse, GAP)
    this.#schedule(notice, 0)
  }

  async #tell (notice: Notice): Promise<void> {
    try {
      const requests = await this.#home.requestsOf(notice.account)
      const registration = (await this.#home.registrationsOf(notice.account)).get(notice.key)
      if (registration === undefined || !notice.isDue || this.#isOver || !this.#isKnown(notice)) return
      if (notice.unread.count === 0 && requests === 0) notice.hasRequest = false // it was answered elsewhere
      if (!notice.isOpen || this.#home.isHere(notice.account, registration)) { this.seen(notice.account, notice.key); return }
      await this.#publish(notice, registration, requests)
    } catch (error) {
      this.#home.log.error('push failed', { account: notice.account.toString(), error })
    }
  }

  async #publish (notice: Notice, registration: Registration, requests: number): Promise<void> {
    const { unread, last } = notice
    this.#settle(notice)
    notice.isUnseen = true
    notice.sentAt = this.#home.clock.now()
    this.#home.count('sent')
    try {
      await this.#home.publish(registration, { messages: unread.count, requests, sender: last?.sender, body: last?.body })
      notice.failures = 0
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error
      await this.#refused(notice, registration, error)
    }
  }

  /** §7.1: an error means that the registration is over, unless it may pass and has not come too often in a row. */
  async #refused (notice: Notice, told: Registration, error: StanzaError): Promise<void> {
    if (this.#isOver) return
    this.#home.count('refused')
    const now = (await this.#home.registrationsOf(notice.account)).get(notice.key)
    if (now?.id !== told.id) return // it was enabled anew meanwhile, or disabled
    if (!mayPass(error) || ++notice.failures >= this.#home.pace.failures) {
      this.#home.remove(notice.account, now, error.condition)
      return
    }
    notice.pausedUntil = this.#home.clock.now() + Math.min(FIRST_PAUSE * 2 ** (notice.failures - 1), LONGEST_PAUSE)
    notice.isDue ||= notice.isOpen
  }

  #isKnown ({ account, key }: Notice): boolean { return this.#notices.has(nameOf(account, key)) }

  async #current (notice: Notice, then: (registration: Registration | undefined) => void): Promise<void> {
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
    if (rate === undefined) this.#rates.set(owner, rate = new TokenBucket(clock, pace.hourly / HOUR, Math.min(BURST, pace.hourly)))
    return rate
  }
}

function nameOf (account: Jid, key: string): string { return `${account.toString()} ${key}` }

/** RFC 6120 §8.3.2: whoever may ask again later is told to wait. An app server that is broken may be mended. */
function mayPass ({ type, condition }: StanzaError): boolean {
  return type === 'wait' || condition === 'internal-server-error'
}
