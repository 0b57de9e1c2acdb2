/** Modules: what a module declares and what it registers. It never unregisters anything: its scope does that. */
import type { Client } from '../auth/clients.js'
import type { Clock } from '../base/clock.js'
import type { Labels } from '../base/counters.js'
import type { Handler, Hook, Phase } from '../base/hook.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import type { Maybe } from '../base/maybe.js'
import type { Cleanup } from '../base/scope.js'
import type { Service } from '../base/slot.js'
import type { Schema, Values } from '../config/schema.js'
import type { ModulePlace } from '../config/services.js'
import type { Batch, Shapes, Stores, Write } from '../storage/store.js'
import type { InlineFeature, StreamFeature } from '../stream/negotiation.js'
import type { Element } from '../xml/element.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed, Message } from '../xmpp/stanza.js'
import type { ComponentDoor } from './components.js'
import type { DiscoItem } from './disco.js'
import type { EntityBehaviour, EntityKind } from './entity.js'
import type { Command, NonzaHandler, Served } from './host.js'
import type { Answer, Asking, Featured, IqTable, Request } from './iq.js'
import type { LinkReport } from './link-report.js'
import type { Outlet } from './outlet.js'
import type { SavedSession, Session } from './session.js'
import type { Sessions } from './sessions.js'
import type { WebRoute } from './web-routes.js'

/** Errors of accounts. */
export { AccountExists, AccountMissing } from '../auth/accounts.js'
export { Overloaded, PasswordError } from '../auth/keys.js'

/** The accounts of a host, as modules see them. */
export interface AccountsOfHost {
  exists (account: Jid): Maybe<boolean>
  /** Makes an account. Throws AccountExists, and what `setPassword` throws. */
  create (account: Jid, password: string): Promise<void>
  /**
   * Sets a password and ends all sessions except `by`, which set it. Throws AccountMissing, PasswordError, PrepError,
   * Overloaded.
   */
  setPassword (account: Jid, password: string, by: Session): Promise<void>
  /** Removes the account and everything stored for it as part of the batch. Its sessions end after the commit. */
  removing (account: Jid, batch: Batch): Maybe<void>
}

/** The clients that accounts log in with (XEP-0494). */
export interface ClientsOfHost {
  /** Returns all remembered clients, by the value of `clientOf` in their sessions. */
  of (account: Jid): Promise<ReadonlyMap<string, Client>>
  /**
   * Revokes the tokens of the client with this id, and forgets the client unless it knows the password. Resolves with
   * its key and its former state; undefined if there is no such client.
   */
  revoke (account: Jid, id: string): Promise<readonly [key: string, client: Client] | undefined>
}

/** The entities of one kind at a host, as their module sees them. */
export interface EntityTable<E> {
  /** Answers requests of type get to the bare addresses of these entities. */
  get (namespace: string, name: string, answer: (entity: E, request: Request) => Answer): void
  /** Answers requests of type set to the bare addresses of these entities. */
  set (namespace: string, name: string, answer: (entity: E, request: Request) => Answer): void
  /**
   * Runs `work` with an entity in its turn among the stanzas to it, without a stanza: for a timer, or for a command.
   * The entity is loaded if it must be. Resolves with the result when the batch is stored; later stanzas to the entity
   * wait until then. Resolves with undefined, and runs nothing, if there is no such entity. Rejects with what `load` or
   * `work` throws, or if the batch is not stored. `work` must not wait for a stanza or another call for this entity.
   */
  with<T> (address: Jid, work: (entity: E, batch: Batch) => Maybe<T>): Promise<T | undefined>
  /** Returns a loaded entity; undefined if there is none with this address, or if it is not loaded. */
  of (address: Jid): E | undefined
  /** Forgets an entity without saving it: it does not exist any more, or the batch that made it has failed. */
  forget (address: Jid): void
}

/** One host, as one module sees it. What a module registers here is removed when it is unloaded. */
export interface ModuleHost<
  C extends Schema = Record<never, never>, R extends Shapes = Record<never, never>, M extends string = string,
