/** Server: its hosts on one storage; start, reload, stop in order. */
import type { Clock, Timer } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import type { Turns } from '../base/turns.js'
import { Accounts, accountsShape, indexShape, secretShape } from '../auth/accounts.js'
import { Clients, clientsShape } from '../auth/clients.js'
import type { Storage } from '../storage/store.js'
import type { Jid } from '../xmpp/jid.js'
import { hostOpened, hostRaised, offersChanged } from './events.js'
import { Host, type HostSettings } from './host.js'
import { Modules, type Wanted } from './loader.js'
import type { AnyModule } from './module.js'
import { Router } from './router.js'
import { transfersShape } from './transfers.js'

export interface ServerParts {
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly storage: Storage
  /** Of PBKDF2, for passwords that are set from now on. */
  readonly iterations?: number
  /** The least characters of a password that is set from now on; left out, one. */
  readonly shortest?: () => number
  /** Accounts of each host whose state stays in memory, at most. */
  readonly cached?: number
  /** Shares the event loop among all who read stanzas. */
  readonly turns?: Turns
}

/** One host as the conf wants it. */
export interface HostPlan {
  readonly domain: string
  readonly settings: HostSettings
  readonly modules: readonly Wanted[]
  /** Modules that it leaves out. */
  readonly forgone?: readonly AnyModule[]
}

/** How long the server waits at its stop for what is under way and waits for something outside, in milliseconds. */
const LAST_WAIT = 5000

interface Standing { readonly host: Host, readonly modules: Modules }

export class Server {
  readonly clock: Clock
  readonly log: Logger
  readonly storage: Storage
  readonly router: Router
  readonly #ids: Ids
  readonly #standing = new Map<string, Standing>()
  readonly #since: number
  readonly #iterations: number | undefined
  readonly #shortest: (() => number) | undefined
  readonly #cached: number | undefined
  #isOpen = false

  constructor (parts: ServerParts) {
    this.clock = parts.clock
    this.log = parts.log
    this.storage = parts.storage
    this.router = new Router(parts.storage, parts.log, parts.turns)
    parts.storage.aside.report({ clock: parts.clock, log: parts.log })
    this.#ids = parts.ids
    this.#since = parts.clock.now()
    this.#iterations = parts.iterations
    this.#shortest = parts.shortest
    this.#cached = parts.cached
  }

  /** When it was started, in milliseconds since 1970. */
  get since (): number { return this.#since }
  get hosts (): readonly Host[] { return [...this.#standing.values()].map(({ host }) => host) }
  host (domain: string): Host | undefined { return this.#standing.get(domain)?.host }
  hostOf (account: Jid): Host | undefined { return this.host(account.domain) }
  modules (domain: string): Modules | undefined { return this.#standing.get(domain)?.modules }

  /**
   * Makes the hosts be these: new ones stand up, others take over their settings, those left out end. Throws where a module
   * cannot be set up.
   */
  async load (plans: readonly HostPlan[]): Promise<void> {
    const raised: Standing[] = []
    const forgone = new Map(plans.map(({ domain, forgone = [] }) => [domain, forgone]))
    for (const plan of plans) {
      const standing = this.#standing.get(plan.domain) ?? await this.#raise(plan)
      await standing.modules.load(plan.modules)
      const { admins } = standing.host.settings
      standing.host.settings = plan.settings
      // What disco says of the host may name them.
      if (admins.join() !== plan.settings.admins.join()) standing.host.tell(offersChanged, {})
      const isNew = !this.#standing.has(plan.domain)
      this.#standing.set(plan.domain, standing)
      this.router.add(plan.domain, standing.host)
      if (isNew) raised.push(standing)
    }
    // Once all of them stand: what is said to those who were here before may be for any host.
    for (const { host, modules } of raised) {
      await host.hooks.fire(hostRaised, {})
      await modules.forgo(forgone.get(host.domain) ?? [])
    }
    // After the sessions are back: a session has what was sent to it before, and gets this after that.
    for (const { host } of raised) await host.resume()
    if (this.#isOpen) for (const { host } of raised) host.tell(hostOpened, {})
    const wanted = new Set(plans.map(plan => plan.domain))
    for (const [domain, standing] of [...this.#standing]) {
      if (!wanted.has(domain)) await this.#end(domain, standing)
    }
  }

  /** Its listeners take connections: what the hosts have to say to others can go. */
  open (): void {
    if (this.#isOpen) return
    this.#isOpen = true
    for (const host of this.hosts) host.tell(hostOpened, {})
  }

  /**
   * Ends every session that does not live on behind the next start, then the modules; returns when all that was acknowledged is stored.
   * `meanwhile` runs once clients are not heard any more, while their stanzas' answers can still be taken.
   */
  async stop (meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    for (const host of this.hosts) host.leave()
    await this.#settled()
    await meanwhile()
    await this.#settled() // what came from other servers until then
    await Promise.all(this.hosts.map(host => host.park()))
    for (const [domain, standing] of [...this.#standing]) await this.#end(domain, standing)
    await this.storage.flush()
  }

  /** Resolves once all that has come is stored, and has been delivered; what waits for something outside is not waited for much longer. */
  async #settled (): Promise<void> {
    let timer: Timer | undefined
    await Promise.race([
      Promise.all(this.hosts.map(host => host.settled())),
      new Promise<void>(resolve => { timer = this.clock.after(LAST_WAIT, resolve) }),
    ])
    timer?.cancel()
    await this.storage.flush()
  }

  async #raise (plan: HostPlan): Promise<Standing> {
    const { clock, log, storage, router } = this
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
      domain: plan.domain, settings: plan.settings, clock, ids: this.#ids, log, storage, router, accounts, clients, transfers,
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
