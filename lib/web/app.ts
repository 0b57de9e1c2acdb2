/**
 * Answers requests by the table of routes: who may call, which pages' scripts may (CORS), and the headers that protect
 * every answer. Fastify finds the route. After a change of the table its router is made anew.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Logger } from '../base/logger.js'
import type { WebAnswer, WebRequest, WebRoute, WebRoutes } from '../host/web-routes.js'
import type { Caller } from './caller.js'
import { crossOriginHeaders, mayCall, preflightHeaders } from './cross-origin.js'

export interface AppDeps {
  readonly log: Logger
  /** The tables of routes. The first one that has a path answers it. */
  readonly routes: readonly WebRoutes[]
  /** The pages whose scripts may call (RFC 6454 §6.2); empty: all. */
  readonly origins: readonly string[]
  callerOf (request: IncomingMessage): Caller
}

/** The named parts of a path, as Fastify knows them. */
interface Parts { Params: Record<string, string> }
type Handle = (request: IncomingMessage, response: ServerResponse) => void

/** The methods that a path may be asked with. Others find no route. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']
/** The longest named part of a path, in characters. */
const LONGEST_PART = 512

/** On every answer: a browser neither guesses its type, nor shows it within another page, nor runs anything in it. */
const PROTECTION = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
} as const

export class WebApp {
  readonly #deps: AppDeps
  readonly #unwatch: readonly (() => void)[]
  #handle: Handle = (_request, response) => { plainly(response, 503) }
  #making: Promise<void> = Promise.resolve()

  constructor (deps: AppDeps) {
    this.#deps = deps
    this.#unwatch = deps.routes.map(routes => routes.watch(() => { this.#refresh() }))
    this.#refresh()
  }