> {
  readonly domain: string
  /** The domain as an address. */
  readonly jid: Jid
  /** True if the host is a service: it has no accounts. */
  readonly isService: boolean
  /** The running services of this server that the host shows to its clients. Only those that answer disco#info. */
  readonly offeredServices: readonly DiscoItem[]
  /**
   * The addresses of the web at which clients reach the routes of this host, such as "https://example.org:5281"; only
   * those with TLS. Empty if no [[listen]] is for the web.
   */
  readonly webOrigins: readonly string[]
  /** The folder of the server's data. A module that keeps files has a folder of its name in it. */
  readonly dataFolder: string
  /** Bare addresses of the administrators, as in the current conf. */
  readonly admins: readonly string[]
  readonly settings: Values<C>
  readonly stores: Stores<R>
  readonly log: Logger
  readonly clock: Clock
  readonly ids: Ids
  readonly sessions: Sessions
  readonly accounts: AccountsOfHost
  readonly clients: ClientsOfHost
  readonly router: {
    route (stanza: Addressed): void
    serves (domain: string): boolean
    /** True if the addresses of this domain are accounts of this server, not those of a service or component. */
    hasAccounts (domain: string): boolean
    /** True if a session of this server has this full address. Restored sessions are there at `hostOpened`. */
    isHere (device: Jid): boolean
    /**
     * Runs `work` for each item in order. Takes as many turns of the event loop as needed; few items are done at once:
     * 32, or `atOnce` if the work for one is long.
     */
    each<T> (this: void, items: readonly T[], work: (item: T) => void, atOnce?: number): Maybe<void>
    /** Delivers a message as if its device were gone. `removing` is stored together with the result. */
    redeliver (message: Message, at: number, removing?: Write): void
    /** Returns the established connections between this host and other servers. */
    connections (): readonly Pick<LinkReport, 'remote' | 'direction'>[]
  }
  /** Restores a session of the previous process. */
  restore (jid: Jid, former: SavedSession): Maybe<Session>
  readonly iq: IqTable
  on<E> (hook: Hook<E>, handler: Handler<E>, phase?: Phase): void
  /** Fires a hook of the module, or a hook of the core that modules fire (subscriptionChanged). */
  fire<E> (hook: Hook<E>, event: E): Maybe<'handled' | undefined>
  offer (feature: StreamFeature): void
  /** Offers a feature that a client can request within its login, or within its bind request (XEP-0388, XEP-0386). */
  offerInline (feature: InlineFeature<Session>): void
  /** Handles a nonza of an established stream: `<r/>`, `<a/>`, `<active/>`. */
  nonza (namespace: string, name: string, handler: NonzaHandler): void
  /**
   * Sends the server's own request and waits for its result, matched by peer and id. Rejects with the StanzaError of
   * the answer. `timeout` is in milliseconds.
   */
  ask (to: Jid, payload: Element, how?: Asking): Promise<Element>
  /**
   * Runs `work` in the account's turn: messages and presence that have found their recipients are stored by then, and
   * all others wait until the work ends. The work must not wait for any of those. An error in it is logged as a defect.
   */
  turn (account: Jid, work: () => Promise<void>): void
  /** Resolves after all that has come for the account so far is stored; returns undefined if it is stored already. */
  stored (account: Jid): Promise<void> | undefined
  /**
   * Returns the outlet of an address at this host (an account, a room): sends in one order, and long answers in pieces.
   */
  outlet (from: Jid): Outlet
  /** Makes a batch for writes that belong to no stanza. `commit` stores it. */
  batch (): Batch & { commit (): Promise<void> }
  /**
   * Lets addresses of this service be entities of a kind: rooms, nodes. They are loaded when a stanza comes for them,
   * and unloaded when they are idle. Kinds are asked for an address in the order of their modules.
   */
  entities<E> (kind: EntityKind<E>, behaviour: EntityBehaviour<E>): EntityTable<E>
  /**
   * Handles every stanza to this host and to any address at it: rooms, pubsub, components. Only one module of a host
   * may do so. `isUp` returns false while nobody answers: then the service is not shown to clients.
   */
  serve (handler: Served, isUp?: () => boolean): void
  /** Lets programs connect as this host (XEP-0114), if a [[listen]] is for components. Only one module may do so. */
  component (door: ComponentDoor): void
  /** Answers HTTP requests, if a [[listen]] is for the web. No other route may have the same method and path. */
  web (route: WebRoute): void
  /** Adds a command: `sestina NAME …` runs it and prints its result. */
  command (name: string, run: Command): void
  /** Adds to a metric that the module declares. */
  count (metric: M, by?: number, labels?: Labels): void
  /** Returns the features that the modules of this host declare, sorted. */
  features (of: Featured): readonly string[]
  provide<T> (service: Service<T>, implementation: T): void
  /** Returns a service. Throws if no module provides it: name the provider in `requires`. */
  use<T> (service: Service<T>): T
  /** Returns a service, or undefined if no module provides it. */
  find<T> (service: Service<T>): T | undefined
  /** Returns the value of this name that all hosts of the server share. If there is none, makes it. */
  shared<T> (name: Service<T>, make: () => T): T
  /**
   * Runs `put` when this module is installed, and the function that it returns when the module is removed. `isReplaced`
   * is true if the module is set up again, and false if it is turned off or its host ends.
   */
  whileUp (put: () => (isReplaced: boolean) => void): void
  /** Runs `cleanup` when the module is unloaded. */
  defer (cleanup: Cleanup): void
}

export interface Module<
  C extends Schema = Record<never, never>, R extends Shapes = Record<never, never>, M extends string = never,
> {
  /** The name of its file, and its name in the conf. */
  readonly name: string
  /** One sentence for the configuration reference. */
  readonly about?: string
  /** XEPs with versions, as '0280 v1.0.1': the README's table is made from these. */
  readonly xeps?: readonly string[]
  /** Features for disco, while the module is loaded. */
  readonly features?: Readonly<Partial<Record<Featured, readonly string[]>>>
  /** Modules that are set up before this one, and reloaded with it. */
  readonly requires?: readonly string[]
  /** Modules that are set up before this one if the conf turns them on. */
  readonly after?: readonly string[]
  /**
   * The hosts that may run the module. 'accounts' is the usual place: hosts with accounts. 'services': hosts that name
   * the module with `service`. 'everywhere': all hosts.
   */
  readonly at?: ModulePlace
  /** True if a host runs the module only when the conf turns it on. All others run unless the conf turns them off. */
  readonly isOff?: boolean
  readonly settings?: C
  readonly stores?: R
  /** The module's metrics, and the description of each for an operator. */
  readonly counts?: Readonly<Record<M, string>>
  setup (host: ModuleHost<C, R, M>): void | Promise<void>
  /**
   * Runs when a host starts without this module: ends what the module left in its stores when it was on.
   * `host.settings` is empty.
   */
  forgo?(host: ModuleHost<C, R, M>): Promise<void>
}

/** Any module, with any settings and stores. */
export type AnyModule = Module<Schema, Shapes, string>

/** Infers the types of `host.settings`, `host.stores` and `host.count` from what a module declares. */
export function defineModule<
  C extends Schema = Record<never, never>, R extends Shapes = Record<never, never>, M extends string = never,
> (
  module: Module<C, R, M>,
): Module<C, R, M> {
  return module
}
