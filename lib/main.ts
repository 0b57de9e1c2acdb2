/** Builds the server from its parts: conf → storage → hosts → listeners. No other file does so. */
import { systemClock, type Clock } from './base/clock.js'
import type { Count } from './base/counters.js'
import { randomIds, type Ids } from './base/ids.js'
import type { Logger, LogLevel } from './base/logger.js'
import { Turns } from './base/turns.js'
import { Throttle } from './auth/throttle.js'
import { ClientListener } from './c2s/listener.js'
import type { ClientDeps } from './c2s/settings.js'
import { ComponentListener } from './component/listener.js'
import { UnavailableLogins } from './c2s/unavailable.js'
import { loadConfig, type Config, type Environment } from './config/load.js'
import { writePlace } from './config/problem.js'
import type { ListenSettings, ServerSettings } from './config/server.js'
import { Library, RESTART } from './host/library.js'
import { findModules } from './host/loader.js'
import type { AnyModule } from './host/module.js'
import { Server } from './host/server.js'
import { SetupError } from './host/setup-error.js'
import { federationPlan, limitsOfClients, loginSettings, plansOf, webOriginOf, webSettings } from './plans.js'
import type { HostMetaDeps } from './web/host-meta.js'
import { WebListener } from './web/listener.js'
import { monitorRoutes } from './web/monitor.js'
import { openStorage, restoreStorage } from './storage/open.js'
import { Federation } from './s2s/federation.js'
import type { ServerListener } from './s2s/streams/listener.js'
import type { Storage } from './storage/storage.js'
import { Certificates } from './stream/certificates.js'

/** The dependencies of a start. All except the conf file, the modules and the logger have a default. */
export interface StartDeps {
  readonly file: string
  readonly modules: ReadonlyMap<string, AnyModule>
  /** Where a reload finds the modules. Without it, a reload uses `modules`. */
  readonly library?: Library
  readonly log: Logger
  /** Called by a reload with the `log.level` in the conf file. */
  readonly setLogLevel?: (level: LogLevel) => void
  readonly env?: Environment
  readonly clock?: Clock
  readonly ids?: Ids
  /** Returns all metrics as text, of OpenMetrics or in the format of Prometheus. */
  readonly metrics?: (running: Running, isOpenMetrics: boolean) => string
  /** True for no listeners: for a command while no server runs. */
  readonly quiet?: boolean
}

/** Settings that take effect only at a start. */
const TAKE_A_RESTART = ['data', 'log', 'storage', 'tls', 'listen'] as const

/** The part of a setting that needs a restart, as a text to compare. */
function fixed (settings: ServerSettings, name: typeof TAKE_A_RESTART[number]): string {
  return JSON.stringify(name === 'log' ? settings.log.format : settings[name])
}

/** An address that a listener of the conf listens at. */
export interface Listening {
  readonly for: ListenSettings['for']
  readonly address: string
  readonly port: number
  readonly tls: 'required' | 'direct' | 'none'
}

export { findModules, Library, restoreStorage }

/**
 * Starts the server of a conf file. Throws ConfigProblems, or the error of the storage or a port. After an error
 * nothing keeps running.
 */
