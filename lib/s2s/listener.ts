/** Accepts other servers. */
import type { Count } from '../base/counters.js'
import { Acceptor } from '../stream/acceptor.js'
import type { Transport } from '../stream/transport.js'
import { StreamError } from '../xmpp/errors.js'
import { Incoming, type ServerListenerSettings } from './incoming.js'
import type { Links } from './links.js'
import type { FederationWorld } from './world.js'

/** Connections at once; and how many of them may be without a proven domain. */
const MOST = 20_000
const MOST_UNPROVEN = 2000
/** TLS handshakes a second. */
const HANDSHAKES = 100
/** A peer that is gone without a word is found out by TCP after so many milliseconds of silence. */
const PROBE = 60_000

export class ServerListener {
  readonly #acceptor: Acceptor<Incoming>
  #closing: Promise<void> | undefined

  constructor (world: FederationWorld, links: Links, settings: ServerListenerSettings, mostUnproven = MOST_UNPROVEN) {
    this.#acceptor = new Acceptor({
      clock: world.clock,
      log: world.log,
      event: 'servers turned away',
      most: MOST,
      mostUnproven,
      handshakes: HANDSHAKES,
      probe: PROBE,
      ofNetwork: () => world.limits.connections,
      stream: (transport, home) => new Incoming(world, links, settings, transport, home),
    })
  }

  get streams (): Iterable<Incoming> { return this.#acceptor.streams }
  get counts (): { readonly connections: number, readonly established: number } {
    return { connections: this.#acceptor.size, established: this.#acceptor.proven }
  }

  /** Connections that were turned away, by why. */
  get turnedAway (): Iterable<Count> { return this.#acceptor.turnedAway }

  /** Listens at one address. Answers with the port; 0 lets the system choose it. Rejects where that is not possible. */
  listen (address: string, port: number): Promise<number> { return this.#acceptor.listen(address, port) }

  /** Takes over a connection. */
  accept (transport: Transport, network: string): void { this.#acceptor.accept(transport, network) }

  /** Accepts nobody more. Resolves once those who are here have said what has come to them; after `ms` milliseconds at the latest. */
  async confirmed (ms: number): Promise<void> {
    this.#acceptor.close()
    await Promise.all([...this.streams].map(incoming => incoming.confirmed(ms)))
  }

  /** Takes nothing more of those who are here: they say it again on the resumed stream, or hear that the server stops. */
  rest (): void { for (const incoming of [...this.streams]) incoming.rest() }

  /** Stops accepting, and ends all streams. Resolves when every connection is gone. */
  close (): Promise<void> {
    return this.#closing ??= this.#close()
  }

  async #close (): Promise<void> {
    this.#acceptor.close()
    for (const incoming of [...this.streams]) void incoming.finish(new StreamError('system-shutdown'))
    await this.#acceptor.emptied()
  }
}
