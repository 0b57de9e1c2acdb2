/** Federation put together: listeners for other servers, links to them, and the router's way out. */
import { randomInt } from 'node:crypto'
import type { Clock } from '../base/clock.js'
import { Counters, type Count } from '../base/counters.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import { Budgets } from '../base/rate.js'
import { Ranges } from '../base/reach.js'
import { DOMAIN_BUDGET, DOMAINS } from '../host/cost.js'
import type { Host } from '../host/host.js'
import type { Router } from '../host/router.js'
import type { Certificates } from '../stream/certificates.js'
import { Guard, type Place } from '../stream/guard.js'
import { StreamError } from '../xmpp/errors.js'
import { LINK_COUNTS } from './counts.js'
import { ServerContexts, rootsOf } from './contexts.js'
import { TcpDialer } from './dial.js'
import { DialbackKeys } from './dialback.js'
import { CachedDns } from './dns/cache.js'
import { DnsClient } from './dns/client.js'
import type { ServerListenerSettings } from './incoming.js'
import { Links } from './links.js'
import { ServerListener } from './listener.js'
import { Outbox } from './outbox.js'
import { reportsOf, type LinkReport } from './report.js'
import { DnsResolver, serverOf, systemServers, type Resolver } from './resolve.js'
import { trial, type TrialStep } from './trial.js'
import type { FederationLimits, FederationWorld, Policy } from './world.js'

/** What the conf says. */
export interface FederationPlan {
  readonly authorities: string | undefined
  /** DNS servers; none: those of the system. */
  readonly resolver: readonly string[]
  /** They are believed where they say that DNSSEC has checked something. */
  readonly dane: boolean
  /** Ranges of IP addresses where servers of others may be besides public ones. */
  readonly allowed: readonly string[]
  readonly limits: FederationLimits
  policy (local: string, remote: string): Policy
}

export interface FederationParts {
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly router: Router
  readonly certificates: Certificates
  readonly oldest: 'TLSv1.2' | 'TLSv1.3'
  readonly domain: string
  host (domain: string): Host | undefined
  /** Where this server listens now: nobody may send it to itself. */
  listeners (): Iterable<Pick<Place, 'address' | 'port'>>
}

/** So long others may take to acknowledge what they have, in milliseconds, before the server stops. */
const LAST_WORDS = 2000

export class Federation {
  readonly world: FederationWorld
  readonly links: Links
  readonly counters = new Counters()
  readonly #listeners: ServerListener[] = []
  readonly #contexts: ServerContexts
  readonly #guard: Guard
  #plan: FederationPlan

  static async open (parts: FederationParts, plan: FederationPlan): Promise<Federation> {
    const { clock, ids, log, router: { storage } } = parts
    const outbox = await Outbox.open({ storage, clock, ids, log })
    return new Federation(parts, plan, await rootsOf(plan.authorities), outbox)
  }

  private constructor (parts: FederationParts, plan: FederationPlan, roots: readonly string[], outbox: Outbox) {
    const { clock, ids, log, router, domain, certificates } = parts
    this.#plan = plan
    this.#guard = new Guard({ allowed: new Ranges(plan.allowed), listeners: () => parts.listeners() })
    this.#contexts = new ServerContexts((name, domain) => certificates.usableFor(name, domain), roots, parts.oldest)
    this.world = {
      clock, ids, log, router, domain,
      resolver: resolverOf(plan, clock),
      dialer: new TcpDialer(clock, this.#guard),
      keys: new DialbackKeys(),
      outbox,
      anchors: () => this.#contexts.anchors,
      shows: (name, domain) => this.#contexts.shows(name, domain),
      limits: plan.limits,
      policy: (local, remote) => this.#plan.policy(local, remote),
      host: domain => parts.host(domain),
      count: (metric, by, labels) => { this.counters.count(metric, by, labels) },
      budgets: new Budgets(clock, DOMAIN_BUDGET.rate, DOMAIN_BUDGET.burst, DOMAINS),
    }
    this.links = new Links(this.world, () => randomInt(1_000_000) / 1_000_000)
    router.remote = this.links
  }

  /** Connections of other servers, and how many have proved a domain. */
  get counts (): { readonly connections: number, readonly established: number } {
    return this.#listeners.map(listener => listener.counts).reduce((a, b) => ({
      connections: a.connections + b.connections, established: a.established + b.established,
    }), { connections: 0, established: 0 })
  }

  /** Connections of other servers that were turned away, by why. */
  get turnedAway (): Iterable<Count> { return this.#listeners.flatMap(listener => [...listener.turnedAway]) }

  listener (settings: ServerListenerSettings): ServerListener {
    const listener = new ServerListener(this.world, this.links, settings)
    this.#listeners.push(listener)
    return listener
  }

  /** Takes over another conf: policies and limits at once, authorities and DNS servers for connections that come. */
  async reload (plan: FederationPlan): Promise<void> {
    const { world, links } = this
    this.#contexts.roots = await rootsOf(plan.authorities)
    if (plan.dane !== this.#plan.dane || plan.resolver.join(' ') !== this.#plan.resolver.join(' ')) world.resolver = resolverOf(plan, world.clock)
    this.#guard.allowed = new Ranges(plan.allowed)
    this.#plan = plan
    world.limits = plan.limits
    // Whom it refuses from now on has no stream any more.
    const isRefused = (local: string, remote: string): boolean => plan.policy(local, remote).trust === 'refuse'
    links.dismiss(isRefused)
    for (const stream of this.#listeners.flatMap(listener => [...listener.streams])) {
      if (stream.pairs.some(({ from, to }) => isRefused(to, from))) stream.end(new StreamError('policy-violation'))
    }
  }

  /** The links to other servers, and the streams that come from them. */
  report (): readonly LinkReport[] {
    const incoming = this.#listeners.flatMap(listener => [...listener.streams].flatMap(reportsOf))
    return [...this.links.report(), ...incoming]
  }

  /** What is counted of them. */
  numbers (): Iterable<Count & { readonly help: string }> { return this.counters.told(LINK_COUNTS) }

  /** Tries the way to another domain, step by step. */
  test (local: string, remote: string): Promise<readonly TrialStep[]> { return trial(this.world, this.links, local, remote) }

  /** Takes up what the process before this one has left behind. */
  async recall (): Promise<void> {
    const { links, world: { outbox, router } } = this
    links.recall(await outbox.left(domain => router.serves(domain)))
  }

  /** Nothing more is taken. Resolves once the others have said what has come to them, or have had the time. */
  rest (): Promise<void> { return takeNoMore(this.links, this.#listeners) }

  /** Ends all streams, and writes down what goes on behind the next start. Resolves when every connection is gone. */
  async close (): Promise<void> {
    await this.links.close()
    await Promise.all(this.#listeners.map(listener => listener.close()))
    await this.world.outbox.close(this.links.resumables.handled())
  }
}

/** The server stops: nothing more is taken of other servers, once they have said what has come to them, or have had the time. */
export async function takeNoMore (links: Links, listeners: readonly ServerListener[]): Promise<void> {
  // All of them before any rests: what one stream has carried may be confirmed on another (XEP-0199).
  await Promise.all([links.confirmed(LAST_WORDS), ...listeners.map(listener => listener.confirmed(LAST_WORDS))])
  links.rest()
  for (const listener of listeners) listener.rest()
}

function resolverOf ({ resolver, dane }: FederationPlan, clock: Clock): Resolver {
  const servers = resolver.length === 0 ? systemServers() : resolver.flatMap(text => serverOf(text) ?? [])
  return new DnsResolver(new CachedDns(new DnsClient({ clock, servers }), clock), { dane })
}