export async function start (parts: StartDeps): Promise<Running> {
  const config = loadConfig(parts.file, parts.modules, parts.env)
  if (parts.quiet !== true) warnOfNames(config, parts.log)
  const { data, storage: wanted } = config.server
  const { driver, durability, url } = wanted
  const turns = new Turns()
  const storage = await openStorage({
    driver, folder: data, durability, log: parts.log, turns, ...url === undefined ? {} : { url },
  })
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
 * Lets the process go on after an uncaught defect: it is logged, and affects only the work that caused it. A stranger
 * who can cause a defect can cause it again, so ending the process would end it for everybody.
 */
export function goesOn (log: Logger): void {
  process.on('unhandledRejection', error => { log.error('defect', { error, uncaught: 'rejection' }) })
  process.on('uncaughtException', error => { log.error('defect', { error, uncaught: 'exception' }) })
}

type AnyListener = ClientListener | ServerListener | WebListener | ComponentListener

/** A running server. */
export class Running {
  readonly server: Server
  readonly #parts: StartDeps
  readonly #clock: Clock
  readonly #ids: Ids
  readonly #storage: Storage
  readonly #listeners: ClientListener[] = []
  readonly #web: WebListener[] = []
  readonly #components: ComponentListener[] = []
  #config: Config
  /** The settings at the start. */
  readonly #started: ServerSettings
  #certificates: Certificates | undefined
  #world: ClientDeps | undefined
  #federation: Federation | undefined
  #listening: readonly Listening[] = []
  #stopping: Promise<void> | undefined
  #reloading: Promise<unknown> = Promise.resolve()

  constructor (parts: StartDeps, config: Config, storage: Storage, turns: Turns) {
    this.#parts = parts
    this.#clock = parts.clock ?? systemClock
    this.#ids = parts.ids ?? randomIds
    this.#config = config
    this.#started = config.server
    this.#storage = storage
    const { iterations } = config.server.authentication
    const shortest = (): number => this.#config.server.authentication.minPasswordLength
    const { log } = parts
    this.server = new Server({
      clock: this.#clock,
      ids: this.#ids,
      log,
      storage,
      iterations,
      shortest,
      turns,
      data: config.server.data,
      webOrigins: domain => this.#webOrigins(domain),
    })
  }

  get config (): Config { return this.#config }
  get listening (): readonly Listening[] { return this.#listening }
  get certificates (): Certificates | undefined { return this.#certificates }

  get federation (): Federation | undefined { return this.#federation }

  /** The number of client connections, and of those with a session. */
  get connections (): { readonly connections: number, readonly established: number } {
    return this.#listeners.map(listener => listener.counts).reduce((a, b) => ({
      connections: a.connections + b.connections,
      established: a.established + b.established,
    }), { connections: 0, established: 0 })
  }

  /** Refused client connections, by reason. */
  get turnedAway (): Iterable<Count> {
    return [...this.#listeners, ...this.#web, ...this.#components].flatMap(listener => [...listener.turnedAway])
  }

  async raise (): Promise<void> {
    await this.server.load(plansOf(this.#config, this.#parts.modules))
    if (this.#parts.quiet === true) return
    const { tls, authentication } = this.#config.server
    this.#certificates = await Certificates.open({
      folder: tls.certificates,
      domains: [...this.#config.hosts.keys()],
      clock: this.#clock,
      log: this.#parts.log,
      oldest: tls.minVersion,
      authorities: authentication.authorities,
    })
    this.#world = this.#worldOf(this.#certificates)
    if (this.#config.server.listen.some(({ for: whom }) => whom === 'servers')) {
      this.#federation = await this.#federate(this.#certificates)
    }
    this.#listening = await this.#listen(this.#world)
    await this.#federation?.recall()
    this.server.open()
  }

  /**
   * Applies the conf file as it is now: hosts, modules, certificates, limits. Throws ConfigProblems and changes
   * nothing, or throws an Error if the server is stopping. Resolves with the names of changed settings and modules that
   * need a restart.
   */
  reload (): Promise<readonly string[]> {
    const reload = this.#reloading.then(() => this.#reload())
    this.#reloading = reload.catch(() => undefined)
    return reload
  }

  async #reload (): Promise<readonly string[]> {
    if (this.#stopping !== undefined) throw new Error('the server is stopping')
    const { library } = this.#parts
    const modules = await library?.find(this.#parts.file) ?? this.#parts.modules
    const config = loadConfig(this.#parts.file, modules, this.#parts.env)
    const waiting = [
      ...TAKE_A_RESTART.filter(name => fixed(config.server, name) !== fixed(this.#started, name)),
      ...(library?.changed ?? []).map(name => `modules.${name}`),
    ]
    try {
      await this.server.load(plansOf(config, modules))
    } catch (error) {
      throw error instanceof SetupError ? this.#setupFailed(error) : error
    }
    warnOfNames(config, this.#parts.log)
    this.#config = config
    this.#parts.setLogLevel?.(config.server.log.level)
    const world = this.#world
    if (world !== undefined) {
      world.limits = limitsOfClients(config)
      world.authentication = loginSettings(config)
    }
    await this.#federation?.reload(federationPlan(config))
    await this.#certificates?.serve([...config.hosts.keys()])
    await this.#certificates?.reload()
    const { log, file } = this.#parts
    log.info('conf reloaded', { file, ...waiting.length === 0 ? {} : { needRestart: waiting } })
    return waiting
  }

  /** Notes that a module could not be set up. Returns the error, with advice if the module's files have changed. */
  #setupFailed (error: SetupError): SetupError {
    const { library } = this.#parts
    const { module, cause } = error
    const isUp = this.server.hosts.some(({ domain }) => this.server.modules(domain)?.modules.includes(module) === true)
    if (!isUp) library?.failed(module)
    return library?.changed.includes(module.name) === true ? new SetupError(module, cause, RESTART) : error
  }

  /**
   * Stops the server in order: no new clients, the reload in progress, the sessions, the modules, the storage. All that
   * was acknowledged is then stored.
   */
  stop (): Promise<void> {
    return this.#stopping ??= this.#stop()
  }

  async #stop (): Promise<void> {
    for (const listener of [...this.#listeners, ...this.#web, ...this.#components]) listener.rest()
    // A host that a reload starts later would not be stored at its end.
    await this.#reloading
    await this.server.stop(async () => { await this.#federation?.rest() })
    // After the hosts have saved their sessions: closing a stream ends its session (XEP-0198 §5).
    await Promise.all([...this.#listeners, ...this.#web].map(listener => listener.close()))
    // After the sessions: their last presence still goes to components and other servers.
    await Promise.all(this.#components.map(listener => listener.close()))
    await this.#federation?.close()
    await this.#certificates?.close()
    await this.#storage.close()
  }

  #worldOf (certificates: Certificates): ClientDeps {
    const { failureDelay, forgetFailuresAfter } = this.#config.server.authentication
    return {
      clock: this.#clock,
      ids: this.#ids,
      log: this.#parts.log,
      certificates,
      throttle: new Throttle({ clock: this.#clock, delay: failureDelay, forget: forgetFailuresAfter }),
      unavailable: new UnavailableLogins(this.#clock, this.#parts.log),
      traffic: this.server.pipeline.traffic.clients,
      turns: this.server.pipeline.turns,
      limits: limitsOfClients(this.#config),
      authentication: loginSettings(this.#config),
      host: domain => {
        const host = this.server.host(domain)
        return host?.isService === true ? undefined : host
      },
      domain: [...this.#config.hosts.values()].find(host => host.service === undefined)?.domain ?? 'localhost',
    }
  }

  #federate (certificates: Certificates): Promise<Federation> {
    return Federation.open({
      clock: this.#clock,
      ids: this.#ids,
      log: this.#parts.log,
      pipeline: this.server.pipeline,
      certificates,
      oldest: this.#config.server.tls.minVersion,
      domain: [...this.#config.hosts.keys()][0] ?? 'localhost',
      host: domain => this.server.host(domain),
      listeners: () => this.#listening,
    }, federationPlan(this.#config))
  }

  async #listen (world: ClientDeps): Promise<readonly Listening[]> {
    const listening: Listening[] = []
    for (const settings of this.#config.server.listen) {
      const { address } = settings
      const listener = this.#listenerFor(settings, world)
      for (const ip of address) listening.push(...await this.#listenAt(listener, ip, settings, address.length > 1))
    }
    return listening
  }

  #listenerFor (settings: ListenSettings, world: ClientDeps): AnyListener {
    const { for: whom, tls, maxStanzaSize: stanza, rate } = settings
    if (whom === 'web' || whom === 'monitors') return this.#webListener(settings, world)
    if (whom === 'components') return this.#componentListener(settings, world)
    if (whom === 'servers' && this.#federation !== undefined) {
      return this.#federation.listener({ tls, stanza, rate: rate ?? SERVER_RATE })
    }
    const listener = new ClientListener(world, { tls, stanza, rate: rate ?? CLIENT_RATE })
    this.#listeners.push(listener)
    return listener
  }

  #componentListener (settings: ListenSettings, { clock, ids, log, certificates }: ClientDeps): ComponentListener {
    const { server } = this
    const listener = new ComponentListener({
      clock, ids, log, certificates, pipeline: server.pipeline, doors: server.doors,
      host: domain => server.host(domain),
      limits: () => limitsOfClients(this.#config),
    }, { tls: settings.tls === 'none' ? 'none' : 'direct', stanza: settings.maxStanzaSize, rate: settings.rate ?? SERVER_RATE })
    this.#components.push(listener)
    return listener
  }

  #webListener (settings: ListenSettings, clients: ClientDeps): WebListener {
    const { server: { routes } } = this
    const hostMeta: HostMetaDeps = {
      domains: () => this.server.hosts.filter(({ isService }) => !isService).map(({ domain }) => domain),
      origins: domain => this.#webOrigins(domain),
    }
    const only = settings.for !== 'monitors' ? undefined : monitorRoutes({
      metrics: isOpenMetrics => this.#parts.metrics?.(this, isOpenMetrics) ?? '',
      isReady: () => this.#stopping === undefined && this.server.isOpen && this.#storage.trouble === undefined,
    })
    const listener = new WebListener(
      { clock: this.#clock, ids: this.#ids, log: this.#parts.log, clients, routes, hostMeta, ...only && { only } },
      webSettings(settings, settings.rate ?? CLIENT_RATE),
    )
    this.#web.push(listener)
    if (only === undefined) this.#listeners.push(listener.clients)
    return listener
  }

  /** The addresses of the listeners of the web, as clients of a domain reach them. */
  #webOrigins (domain: string): readonly string[] {
    const origins = this.#started.listen.filter(({ for: whom }) => whom === 'web').map(settings => {
      // The port that the system chose, if the conf leaves that to it.
      const taken = this.#listening.find(({ for: whom }) => whom === 'web')?.port ?? 0
      return webOriginOf(settings, settings.port === 0 ? taken : settings.port, domain)
    })
    return [...new Set(origins.filter(origin => origin !== undefined))]
  }

  /** Listens at one address. A machine without IPv6 still starts if there are other addresses. */
  async #listenAt (
    listener: AnyListener, address: string, settings: ListenSettings, hasOthers: boolean,
  ): Promise<readonly Listening[]> {
    const { for: whom, port } = settings
    const hasStartTls = whom === 'clients' || whom === 'servers'
    const tls = !hasStartTls && settings.tls === 'required' ? 'direct' : settings.tls
    try {
      const taken = await listener.listen(address, port)
      this.#parts.log.info('listener started', { for: whom, address, port: taken, tls })
      return [{ for: whom, address, port: taken, tls }]
    } catch (error) {
      if (!hasOthers || !isMissingFamily(error)) throw error
      this.#parts.log.warn('listener not started', { address, port, error })
      return []
    }
  }
}

/** Logs the settings that the conf file writes by a former name. */
function warnOfNames ({ formerNames }: Config, log: Logger): void {
  for (const { place, former, name } of formerNames) log.warn('setting renamed', { place: writePlace(place), former, name })
}

/** The default average rates of a connection, in bytes per second. */
const CLIENT_RATE = 20 * 1024
const SERVER_RATE = 1024 * 1024

function isMissingFamily (error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EAFNOSUPPORT' || error.code === 'EADDRNOTAVAIL')
}
