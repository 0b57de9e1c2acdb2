/** One module on one host: what it registered, installed at once and removed at once. */
import { inTurns } from '../base/turns.js'
import { Scope } from '../base/scope.js'
import { Named, type Service } from '../base/slot.js'
import type { Shapes, Stores } from '../storage/store.js'
import type { Schema } from '../config/schema.js'
import { PendingBatch } from '../storage/batch.js'
import { StanzaError } from '../xmpp/errors.js'
import { componentDoorsIn } from './components.js'
import type { EntityBehaviour, EntityKind } from './entity.js'
import type { Host, Served } from './host.js'
import type { Answering, EntityAnswering, Featured, Handling, IqTable, OwnAnswering } from './iq.js'
import type { KindAtHost } from './loaded-entity.js'
import type { AccountsOfHost, AnyModule, EntityTable, ModuleHost } from './module.js'
import { SetupError } from './setup-error.js'
import { webRoutesIn } from './web-routes.js'

/** Installs something, and returns a function that removes it. */
type Installation = () => (isReplaced: boolean) => void
type View = ModuleHost<Schema, Shapes>

export class Setup {
  readonly module: AnyModule
  readonly settings: Readonly<Record<string, unknown>>
  readonly #host: Host
  readonly #features: (of: Featured) => readonly string[]
  readonly #scope = new Scope()
  /** All that the setup has registered; kept, because a swap that fails installs it again. */
  readonly #waiting: Installation[] = []
  readonly #installed: ((isReplaced: boolean) => void)[] = []
  /** The services that this module provides. Modules set up after it see them before they are installed. */
  readonly #provided = new Named()
  #companions: readonly Setup[] = []
  #up = false

  constructor (
    host: Host, module: AnyModule, settings: Readonly<Record<string, unknown>>,
    features: (of: Featured) => readonly string[],
  ) {
    this.#host = host
    this.module = module
    this.settings = settings
    this.#features = features
  }

  /**
   * Opens the module's stores and runs its setup. Nothing takes effect yet. `companions`: this setup and those before
   * it. Throws SetupError if the setup throws.
   */
  async prepare (companions: readonly Setup[]): Promise<void> {
    this.#companions = companions
    const view = this.#view(await this.#open())
    try {
      await this.module.setup(view)
    } catch (error) {
      throw new SetupError(this.module, error)
    }
  }

