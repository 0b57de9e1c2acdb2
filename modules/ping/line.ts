/** One device's connection, watched: it is asked for a sign of life after so long a silence as its network lets live. */
import type { Clock, Session, Timer } from '../../lib/api.js'
import type { Network } from './networks.js'

export interface LineHome {
  readonly clock: Clock
  /** The longest that a device may say nothing without being asked, in milliseconds. */
  most (session: Session): number
  /** Asks the device. Whether it has answered; undefined: its connection is another by now. */
  ask (session: Session): Promise<boolean | undefined>
  /** It has not: its connection is given up. */
  gone (session: Session): void
}

export class Line {
  readonly session: Session
  readonly net: Net
  readonly #home: LineHome
  #timer: Timer | undefined
  #isAsked = false
  #isOver = false

  constructor (home: LineHome, session: Session, net: Net) {
    this.#home = home
    this.session = session
    this.net = net
    net.lines.add(this)
    this.arm()
  }

  /** Waits until the device is due to be asked. */
  arm (): void {
    if (this.#isOver || this.#isAsked) return
    this.#timer?.cancel()
    this.#timer = this.#home.clock.after(Math.max(1, this.#due - this.#home.clock.now()), () => { this.#ring() })
  }

  end (): void {
    this.#isOver = true
    this.#timer?.cancel()
    this.net.lines.delete(this)
    this.net.leave(this)
  }

  /**
   * A box on the way forgets a connection when neither side says anything. Where the device acknowledges what it gets (XEP-0198) it is not
   * asked while it gets something; elsewhere, what it gets shows nothing.
   */
  get #due (): number {
    const { lastActive, lastRead, manager } = this.session
    const silence = this.#silence
    return manager === undefined ? lastRead + silence : Math.min(lastActive + silence, lastRead + this.#home.most(this.session))
  }

  get #silence (): number {
    const { network } = this.net
    const wanted = this.net.trying === this ? this.net.tried : network.interval
    return Math.min(wanted, this.#home.most(this.session))
  }

  #ring (): void {
    const now = this.#home.clock.now()
    if (now < this.#due) {
      this.net.leave(this)
      this.arm()
    } else if (now < this.session.lastActive + this.#silence || !this.#tries(now)) void this.#ask(now)
    else this.arm()
  }

  /** It stays silent for longer, to see whether that is survived. */
  #tries (now: number): boolean {
    const most = this.#home.most(this.session)
    const isResumable = this.session.manager?.isResumable === true
    return this.net.network.interval < most && this.net.tries(this, most, isResumable, now)
  }

  async #ask (now: number): Promise<void> {
    const { session } = this
    this.#isAsked = true
    const silence = Math.max(session.unanswered, now - session.lastActive)
    const hasAnswered = await this.#home.ask(session)
    this.#isAsked = false
    if (this.#isOver) return
    this.net.leave(this)
    if (hasAnswered === true) this.net.network.survived(silence)
    if (hasAnswered === false) this.#home.gone(session)
    this.arm()
  }
}

/** For so long only sessions that lose nothing with a connection try more than was survived, where there are any; in milliseconds. */
const RESUMABLE_FIRST = 3600_000

/** A network, and the connections of one host in it. */
export class Net {
  readonly network: Network
  readonly lines = new Set<Line>()
  /** One connection at a time stays silent for longer than was survived: no more than one dies of it. */
  trying: Line | undefined
  tried = 0
  #resumableAt = -Infinity

  constructor (network: Network) { this.network = network }

  tries (line: Line, most: number, isResumable: boolean, now: number): boolean {
    if (isResumable) this.#resumableAt = now
    if (this.trying !== undefined || !isResumable && now - this.#resumableAt < RESUMABLE_FIRST) return false
    const next = this.network.next(now)
    if (next === undefined) return false
    this.trying = line
    this.tried = Math.min(next, most)
    return true
  }

  leave (line: Line): void {
    if (this.trying === line) this.trying = undefined
  }

  /** What they may be silent for is less than it was. */
  hurry (): void { for (const line of this.lines) line.arm() }
}
