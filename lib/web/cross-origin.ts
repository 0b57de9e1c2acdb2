/** Which pages' scripts may use a route (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol). */
import type { WebRoute } from '../host/web-routes.js'

type Headers = Readonly<Record<string, string>>
type Crossed = Pick<WebRoute, 'method' | 'crossOrigin'>

/** How long a browser may remember what it may send, in seconds. */
const REMEMBERED = 86_400

/**
 * True if a request with this Origin may be answered. Without an Origin, no page's script has made it. `origins`: the
 * listed ones; empty: all.
 */
export function mayCall ({ crossOrigin }: Crossed, origin: string | undefined, origins: readonly string[]): boolean {
  return origin === undefined || crossOrigin === undefined || isListed(origin, origins)
}

/** True if the conf lists the page's origin, or none. */
export function isListed (origin: string, origins: readonly string[]): boolean {
  return origins.length === 0 || origins.includes(origin.toLowerCase())
}

/** Returns the headers of an answer that let the script of a page read it. */
export function crossOriginHeaders (
  { crossOrigin }: Crossed, origin: string | undefined, origins: readonly string[],
): Headers {
  if (crossOrigin === undefined) return {}
  const shared = { 'cross-origin-resource-policy': 'cross-origin' }
  if (origins.length === 0) return { ...shared, 'access-control-allow-origin': '*' }
  if (origin === undefined || !isListed(origin, origins)) return { ...shared, vary: 'origin' }
  return { ...shared, 'vary': 'origin', 'access-control-allow-origin': origin }
}

/** Returns the headers that say what a script may send to these routes of one path. */
export function preflightHeaders (
  routes: readonly Crossed[], origin: string | undefined, origins: readonly string[],
): Headers {
  const open = routes.filter(({ crossOrigin }) => crossOrigin !== undefined)
  const [first] = open
  if (first === undefined || origin === undefined || !isListed(origin, origins)) return {}
  const headers = new Set(open.flatMap(({ crossOrigin }) => crossOrigin?.headers ?? []))
  return {
    ...crossOriginHeaders(first, origin, origins),
    'access-control-allow-methods': open.flatMap(({ method }) => method === 'GET' ? ['GET', 'HEAD'] : [method]).join(', '),
    ...headers.size > 0 && { 'access-control-allow-headers': [...headers].join(', ') },
    'access-control-max-age': String(REMEMBERED),
  }
}
