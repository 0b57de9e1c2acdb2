/** The only place where the parts are put together: conf → storage → hosts → listeners. */
import { systemClock, type Clock } from './base/clock.js'
import type { Count } from './base/counters.js'
import { randomIds, type Ids } from './base/ids.js'
import type { Logger, LogLevel } from './base/logger.js'
import { Turns } from './base/turns.js'
import { Throttle } from './auth/throttle.js'
import { ClientListener } from './c2s/listener.js'
import type { ClientWorld } from './c2s/settings.js'
import { loadConfig, type Config, type Environment, type HostConfig } from './config/load.js'
import type { ListenSettings, ServerSettings } from './config/server.js'
import { findModules } from './host/loader.js'
import type { AnyModule } from './host/module.js'
import { Server, type HostPlan } from './host/server.js'
import { openStorage, restoreStorage } from './storage/open.js'
import { Federation, type FederationPlan } from './s2s/federation.js'
import type { ServerListener } from './s2s/listener.js'
import type { Storage } from './storage/store.js'
import { Certificates } from './stream/certificates.js'
import { JidError, parseJid } from './xmpp/jid.js'

/** What a start needs; all but the conf file and the logger has its usual value. */
export interface StartParts {
  readonly file: string
  readonly modules: ReadonlyMap<string, AnyModule>
  readonly log: Logger
  /** Called by a reload with the `log.level` that the conf file now has. */
  readonly setLogLevel?: (level: LogLevel) => void
  readonly env?: Environment
  readonly clock?: Clock
  readonly ids?: Ids
  /** Without listeners, for a command while no server runs. */
  readonly quiet?: boolean
}

/** Settings of the server that a running one does not take over. */
const TAKE_A_RESTART = ['data', 'log', 'storage', 'tls', 'listen'] as const

/** The part of a setting that only a restart changes, as a text to compare. */
function fixed (settings: ServerSettings, name: typeof TAKE_A_RESTART[number]): string {
  return JSON.stringify(name === 'log' ? settings.log.format : settings[name])
}

/** Where a listener of the conf listens. */
export interface Listening { readonly for: 'clients' | 'servers', readonly address: string, readonly port: number, readonly tls: 'required' | 'direct' | 'none' }

/** The modules in a folder. */
export { findModules, restoreStorage }

/**
 * Starts what the conf file describes. Throws ConfigProblems, or what keeps storage or a port from being had; then nothing is
 * left standing.
 */
export async function start (parts: StartParts): Promise<Running> {
  const config = loadConfig(parts.file, parts.modules, parts.env)
  const { data, storage: wanted } = config.server
  const { driver, durability, url } = wanted
  const turns = new Turns()
  const storage = await openStorage({ driver, folder: data, durability, log: parts.log, turns, ...url === undefined ? {} : { url } })
  parts.log.info('storage opened', { driver, ...driver === 'sqlite' && { folder: data } })
  const running = new Running(parts, config, storage, turns)
  try {
    await running.raise()
  } catch (error) {
    await running.stop()
    throw error
  }
  return running
}

/**
 * From now on no defect that was caught nowhere ends the process: it is logged, and has cost what it was about and no more. What a
 * stranger can cause once they can cause again, and a server that falls each time would fall for everybody.
 */
export function goesOn (log: Logger): void {
  process.on('unhandledRejection', error => { log.error('defect', { error, uncaught: 'rejection' }) })
  process.on('uncaughtException', error => { log.error('defect', { error, uncaught: 'exception' }) })
}

/** A server that stands. */
export class Running {
  readonly server: Server
  readonly #parts: StartParts
  readonly #clock: Clock
  readonly #ids: Ids
  readonly #storage: Storage
  readonly #listeners: ClientListener[] = []
  #config: Config
  /** What it was started with. */
  readonly #started: ServerSettings
  #certificates: Certificates | undefined
  #world: ClientWorld | undefined
  #federation: Federation | undefined
  #listening: readonly Listening[] = []
  #stopping: Promise<void> | undefined
  #reloading: Promise<unknown> = Promise.resolve()

