/** Watches the connection of one device, and pings it after the longest silence that its neighbourhood allows. */
import type { Clock, Session, Timer } from '../../lib/api.js'
import type { HostNetwork } from './networks.js'

/** The functions that a Line asks of the module. */
export interface LineHome {
  readonly clock: Clock
  /** The longest time without data from the device before it is pinged, in milliseconds. */
  most (session: Session): number
  /**
   * Pings the device. Resolves with true if it answered, false if not, undefined if its connection has changed since.
   */
  ask (session: Session): Promise<boolean | undefined>
  /** Called if the device did not answer: its connection is closed. */
  gone (session: Session): void
}

/** The watch over one session's connection. */
export class WatchedConnection {
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

  /** Starts the timer for the next ping. */
  arm (): void {
    if (this.#isOver || this.#isAsked) return
    this.#timer?.cancel()
    this.#timer = this.#home.clock.after(Math.max(1, this.#due - this.#home.clock.now()), () => { this.#ring() })
  }

  /** Ends the watch. */
  end (): void {
    this.#isOver = true
    this.#timer?.cancel()
    this.net.lines.delete(this)
    this.net.leave(this)
  }

  /**
   * A middlebox drops a connection if both sides are silent. A device that acknowledges stanzas (XEP-0198) is not
   * pinged while it receives some; without acknowledgements, what it receives proves nothing.
   */
  get #due (): number {
    const { lastActive, lastRead, manager } = this.session
    const silence = this.#silence
    return manager === undefined
      ? lastRead + silence
      : Math.min(lastActive + silence, lastRead + this.#home.most(this.session))
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

  /** True if this connection stays silent for longer, to learn whether it survives that. */
  #tries (now: number): boolean {
    const most = this.#home.most(this.session)
    const isResumable = this.session.manager?.isResumable === true
    return this.net.network.interval < most && this.net.tries(this, most, isResumable, now)
  }

  async #ask (now: number): Promise<void> {
    const { session } = this
    this.#isAsked = true
    const silence = Math.max(session.unansweredSilence, now - session.lastActive)
    const hasAnswered = await this.#home.ask(session)
    this.#isAsked = false
    if (this.#isOver) return
    this.net.leave(this)
    if (hasAnswered === true) this.net.network.survived(silence)
    if (hasAnswered === false) this.#home.gone(session)
    this.arm()
  }
}

/**
 * While a neighbourhood has resumable sessions, only those try longer silences for this many milliseconds: they
 * lose nothing with their connection.
 */
const RESUMABLE_FIRST = 3600_000

/** A neighbourhood, and the connections of this host's devices in it. */
export class Net {
  readonly network: HostNetwork
  readonly lines = new Set<WatchedConnection>()
  /** The one connection that tries a longer silence: no more than one dies of it. */
  trying: WatchedConnection | undefined
  tried = 0
  #resumableAt = -Infinity

  constructor (network: HostNetwork) { this.network = network }

  /** True if this connection may try a longer silence now; it then holds the neighbourhood's only trial. */
  tries (line: WatchedConnection, most: number, isResumable: boolean, now: number): boolean {
    if (isResumable) this.#resumableAt = now
    if (this.trying !== undefined || !isResumable && now - this.#resumableAt < RESUMABLE_FIRST) return false
    const next = this.network.next(now)
    if (next === undefined) return false
    this.trying = line
    this.tried = Math.min(next, most)
    return true
  }

  /** Gives up the trial, if this connection holds it. */
  leave (line: WatchedConnection): void {
    if (this.trying === line) this.trying = undefined
  }

  /** Restarts all timers after the allowed silence became shorter. */
  hurry (): void { for (const line of this.lines) line.arm() }
}
