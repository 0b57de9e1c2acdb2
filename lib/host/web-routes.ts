/** The routes of the web: what modules and the server itself answer over HTTP, and who may call each. */
import type { Readable } from 'node:stream'
import type { Maybe } from '../base/maybe.js'
import { service, type Named } from '../base/slot.js'

/** The methods that a route may have. GET includes HEAD, whose answer is sent without its body. */
export type WebMethod = 'GET' | 'POST' | 'PUT' | 'DELETE'

export interface WebRequest {
  /** True if only the headers of the answer are sent. */
  readonly isHead: boolean
  /** The parts of the path that the route names, decoded. */
  readonly params: Readonly<Record<string, string>>
  /** The query of the URL, as it was written. */
  readonly query: string
  /** The domain or address in the Host header, without a port. The client writes it. */
  readonly domain: string
  /** The client's IP address. */
  readonly address: string
  /** True if the client uses TLS, or is on this machine. */
  readonly isSecure: boolean
  /** Returns a header by its name in lower case; undefined if it is absent. */
  readonly header: (name: string) => string | undefined
  /** The body. It is read only as far as it is taken. */
  readonly body: Readable
  /** Calls `then` if the client's connection is lost before the answer is sent. */
  readonly lost: (then: () => void) => void
}

export interface WebAnswer {
  readonly status: number
  /** Headers by name. They replace those that protect a page from being sniffed or framed. */
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | Readable
}

export interface WebRoute {
  readonly method: WebMethod
  /** The path: "/upload/:slot/:name" has two named parts. No other route of this server may have the same. */
  readonly path: string
  /**
   * Who may call: 'anybody', or whom a function lets in, which is asked before the body is read. Others get 403.
   */
  readonly callers: 'anybody' | ((request: WebRequest) => Maybe<boolean>)
  /** If scripts of other pages need it (CORS): the request headers that they may send. */
  readonly crossOrigin?: { readonly headers: readonly string[] }
  /** The largest body, in bytes. By default the route takes none. */
  readonly largestBody?: number
  /** Answers a request. An error that it throws is logged as a defect, and answered with 500. */
  answer (request: WebRequest): Maybe<WebAnswer>
}

/** The routes of all hosts. */
export class WebRoutes {
  readonly #routes = new Map<string, WebRoute>()
  readonly #watchers = new Set<() => void>()

  /** Adds a route, and returns a function that removes it. Throws if the path and method are taken. */
  add (route: WebRoute): () => void {
    const key = keyOf(route.method, route.path)
    if (this.#routes.has(key)) throw new Error(`two modules answer ${key}`)
    this.#routes.set(key, route)
    this.#tell()
    return () => {
      if (this.#routes.get(key) === route) this.#routes.delete(key)
      this.#tell()
    }
  }

  get all (): readonly WebRoute[] { return [...this.#routes.values()] }

  /** Calls `changed` after each change. Returns a function that ends this. */
  watch (changed: () => void): () => void {
    this.#watchers.add(changed)
    return () => { this.#watchers.delete(changed) }
  }

  #tell (): void { for (const changed of this.#watchers) changed() }
}

const webRoutes = service<WebRoutes>('webRoutes')

/** Returns the routes among the values that all hosts of a server share. */
export function webRoutesIn (shared: Named): WebRoutes { return shared.made(webRoutes, () => new WebRoutes()) }

function keyOf (method: string, path: string): string { return `${method} ${path}` }
