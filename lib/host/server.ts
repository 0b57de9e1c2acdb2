/** Server: its hosts on one storage, with start, reload and stop in order. */
import type { Clock, Timer } from '../base/clock.js'
import type { Hook } from '../base/hook.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import { follow, type Maybe } from '../base/maybe.js'
import { Named } from '../base/slot.js'
import type { Turns } from '../base/turns.js'
import { Accounts, accountsShape, indexShape, secretShape } from '../auth/accounts.js'
import { Clients, clientsShape } from '../auth/clients.js'
import type { Storage } from '../storage/storage.js'
import { parseJid, type Jid } from '../xmpp/jid.js'
import { componentDoorsIn, type ComponentDoors } from './components.js'
import type { DiscoItem } from './disco.js'
import { hostOpened, hostRaised, offersChanged } from './events.js'
import { Host, type HostSettings } from './host.js'
import { Modules, type Wanted } from './loader.js'
import type { AnyModule } from './module.js'
import { Pipeline } from './pipeline/pipeline.js'
import { transfersShape } from './pipeline/transfers.js'
import { Router } from './router.js'
import { discovery } from './services.js'
import { webRoutesIn, type WebRoutes } from './web-routes.js'

export interface ServerDeps {
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly storage: Storage
  /** PBKDF2 iterations for new passwords. */
  readonly iterations?: number
  /** The least number of characters in a new password; 1 if absent. */
  readonly shortest?: () => number
  /** The most accounts of each host whose state stays in memory. */
  readonly cached?: number
  /** Returns the addresses of the web as clients of a domain reach them. */
  readonly webOrigins?: (domain: string) => readonly string[]
  /** The folder of the server's data; the working directory if absent. */
  readonly data?: string
  /** Shares the event loop among all streams. */
  readonly turns?: Turns
}

/** One host as the conf describes it. */
export interface HostPlan {
  readonly domain: string
  /** True if the host is a service: it has no accounts. */
  readonly isService?: boolean
  readonly settings: HostSettings
  readonly modules: readonly Wanted[]
  /** Modules that the host does not run. */
  readonly forgone?: readonly AnyModule[]
}

/** How long a stop waits for unfinished work that depends on something outside, in milliseconds. */
const LAST_WAIT = 5000

interface Standing { readonly host: Host, readonly modules: Modules }

export class Server {
  readonly clock: Clock
  readonly log: Logger
  readonly storage: Storage
  readonly router = new Router()
  readonly pipeline: Pipeline
  /** The values that modules of all hosts share. */
  readonly #shared = new Named()
  readonly #ids: Ids
  readonly #standing = new Map<string, Standing>()
  readonly #since: number
  readonly #iterations: number | undefined
  readonly #shortest: (() => number) | undefined
  readonly #cached: number | undefined
  readonly #webOrigins: (domain: string) => readonly string[]
  readonly #data: string
  #isOpen = false

  constructor (parts: ServerDeps) {
    this.clock = parts.clock
    this.log = parts.log
    this.storage = parts.storage
    const { storage, clock, log, turns } = parts
    this.pipeline = new Pipeline({ router: this.router, storage, clock, log, turns })
    parts.storage.aside.report({ clock: parts.clock, log: parts.log })
    this.#ids = parts.ids
    this.#since = parts.clock.now()
    this.#iterations = parts.iterations
    this.#shortest = parts.shortest
    this.#cached = parts.cached
    this.#webOrigins = parts.webOrigins ?? (() => [])
    this.#data = parts.data ?? '.'
  }

