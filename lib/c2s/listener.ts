/** Accepts clients: counts them by network, and never has more than it may. */
import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { Cache } from '../base/cache.js'
import { networkOf } from '../base/network.js'
import { TokenBucket } from '../base/rate.js'
import { TcpTransport } from '../stream/tcp-transport.js'
import type { StreamState } from '../stream/stream.js'
import { plainAddress } from '../stream/transport.js'
import { StreamError } from '../xmpp/errors.js'
import { ClientStream } from './client.js'
import type { ClientWorld, ListenerSettings } from './settings.js'

/** Connections of a listener; `states` says how many streams are where. */
export interface ListenerCounts {
  readonly connections: number
  readonly established: number
  readonly states: Readonly<Record<StreamState['at'], number>>
}

/** More connections at once than one process can serve; and how many of them may be without a session. */
const MOST = 100_000
const MOST_WITHOUT_SESSION = 10_000
/** TLS handshakes a second: each costs about a millisecond, and those who have a session want to be served meanwhile. */
const HANDSHAKES = 300
/** Of these, one network may have so many: whoever floods waits in a line of their own, and nobody else in it. */
const HANDSHAKES_A_NETWORK = 50
/** Who would have to wait longer for a handshake, in milliseconds, had better come again. */
const LONGEST_WAIT = 10_000
/** Networks whose handshakes are counted at a time. */
const NETWORKS = 10_000
/** After the system had no more to give, new connections are turned away for so long, in milliseconds. */
const RECOVERY = 1000
/** A flood is worth a line in so many milliseconds. */
const QUIET = 10_000

export class ClientListener {
  readonly #world: ClientWorld
  readonly #settings: ListenerSettings
  readonly #servers = new Set<NetServer>()
  readonly #clients = new Map<ClientStream, string>()
  readonly #byNetwork = new Map<string, number>()
  readonly #handshakes: TokenBucket
  readonly #handshakesOf = new Cache<string, TokenBucket>({ max: NETWORKS })
  /** Those without a session, the oldest first. */
  readonly #waiting = new Set<ClientStream>()
  readonly #mostWaiting: number
  #recoversAt = 0
  #saidAt = -Infinity
  #turnedAway = 0
  #drained: (() => void) | undefined
  #closing: Promise<void> | undefined

  constructor (world: ClientWorld, settings: ListenerSettings, mostWithoutSession = MOST_WITHOUT_SESSION) {
    this.#world = world
    this.#settings = settings
    this.#mostWaiting = mostWithoutSession
    this.#handshakes = new TokenBucket(world.clock, HANDSHAKES, HANDSHAKES)
  }

  get counts (): ListenerCounts {
    const states = { opening: 0, negotiating: 0, established: 0, closing: 0, closed: 0 }
    for (const client of this.#clients.keys()) states[client.state.at]++
    return { connections: this.#clients.size, established: states.established, states }
  }

  /** How many networks are counted: none once nobody is connected. */
  get networks (): number { return this.#byNetwork.size }

  /** Listens at one address. Answers with the port; 0 lets the system choose it. Rejects where that is not possible. */
  async listen (address: string, port: number): Promise<number> {
    const server = createServer(socket => { this.#accept(socket) })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      // Both families are listened at by themselves: '::' alone would take IPv4 on some systems and not on others.
      server.listen({ host: address, port, ipv6Only: address.includes(':'), backlog: 4096 }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    server.on('error', error => { this.#short(error) })
    this.#servers.add(server)
    const bound = server.address()
    return typeof bound === 'object' && bound !== null ? bound.port : port
  }

  /**
   * Stops accepting at once, and ends what has no session. Hosts that stop in the same turn end their sessions themselves, before what is
   * left gets system-shutdown. Resolves when every connection is gone.
   */
  close (): Promise<void> {
    return this.#closing ??= this.#close()
  }

  async #close (): Promise<void> {
    for (const server of this.#servers) server.close()
    this.#servers.clear()
    const error = new StreamError('system-shutdown')
    for (const client of this.#clients.keys()) if (client.state.at !== 'established') client.end(error)
    await Promise.resolve()
    for (const client of [...this.#clients.keys()]) client.end(error)
    if (this.#clients.size > 0) await new Promise<void>(resolve => { this.#drained = resolve })
  }

  #accept (socket: Socket): void {
    const address = plainAddress(socket.remoteAddress)
    const network = networkOf(address)
    const count = this.#byNetwork.get(network) ?? 0
    const why = this.#refusal(address, count)
    if (why !== undefined) {
      socket.destroy()
      this.#turnAway(why, network)
      return
    }
    this.#makeRoom(network)
    this.#byNetwork.set(network, count + 1)
    const client = new ClientStream(this.#world, this.#settings, new TcpTransport(socket, this.#world.clock), {
      handshake: () => this.#handshake(network),
      established: client => { this.#waiting.delete(client) },
      gone: client => { this.#gone(client) },
    })
    this.#clients.set(client, network)
    this.#waiting.add(client)
    void client.begin()
  }

  #refusal (address: string, count: number): string | undefined {
    if (address === '') return 'gone already'
    if (this.#closing !== undefined) return 'stopping'
    if (this.#world.clock.now() < this.#recoversAt) return 'short of resources'
    if (count >= this.#world.limits.connections) return 'too many from one network'
    if (this.#clients.size >= MOST) return 'too many'
    return undefined
  }

  /**
   * Too many are without a session: the one that has been for longest has to go. A client is through in a second or two; who sits there to
   * keep others out is older than that.
   */
  #makeRoom (network: string): void {
    const [oldest] = this.#waiting
    if (oldest === undefined || this.#waiting.size < this.#mostWaiting) return
    this.#waiting.delete(oldest)
    this.#turnAway('too many without a session', this.#clients.get(oldest) ?? network)
    oldest.cut(new Error('others want to come in'))
  }

  #handshake (network: string): number | undefined {
    let own = this.#handshakesOf.get(network)
    if (own === undefined) {
      const burst = Math.max(this.#world.limits.connections, HANDSHAKES_A_NETWORK)
      this.#handshakesOf.set(network, own = new TokenBucket(this.#world.clock, HANDSHAKES_A_NETWORK, burst))
    }
    const ownWait = own.claim(1, LONGEST_WAIT)
    const wait = ownWait === undefined ? undefined : this.#handshakes.claim(1, LONGEST_WAIT)
    return ownWait === undefined || wait === undefined ? undefined : Math.max(ownWait, wait)
  }

  #gone (client: ClientStream): void {
    const network = this.#clients.get(client)
    if (network === undefined) return
    this.#clients.delete(client)
    this.#waiting.delete(client)
    const left = (this.#byNetwork.get(network) ?? 1) - 1
    if (left > 0) this.#byNetwork.set(network, left)
    else this.#byNetwork.delete(network)
    if (this.#clients.size === 0) this.#drained?.()
  }

  /** Too many open files, say: the system drops the connection; those that come next would not fare better. */
  #short (error: Error): void {
    this.#recoversAt = this.#world.clock.now() + RECOVERY
    this.#world.log.error('accepting failed', { error })
  }

  #turnAway (why: string, network: string): void {
    this.#turnedAway++
    const now = this.#world.clock.now()
    if (now < this.#saidAt + QUIET) return
    this.#saidAt = now
    this.#world.log.warn('connections turned away', { why, network, count: this.#turnedAway })
    this.#turnedAway = 0
  }
}
