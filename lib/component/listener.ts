/** Accepts the connections of external components. */
import type { Count } from '../base/counters.js'
import { Acceptor } from '../stream/acceptor.js'
import { TcpTransport } from '../stream/tcp-transport.js'
import { StreamError } from '../xmpp/errors.js'
import { ComponentStream, type ComponentDeps, type ComponentSettings } from './stream.js'

/** The most connections at once, and the most of them that have proved nothing. */
const MOST = 1000
const MOST_UNPROVEN = 100
/** TLS handshakes per second. */
const HANDSHAKES = 50
/** The silence in milliseconds after which TCP checks whether the component is still there. */
const PROBE = 60_000

export class ComponentListener {
  readonly #acceptor: Acceptor<ComponentStream>
  #closing: Promise<void> | undefined

  constructor (deps: ComponentDeps, settings: ComponentSettings) {
    this.#acceptor = new Acceptor({
      clock: deps.clock,
      log: deps.log,
      event: 'components refused',
      most: MOST,
      mostUnproven: MOST_UNPROVEN,
      handshakes: HANDSHAKES,
      probe: PROBE,
      ofNetwork: () => deps.limits().connections,
      link: socket => new TcpTransport(socket, deps.clock),
      stream: (transport, home) => new ComponentStream(deps, settings, transport, home),
    })
  }

  /** Connections that were turned away, by reason. */
  get turnedAway (): Iterable<Count> { return this.#acceptor.turnedAway }

  /** Listens at one address. Returns the port; with 0 the system chooses it. Rejects if that is not possible. */
  listen (address: string, port: number): Promise<number> { return this.#acceptor.listen(address, port) }

  /** Stops accepting. */
  rest (): void { this.#acceptor.close() }

  /** Stops accepting and ends all streams. Resolves when every connection is gone. */
  close (): Promise<void> {
    return this.#closing ??= this.#close()
  }

  async #close (): Promise<void> {
    this.rest()
    for (const stream of [...this.#acceptor.streams]) stream.end(new StreamError('system-shutdown'))
    await this.#acceptor.emptied()
  }
}
