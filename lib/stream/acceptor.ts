/** Accepts connections, counts them by network, and keeps their number within bounds. */
import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { Cache } from '../base/cache.js'
import type { Clock } from '../base/clock.js'
import { Counters } from '../base/counters.js'
import type { Logger } from '../base/logger.js'
import { networkOf } from '../base/network.js'
import { TokenBucket } from '../base/rate.js'
import { plainAddress, type Transport } from './transport.js'

/** A stream on an accepted connection. */
export interface AcceptedStream {
  /** Begins to read. Never rejects. */
  begin (): Promise<void>
  /** Cuts the connection at once. */
  cut (reason: Error): void
}

/** The needs of a stream, met by its acceptor. */
export interface AcceptedHome<S> {
  /** Resolves when the TLS handshake may begin; it costs a millisecond of a core. Rejects if too many wait for one. */
  handshake (wait: (ms: number) => Promise<void>): Promise<void>
  /** Charges the stream's network for CPU time that its handshake used, in milliseconds. */
  readonly spent: (ms: number) => void
  /** Takes note that the stream has proved who it is. */
  established (stream: S): void
  /** Takes note that the connection is gone. */
  gone (stream: S): void
}

export interface AcceptorSettings<S, L = Transport> {
  readonly clock: Clock
  readonly log: Logger
  /** The log event for connections that were refused. */
  readonly event: string
  /** The most connections at once, and the most of them that have proved nothing. */
  readonly most: number
  readonly mostUnproven: number
  /** TLS handshakes per second. More would slow down the established streams. */
  readonly handshakes: number
  /** Milliseconds of silence after which TCP checks whether the peer is still there; undefined: never. */
  readonly probe?: number
  /**
   * Returns the most connections that one IPv4 address, or one IPv6 /64, may have at a time. `address`: one of its
   * addresses, or the network itself.
   */
  ofNetwork (address: string): number
  /** Returns why no connection from an address is accepted, whatever there is; undefined if that is not so. */
  readonly refusal?: (address: string) => string | undefined
  /** Makes of an accepted socket what a stream is made of. */
  link (socket: Socket): L
  stream (link: L, home: AcceptedHome<S>): S
}

/** The TLS handshakes per second of one network. A network that floods waits in its own line and delays no other. */
const HANDSHAKES_OF_NETWORK = 50
/**
 * The CPU time of the main thread that one handshake may use, in milliseconds. One that uses more counts as several: a
 * chain of many certificates with long keys takes ten times as long. So a network uses a tenth of a core at most.
 */
const MS_OF_HANDSHAKE = 2
/** The longest wait for a handshake, in milliseconds. Beyond that it is refused. */
const LONGEST_WAIT = 10_000
/** The most networks whose handshakes are counted at a time. */
const NETWORKS = 10_000
/** The most connections that the system holds until they are accepted. */
const BACKLOG = 4096
/** How long new connections are refused after the system ran out of resources, in milliseconds. */
const RECOVERY = 1000
/** The shortest time between two log lines about refused connections, in milliseconds. */
const QUIET = 10_000

/** `L`: what a stream is made of, such as a transport. */
export class Acceptor<S extends AcceptedStream, L = Transport> {
  /** Connections that were refused, by reason. */
  readonly turnedAway = new Counters()
  readonly #settings: AcceptorSettings<S, L>
  readonly #servers = new Set<NetServer>()
  readonly #streams = new Map<S, string>()
  readonly #byNetwork = new Map<string, number>()
  readonly #handshakes: TokenBucket
  readonly #handshakesOf = new Cache<string, TokenBucket>({ max: NETWORKS })
  /** Streams that have proved nothing, the oldest first. */
  readonly #unproven = new Set<S>()
  #recoversAt = 0
  #saidAt = -Infinity
  #unsaid = 0
  #isClosed = false
  #emptied: (() => void) | undefined

  constructor (settings: AcceptorSettings<S, L>) {
    this.#settings = settings
    this.#handshakes = new TokenBucket(settings.clock, settings.handshakes, settings.handshakes)
  }

