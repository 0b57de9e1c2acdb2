/** Accepts connections: counts them by network, and never has more of them than it may. */
import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { Cache } from '../base/cache.js'
import type { Clock } from '../base/clock.js'
import { Counters } from '../base/counters.js'
import type { Logger } from '../base/logger.js'
import { networkOf } from '../base/network.js'
import { TokenBucket } from '../base/rate.js'
import { TcpTransport } from './tcp-transport.js'
import { plainAddress, type Transport } from './transport.js'

/** A stream on a connection that was accepted. */
export interface Accepted {
  /** Begins to read. Never rejects. */
  begin (): Promise<void>
  /** Cuts the connection without a word. */
  cut (reason: Error): void
}

/** What it tells of itself, and asks. */
export interface AcceptedHome<S> {
  /** Resolves once it may have its TLS handshake, which costs a core a millisecond. Rejects where too many want one. */
  handshake (wait: (ms: number) => Promise<void>): Promise<void>
  /** It has proved who it is. */
  established (stream: S): void
  /** Its connection is gone. */
  gone (stream: S): void
}

export interface AcceptorSettings<S> {
  readonly clock: Clock
  readonly log: Logger
  /** The line of the log that tells of connections that were turned away. */
  readonly event: string
  /** Connections at once, and how many of them may have proved nothing. */
  readonly most: number
  readonly mostUnproven: number
  /** TLS handshakes a second: those who are in want to be served meanwhile. */
  readonly handshakes: number
  /** Milliseconds of silence after which TCP asks whether the other side is there; undefined: it does not. */
  readonly probe?: number
  /** Connections at once from one network. */
  ofNetwork (): number
  stream (transport: Transport, home: AcceptedHome<S>): S
}

/** Of all handshakes, one network may have so many a second: whoever floods waits in a line of their own, and nobody else in it. */
const HANDSHAKES_OF_NETWORK = 50
/** Who would have to wait longer for a handshake, in milliseconds, had better come again. */
const LONGEST_WAIT = 10_000
/** Networks whose handshakes are counted at a time. */
const NETWORKS = 10_000
/** Connections that the system holds until they are accepted. */
const BACKLOG = 4096
/** After the system had no more to give, new connections are turned away for so long, in milliseconds. */
const RECOVERY = 1000
/** A flood is worth a line in so many milliseconds. */
const QUIET = 10_000

export class Acceptor<S extends Accepted> {
  /** Connections that were turned away, by why. */
  readonly turnedAway = new Counters()
  readonly #settings: AcceptorSettings<S>
  readonly #servers = new Set<NetServer>()
  readonly #streams = new Map<S, string>()
  readonly #byNetwork = new Map<string, number>()
  readonly #handshakes: TokenBucket
  readonly #handshakesOf = new Cache<string, TokenBucket>({ max: NETWORKS })
  /** Those that have proved nothing, the oldest first. */
  readonly #unproven = new Set<S>()
  #recoversAt = 0
  #saidAt = -Infinity
  #unsaid = 0
  #isClosed = false
  #emptied: (() => void) | undefined

  constructor (settings: AcceptorSettings<S>) {
    this.#settings = settings
    this.#handshakes = new TokenBucket(settings.clock, settings.handshakes, settings.handshakes)
  }

  get streams (): Iterable<S> { return this.#streams.keys() }
  get size (): number { return this.#streams.size }
  get proven (): number { return this.#streams.size - this.#unproven.size }
  /** How many networks are counted: none once nobody is connected. */
  get networks (): number { return this.#byNetwork.size }

  /** Listens at one address. Answers with the port; 0 lets the system choose it. Rejects where that is not possible. */
  async listen (address: string, port: number): Promise<number> {
    const server = createServer(socket => { this.#arrived(socket) })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      // Both families are listened at by themselves: '::' alone would take IPv4 on some systems and not on others.
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
  accept (transport: Transport, network: string): void {
    this.#makeRoom(network)
    this.#byNetwork.set(network, (this.#byNetwork.get(network) ?? 0) + 1)
    const stream = this.#settings.stream(transport, {
      handshake: wait => this.#handshake(network, wait),
      established: stream => { this.#unproven.delete(stream) },
      gone: stream => { this.#gone(stream) },
    })
    this.#streams.set(stream, network)
    this.#unproven.add(stream)
    void stream.begin()
  }

  /** Accepts nobody more; those who are here stay. */
  close (): void {
    this.#isClosed = true
    for (const server of this.#servers) server.close()
    this.#servers.clear()
  }

  /** Resolves when every connection is gone. */
  async emptied (): Promise<void> {
    if (this.#streams.size > 0) await new Promise<void>(resolve => { this.#emptied = resolve })
  }

  #arrived (socket: Socket): void {
    const { clock, probe } = this.#settings
    const address = plainAddress(socket.remoteAddress)
    const network = networkOf(address)
    const why = this.#refusal(address, this.#byNetwork.get(network) ?? 0)
    if (why !== undefined) {
      socket.destroy()
      this.#turnAway(why, network)
      return
    }
    if (probe !== undefined) socket.setKeepAlive(true, probe)
    this.accept(new TcpTransport(socket, clock), network)
  }

  #refusal (address: string, count: number): string | undefined {
    const { clock, most } = this.#settings
    if (address === '') return 'gone already'
    if (this.#isClosed) return 'stopping'
    if (clock.now() < this.#recoversAt) return 'short of resources'
    if (count >= this.#settings.ofNetwork()) return 'too many from one network'
    if (this.#streams.size >= most) return 'too many'
    return undefined
  }

  /**
   * Too many have proved nothing: the one that has been here for longest has to go. Who means well is through in a second or two; who sits
   * there to keep others out is older than that.
   */
  #makeRoom (network: string): void {
    const [oldest] = this.#unproven
    if (oldest === undefined || this.#unproven.size < this.#settings.mostUnproven) return
    this.#unproven.delete(oldest)
    this.#turnAway('too many that have proved nothing', this.#streams.get(oldest) ?? network)
    oldest.cut(new Error('others want to come in'))
  }

  /** What still stands in the line of its network takes nothing from the others. */
  async #handshake (network: string, wait: (ms: number) => Promise<void>): Promise<void> {
    for (const line of [this.#lineOf(network), this.#handshakes]) {
      const ms = line.claim(1, LONGEST_WAIT)
      if (ms === undefined) throw new Error('too many handshakes')
      if (ms > 0) await wait(ms)
    }
  }

  #lineOf (network: string): TokenBucket {
    const known = this.#handshakesOf.get(network)
    if (known !== undefined) return known
    const { clock } = this.#settings
    const line = new TokenBucket(clock, HANDSHAKES_OF_NETWORK, Math.max(this.#settings.ofNetwork(), HANDSHAKES_OF_NETWORK))
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

  /** Too many open files, say: the system drops the connection; those that come next would not fare better. */
  #short (error: Error): void {
    this.#recoversAt = this.#settings.clock.now() + RECOVERY
    this.#settings.log.error('accepting failed', { error })
  }

  #turnAway (why: string, network: string): void {
    const { clock, log, event } = this.#settings
    this.turnedAway.count('turned away', 1, { why })
    this.#unsaid++
    const now = clock.now()
    if (now < this.#saidAt + QUIET) return
    this.#saidAt = now
    log.warn(event, { why, network, count: this.#unsaid })
    this.#unsaid = 0
  }
}
