/** A DNS server that answers the one query of ejabberd: the SRV record of a domain. */
import { createSocket, type Socket } from 'node:dgram'
import packet from 'dns-packet'

interface Found { readonly address: string, readonly port: number }

export class Names {
  readonly address: string
  readonly port: number
  readonly #socket: Socket
  readonly #servers: ReadonlyMap<string, Found>

  /** Answers at a free port of this address, until it is closed. Each query looks up the domain in `servers`. */
  static async at (address: string, servers: ReadonlyMap<string, Found>): Promise<Names> {
    const socket = createSocket('udp4')
    await new Promise<void>((resolve, reject) => { socket.once('error', reject).bind(0, address, resolve) })
    return new Names(socket, servers)
  }

  private constructor (socket: Socket, servers: ReadonlyMap<string, Found>) {
    this.#socket = socket
    this.#servers = servers
    const { address, port } = socket.address()
    this.address = address
    this.port = port
    socket.unref().on('message', (message, from) => { socket.send(this.#answer(message), from.port, from.address) })
  }

  async close (): Promise<void> {
    await new Promise<void>(resolve => { this.#socket.close(resolve) })
  }

  #answer (message: Buffer): Buffer {
    const { id = 0, questions = [] } = packet.decode(message)
    const [{ type, name } = { type: 'A', name: '' }] = questions
    const found = type === 'SRV' ? this.#servers.get(name.toLowerCase().replace(/^_xmpp-server\._tcp\./, '')) : undefined
    // The target is the IP address itself. A name would be looked up by the system's resolver, which does not know us.
    const answers = found === undefined ? [] : [
      { type: 'SRV' as const, name, ttl: 60, data: { priority: 1, weight: 1, port: found.port, target: found.address } },
    ]
    const flags = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | (found === undefined ? NO_SUCH_NAME : 0)
    return packet.encode({ type: 'response', id, flags, questions, answers })
  }
}

const NO_SUCH_NAME = 3
