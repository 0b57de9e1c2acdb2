/** Accepts other servers: counts them by network, and never has more than it may. */
import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { TokenBucket } from '../base/rate.js'
import { networkOf } from '../base/network.js'
import { TcpTransport } from '../stream/tcp-transport.js'
import { plainAddress, type Transport } from '../stream/transport.js'
import { StreamError } from '../xmpp/errors.js'
import { Incoming, type ServerListenerSettings } from './incoming.js'
import type { Links } from './links.js'
import type { FederationWorld } from './world.js'

/** Connections at once; and how many of them may be without a proven domain. */
const MOST = 20_000
const MOST_UNPROVEN = 2000
/** TLS handshakes a second. */
const HANDSHAKES = 100
/** After the system had no more to give, new connections are turned away for so long, in milliseconds. */
const RECOVERY = 1000
/** A flood is worth a line in so many milliseconds. */
const QUIET = 10_000
/** A peer that is gone without a word is found out by TCP after this much silence. */
const PROBE = 60_000

export class ServerListener {
  readonly #world: FederationWorld
  readonly #links: Links
  readonly #settings: ServerListenerSettings
  readonly #servers = new Set<NetServer>()
  readonly #incoming = new Map<Incoming, string>()
  readonly #byNetwork = new Map<string, number>()
  readonly #handshakes: TokenBucket
  #proven = 0
  #recoversAt = 0
  #saidAt = -Infinity
  #turnedAway = 0
  #drained: (() => void) | undefined
  #closing: Promise<void> | undefined

  constructor (world: FederationWorld, links: Links, settings: ServerListenerSettings) {
    this.#world = world
    this.#links = links
    this.#settings = settings
    this.#handshakes = new TokenBucket(world.clock, HANDSHAKES, HANDSHAKES)
  }

  get streams (): Iterable<Incoming> { return this.#incoming.keys() }
  get counts (): { readonly connections: number, readonly established: number } {
    return { connections: this.#incoming.size, established: this.#proven }
  }

  /** Listens at one address. Answers with the port; 0 lets the system choose it. Rejects where that is not possible. */
  async listen (address: string, port: number): Promise<number> {
    const server = createServer(socket => { this.#arrived(socket) })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: address, port, ipv6Only: address.includes(':'), backlog: 1024 }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    server.on('error', error => {
      this.#recoversAt = this.#world.clock.now() + RECOVERY
      this.#world.log.error('accepting failed', { error })
    })
    this.#servers.add(server)
    const bound = server.address()
    return typeof bound === 'object' && bound !== null ? bound.port : port
  }

  /** Accepts nobody more, and takes nothing more of those who are here: what they say from now on they will say again. */
  async rest (ms: number): Promise<void> {
    for (const server of this.#servers) server.close()
    this.#servers.clear()
    await Promise.all([...this.#incoming.keys()].map(incoming => incoming.rest(ms)))
  }

  /** Stops accepting, and ends all streams. Resolves when every connection is gone. */
  close (): Promise<void> {
    return this.#closing ??= this.#close()
  }

  async #close (): Promise<void> {
    for (const server of this.#servers) server.close()
    this.#servers.clear()
    for (const incoming of [...this.#incoming.keys()]) void incoming.finish(new StreamError('system-shutdown'))
    if (this.#incoming.size > 0) await new Promise<void>(resolve => { this.#drained = resolve })
  }

  /** Takes over a connection. */
  accept (transport: Transport, network: string): void {
    this.#byNetwork.set(network, (this.#byNetwork.get(network) ?? 0) + 1)
    const incoming = new Incoming(this.#world, this.#links, this.#settings, transport, {
      handshakes: this.#handshakes,
      established: () => { this.#proven++ },
      gone: one => { this.#gone(one) },
    })
    this.#incoming.set(incoming, network)
    void incoming.begin()
  }

  #arrived (socket: Socket): void {
    const address = plainAddress(socket.remoteAddress)
    const network = networkOf(address)
    const why = this.#refusal(address, this.#byNetwork.get(network) ?? 0)
    if (why !== undefined) {
      socket.destroy()
      this.#turnAway(why, network)
      return
    }
    socket.setKeepAlive(true, PROBE)
    this.accept(new TcpTransport(socket, this.#world.clock), network)
  }

  #refusal (address: string, count: number): string | undefined {
    if (address === '') return 'gone already'
    if (this.#closing !== undefined) return 'stopping'
    if (this.#world.clock.now() < this.#recoversAt) return 'short of resources'
    if (count >= this.#world.limits.connections) return 'too many from one network'
    if (this.#incoming.size >= MOST) return 'too many'
    if (this.#incoming.size - this.#proven >= MOST_UNPROVEN) return 'too many that have proved nothing'
    return undefined
  }

  #gone (incoming: Incoming): void {
    const network = this.#incoming.get(incoming)
    if (network === undefined) return
    this.#incoming.delete(incoming)
    if (incoming.isProven) this.#proven--
    const left = (this.#byNetwork.get(network) ?? 1) - 1
    if (left > 0) this.#byNetwork.set(network, left)
    else this.#byNetwork.delete(network)
    if (this.#incoming.size === 0) this.#drained?.()
  }

  #turnAway (why: string, network: string): void {
    this.#turnedAway++
    const now = this.#world.clock.now()
    if (now < this.#saidAt + QUIET) return
    this.#saidAt = now
    this.#world.log.warn('servers turned away', { why, network, count: this.#turnedAway })
    this.#turnedAway = 0
  }
}
