/** Watches all connections of a host, and learns from their deaths what their neighbourhoods allow. */
import { Cache, NS, StanzaError, StreamError, isPinged, xml } from '../../lib/api.js'
import type { ModuleHost, Session } from '../../lib/api.js'
import { WatchedConnection, Net, type LineHome } from './watched-connection.js'
import { Networks } from './networks.js'

/** The most neighbourhoods that are remembered. */
const NETWORKS = 10_000
/**
 * After a connection died silently, its account is remembered for this many milliseconds, and this many accounts at
 * most. A device that reconnects by then was cut off by its neighbourhood.
 */
const RETURN = 30 * 60_000
const FALLEN = 10_000

/** The settings of the module, in milliseconds. */
export interface Intervals {
  readonly initialInterval: number
  readonly minInterval: number
  readonly maxInterval: number
  readonly maxResumableInterval: number
  readonly pongTimeout: number
}

/** A connection that died silently. */
interface Fallen { readonly device: string, readonly network: string, readonly silence: number, readonly at: number }

/** The connections of one host, each with its line. */
export class Watch {
  readonly #host: ModuleHost
  readonly #longest: number
  readonly #networks: Networks
  readonly #lineHome: LineHome
  readonly #lines = new Map<Session, WatchedConnection>()
  readonly #nets = new Map<string, Net>()
  /** By account. */
  readonly #fallen = new Cache<string, Fallen>({ max: FALLEN })

  constructor (host: ModuleHost, settings: Intervals) {
    const { initialInterval: first, minInterval, maxInterval, maxResumableInterval, pongTimeout } = settings
    this.#host = host
    this.#longest = Math.max(first, maxInterval)
    const most = Math.max(this.#longest, maxResumableInterval)
    this.#networks = new Networks({ shortest: Math.min(minInterval, first), first, longest: most }, NETWORKS)
    this.#lineHome = {
      clock: host.clock,
      most: session => session.manager?.isResumable === true ? most : this.#longest,
      ask: session => this.#ask(session, pongTimeout),
      gone: session => {
        host.count('dead')
        session.disconnect(new StreamError('connection-timeout'))
      },
    }
  }

  /** Returns how long a device at this IP address may be silent before it is pinged, in milliseconds. */
  silenceAt (address: string): number { return Math.min(this.#networks.at(address).interval, this.#longest) }

  /** Notes that a session's connection survived a silence of this many milliseconds. */
  survived (session: Session, silence: number): void { this.#lines.get(session)?.net.network.survived(silence) }

  /** Starts to watch a session, if it is connected. */
  start (session: Session): void {
    session.put(isPinged, true)
    if (session.connection !== 'attached' || this.#lines.has(session)) return
    const network = this.#networks.at(session.address)
    let net = this.#nets.get(network.key)
    if (net === undefined) this.#nets.set(network.key, net = new Net(network))
    this.#lines.set(session, new WatchedConnection(this.#lineHome, session, net))
  }

  /** Ends the watch over a session whose connection ended for this reason. */
  leave (session: Session, reason: Error | undefined): void {
    const line = this.#lines.get(session)
    if (line === undefined) return
    this.#end(line)
    const now = this.#host.clock.now()
    const silence = deadly(session, reason, now)
    if (silence === undefined) return
    const { network } = line.net
    this.#fallen.set(session.account.toString(), {
      device: session.jid.toString(), network: network.key, silence, at: now,
    })
    network.fell(silence, now)
  }

  /**
   * Decides whether a neighbourhood cut off the device of a new connection. A device that was switched off does not
   * come back soon, and a device that moved comes from another neighbourhood: both say nothing about the first one. A
   * device that reconnects from the same neighbourhood was cut off.
   */
  returned (session: Session, isResumed: boolean): void {
    const line = this.#lines.get(session)
    const account = session.account.toString()
    const found = this.#fallen.get(account)
    if (line === undefined || found === undefined) return
    const { network } = line.net
    const isIts = found.device === session.jid.toString()
    if (isResumed ? !isIts : !isIts && found.network !== network.key) return
    this.#fallen.delete(account)
    const now = this.#host.clock.now()
    if (found.network !== network.key || now - found.at > RETURN) return
    this.#host.count('cut')
    if (network.died(found.silence, now)) line.net.hurry()
  }

  /** Ends the watch over all sessions. */
  end (): void {
    for (const line of [...this.#lines.values()]) this.#end(line)
    for (const session of this.#host.sessions.all()) session.put(isPinged, false)
  }

  #end (line: WatchedConnection): void {
    line.end()
    this.#lines.delete(line.session)
    if (line.net.lines.size === 0) this.#nets.delete(line.net.network.key)
  }

  /**
   * Pings the device. Any answer, also an error, shows that the connection is alive (§4.2); undefined if that is not
   * known.
   */
  async #ask (session: Session, timeout: number): Promise<boolean | undefined> {
    const since = this.#host.clock.now()
    this.#host.count('asked')
    try {
      await this.#host.ask(session.jid, xml('ping', { xmlns: NS.PING }), { timeout })
      return true
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error
      if (session.connection !== 'attached') return undefined
      if (error.condition !== 'remote-server-timeout') return true
      return session.lastRead > since ? undefined : false
    }
  }
}

/**
 * Returns the silence in which the connection may have died, in milliseconds; undefined if it ended in another way.
 */
function deadly (session: Session, reason: Error | undefined, now: number): number | undefined {
  // TCP retransmitted, and got no acknowledgement.
  if (reason !== undefined && 'code' in reason && reason.code === 'ETIMEDOUT') return session.unansweredSilence
  if (!(reason instanceof StreamError)) return undefined
  // The device did not answer a ping or a request of stream management.
  if (reason.condition === 'connection-timeout') return session.unansweredSilence
  // The device has reconnected while this connection still looked alive.
  if (reason.condition === 'conflict') return Math.max(session.unansweredSilence, now - session.lastActive)
  return undefined
}
