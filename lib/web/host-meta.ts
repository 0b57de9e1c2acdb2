/** How clients find the web of a domain (XEP-0156, RFC 6415): host-meta, and host-meta.json. */
import { domainToASCII } from 'node:url'
import type { WebAnswer, WebRequest, WebRoute } from '../host/web-routes.js'
import { BOSH_PATH } from './bosh/bosh.js'
import { WEB_SOCKET_PATH } from './web-sockets.js'

export interface HostMetaDeps {
  /** Returns the domains that have accounts. */
  readonly domains: () => readonly string[]
  /** Returns the addresses of the web for a domain as clients reach them: "https://example.org:5281". */
  readonly origins: (domain: string) => readonly string[]
}

interface Link { readonly rel: string, readonly href: string }

/** How long an answer may be kept, in seconds. */
const KEPT = 300

/** Returns the routes. Each answers for the domain in the Host header of the request. */
export function hostMetaRoutes (deps: HostMetaDeps): readonly WebRoute[] {
  const made = (path: string, type: string, write: (links: readonly Link[]) => string): WebRoute => ({
    method: 'GET',
    path,
    callers: 'anybody',
    crossOrigin: { headers: [] }, // XEP-0156 §3: for clients in browsers
    answer: request => answerOf(deps, request, type, write),
  })
  return [
    made('/.well-known/host-meta', 'application/xrd+xml; charset=utf-8', xrdOf),
    made('/.well-known/host-meta.json', 'application/json', links => JSON.stringify({ links })),
  ]
}

function answerOf (
  { domains, origins }: HostMetaDeps, { domain }: WebRequest, type: string, write: (links: readonly Link[]) => string,
): WebAnswer {
  const asked = domainToASCII(domain)
  const served = domains().find(one => asked !== '' && domainToASCII(one) === asked)
  if (served === undefined) return { status: 404 }
  const links = origins(asked).flatMap(linksOf)
  return { status: 200, headers: { 'content-type': type, 'cache-control': `public, max-age=${KEPT}` }, body: write(links) }
}

/** XEP-0156 §3.2: only addresses that are encrypted. */
function linksOf (origin: string): readonly Link[] {
  if (!origin.startsWith('https://')) return []
  return [
    { rel: 'urn:xmpp:alt-connections:websocket', href: `wss${origin.slice('https'.length)}${WEB_SOCKET_PATH}` },
    { rel: 'urn:xmpp:alt-connections:xbosh', href: `${origin}${BOSH_PATH}` },
  ]
}

/** The addresses are from the conf and from domains in ASCII, so nothing in them has to be escaped. */
function xrdOf (links: readonly Link[]): string {
  const elements = links.map(({ rel, href }) => `<Link rel="${rel}" href="${href}"/>`)
  return `<?xml version="1.0" encoding="utf-8"?><XRD xmlns="http://docs.oasis-open.org/ns/xri/xrd-1.0">${elements.join('')}</XRD>`
}

/** The route by which a monitor sees whether the server answers. Strangers learn no more from it. */
export const health: WebRoute = {
  method: 'GET',
  path: '/health',
  callers: 'anybody',
  answer: () => ({ status: 200, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: 'ok\n' }),
}
