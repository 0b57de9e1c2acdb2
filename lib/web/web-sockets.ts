/** WebSockets of clients (RFC 7395): the handshake, and a client's stream on each. */
import { STATUS_CODES, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer, type WebSocket } from 'ws'
import type { Clock } from '../base/clock.js'
import type { ClientListener } from '../c2s/listener.js'
import type { Framing, Reader } from '../stream/framing.js'
import type { Caller } from './caller.js'
import { isListed } from './cross-origin.js'
import { WEB_FRAMES } from './frames.js'
import { WebSocketTransport } from './web-socket-transport.js'

export interface WebSocketDeps {
  readonly clock: Clock
  readonly clients: ClientListener
  /** The pages whose scripts may connect; empty: all. */
  readonly origins: readonly string[]
  /** The size of the largest stanza, in bytes. */
  readonly stanza: number
}

/** The path of the WebSocket, under which other servers have theirs as well. */
export const WEB_SOCKET_PATH = '/xmpp-websocket'
const SUBPROTOCOL = 'xmpp'
/** A stanza that is too large by less than this gets a stream error, which names the reason. */
const MARGIN = 256 * 1024
/** The most frames of one message, and the most pieces in which it comes. */
const MOST_FRAGMENTS = 256
const MOST_CHUNKS = 4096

export class WebSockets {
  readonly #deps: WebSocketDeps
  readonly #server: WebSocketServer

  constructor (deps: WebSocketDeps) {
    this.#deps = deps
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      autoPong: false, // the transport answers, with a bound
      // Compression would make a secret guessable beside text of a stranger (RFC 7457 §2.6), and cost memory.
      perMessageDeflate: false,
      skipUTF8Validation: true, // the parser checks it
      maxPayload: deps.stanza + MARGIN,
      maxFragments: MOST_FRAGMENTS,
      maxBufferedChunks: MOST_CHUNKS,
      handleProtocols: () => SUBPROTOCOL,
    })
  }

  /**
   * Answers a request to change the protocol. Returns true if the connection is a WebSocket now. `established`: called
   * when the client has a session.
   */
  upgrade (request: IncomingMessage, wire: Duplex, head: Buffer, caller: Caller, established: () => void): boolean {
    const status = this.#refusal(request, caller)
    if (status !== undefined) {
      refuse(wire, status)
      return false
    }
    let isOpen = false
    this.#server.handleUpgrade(request, wire, head, socket => {
      isOpen = true
      this.#opened(socket, wire, caller, established)
    })
    return isOpen
  }

  #refusal ({ url = '', headers }: IncomingMessage, { address }: Caller): number | undefined {
    if (url.split('?', 1)[0] !== WEB_SOCKET_PATH) return 404
    if (headers.upgrade?.toLowerCase() !== 'websocket') return 400
    if (headers.origin !== undefined && !isListed(headers.origin, this.#deps.origins)) return 403
    // RFC 7395 §3.1
    const offered = headers['sec-websocket-protocol']?.split(',').map(name => name.trim()) ?? []
    if (!offered.includes(SUBPROTOCOL)) return 400
    return this.#deps.clients.admits(address) ? undefined : 503
  }

  #opened (socket: WebSocket, wire: Duplex, caller: Caller, established: () => void): void {
    let reader: Reader | undefined
    const framing: Framing = {
      ...WEB_FRAMES,
      reader: (how, handlers) => {
        reader = WEB_FRAMES.reader(how, handlers)
        return reader
      },
    }
    const longest = (): number => reader?.limits.bytes ?? 0
    const transport = new WebSocketTransport(socket, { clock: this.#deps.clock, caller, wire, longest })
    this.#deps.clients.accept({ transport, framing, tls: caller.isSecure ? 'none' : 'required', established })
  }
}

/** Answers on a connection that asked for another protocol, and ends it. */
function refuse (wire: Duplex, status: number): void {
  wire.on('error', () => { wire.destroy() })
  wire.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