  get streams (): Iterable<S> { return this.#streams.keys() }
  get size (): number { return this.#streams.size }
  get proven (): number { return this.#streams.size - this.#unproven.size }
  /** The number of networks with connections. */
  get networks (): number { return this.#byNetwork.size }

  /** Listens at one address. Returns the port; with 0 the system chooses it. Rejects if that is not possible. */
  async listen (address: string, port: number): Promise<number> {
    const server = createServer(socket => { this.#arrived(socket) })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      // Each family is listened on separately: '::' alone would include IPv4 on some systems only.
      server.listen({ host: address, port, ipv6Only: address.includes(':'), backlog: BACKLOG }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    server.on('error', error => { this.#short(error) })
    this.#servers.add(server)
    const bound = server.address()
    return typeof bound === 'object' && bound !== null ? bound.port : port
  }

  /** Takes over a connection from a network. */
  accept (link: L, network: string): void {
    this.#makeRoom(network)
    this.#byNetwork.set(network, (this.#byNetwork.get(network) ?? 0) + 1)
    const stream = this.#settings.stream(link, {
      handshake: wait => this.#handshake(network, wait),
      spent: this.#meterOf(network),
      established: stream => { this.#unproven.delete(stream) },
      gone: stream => { this.#gone(stream) },
    })
    this.#streams.set(stream, network)
    this.#unproven.add(stream)
    void stream.begin()
  }

  /** Accepts no more connections. Those that are open stay. */
  close (): void {
    this.#isClosed = true
    for (const server of this.#servers) server.close()
    this.#servers.clear()
  }

  /** Resolves when every connection is gone. */
  async emptied (): Promise<void> {
    if (this.#streams.size > 0) await new Promise<void>(resolve => { this.#emptied = resolve })
  }

  /** True if a connection from this address may be accepted now. Otherwise it is counted as turned away. */
  admits (address: string): boolean {
    const network = networkOf(address)
    const why = this.#refusal(address, this.#byNetwork.get(network) ?? 0)
    if (why !== undefined) this.#turnAway(why, network)
    return why === undefined
  }

  #arrived (socket: Socket): void {
    const { probe } = this.#settings
    const address = plainAddress(socket.remoteAddress)
    if (!this.admits(address)) {
      socket.destroy()
      return
    }
    if (probe !== undefined) socket.setKeepAlive(true, probe)
    this.accept(this.#settings.link(socket), networkOf(address))
  }

  #refusal (address: string, count: number): string | undefined {
    const { clock, most, refusal } = this.#settings
    if (address === '') return 'gone already'
    if (this.#isClosed) return 'stopping'
    const never = refusal?.(address)
    if (never !== undefined) return never
    if (clock.now() < this.#recoversAt) return 'short of resources'
    if (count >= this.#settings.ofNetwork(address)) return 'too many from one network'
    if (this.#streams.size >= most) return 'too many'
    return undefined
  }

  /**
   * Cuts the oldest stream that has proved nothing, if there are too many of these. An honest peer is done in a second
   * or two; a peer that is only there to keep others out is older than that.
   */
  #makeRoom (network: string): void {
    const [oldest] = this.#unproven
    if (oldest === undefined || this.#unproven.size < this.#settings.mostUnproven) return
    this.#unproven.delete(oldest)
    this.#turnAway('too many that have proved nothing', this.#streams.get(oldest) ?? network)
    oldest.cut(new Error('closed to make room for others'))
  }

  /** Waits in the line of the network first. A handshake that waits there takes nothing from other networks. */
  async #handshake (network: string, wait: (ms: number) => Promise<void>): Promise<void> {
    for (const line of [this.#lineOf(network), this.#handshakes]) {
      const ms = line.claim(1, LONGEST_WAIT)
      if (ms === undefined) throw new Error('too many handshakes')
      if (ms > 0) await wait(ms)
    }
  }

  /** Returns a function that charges a network for one handshake. The first milliseconds are paid already. */
  #meterOf (network: string): (ms: number) => void {
    let paid = MS_OF_HANDSHAKE
    let used = 0
    return ms => {
      used += ms
      if (used <= paid) return
      this.#lineOf(network).take((used - paid) / MS_OF_HANDSHAKE)
      paid = used
    }
  }

  #lineOf (network: string): TokenBucket {
    const known = this.#handshakesOf.get(network)
    if (known !== undefined) return known
    const { clock } = this.#settings
    const burst = Math.max(this.#settings.ofNetwork(network), HANDSHAKES_OF_NETWORK)
    const line = new TokenBucket(clock, HANDSHAKES_OF_NETWORK, burst)
    this.#handshakesOf.set(network, line)
    return line
  }

  #gone (stream: S): void {
    const network = this.#streams.get(stream)
    if (network === undefined) return
    this.#streams.delete(stream)
    this.#unproven.delete(stream)
    const left = (this.#byNetwork.get(network) ?? 1) - 1
    if (left > 0) this.#byNetwork.set(network, left)
    else this.#byNetwork.delete(network)
    if (this.#streams.size === 0) this.#emptied?.()
  }

  /** Refuses connections for a while, because the system ran out of something, such as open files, and dropped one. */
  #short (error: Error): void {
    this.#recoversAt = this.#settings.clock.now() + RECOVERY
    this.#settings.log.error('connection not accepted', { error })
  }

  #turnAway (why: string, network: string): void {
    const { clock, log, event } = this.#settings
    this.turnedAway.count('turned away', 1, { reason: why })
    this.#unsaid++
    const now = clock.now()
    if (now < this.#saidAt + QUIET) return
    this.#saidAt = now
    log.warn(event, { reason: why, network, count: this.#unsaid })
    this.#unsaid = 0
  }
}