  /** The start time, in milliseconds since 1970. */
  get since (): number { return this.#since }
  /** True once the listeners accept connections. */
  get isOpen (): boolean { return this.#isOpen }
  get hosts (): readonly Host[] { return [...this.#standing.values()].map(({ host }) => host) }
  host (domain: string): Host | undefined { return this.#standing.get(domain)?.host }
  /** Returns the host of an account; undefined if there is none, or if it is a service. */
  hostOf (account: Jid): Host | undefined {
    const host = this.host(account.domain)
    return host?.isService === true ? undefined : host
  }

  /** The ways in for external components of all hosts. */
  get doors (): ComponentDoors { return componentDoorsIn(this.#shared) }

  /** The routes of the web of all hosts. */
  get routes (): WebRoutes { return webRoutesIn(this.#shared) }

  modules (domain: string): Modules | undefined { return this.#standing.get(domain)?.modules }

  /**
   * Applies these plans: new hosts start, known ones get new settings, and all others end. Throws if a module cannot be
   * set up.
   */
  async load (plans: readonly HostPlan[]): Promise<void> {
    const raised: Standing[] = []
    const forgone = new Map(plans.map(({ domain, forgone = [] }) => [domain, forgone]))
    for (const plan of plans) {
      await this.#endIfOther(plan)
      const standing = this.#standing.get(plan.domain) ?? await this.#raise(plan)
      await standing.modules.load(plan.modules)
      const { admins } = standing.host.settings
      standing.host.settings = plan.settings
      // The host's disco answers may name the administrators.
      if (admins.join() !== plan.settings.admins.join()) standing.host.tell(offersChanged, {})
      const isNew = !this.#standing.has(plan.domain)
      this.#standing.set(plan.domain, standing)
      this.router.add(plan.domain, standing.host)
      if (isNew) raised.push(standing)
    }
    // After all hosts have started: what restored sessions cause may be for any host.
    for (const { host, modules } of raised) {
      await host.hooks.fire(hostRaised, {})
      await modules.forgo(forgone.get(host.domain) ?? [])
    }
    // After the sessions are restored: a session first gets the stanzas that were sent to it before.
    for (const { host } of raised) await host.resume()
    if (this.#isOpen) for (const { host } of raised) host.tell(hostOpened, {})
    const wanted = new Set(plans.map(plan => plan.domain))
    for (const [domain, standing] of [...this.#standing]) {
      if (!wanted.has(domain)) await this.#end(domain, standing)
    }
  }

  /**
   * Sets up the modules of a plan on a host that nobody can reach, and disposes of them. Throws SetupError, or another
   * Error if the modules do not fit together.
   */
  async rehearse (plan: HostPlan): Promise<void> {
    const standing = await this.#raise(plan)
    try {
      await standing.modules.load(plan.modules)
    } finally {
      await this.#end(plan.domain, standing)
    }
  }

  /** Called when the listeners accept connections: from now on hosts may send to other servers. */
  open (): void {
    if (this.#isOpen) return
    this.#isOpen = true
    for (const host of this.hosts) host.tell(hostOpened, {})
  }

  /**
   * Ends every session that is not saved for the next start, then the modules. Resolves when all that was acknowledged
   * is stored. `meanwhile` runs when clients are no longer read, but answers to their stanzas are still taken.
   */
  async stop (meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    for (const host of this.hosts) host.leave()
    await this.#settled()
    await meanwhile()
    await this.#settled() // for stanzas of other servers that came meanwhile
    await Promise.all(this.hosts.map(host => host.park()))
    for (const [domain, standing] of [...this.#standing]) await this.#end(domain, standing)
    await this.storage.flush()
    this.pipeline.watch.end()
  }

  /**
   * Resolves when all that has come is stored and delivered. What waits for something outside delays this by LAST_WAIT
   * at most.
   */
  async #settled (): Promise<void> {
    let timer: Timer | undefined
    await Promise.race([
      Promise.all(this.hosts.map(host => host.settled())),
      new Promise<void>(resolve => { timer = this.clock.after(LAST_WAIT, resolve) }),
    ])
    timer?.cancel()
    await this.storage.flush()
  }

  /** Ends a host that gets accounts, or becomes a service: nothing of it fits the new one. */
  async #endIfOther ({ domain, isService = false }: HostPlan): Promise<void> {
    const standing = this.#standing.get(domain)
    if (standing !== undefined && standing.host.isService !== isService) await this.#end(domain, standing)
  }

  #fire<E> (hook: Hook<E>, event: E, hosts = this.hosts): Maybe<void> {
    const [host, ...others] = hosts
    if (host !== undefined) return follow(host.hooks.fire(hook, event), () => this.#fire(hook, event, others))
  }

  /** Returns the running services that a host shows. Each of them answers disco#info. */
  #servicesOf (shown: Jid): readonly DiscoItem[] {
    const domains = this.hosts.filter(host => !host.isService).map(host => host.jid.domain)
    return this.hosts.filter(host => host.isService && host.answersInfo && parentOf(host, domains) === shown.domain)
      .map(host => {
        const name = host.service(discovery)?.name
        return name === undefined ? { jid: host.jid } : { jid: host.jid, name }
      })
  }

  async #raise (plan: HostPlan): Promise<Standing> {
    const { clock, log, storage, pipeline } = this
    const accounts = await Accounts.open({
      domain: plan.domain,
      clock,
      records: await storage.open('accounts', accountsShape),
      secrets: await storage.open('accounts.secret', secretShape),
      index: await storage.open('accounts.index', indexShape),
      ...this.#iterations === undefined ? {} : { iterations: this.#iterations },
      ...this.#shortest === undefined ? {} : { shortest: this.#shortest },
      ...this.#cached === undefined ? {} : { cached: this.#cached },
    })
    const clients = new Clients(await storage.open('accounts.clients', clientsShape), clock)
    const transfers = await storage.open('transfers', transfersShape)
    const host = new Host({
      domain: plan.domain,
      isService: plan.isService === true,
      offeredServices: shown => this.#servicesOf(shown),
      fireEverywhere: (hook, event) => this.#fire(hook, event),
      webOrigins: () => this.#webOrigins(plan.domain),
      dataFolder: this.#data,
      settings: plan.settings,
      clock,
      ids: this.#ids,
      log,
      pipeline,
      accounts,
      clients,
      transfers,
      shared: this.#shared,
    })
    return { host, modules: new Modules(host) }
  }

  async #end (domain: string, standing: Standing): Promise<void> {
    standing.host.stop()
    standing.host.end()
    this.router.remove(domain)
    this.#standing.delete(domain)
    await standing.modules.unload()
  }
}

/** Returns the domain of the host that shows a service: the one in its settings, or the nearest above it. */
function parentOf ({ jid, settings }: Host, domains: readonly string[]): string | undefined {
  if (settings.parent !== undefined) return parseJid(settings.parent).domain
  const above = domains.filter(domain => jid.domain.endsWith(`.${domain}`))
  return above.sort((a, b) => b.length - a.length)[0]
}
