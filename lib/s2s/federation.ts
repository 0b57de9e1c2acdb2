/** Builds federation: the listeners for other servers, the links to them, and the router's way to remote domains. */
import { randomInt } from 'node:crypto'
import type { Clock } from '../base/clock.js'
import { Counters, type Count } from '../base/counters.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import { Budgets } from '../base/rate.js'
import { Ranges } from '../base/reach.js'
import { DOMAIN_BUDGET, DOMAINS } from '../host/cost.js'
import type { Host } from '../host/host.js'
import type { LinkReport } from '../host/link-report.js'
import type { Pipeline } from '../host/pipeline/pipeline.js'
import type { Certificates } from '../stream/certificates.js'
import { Guard, type Place } from '../stream/guard.js'
import { StreamError } from '../xmpp/errors.js'
import { LINK_COUNTS } from './ground/counts.js'
import { ServerContexts, rootsOf } from './trust/tls-contexts.js'
import { TcpDialer } from './connect/happy-eyeballs.js'
import { DialbackKeys } from './trust/dialback.js'
import { CachedDns } from './connect/dns-cache.js'
import { DnsClient } from './connect/dns-client.js'
import type { ServerListenerSettings } from './streams/settings.js'
import { DomainQueues } from './queue/domain-queues.js'
import { ServerListener } from './streams/listener.js'
import { Outbox } from './queue/outbox.js'
import { reportsOf } from './queue/report.js'
import { DnsResolver, serverOf, systemServers, type Resolver } from './connect/resolve.js'
import { testLink, type TrialStep } from './link-check.js'
import type { FederationLimits, Policy } from './ground/policy.js'
import type { FederationContext } from './queue/context.js'

/** The federation settings of the conf. */
export interface FederationPlan {
  readonly authorities: string | undefined
  /** The DNS servers; empty: those of the system. */
  readonly resolver: readonly string[]
  /** True if the DNS servers are trusted when they say that DNSSEC has checked an answer. */
  readonly dane: boolean
  /** Ranges of IP addresses that are allowed for other servers in addition to public addresses. */
  readonly allowed: readonly string[]
  readonly limits: FederationLimits
  policy (local: string, remote: string): Policy
}

export interface FederationDeps {
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly pipeline: Pipeline
  readonly certificates: Certificates
  readonly oldest: 'TLSv1.2' | 'TLSv1.3'
  readonly domain: string
  host (domain: string): Host | undefined
  /** Where this server listens now: no peer may make it connect to itself. */
  listeners (): Iterable<Pick<Place, 'address' | 'port'>>
}

/** How long peers may take to acknowledge what they received before the server stops, in milliseconds. */
const LAST_WORDS = 2000

export class Federation {
  readonly world: FederationContext
  readonly links: DomainQueues
  readonly counters = new Counters()
  readonly #listeners: ServerListener[] = []
  readonly #contexts: ServerContexts
  readonly #guard: Guard
  #plan: FederationPlan

  static async open (parts: FederationDeps, plan: FederationPlan): Promise<Federation> {
    const { clock, ids, log, pipeline: { storage } } = parts
    const outbox = await Outbox.open({ storage, clock, ids, log })
    return new Federation(parts, plan, await rootsOf(plan.authorities), outbox)
  }

  private constructor (parts: FederationDeps, plan: FederationPlan, roots: readonly string[], outbox: Outbox) {
    const { clock, ids, log, pipeline, domain, certificates } = parts
    const { router } = pipeline
    this.#plan = plan
    this.#guard = new Guard({ allowed: new Ranges(plan.allowed), listeners: () => parts.listeners() })
    this.#contexts = new ServerContexts((name, domain) => certificates.usableFor(name, domain), roots, parts.oldest)
    this.world = {
      clock, ids, log, pipeline, router, domain,
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
    this.links = new DomainQueues(this.world, () => randomInt(1_000_000) / 1_000_000)
    router.remote = this.links
    router.connections = () => this.report()
  }

  /** The number of connections of other servers, and how many of them have proved a domain. */
  get counts (): { readonly connections: number, readonly established: number } {
    return this.#listeners.map(listener => listener.counts).reduce((a, b) => ({
      connections: a.connections + b.connections, established: a.established + b.established,
    }), { connections: 0, established: 0 })
  }

  /** Connections of other servers that were turned away, by reason. */
  get turnedAway (): Iterable<Count> { return this.#listeners.flatMap(listener => [...listener.turnedAway]) }

  listener (settings: ServerListenerSettings): ServerListener {
    const listener = new ServerListener(this.world, this.links, settings)
    this.#listeners.push(listener)
    return listener
  }

  /** Applies another conf: policies and limits at once, authorities and DNS servers for new connections. */
  async reload (plan: FederationPlan): Promise<void> {
    const { world, links } = this
    this.#contexts.roots = await rootsOf(plan.authorities)
    const isSameResolver = plan.dane === this.#plan.dane && plan.resolver.join(' ') === this.#plan.resolver.join(' ')
    if (!isSameResolver) world.resolver = resolverOf(plan, world.clock)
    this.#guard.allowed = new Ranges(plan.allowed)
    this.#plan = plan
    world.limits = plan.limits
    // Streams to and from domains that are refused from now on are closed.
    const isRefused = (local: string, remote: string): boolean => plan.policy(local, remote).trust === 'refuse'
    links.dismiss(isRefused)
    for (const stream of this.#listeners.flatMap(listener => [...listener.streams])) {
      if (stream.pairs.some(({ from, to }) => isRefused(to, from))) stream.end(new StreamError('policy-violation'))
    }
  }

  /** Reports the links to other servers and the streams from them. */
  report (): readonly LinkReport[] {
    const incoming = this.#listeners.flatMap(listener => [...listener.streams].flatMap(reportsOf))
    return [...this.links.report(), ...incoming]
  }

  /** The metrics of the links. */
  numbers (): Iterable<Count & { readonly help: string }> { return this.counters.described(LINK_COUNTS) }

  /** Tries to reach another domain, step by step. */
  test (local: string, remote: string): Promise<readonly TrialStep[]> {
    return testLink(this.world, this.links, local, remote)
  }

  /** Takes over the streams and stanzas that the previous process left. */
  async recall (): Promise<void> {
    const { links, world: { outbox, router } } = this
    links.recall(await outbox.left(domain => router.serves(domain)))
  }

  /** Takes no more stanzas. Resolves once the peers have acknowledged what they received, or after `LAST_WORDS`. */
  rest (): Promise<void> { return takeNoMore(this.links, this.#listeners) }

  /** Ends all streams, and stores what goes on after the next start. Resolves when every connection is gone. */
  async close (): Promise<void> {
    await this.links.close()
    await Promise.all(this.#listeners.map(listener => listener.close()))
    await this.world.outbox.close(this.links.resumables.handled())
  }
}

/** Takes no more stanzas from peers, after they have acknowledged what they received or after `LAST_WORDS`. */
export async function takeNoMore (links: DomainQueues, listeners: readonly ServerListener[]): Promise<void> {
  // All of them before any stops reading: a stanza of one stream may be confirmed on another (XEP-0199).
  await Promise.all([links.confirmed(LAST_WORDS), ...listeners.map(listener => listener.confirmed(LAST_WORDS))])
  links.rest()
  for (const listener of listeners) listener.rest()
}

function resolverOf ({ resolver, dane }: FederationPlan, clock: Clock): Resolver {
  const servers = resolver.length === 0 ? systemServers() : resolver.flatMap(text => serverOf(text) ?? [])
  return new DnsResolver(new CachedDns(new DnsClient({ clock, servers }), clock), { dane })
}
