/** The listener of the web: HTTP/1.1, with TLS or behind reverse proxies, and what is carried by it. */
import { createServer, IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../base/clock.js'
import type { Count } from '../base/counters.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import { Turns } from '../base/turns.js'
import { ClientListener, type ListenerCounts } from '../c2s/listener.js'
import type { ClientDeps } from '../c2s/settings.js'
import { WebRoutes, type WebRoute } from '../host/web-routes.js'
import { Acceptor } from '../stream/acceptor.js'
import { plainly, WebApp } from './app.js'
import { Bosh } from './bosh/bosh.js'
import { callerOf, isLoopback, type Caller, type Proxies } from './caller.js'
import { health, hostMetaRoutes, type HostMetaDeps } from './host-meta.js'
import { HttpConnection, type ConnectionDeps } from './http-connection.js'
import { WebSockets } from './web-sockets.js'

export interface WebSettings {
  /** 'none': no TLS, for this machine and for the listed proxies. */
  readonly tls: 'direct' | 'none'
  readonly proxies: Proxies
  /** The pages whose scripts may connect or call; empty: all. */
  readonly origins: readonly string[]
  /** The size of the largest stanza, in bytes. */
  readonly stanza: number
  /** Bytes per second that a client's stream may send on average. */
  readonly rate: number
}

export interface WebDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly ids: Ids
  readonly clients: ClientDeps
  /** The routes of modules. */
  readonly routes: WebRoutes
  /** The answers about where clients find the web. */
  readonly hostMeta: HostMetaDeps
  /** If given, the listener answers these routes alone, and carries no streams. */
  readonly only?: readonly WebRoute[]
}

/** The most connections at once, and the most of them whose clients have proved nothing. */
const MOST = 100_000
const MOST_UNPROVEN = 10_000
/** TLS handshakes per second. */
const HANDSHAKES = 300
/** The silence in milliseconds after which TCP checks whether the peer is still there. */
const PROBE = 60_000
/** How often slow connections are looked for, in milliseconds. */
const LOOK = 5000
/** The most bytes and the most number of headers of a request. */
const HEADER_BYTES = 16 * 1024
const HEADERS = 100
/** How long requests may go on after the server has begun to stop, in milliseconds. */
const LAST_REQUESTS = 5000

export class WebListener {
  /** The streams of clients that come over the web. */
  readonly clients: ClientListener
  readonly #deps: WebDeps
  readonly #settings: WebSettings
  readonly #acceptor: Acceptor<HttpConnection, Socket>
  readonly #connections = new WeakMap<Duplex, HttpConnection>()
  readonly #http: Server
  readonly #app: WebApp
  readonly #sockets: WebSockets
  readonly #bosh: Bosh
  readonly #look: Timer
  #isResting = false
  #closing: Promise<void> | undefined