  /** Resolves when the routes that were added so far are answered. */
  ready (): Promise<void> { return this.#making }

  /** Answers one request. */
  handle (request: IncomingMessage, response: ServerResponse): void { this.#handle(request, response) }

  end (): void { for (const end of this.#unwatch) end() }

  /** Makes a new router. The one before answers until then, and only by routes that are still in the table. */
  #refresh (): void {
    this.#making = this.#making.then(() => this.#make()).catch((error: unknown) => {
      this.#deps.log.error('web routes not usable', { error })
    })
  }

  async #make (): Promise<void> {
    const app = fastify({
      // The listener has the server: this one never listens.
      serverFactory: () => createServer(),
      logger: false,
      exposeHeadRoutes: false,
      routerOptions: {
        caseSensitive: true, ignoreTrailingSlash: false, ignoreDuplicateSlashes: false, maxParamLength: LONGEST_PART,
      },
      frameworkErrors: (_error, _request, reply) => { this.#send(reply, { status: 400 }) },
    })
    // A body is a stream that the route reads.
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', (_request, _payload, done) => { done(null) })
    app.setNotFoundHandler((_request, reply) => this.#send(reply, { status: 404 }))
    app.setErrorHandler((error, _request, reply) => this.#failed(error, reply))
    const paths = this.#deps.routes.flatMap(({ all }) => all.map(({ path }) => path))
    for (const path of new Set(paths)) this.#add(app, path)
    await app.ready()
    this.#handle = (request, response) => { app.routing(request, response) }
  }

  #add (app: FastifyInstance, path: string): void {
    app.route<Parts>({ method: METHODS, url: path, handler: (request, reply) => this.#answer(path, request, reply) })
  }

  async #answer (path: string, request: FastifyRequest<Parts>, reply: FastifyReply): Promise<FastifyReply> {
    const { routes, origins } = this.#deps
    const here = routes.map(({ all }) => all.filter(route => route.path === path)).find(all => all.length > 0) ?? []
    const method = request.method === 'HEAD' ? 'GET' : request.method
    const origin = request.headers.origin
    if (method === 'OPTIONS') {
      const headers = { allow: allowed(here), ...preflightHeaders(here, origin, origins) }
      return this.#send(reply, { status: 204, headers })
    }
    const route = here.find(route => route.method === method)
    if (here.length === 0) return this.#send(reply, { status: 404 })
    if (route === undefined) return this.#send(reply, { status: 405, headers: { allow: allowed(here) } })
    if (method === 'GET') await turnOf(reply.raw)
    const common = crossOriginHeaders(route, origin, origins)
    const answer = await this.#called(route, request, reply)
    return this.#send(reply, { ...answer, headers: { ...common, ...answer.headers } })
  }

  async #called (route: WebRoute, request: FastifyRequest<Parts>, reply: FastifyReply): Promise<WebAnswer> {
    const refused = bodyRefusal(route, request.raw)
    if (refused !== undefined) return { status: refused }
    // A page of a listed origin may call by script, another one may not, whatever its browser makes of CORS.
    if (!mayCall(route, request.headers.origin, this.#deps.origins)) return { status: 403 }
    const asked = this.#asked(request, reply)
    if (route.callers !== 'anybody' && !await route.callers(asked)) return { status: 403 }
    return route.answer(asked)
  }

  #asked (request: FastifyRequest<Parts>, { raw: response }: FastifyReply): WebRequest {
    const { raw, headers, params, hostname } = request
    const { address, isSecure } = this.#deps.callerOf(raw)
    return {
      isHead: request.method === 'HEAD',
      params,
      query: raw.url?.split('?', 2)[1] ?? '',
      domain: hostname,
      address,
      isSecure,
      header: name => [headers[name]].flat()[0],
      body: raw,
      lost: then => { response.once('close', () => { if (!response.writableFinished) then() }) },
    }
  }

  #send (reply: FastifyReply, { status, headers = {}, body }: WebAnswer): FastifyReply {
    reply.code(status).headers({ ...PROTECTION, ...headers })
    // The rest of a body that nobody wants is not read: the connection ends.
    if (!isComplete(reply.request.raw)) reply.header('connection', 'close')
    return reply.send(reply.request.method === 'HEAD' ? undefined : body)
  }

  #failed (error: unknown, reply: FastifyReply): FastifyReply {
    const { raw } = reply.request
    // A client that goes away in the middle of its body is no defect, and reads no answer.
    if (raw.destroyed && !raw.complete) return this.#send(reply, { status: 400 })
    this.#deps.log.error('defect', { path: reply.request.routeOptions.url, error })
    return this.#send(reply, { status: 500 })
  }
}

/** Answers in the fewest words, before or without a route. */
export function plainly (response: ServerResponse, status: number): void {
  response.writeHead(status, { ...PROTECTION, 'connection': 'close', 'content-length': 0 })
  response.end()
}

/**
 * Resolves when the answers before this one, on its connection, are complete (RFC 9112 §9.3.2); never if the connection
 * ends before. So a connection has one file open, and leaves none: Node does not tell an answer that waits for its turn
 * of the end. A POST does not wait: in BOSH it ends the one before it.
 */
async function turnOf (response: ServerResponse): Promise<void> {
  if (response.socket === null) await once(response, 'socket')
}

/**
 * Returns the status if the body may not be sent. RFC 9112 §6.3: its length is known before it is read, so a proxy
 * that sees the end of the request elsewhere gets nothing in.
 */
function bodyRefusal ({ largestBody = 0 }: WebRoute, { headers }: IncomingMessage): number | undefined {
  if (headers['transfer-encoding'] !== undefined) return 411
  const length = Number(headers['content-length'] ?? 0)
  return length > largestBody ? 413 : undefined
}

/** True if nothing of the request's body is left to read, and everybody agrees where it ends (RFC 9112 §6.3). */
function isComplete ({ complete, headers }: IncomingMessage): boolean {
  if (headers['transfer-encoding'] !== undefined) return false
  return complete || Number(headers['content-length'] ?? 0) === 0
}

/** The value of Allow (RFC 9110 §10.2.1). */
function allowed (routes: readonly WebRoute[]): string {
  return ['OPTIONS', ...routes.flatMap(({ method }) => method === 'GET' ? ['GET', 'HEAD'] : [method])].join(', ')
}