  constructor (parts: StartParts, config: Config, storage: Storage, turns: Turns) {
    this.#parts = parts
    this.#clock = parts.clock ?? systemClock
    this.#ids = parts.ids ?? randomIds
    this.#config = config
    this.#started = config.server
    this.#storage = storage
    const { iterations } = config.server.authentication
    const shortest = (): number => this.#config.server.authentication.shortest
    this.server = new Server({ clock: this.#clock, ids: this.#ids, log: parts.log, storage, iterations, shortest, turns })
  }

  get config (): Config { return this.#config }
  get listening (): readonly Listening[] { return this.#listening }
  get certificates (): Certificates | undefined { return this.#certificates }

  get federation (): Federation | undefined { return this.#federation }

  /** Connections of clients, and how many of them have a session. */
  get connections (): { readonly connections: number, readonly established: number } {
    return this.#listeners.map(listener => listener.counts).reduce((a, b) => ({
      connections: a.connections + b.connections,
      established: a.established + b.established,
    }), { connections: 0, established: 0 })
  }

  /** Connections of clients that were turned away, by why. */
  get turnedAway (): Iterable<Count> { return this.#listeners.flatMap(listener => [...listener.turnedAway]) }

  async raise (): Promise<void> {
    await this.server.load(plansOf(this.#config, this.#parts.modules))
    if (this.#parts.quiet === true) return
    const { tls, authentication } = this.#config.server
    this.#certificates = await Certificates.open({
      folder: tls.certificates,
      domains: [...this.#config.hosts.keys()],
      clock: this.#clock,
      log: this.#parts.log,
      oldest: tls.oldest,
      authorities: authentication.authorities,
    })
    this.#world = this.#worldOf(this.#certificates)
    if (this.#config.server.listen.some(({ for: whom }) => whom === 'servers')) this.#federation = await this.#federate(this.#certificates)
    this.#listening = await this.#listen(this.#world)
    await this.#federation?.recall()
    this.server.open()
  }

  /**
   * Takes over the conf file as it is now: hosts, modules, certificates, limits. Throws ConfigProblems, and changes nothing then; the same
   * with an Error when the server is told to stop. Answers with the names of settings that have changed and take a restart.
   */
  reload (): Promise<readonly string[]> {
    const reload = this.#reloading.then(() => this.#reload())
    this.#reloading = reload.catch(() => undefined)
    return reload
  }

  async #reload (): Promise<readonly string[]> {
    if (this.#stopping !== undefined) throw new Error('the server is stopping')
    const config = loadConfig(this.#parts.file, this.#parts.modules, this.#parts.env)
    const waiting = TAKE_A_RESTART.filter(name => fixed(config.server, name) !== fixed(this.#started, name))
    await this.server.load(plansOf(config, this.#parts.modules))
    this.#config = config
    this.#parts.setLogLevel?.(config.server.log.level)
    const world = this.#world
    if (world !== undefined) {
      world.limits = config.server.limits
      world.authentication = config.server.authentication
    }
    await this.#federation?.reload(federationPlan(config))
    await this.#certificates?.serve([...config.hosts.keys()])
    await this.#certificates?.reload()
    this.#parts.log.info('reloaded', { file: this.#parts.file, ...waiting.length === 0 ? {} : { takesRestart: waiting } })
    return waiting
  }

  /**
   * Ends it all in order: no new clients, a reload that is under way, the sessions, the modules, the storage. All that was acknowledged is
   * stored then.
   */
  stop (): Promise<void> {
    return this.#stopping ??= this.#stop()
  }

  async #stop (): Promise<void> {
    for (const listener of this.#listeners) listener.rest()
    // A host that a reload raises later would end with nothing of it stored.
    await this.#reloading
    await this.server.stop(async () => { await this.#federation?.rest() })
    // After the hosts have left the sessions that live on: a stream that is closed ends its session (XEP-0198 §5).
    await Promise.all(this.#listeners.map(listener => listener.close()))
    // Behind the sessions: their last presence goes out to other servers.
    await this.#federation?.close()
    await this.#certificates?.close()
    await this.#storage.close()
  }

  #worldOf (certificates: Certificates): ClientWorld {
    const { limits, authentication } = this.#config.server
    return {
      clock: this.#clock,
      ids: this.#ids,
      log: this.#parts.log,
      certificates,
      throttle: new Throttle({ clock: this.#clock, delay: authentication.delay, forget: authentication.forget }),
      traffic: this.server.router.traffic.clients,
      turns: this.server.router.turns,
      limits,
      authentication,
      host: domain => this.server.host(domain),
      domain: [...this.#config.hosts.keys()][0] ?? 'localhost',
    }
  }

  #federate (certificates: Certificates): Promise<Federation> {
    return Federation.open({
      clock: this.#clock,
      ids: this.#ids,
      log: this.#parts.log,
      router: this.server.router,
      certificates,
      oldest: this.#config.server.tls.oldest,
      domain: [...this.#config.hosts.keys()][0] ?? 'localhost',
      host: domain => this.server.host(domain),
      listeners: () => this.#listening,
    }, federationPlan(this.#config))
  }

  async #listen (world: ClientWorld): Promise<readonly Listening[]> {
    const listening: Listening[] = []
    for (const settings of this.#config.server.listen) {
      const { address } = settings
      const listener = this.#listenerFor(settings, world)
      for (const ip of address) listening.push(...await this.#listenAt(listener, ip, settings, address.length > 1))
    }
    return listening
  }

  #listenerFor ({ for: whom, tls, stanza, rate }: ListenSettings, world: ClientWorld): ClientListener | ServerListener {
    if (whom === 'servers' && this.#federation !== undefined) return this.#federation.listener({ tls, stanza, rate: rate ?? SERVER_RATE })
    const listener = new ClientListener(world, { tls, stanza, rate: rate ?? CLIENT_RATE })
    this.#listeners.push(listener)
    return listener
  }

  /** A machine without IPv6 is no reason not to start, where IPv4 is there as well. */
  async #listenAt (
    listener: ClientListener | ServerListener, address: string, settings: ListenSettings, hasOthers: boolean,
  ): Promise<readonly Listening[]> {
    const { for: whom, port, tls } = settings
    try {
      const taken = await listener.listen(address, port)
      this.#parts.log.info('listening', { for: whom, address, port: taken, tls })
      return [{ for: whom, address, port: taken, tls }]
    } catch (error) {
      if (!hasOthers || !isMissingFamily(error)) throw error
      this.#parts.log.warn('not listening', { address, port, error })
      return []
    }
  }
}

/** What a connection may send on average, in bytes a second, where the conf does not say. */
const CLIENT_RATE = 20 * 1024
const SERVER_RATE = 1024 * 1024

/** What the conf says of other servers. */
function federationPlan (config: Config): FederationPlan {
  const { federation, limits } = config.server
  const { trust, authorities, resolver, dane, private: allowed, queue, idle, connections } = federation
  const { negotiation, keepalive, unauthenticated } = limits
  const stanza = Math.max(...config.server.listen.map(listener => listener.for === 'servers' ? listener.stanza : 0))
  const domains = new Map(Object.entries(federation.domain).map(([domain, settings]) => [prepared(domain), settings]))
  const partners = new Map([...config.hosts.values()].map(host => [prepared(host.domain), new Set(host.partners.map(prepared))]))
  const modes = new Map([...config.hosts.values()].map(host => [prepared(host.domain), host.federation]))
  return {
    authorities,
    resolver,
    dane,
    allowed,
    limits: { queue, idle, negotiation, keepalive, stanza, unauthenticated, connections },
    policy: (local, remote) => {
      const mode = modes.get(local) ?? 'all'
      if (mode === 'off' || mode === 'listed' && partners.get(local)?.has(remote) !== true) return { trust: 'refuse' }
      const own = domains.get(remote)
      if (own?.host === undefined) return { trust: own?.trust ?? trust, ...own?.private === true && { isPrivate: true } }
      return { trust: own.trust ?? trust, byHand: { host: own.host, port: own.port, tls: own.tls } }
    },
  }
}

/** As addresses have it. What is no domain is no domain of anybody. */
function prepared (domain: string): string {
  try {
    return parseJid(domain).domain
  } catch (error) {
    if (error instanceof JidError) return domain
    throw error
  }
}

function plansOf (config: Config, modules: ReadonlyMap<string, AnyModule>): HostPlan[] {
  return [...config.hosts.values()].map(host => ({
    domain: host.domain,
    settings: { admins: host.admins, resources: config.server.limits.resources, conflict: config.server.limits.conflict },
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

function isMissingFamily (error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EAFNOSUPPORT' || error.code === 'EADDRNOTAVAIL')
}
