/** Turns the settings of the conf into those that the parts of the server are given. */
import { Ranges } from './base/reach.js'
import type { Authentication, ClientLimits } from './c2s/settings.js'
import type { Config, HostConfig } from './config/load.js'
import type { ListenSettings, ServerSettings } from './config/server.js'
import type { AnyModule } from './host/module.js'
import type { HostPlan } from './host/server.js'
import type { FederationLimits } from './s2s/ground/policy.js'
import type { FederationPlan } from './s2s/federation.js'
import type { WebSettings } from './web/listener.js'
import { JidError, parseJid } from './xmpp/jid.js'

/** Returns the limits of client connections. */
export function limitsOfClients ({ server: { limits } }: Config): ClientLimits {
  const { keepalive, idleTimeout: idle, connectionsPerAddress: connections } = limits
  return { keepalive, idle, connections, ...beforeLogin(limits) }
}

/** Returns the settings of logins, except the delay of failed ones. */
export function loginSettings ({ server: { authentication } }: Config): Authentication {
  const { mechanisms, attempts, fast, tokenLifetime: token } = authentication
  return { mechanisms, attempts, fast, token }
}

/** Returns the settings of a listener of the web. */
export function webSettings (
  { tls, proxies, forwardedHeader: header = 'x-forwarded-for', origins = [], maxStanzaSize: stanza }: ListenSettings,
  rate: number,
): WebSettings {
  return { tls: tls === 'none' ? 'none' : 'direct', proxies: { ranges: new Ranges(proxies), header }, origins, stanza, rate }
}

/**
 * Returns the address of a listener of the web as the clients of a domain reach it; undefined if it is only for this
 * machine. `port`: at which it listens. A reverse proxy is at the usual port of the domain, unless the conf says more.
 */
export function webOriginOf (
  { url, tls, proxies = [] }: ListenSettings, port: number, domain: string,
): string | undefined {
  if (url !== undefined) return url
  if (tls === 'none') return proxies.length === 0 ? undefined : `https://${domain}`
  return port === HTTPS ? `https://${domain}` : `https://${domain}:${port}`
}

const HTTPS = 443

/** Returns the part of the conf about other servers. */
export function federationPlan (config: Config): FederationPlan {
  const { federation, limits } = config.server
  const { trust, authorities, resolver, dane, privateRanges: allowed } = federation
  const stanza = Math.max(...config.server.listen.map(listener => listener.for === 'servers' ? listener.maxStanzaSize : 0))
  const domains = new Map(Object.entries(federation.domain).map(([domain, settings]) => [prepared(domain), settings]))
  const hosts = [...config.hosts.values()]
  const partners = new Map(hosts.map(host => [prepared(host.domain), new Set(host.partners.map(prepared))]))
  const modes = new Map(hosts.map(host => [prepared(host.domain), host.federation]))
  return {
    authorities,
    resolver,
    dane,
    allowed,
    limits: { ...limitsOfServers(federation), ...beforeLogin(limits), keepalive: limits.keepalive, stanza },
    policy: (local, remote) => {
      const mode = modes.get(local) ?? 'all'
      if (mode === 'off' || mode === 'listed' && partners.get(local)?.has(remote) !== true) return { trust: 'refuse' }
      const own = domains.get(remote)
      if (own?.host === undefined) {
        return { trust: own?.trust ?? trust, ...own?.allowPrivateAddresses === true && { isPrivate: true } }
      }
      return { trust: own.trust ?? trust, byHand: { host: own.host, port: own.port, tls: own.tls } }
    },
  }
}

/**
 * Returns the domain as addresses write it. A text that is no valid domain is returned unchanged, and matches no
 * address.
 */
function prepared (domain: string): string {
  try {
    return parseJid(domain).domain
  } catch (error) {
    if (error instanceof JidError) return domain
    throw error
  }
}

/** Returns the hosts of the conf, each with the modules that it runs. */
export function plansOf (config: Config, modules: ReadonlyMap<string, AnyModule>): HostPlan[] {
  const { limits } = config.server
  return [...config.hosts.values()].map(host => ({
    domain: host.domain,
    isService: host.service !== undefined,
    settings: {
      parent: host.parent,
      entities: { most: host.entities, bytes: host.entityBytes },
      admins: host.admins, resources: limits.sessionsPerAccount, conflict: limits.resourceConflict,
    },
    modules: wantedOf(host, modules),
    forgone: [...modules.values()].filter(module => module.forgo !== undefined && !host.modules.has(module.name)),
  }))
}

function wantedOf (host: HostConfig, modules: ReadonlyMap<string, AnyModule>): HostPlan['modules'] {
  return [...host.modules].flatMap(([name, settings]) => {
    const module = modules.get(name)
    return module === undefined ? [] : [{ module, settings }]
  })
}

/** The limits of any connection until its peer has proved who it is. */
function beforeLogin (
  { negotiationTimeout: negotiation, unauthenticated: { maxStanzaSize: stanza, maxElements: elements } }: ServerSettings['limits'],
): Pick<ClientLimits, 'negotiation' | 'unauthenticated'> {
  return { negotiation, unauthenticated: { stanza, elements } }
}

function limitsOfServers (
  { queue: { stanzas, bytes: size, timeout: time }, idleTimeout: idle, connectionsPerAddress: connections }: ServerSettings['federation'],
): Pick<FederationLimits, 'queue' | 'idle' | 'connections'> {
  return { queue: { stanzas, size, time }, idle, connections }
}