  constructor (deps: WebDeps, settings: WebSettings) {
    this.#deps = deps
    this.#settings = settings
    const { clock, ids, log, routes } = deps
    const { stanza, rate, origins } = settings
    this.clients = new ClientListener(deps.clients, { tls: 'required', stanza, rate })
    this.#bosh = new Bosh({
      clock, ids, clients: this.clients, stanza, unproven: () => deps.clients.limits.unauthenticated.stanza,
    })
    const own = this.#ownRoutes()
    const tables = deps.only === undefined ? [own, routes] : [own]
    this.#app = new WebApp({ log, routes: tables, origins, callerOf: request => this.#callerOf(request) })
    this.#sockets = new WebSockets({ clock, clients: this.clients, origins, stanza })
    this.#http = this.#makeHttp()
    this.#acceptor = this.#makeAcceptor()
    this.#look = clock.every(LOOK, () => { for (const connection of this.#acceptor.streams) connection.check() })
  }

  /** The open connections of HTTP, among them those of WebSockets. */
  get counts (): Pick<ListenerCounts, 'connections'> { return { connections: this.#acceptor.size } }

  /** Refused connections, by reason. */
  get turnedAway (): Iterable<Count> { return this.#acceptor.turnedAway }

  /** Resolves when the routes that were added so far are answered. */
  ready (): Promise<void> { return this.#app.ready() }

  /** Listens at one address. Resolves with the port; 0 lets the system choose it. Rejects if that is not possible. */
  async listen (address: string, port: number): Promise<number> {
    await this.#app.ready()
    return this.#acceptor.listen(address, port)
  }

  /** Stops accepting, ends connections without a request, and answers no further one. */
  rest (): void {
    if (this.#isResting) return
    this.#isResting = true
    this.#acceptor.close()
    this.clients.rest()
    this.#endIdle()
  }

  /** Stops accepting, and ends what is under way. Resolves when every connection is gone. */
  close (): Promise<void> {
    return this.#closing ??= this.#close()
  }

  async #close (): Promise<void> {
    this.rest()
    await this.clients.close()
    this.#bosh.close()
    this.#endIdle()
    const timer = this.#deps.clock.after(LAST_REQUESTS, () => {
      for (const connection of this.#acceptor.streams) connection.cut(new Error('the server stops'))
    })
    await this.#acceptor.emptied()
    timer.cancel()
    this.#look.cancel()
    this.#app.end()
  }

  #endIdle (): void {
    for (const connection of this.#acceptor.streams) if (connection.isIdle) connection.cut(new Error('the server stops'))
  }

  /** The routes of this listener alone. */
  #ownRoutes (): WebRoutes {
    const own = new WebRoutes()
    const bosh = this.#bosh.route(({ body }) => {
      if (!(body instanceof IncomingMessage)) throw new Error('a request that is none of HTTP')
      return this.#callerOf(body)
    })
    const { hostMeta, only = [health, ...hostMetaRoutes(hostMeta), bosh] } = this.#deps
    for (const route of only) own.add(route)
    return own
  }

  #makeAcceptor (): Acceptor<HttpConnection, Socket> {
    const { tls, proxies: { ranges } } = this.#settings
    const { clock, log, clients } = this.#deps
    const deps: ConnectionDeps = {
      clock,
      turns: clients.turns ?? new Turns(),
      http: this.#http,
      tls: tls === 'none' ? undefined : { contextFor: name => clients.certificates.contextFor(name) },
      patience: () => clients.limits.negotiation,
      opened: (connection, socket) => { this.#connections.set(socket, connection) },
    }
    return new Acceptor({
      clock,
      log,
      event: 'web connections refused',
      most: MOST,
      mostUnproven: MOST_UNPROVEN,
      handshakes: HANDSHAKES,
      probe: PROBE,
      // The clients of a proxy are counted by their own addresses.
      ofNetwork: address => ranges.has(address) ? Infinity : clients.limits.connections,
      refusal: address => tls === 'none' && !isLoopback(address) && !ranges.has(address) ? 'neither here nor a proxy' : undefined,
      link: socket => socket,
      stream: (socket, home) => new HttpConnection(socket, deps, home),
    })
  }

  #makeHttp (): Server {
    // The times are kept by HttpConnection, which has the server's clock.
    const http = createServer({
      maxHeaderSize: HEADER_BYTES, keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0, requireHostHeader: true,
    })
    http.maxHeadersCount = HEADERS
    http.timeout = 0
    http.on('request', (request, response) => { this.#request(request, response) })
    http.on('upgrade', (request, wire, head) => { this.#upgrade(request, wire, head) })
    http.on('clientError', (error, wire) => { this.#malformed(error, wire) })
    return http
  }

  #request (request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connections.get(request.socket)
    if (connection?.begins(!request.complete) !== true) { request.socket.destroy(); return }
    request.once('end', () => { connection.received() })
    response.once('close', () => {
      connection.answered()
      if (this.#isResting && connection.isIdle) connection.end()
    })
    if (this.#isResting) plainly(response, 503)
    else this.#app.handle(request, response)
  }

  #upgrade (request: IncomingMessage, wire: Duplex, head: Buffer): void {
    const connection = this.#connections.get(wire)
    if (this.#isResting || connection === undefined || this.#deps.only !== undefined) { wire.destroy(); return }
    const caller = this.#callerOf(request)
    if (this.#sockets.upgrade(request, wire, head, caller, () => { connection.prove() })) connection.upgraded()
  }

  /** RFC 9112 §2.2: what is no request is answered with 400, or 431 if its headers are too long, and ends. */
  #malformed (error: Error, wire: Duplex): void {
    const isIdle = this.#connections.get(wire)?.isIdle === true
    const code = 'code' in error ? error.code : undefined
    if (!isIdle || !wire.writable || code === 'ECONNRESET') { wire.destroy(); return }
    const status = code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request'
    wire.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  }

  #callerOf (request: IncomingMessage): Caller {
    const connection = this.#connections.get(request.socket)
    if (connection === undefined) throw new Error('a request without a connection')
    return callerOf(connection.address, connection.tls, request.headers, this.#settings.proxies)
  }
}