  /** Opens the stores of a module that is off, and runs its `forgo`. */
  async forgo (): Promise<void> { await this.module.forgo?.(this.#view(await this.#open())) }

  async #open (): Promise<Stores<Shapes>> {
    const stores: Record<string, unknown> = {}
    for (const [name, shape] of Object.entries(this.module.stores ?? {})) {
      stores[name] = await this.#host.storage.open(`${this.module.name}.${name}`, shape)
    }
    return stores
  }

  /** Puts everything that the setup registered into effect. Throws SetupError, such as for a second handler. */
  install (): void {
    this.#up = true
    try {
      for (const installation of this.#waiting) this.#installed.push(installation())
    } catch (error) {
      throw new SetupError(this.module, error)
    }
  }

  /** Removes all that was installed. `isReplaced`: another setup of the same module takes its place. */
  uninstall (isReplaced = false): void {
    for (const undo of this.#installed.splice(0).reverse()) undo(isReplaced)
  }

  async dispose (): Promise<void> {
    this.uninstall()
    await this.#scope.dispose()
  }

  provided<T> (service: Service<T>): T | undefined { return this.#provided.get(service) }

  #put (installation: Installation): void {
    if (this.#up) this.#installed.push(installation())
    else this.#waiting.push(installation)
  }

  /** Returns the host as the module sees it. */
  #view (stores: Stores<Shapes>): View {
    const host = this.#host
    return {
      domain: host.domain,
      jid: host.jid,
      isService: host.isService,
      get offeredServices () { return host.deps.offeredServices(host.jid) },
      get webOrigins () { return host.deps.webOrigins() },
      dataFolder: host.deps.dataFolder,
      get admins () { return host.settings.admins },
      settings: this.settings,
      stores,
      log: host.log.with({ module: this.module.name }),
      clock: host.clock,
      ids: host.ids,
      sessions: host.sessions,
      accounts: accountsOf(host),
      clients: { of: account => host.clients.of(account), revoke: (account, id) => host.revoke(account, id) },
      router: routerOf(host),
      restore: (jid, former) => host.restore(jid, former),
      fire: (hook, event) => host.hooks.fire(hook, event),
      ask: (to, payload, how) => host.ask(to, payload, how),
      turn: (account, work) => { host.turn(account, work) },
      stored: account => host.stored(account),
      outlet: from => host.outlet(from),
      batch: () => batchOf(host),
      features: this.#features,
      shared: (name, make) => host.shared.made(name, make),
      ...this.#registrations(),
      entities: (kind, behaviour) => this.#entities(kind, behaviour),
      ...this.#services(),
      whileUp: put => { this.#put(put) },
      defer: cleanup => { this.#scope.defer(cleanup) },
    }
  }

  /** Returns the methods that register something at the host while the module is installed. */
  #registrations (): Pick<View, 'iq' | 'on' | 'offer' | 'offerInline' | 'nonza' | 'serve' | 'component' | 'web' | 'command' | 'count'> {
    const host = this.#host
    const { name } = this.module
    return {
      iq: this.#iqTable(),
      on: (hook, handler, phase = 'act') => { this.#put(() => host.hooks.on(hook, handler, phase, name)) },
      offer: feature => { this.#put(() => added(host.features, feature)) },
      offerInline: feature => { this.#put(() => added(host.inline, feature)) },
      nonza: (namespace, element, handler) => {
        this.#put(() => keyed(host.nonzas, `${namespace} ${element}`, handler))
      },
      serve: (handler, isUp) => { this.#put(() => serving(host, handler, isUp)) },
      component: door => { this.#put(() => componentDoorsIn(host.shared).add(host.jid.domain, door)) },
      web: route => { this.#put(() => webRoutesIn(host.shared).add(route)) },
      command: (command, run) => { this.#put(() => keyed(host.commands, command, run)) },
      count: (metric, by, labels) => { host.counters.count(`${name}.${metric}`, by, labels) },
    }
  }

  /** Returns the methods by which modules offer services to each other. */
  #services (): Pick<View, 'provide' | 'use' | 'find'> {
    const { domain, services } = this.#host
    const { name } = this.module
    return {
      provide: (service, implementation) => {
        this.#provided.put(service, implementation)
        this.#put(() => named(services, service, implementation))
      },
      use: service => {
        const found = this.#find(service)
        if (found !== undefined) return found
        throw new Error(`module '${name}' uses '${service.name}', which no module of ${domain} provides`)
      },
      find: service => this.#find(service),
    }
  }

  /** Finds a service: during setup the newest, later the installed one. */
  #find<T> (service: Service<T>): T | undefined {
    if (this.#up) return this.#host.service(service)
    const companion = this.#companions.findLast(setup => setup.#provided.has(service))
    return companion?.provided(service) ?? this.#host.service(service)
  }

  #entities<E> (kind: EntityKind<E>, behaviour: EntityBehaviour<E>): EntityTable<E> {
    const { entities, handlers } = this.#host
    const held = entities.kind(kind)
    this.#put(() => entities.add(held, behaviour))
    // If the module is replaced, the kind is there again, and keeps its entities.
    this.#scope.defer(() => entities.unload(held))
    const add = (type: 'get' | 'set'): EntityTable<E>['get'] => (namespace, name, answer) => {
      this.#put(() => handlers.add(`entity ${kind.name}`, type, namespace, name, request => {
        const entity = held.of(request.stanza.to)
        if (entity === undefined) throw new StanzaError('item-not-found')
        return answer(entity, request)
      }))
    }
    return { get: add('get'), set: add('set'), ...this.#access(held) }
  }

  /** Returns the methods by which a module reaches the entities of a kind without a stanza. */
  #access<E> (held: KindAtHost<E>): Pick<EntityTable<E>, 'of' | 'with' | 'forget'> {
    const { entities } = this.#host
    return {
      of: address => held.of(address),
      with: (address, work) => entities.with(held, address, work),
      forget: address => { entities.forget(address) },
    }
  }

  #iqTable (): IqTable {
    const add = (type: 'get' | 'set') => (...[to, namespace, name, answer]: Handling): void => {
      const handler = to === 'self' ? ofOneself(answer) : to === 'entity' ? ofEntity(answer) : answer
      this.#put(() => this.#host.handlers.add(to, type, namespace, name, handler))
    }
    return { get: add('get'), set: add('set') }
  }
}

function accountsOf (host: Host): AccountsOfHost {
  return {
    exists: account => host.accounts.exists(account),
    create: (account, password) => host.createAccount(account, password),
    setPassword: (account, password, by) => host.setPassword(account, password, by),
    removing: (account, batch) => host.removingAccount(account, batch),
  }
}

function routerOf (host: Host): View['router'] {
  return {
    route: stanza => { host.pipeline.route(stanza) },
    serves: domain => host.router.serves(domain),
    hasAccounts: domain => host.router.local(domain)?.isService === false,
    isHere: device => host.router.sessionAt(device) !== undefined,
    each: (items, work, atOnce) => inTurns(host.turns, items, work, atOnce),
    redeliver: (message, at, removing) => { host.redeliver(message, at, removing) },
    connections: () => host.router.connections().filter(({ local, state }) => local === host.domain && state === 'established'),
  }
}

function batchOf (host: Host): ReturnType<View['batch']> {
  const batch = new PendingBatch()
  return {
    add: write => { batch.add(write) },
    submitting: run => { batch.submitting(run) },
    answering: run => { batch.answering(run) },
    delivering: run => { batch.delivering(run) },
    committed: run => { batch.committed(run) },
    failed: run => { batch.failed(run) },
    commit: () => host.commit(batch),
  }
}

/** Makes a handler serve all stanzas of the host. Throws if there is one already. */
function serving (host: Host, handler: Served, isUp: (() => boolean) | undefined): () => void {
  if (host.served !== undefined) throw new Error(`two modules serve ${host.domain}`)
  host.served = handler
  host.servedUp = isUp
  return () => { host.served = host.servedUp = undefined }
}

function added<T> (list: T[], item: T): () => void {
  list.push(item)
  return () => { list.splice(list.indexOf(item), 1) }
}

function ofOneself (answer: OwnAnswering): Answering {
  return request => {
    const { session } = request
    if (session === undefined) throw new Error("a request to the sender's own account has no session")
    return answer({ ...request, session })
  }
}

function ofEntity (answer: EntityAnswering): Answering {
  return request => {
    const { entity } = request
    if (entity === undefined) throw new Error('a request to an entity has no entity')
    return answer({ ...request, entity })
  }
}

function named<T> (services: Named, service: Service<T>, implementation: T): () => void {
  if (services.has(service)) throw new Error(`the service '${service.name}' is provided already`)
  services.put(service, implementation)
  return () => { services.delete(service) }
}

function keyed<T> (map: Map<string, T>, key: string, value: T): () => void {
  if (map.has(key)) throw new Error(`'${key}' is registered already`)
  map.set(key, value)
  return () => { map.delete(key) }
}
