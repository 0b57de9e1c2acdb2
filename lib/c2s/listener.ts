/** Accepts clients. */
import type { Count } from '../base/counters.js'
import { Acceptor } from '../stream/acceptor.js'
import type { StreamState } from '../stream/stream.js'
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
/** TLS handshakes a second. */
const HANDSHAKES = 300

export class ClientListener {
  readonly #acceptor: Acceptor<ClientStream>
  #closing: Promise<void> | undefined

  constructor (world: ClientWorld, settings: ListenerSettings, mostUnproven = MOST_WITHOUT_SESSION) {
    this.#acceptor = new Acceptor({
      clock: world.clock,
      log: world.log,
      event: 'connections turned away',
      most: MOST,
      mostUnproven,
      handshakes: HANDSHAKES,
      ofNetwork: () => world.limits.connections,
      stream: (transport, home) => new ClientStream(world, settings, transport, home),
    })
  }

  get counts (): ListenerCounts {
    const states = { opening: 0, negotiating: 0, established: 0, closing: 0, closed: 0 }
    for (const client of this.#acceptor.streams) states[client.state.at]++
    return { connections: this.#acceptor.size, established: states.established, states }
  }

  /** How many networks are counted: none once nobody is connected. */
  get networks (): number { return this.#acceptor.networks }

  /** Connections that were turned away, by why. */
  get turnedAway (): Iterable<Count> { return this.#acceptor.turnedAway }

  /** Listens at one address. Answers with the port; 0 lets the system choose it. Rejects where that is not possible. */
  listen (address: string, port: number): Promise<number> { return this.#acceptor.listen(address, port) }

  /** Accepts nobody more, and ends with system-shutdown what has no session. Sessions are their hosts' to end, or to leave. */
  rest (): void {
    this.#acceptor.close()
    const error = new StreamError('system-shutdown')
    for (const client of [...this.#acceptor.streams]) if (client.state.at !== 'established') client.end(error)
  }

  /**
   * Does the same, and ends with system-shutdown whatever is left. To be called once the hosts have left their sessions: one whose stream
   * is closed cannot be resumed (XEP-0198 §5). Resolves when every connection is gone.
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
