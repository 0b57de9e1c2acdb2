/** One module on one host: what it took, installed at once and given back at once. */
import { inTurns } from '../base/turns.js'
import { Scope } from '../base/scope.js'
import { Named, type Service } from '../base/slot.js'
import type { Shapes, Stores } from '../storage/store.js'
import type { Schema } from '../config/schema.js'
import { PendingBatch } from '../storage/batch.js'
import type { Host } from './host.js'
import type { Answering, Handling, IqTable, OwnAnswering } from './iq.js'
import type { AnyModule, ModuleHost } from './module.js'

/** Puts something in place, and returns what takes it out again. */
type Installation = () => (isReplaced: boolean) => void

export class Setup {
  readonly module: AnyModule
  readonly settings: Readonly<Record<string, unknown>>
  readonly #host: Host
  readonly #features: (of: 'host' | 'account') => readonly string[]
  readonly #scope = new Scope()
  readonly #waiting: Installation[] = []
  readonly #installed: ((isReplaced: boolean) => void)[] = []
  /** What this module provides: seen by those set up after it, before it is installed. */
  readonly #provided = new Named()
  #companions: readonly Setup[] = []
  #up = false

  constructor (host: Host, module: AnyModule, settings: Readonly<Record<string, unknown>>, features: (of: 'host' | 'account') => readonly string[]) {
    this.#host = host
    this.module = module
    this.settings = settings
    this.#features = features
  }

  /** Opens its stores and runs its setup; nothing takes effect yet. `companions`: this one and those before it. */
  async prepare (companions: readonly Setup[]): Promise<void> {
    this.#companions = companions
    await this.module.setup(this.#view(await this.#open()))
  }

  /** Opens the stores of a module that is off, and has it deal with what it left there. */
  async forgo (): Promise<void> { await this.module.forgo?.(this.#view(await this.#open())) }

  async #open (): Promise<Stores<Shapes>> {
    const stores: Record<string, unknown> = {}
    for (const [name, shape] of Object.entries(this.module.stores ?? {})) {
      stores[name] = await this.#host.storage.open(`${this.module.name}.${name}`, shape)
    }
    return stores
  }

  install (): void {
    this.#up = true
    for (const installation of this.#waiting.splice(0)) this.#installed.push(installation())
  }

  /** `isReplaced`: by another setup of the same module. */
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

  #view (stores: Stores<Shapes>): ModuleHost<Schema, Shapes> {
    const host = this.#host
    const { name } = this.module
    return {
      domain: host.domain,
      jid: host.jid,
      get admins () { return host.settings.admins },
      settings: this.settings,
      stores,
      log: host.log.with({ module: name }),
      clock: host.clock,
      ids: host.ids,
      sessions: host.sessions,
      accounts: {
        exists: account => host.accounts.exists(account),
        create: (account, password) => host.createAccount(account, password),
        setPassword: (account, password, by) => host.setPassword(account, password, by),
        removing: (account, batch) => host.removingAccount(account, batch),
      },
      clients: { of: account => host.clients.of(account), revoke: (account, id) => host.revoke(account, id) },
      router: {
        route: stanza => { host.router.route(stanza) },
        serves: domain => host.router.serves(domain),
        each: (items, work) => inTurns(host.router.turns, items, work),
        redeliver: (message, at, removing) => { host.redeliver(message, at, removing) },
      },
      restore: (jid, former) => host.restore(jid, former),
      iq: this.#iqTable(),
      on: (hook, handler, phase = 'act') => { this.#put(() => host.hooks.on(hook, handler, phase, name)) },
      fire: (hook, event) => host.hooks.fire(hook, event),
      offer: feature => { this.#put(() => added(host.features, feature)) },
      offerInline: feature => { this.#put(() => added(host.inline, feature)) },
      nonza: (namespace, element, handler) => { this.#put(() => keyed(host.nonzas, `${namespace} ${element}`, handler)) },
      ask: (to, payload, how) => host.ask(to, payload, how),
      turn: (account, work) => { host.turn(account, work) },
      stored: account => host.stored(account),
      outlet: from => host.outlet(from),
      batch: () => {
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
      },
      serve: handler => {
        this.#put(() => {
          if (host.served !== undefined) throw new Error(`two modules serve ${host.domain}`)
          host.served = handler
          return () => { host.served = undefined }
        })
      },
      command: (command, run) => { this.#put(() => keyed(host.commands, command, run)) },
      count: (metric, by, labels) => { host.counters.count(`${name}.${metric}`, by, labels) },
      features: this.#features,
      provide: (service, implementation) => {
        this.#provided.put(service, implementation)
        this.#put(() => named(host.services, service, implementation))
      },
      use: service => {
        const found = this.#find(service)
        if (found === undefined) throw new Error(`module '${name}' uses '${service.name}', which no module of ${host.domain} provides`)
        return found
      },
      find: service => this.#find(service),
      whileUp: put => { this.#put(put) },
      defer: cleanup => { this.#scope.defer(cleanup) },
    }
  }

  /** While modules are being set up, the newest; later what is in force. */
  #find<T> (service: Service<T>): T | undefined {
    if (this.#up) return this.#host.service(service)
    const companion = this.#companions.findLast(setup => setup.#provided.has(service))
    return companion?.provided(service) ?? this.#host.service(service)
  }

  #iqTable (): IqTable {
    const add = (type: 'get' | 'set') => (...[to, namespace, name, answer]: Handling): void => {
      const handler = to === 'self' ? ofOneself(answer) : answer
      this.#put(() => this.#host.handlers.add(to, type, namespace, name, handler))
    }
    return { get: add('get'), set: add('set') }
  }
}

function added<T> (list: T[], item: T): () => void {
  list.push(item)
  return () => { list.splice(list.indexOf(item), 1) }
}

function ofOneself (answer: OwnAnswering): Answering {
  return request => {
    const { session } = request
    if (session === undefined) throw new Error('a request to oneself came without a session')
    return answer({ ...request, session })
  }
}

function named<T> (services: Named, service: Service<T>, implementation: T): () => void {
  if (services.has(service)) throw new Error(`'${service.name}' is provided already`)
  services.put(service, implementation)
  return () => { services.delete(service) }
}

function keyed<T> (map: Map<string, T>, key: string, value: T): () => void {
  if (map.has(key)) throw new Error(`'${key}' is taken already`)
  map.set(key, value)
  return () => { map.delete(key) }
}
