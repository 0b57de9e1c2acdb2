/** The listener that accepts clients. */
import type { Count } from '../base/counters.js'
import { networkOf } from '../base/network.js'
import { Acceptor } from '../stream/acceptor.js'
import type { Framing } from '../stream/framing.js'
import type { StreamState } from '../stream/stream.js'
import { TcpTransport } from '../stream/tcp-transport.js'
import type { Transport } from '../stream/transport.js'
import { StreamError } from '../xmpp/errors.js'
import { ClientStream } from './client.js'
import type { ClientDeps, ListenerSettings } from './settings.js'

/** The number of a listener's connections. `states` has the number of streams in each state. */
export interface ListenerCounts {
  readonly connections: number
  readonly established: number
  readonly states: Readonly<Record<StreamState['at'], number>>
}

/** The most connections at once, more than one process can serve; and the most of them without a session. */
const MOST = 100_000
const MOST_WITHOUT_SESSION = 10_000
/** TLS handshakes per second. */
const HANDSHAKES = 300

/** A client's connection, and how its stream is laid out on it. */
export interface ClientLink {
  readonly transport: Transport
  /** By default an XML stream (RFC 6120). */
  readonly framing?: Framing
  /** Overrides the setting of the listener. */
  readonly tls?: ListenerSettings['tls']
  /** Called when the client has a session. */
  readonly established?: () => void
}

export class ClientListener {
  readonly #acceptor: Acceptor<ClientStream, ClientLink>
  #closing: Promise<void> | undefined

  constructor (world: ClientDeps, settings: ListenerSettings, mostUnproven = MOST_WITHOUT_SESSION) {
    this.#acceptor = new Acceptor<ClientStream, ClientLink>({
      clock: world.clock,
      log: world.log,
      event: 'connections refused',
      most: MOST,
      mostUnproven,
      handshakes: HANDSHAKES,
      ofNetwork: () => world.limits.connections,
      link: socket => ({ transport: new TcpTransport(socket, world.clock) }),
      stream: ({ transport, framing, tls = settings.tls, established }, home) =>
        new ClientStream(world, { ...settings, tls }, transport, established === undefined ? home : {
          ...home,
          established: stream => {
            home.established(stream)
            established()
          },
        }, framing),
    })
  }

  get counts (): ListenerCounts {
    const states = { opening: 0, negotiating: 0, established: 0, closing: 0, closed: 0 }
    for (const client of this.#acceptor.streams) states[client.state.at]++
    return { connections: this.#acceptor.size, established: states.established, states }
  }

  /** The number of networks that are counted: 0 when no client is connected. */
  get networks (): number { return this.#acceptor.networks }

  /** Refused connections, by reason. */
  get turnedAway (): Iterable<Count> { return this.#acceptor.turnedAway }

  /** Listens at one address. Resolves with the port; 0 lets the system choose it. Rejects if that is not possible. */
  listen (address: string, port: number): Promise<number> { return this.#acceptor.listen(address, port) }

  /** True if a connection from this address may be accepted now. Otherwise it is counted as turned away. */
  admits (address: string): boolean { return this.#acceptor.admits(address) }

  /** Takes over a connection that is not from a port of its own. `admits` must have been asked. */
  accept (link: ClientLink): void { this.#acceptor.accept(link, networkOf(link.transport.address)) }

  /** Stops accepting, and ends streams without a session with system-shutdown. The hosts end the sessions. */
  rest (): void {
    this.#acceptor.close()
    const error = new StreamError('system-shutdown')
    for (const client of [...this.#acceptor.streams]) if (client.state.at !== 'established') client.end(error)
  }

  /**
   * Stops accepting, and ends all streams with system-shutdown. Call it after the hosts have saved their sessions: a
   * session whose stream is closed cannot be resumed (XEP-0198 §5). Resolves when every connection is gone.
   */
  close (): Promise<void> {
    return this.#closing ??= this.#close()
  }

  async #close (): Promise<void> {
    this.rest()
    const error = new StreamError('system-shutdown')
    for (const client of [...this.#acceptor.streams]) client.end(error)
    await this.#acceptor.emptied()
  }
}
