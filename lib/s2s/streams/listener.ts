/** Accepts the connections of other servers. */
import type { Count } from '../../base/counters.js'
import { Acceptor } from '../../stream/acceptor.js'
import { TcpTransport } from '../../stream/tcp-transport.js'
import type { Transport } from '../../stream/transport.js'
import { StreamError } from '../../xmpp/errors.js'
import { Incoming } from './incoming.js'
import type { ServerListenerSettings } from './settings.js'
import type { IncomingHome } from './incoming-owner.js'
import type { StreamContext } from './context.js'

/** The most connections at once, and the most of them without a proven domain. */
const MOST = 20_000
const MOST_UNPROVEN = 2000
/** TLS handshakes per second. */
const HANDSHAKES = 100
/** The silence in milliseconds after which TCP checks whether the peer is still there. */
const PROBE = 60_000

export class ServerListener {
  readonly #acceptor: Acceptor<Incoming>
  #closing: Promise<void> | undefined

  constructor (
    world: StreamContext, home: IncomingHome, settings: ServerListenerSettings, mostUnproven = MOST_UNPROVEN,
  ) {
    this.#acceptor = new Acceptor({
      clock: world.clock,
      log: world.log,
      event: 'servers refused',
      most: MOST,
      mostUnproven,
      handshakes: HANDSHAKES,
      probe: PROBE,
      ofNetwork: () => world.limits.connections,
      link: socket => new TcpTransport(socket, world.clock),
      stream: (transport, accepted) => new Incoming(world, home, settings, transport, accepted),
    })
  }

  get streams (): Iterable<Incoming> { return this.#acceptor.streams }
  get counts (): { readonly connections: number, readonly established: number } {
    return { connections: this.#acceptor.size, established: this.#acceptor.proven }
  }

  /** Connections that were turned away, by reason. */
  get turnedAway (): Iterable<Count> { return this.#acceptor.turnedAway }

  /** Listens at one address. Returns the port; with 0 the system chooses it. Rejects if that is not possible. */
  listen (address: string, port: number): Promise<number> { return this.#acceptor.listen(address, port) }

  /** Takes over a connection. */
  accept (transport: Transport, network: string): void { this.#acceptor.accept(transport, network) }

  /** Stops accepting. Resolves once all peers have acknowledged what they received, or after `ms` milliseconds. */
  async confirmed (ms: number): Promise<void> {
    this.#acceptor.close()
    await Promise.all([...this.streams].map(incoming => incoming.confirmed(ms)))
  }

  /** Takes no more stanzas. Peers send them again on the resumed stream, or see their stream end. */
  rest (): void { for (const incoming of [...this.streams]) incoming.rest() }

  /** Stops accepting and ends all streams. Resolves when every connection is gone. */
  close (): Promise<void> {
    return this.#closing ??= this.#close()
  }

  async #close (): Promise<void> {
    this.#acceptor.close()
    for (const incoming of [...this.streams]) void incoming.finish(new StreamError('system-shutdown'))
    await this.#acceptor.emptied()
  }
}
