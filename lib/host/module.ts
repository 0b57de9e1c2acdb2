/** Modules: what one declares, and what it takes. It never gives back: its scope does. */
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
import type { Batch, Shapes, Stores, Write } from '../storage/store.js'
import type { InlineFeature, StreamFeature } from '../stream/negotiation.js'
import type { Element } from '../xml/element.js'
import type { Jid } from '../xmpp/jid.js'
import type { Addressed, Message } from '../xmpp/stanza.js'
import type { Command, NonzaHandler, Served } from './host.js'
import type { IqTable } from './iq.js'
import type { Outlet } from './outlet.js'
import type { Former, Session } from './session.js'
import type { Sessions } from './sessions.js'

/** What goes wrong with accounts. */
export { AccountExists, AccountMissing } from '../auth/accounts.js'
export { Overloaded, PasswordError } from '../auth/keys.js'

/** Accounts, as far as modules go. */
export interface AccountsOfHost {
  exists (account: Jid): Maybe<boolean>
  /** Throws AccountExists, and as `setPassword` does. */
  create (account: Jid, password: string): Promise<void>
  /** `by`: the session that sets it; others end. Throws AccountMissing, PasswordError, PrepError, Overloaded. */
  setPassword (account: Jid, password: string, by: Session): Promise<void>
  /** Removes the account and every trace of it with this batch; its sessions end once that is stored. */
  removing (account: Jid, batch: Batch): Maybe<void>
}

/** The clients that accounts log in with (XEP-0494). */
export interface ClientsOfHost {
  /** All that are remembered, by what `clientOf` says in a session. */
  of (account: Jid): Promise<ReadonlyMap<string, Client>>
  /**
   * Takes the tokens of one away, by its id, and forgets it unless it knows the password. Answers with its key and what it was, undefined
   * where there is none.
   */
  revoke (account: Jid, id: string): Promise<readonly [key: string, client: Client] | undefined>
}

/** One host, as one module sees it. What a module takes here is given back when it is unloaded. */
export interface ModuleHost<C extends Schema = Record<never, never>, R extends Shapes = Record<never, never>, M extends string = string> {
  readonly domain: string
  /** The domain as an address. */
  readonly jid: Jid
  /** Bare addresses of the accounts that may administer the host, as the conf has them now. */
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
    /** Does `work` for each item in order, in as many turns of the event loop as it takes; at once if the items are few. */
    each<T> (this: void, items: readonly T[], work: (item: T) => void): Maybe<void>
    /** Has a message go the way of one to a device that is gone. `removing` is stored with what becomes of it. */
    redeliver (message: Message, at: number, removing?: Write): void
  }
  /** A session that lived before this process. */
  restore (jid: Jid, former: Former): Maybe<Session>
  readonly iq: IqTable
  on<E> (hook: Hook<E>, handler: Handler<E>, phase?: Phase): void
  /** Fires a hook of the module's own, or one of the core that is its to fire (subscriptionChanged). */
  fire<E> (hook: Hook<E>, event: E): Maybe<'handled' | undefined>
  offer (feature: StreamFeature): void
  /** What a client may ask for with its login, or with the binding in it (XEP-0388, XEP-0386). */
  offerInline (feature: InlineFeature<Session>): void
  /** A nonza of an established stream: `<r/>`, `<a/>`, `<active/>`. */
  nonza (namespace: string, name: string, handler: NonzaHandler): void
  /**
   * Sends a request of the server's own and waits for its result, matched by peer and id; rejects with the StanzaError that came
   * instead. `timeout` in milliseconds.
   */
  ask (to: Jid, payload: Element, how?: { readonly from?: Jid, readonly type?: 'get' | 'set', readonly timeout?: number }): Promise<Element>
  /**
   * Runs `work` in the account's turn: messages and presence for the account that have found their recipients before are stored by then,
   * and all others wait until the work is done. The work must not wait for any of those. What it throws is logged as a defect.
   */
  turn (account: Jid, work: () => Promise<void>): void
  /** Resolves once all that has come for the account so far is stored; undefined where it is. */
  stored (account: Jid): Promise<void> | undefined
  /** What leaves an address at this host (an account, a room), in one order; long answers in pieces. */
  outlet (from: Jid): Outlet
  /** A batch for writes that belong to no stanza; `commit` stores it. */
  batch (): Batch & { commit (): Promise<void> }
  /** Every stanza to this host and to any address at it: rooms, pubsub, components. One module a host. */
  serve (handler: Served): void
  /** What `sestina NAME …` runs; its answer is printed. */
  command (name: string, run: Command): void
  /** Adds to one of the numbers that the module declares. */
  count (metric: M, by?: number, labels?: Labels): void
  /** The features that the modules of this host declare, sorted. */
  features (of: 'host' | 'account'): readonly string[]
  provide<T> (service: Service<T>, implementation: T): void
  /** Throws where no module provides it: name the provider in `requires`. */
  use<T> (service: Service<T>): T
  /** The same where going without is fine. */
  find<T> (service: Service<T>): T | undefined
  /**
   * Puts something in place when this module comes up; what it returns takes it out again. `isReplaced`: the module is set up anew; else
   * it is turned off, or its host ends.
   */
  whileUp (put: () => (isReplaced: boolean) => void): void
  /** Runs when the module is unloaded. */
  defer (cleanup: Cleanup): void
}

export interface Module<C extends Schema = Record<never, never>, R extends Shapes = Record<never, never>, M extends string = never> {
  /** Its file's name, and its name in the conf. */
  readonly name: string
  /** One sentence for the reference page of the conf. */
  readonly about?: string
  /** '0280 v1.0.1': the README's table is made from these. */
  readonly xeps?: readonly string[]
  /** For disco, while the module is up. */
  readonly features?: { readonly host?: readonly string[], readonly account?: readonly string[] }
  /** Set up before this one; reloaded with it. */
  readonly requires?: readonly string[]
  /** Set up before this one where the conf has it. */
  readonly after?: readonly string[]
  /** A host runs it only if the conf turns it on; every other module runs unless the conf turns it off. */
  readonly isOff?: boolean
  readonly settings?: C
  readonly stores?: R
  /** What it counts, and what each number says to an operator. */
  readonly counts?: Readonly<Record<M, string>>
  setup (host: ModuleHost<C, R, M>): void | Promise<void>
  /**
   * Runs when a host stands up whose conf leaves this module out: brings to an end what a life with it has left in its stores, where nobody
   * would look any more. `host.settings` is empty.
   */
  forgo?(host: ModuleHost<C, R, M>): Promise<void>
}

/** Any module, whatever its settings and stores. */
export type AnyModule = Module<Schema, Shapes, string>

/** Types a module's definition: the type of `host.settings`, `host.stores` and `host.count` follows from what it declares. */
export function defineModule<C extends Schema = Record<never, never>, R extends Shapes = Record<never, never>, M extends string = never> (
  module: Module<C, R, M>,
): Module<C, R, M> {
  return module
}
