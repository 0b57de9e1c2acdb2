/** Host: one domain with its modules, sessions and stores. */
import { Hooks, type Hook } from '../base/hook.js'
import type { Clock } from '../base/clock.js'
import { Counters } from '../base/counters.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import { follow, type Maybe } from '../base/maybe.js'
import { Named, type Service } from '../base/slot.js'
import type { Turns } from '../base/turns.js'
import type { Accounts } from '../auth/accounts.js'
import type { Clients } from '../auth/clients.js'
import { SESSION_BACKLOG } from '../stream/bounds.js'
import type { InlineFeature, StreamFeature } from '../stream/negotiation.js'
import { PendingBatch } from '../storage/batch.js'
import type { Batch, Storage, Write } from '../storage/store.js'
import { namespaceOf, xml, type Element, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'
import { addressed, isAddressed, isMessage, stanza as stanzaOf, type Addressed, type Kind, type Message, type Stanza } from '../xmpp/stanza.js'
import { Delivery } from './delivery.js'
import { take } from './entry.js'
import { original } from './handed.js'
import {
  accountCreated, accountRemoved, passwordChanged, sending, sessionAvailable, sessionBound, sessionClosed, sessionDetached,
  sessionPresent, sessionResumed, sessionUnavailable, stanzaBounced,
} from './events.js'
import { IqHandlers, PendingRequests, type Request } from './iq.js'
import { Logins } from './logins.js'
import { Outlets, type Outlet } from './outlet.js'
import { Parting } from './parting.js'
import type { Destination, Passage, Router } from './router.js'
import type { TransferRows } from './transfers.js'
import { Session, type Connection, type Former, type SessionHome } from './session.js'
import { Sessions } from './sessions.js'

/** What the conf says of a host, beside its modules. */
export interface HostSettings {
  /** Bare addresses of those who may administer. */
  readonly admins: readonly string[]
  /** Sessions an account may have at a time. */
  readonly resources: number
  /** What happens when a device asks for a resource that another one has (RFC 6120 §7.7.2.2). */
  readonly conflict: 'replace' | 'refuse'
}

/** What a host is made of. */
export interface HostParts {
  readonly domain: string
  readonly settings: HostSettings
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly storage: Storage
  readonly router: Router
  readonly accounts: Accounts
  readonly clients: Clients
  readonly transfers: TransferRows
}

export type NonzaHandler = (nonza: Element, session: Session) => Maybe<void>
export type Served = (stanza: Addressed) => Maybe<'handled' | undefined | void>
export type Command = (args: readonly string[]) => Promise<unknown>

/** How long the server waits for an answer to a request of its own, in milliseconds. */
const PATIENCE = 30_000

export class Host implements Destination, SessionHome {
  readonly domain: string
  readonly jid: Jid
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly storage: Storage
  readonly router: Router
  readonly accounts: Accounts
  readonly clients: Clients
  readonly transfers: TransferRows
  readonly hooks: Hooks
  readonly sessions: Sessions
  readonly logins = new Logins()
  readonly handlers = new IqHandlers()
  readonly turns: Turns | undefined
  readonly requests: PendingRequests
  readonly backlogBound = SESSION_BACKLOG
  settings: HostSettings
  /** What modules offer while a stream negotiates. */
  readonly features: StreamFeature[] = []
  /** What they offer within a login, or within the binding in one. */
  readonly inline: InlineFeature<Session>[] = []
  readonly nonzas = new Map<string, NonzaHandler>()
  readonly commands = new Map<string, Command>()
  readonly services = new Named()
  readonly counters = new Counters()
  readonly #outlets: Outlets
  served: Served | undefined
  readonly #delivery: Delivery
  #stopping = false
  readonly #parting: Parting = new Parting(this)

  constructor (parts: HostParts) {
    this.domain = parts.domain
    this.jid = parseJid(parts.domain)
    this.settings = parts.settings
    this.clock = parts.clock
    this.ids = parts.ids
    this.log = parts.log.with({ host: parts.domain })
    this.storage = parts.storage
    this.router = parts.router
    this.turns = parts.router.turns
    this.accounts = parts.accounts
    this.clients = parts.clients
    this.transfers = parts.transfers
    this.hooks = new Hooks((error, place) => { this.log.error('hook failed', { ...place, error }) })
    this.requests = new PendingRequests(parts.clock)
    this.sessions = new Sessions({
      present: (session, before) => { this.tell(sessionPresent, { session, before }) },
      available: (session, first) => { this.tell(sessionAvailable, { session, first }) },
      unavailable: (session, last) => { this.tell(sessionUnavailable, { session, last }) },
    })
    this.#delivery = new Delivery(this)
    this.#outlets = new Outlets({
      clock: parts.clock, route: stanza => { this.router.route(stanza) }, sessionAt: address => this.sessions.at(address),
    })
    for (const to of ['self', 'host'] as const) this.handlers.add(to, 'set', NS.SESSION, 'session', legacySession)
  }

  // ---- From the stream ----------------------------------------------------------

  /** A new session for a device that has authenticated (RFC 6120 §7). Throws StanzaError: conflict, resource-constraint, bad-request. */
  bind (account: Jid, resource: string | undefined, connection: Connection): Maybe<Session> {
    if (this.#stopping) throw new StreamError('system-shutdown')
    const jid = this.#addressFor(account, resource)
    const old = this.sessions.at(jid)
    // One that waits for its device has no say: this may well be the device.
    if (old?.connection === 'attached' && this.settings.conflict === 'refuse') throw new StanzaError('conflict')
    if (old === undefined) this.#makeRoom(account)
    old?.close(new StreamError('conflict', 'replaced by a new connection'))
    const session = new Session(this, jid, connection)
    this.sessions.add(session)
    return follow(this.#told(session, connection), () => {
      if (session.connection === 'closed') throw new StanzaError('conflict')
      this.log.info('session bound', { jid: jid.toString(), address: connection.address })
      return session
    })
  }

  /** Sessions that wait for a device that may never come back make room for one that is here, the oldest first. */
  #makeRoom (account: Jid): void {
    const sessions = this.sessions.of(account)
    if (sessions.length < this.settings.resources) return
    const waiting = sessions.find(session => session.connection === 'waiting')
    if (waiting === undefined) throw new StanzaError('resource-constraint')
    waiting.close(new StreamError('resource-constraint', 'the account has too many sessions'))
  }

  /** Where a module cannot take it in there is no session; the connection may ask for another, or hears what went wrong. */
  #told (session: Session, connection: Connection): Maybe<unknown> {
    const fails = (error: unknown): never => {
      session.detach(connection, error instanceof Error ? error : undefined)
      throw error
    }
    try {
      const wait = this.hooks.fire(sessionBound, { session })
      return wait instanceof Promise ? wait.catch(fails) : wait
    } catch (error) {
      return fails(error)
    }
  }

  /** A session that lived before this process, without a connection. */
  restore (jid: Jid, former: Former): Maybe<Session> {
    const session = new Session(this, jid, former)
    this.sessions.add(session)
    return follow(this.hooks.fire(sessionBound, { session }), () => session)
  }

  /** One stanza or nonza of an established stream. Throws StreamError where the stream must end. */
  receive (session: Session, element: ParsedElement, source: Source): Maybe<void> {
    if (session.connection === 'closed') return undefined
    const name = element.getName()
    if (namespaceOf(element) === NS.CLIENT) {
      if (!isKind(name)) throw new StreamError('unsupported-stanza-type')
      return session.isFrozen ? undefined : take(this, session, name, element, source)
    }
    const nonza = this.nonzas.get(`${namespaceOf(element) ?? ''} ${name}`)
    if (nonza === undefined) throw new StreamError('unsupported-stanza-type')
    return nonza(element, session)
  }

  // ---- From the router ------------------------------------------------------------

  deliver (stanza: Addressed, passage: Passage): Maybe<void> {
    return this.#delivery.deliver(stanza, passage)
  }

  bounced (stanza: Addressed, error: StanzaError): void {
    this.tell(stanzaBounced, { stanza, error })
  }

  // ---- From sessions ----------------------------------------------------------------

  gate (session: Session, stanza: Stanza): Stanza | undefined {
    if (!this.hooks.has(sending)) return stanza
    const event = { session, stanza }
    return this.hooks.fire(sending, event) === 'handled' ? undefined : event.stanza
  }

  attached (session: Session): void {
    this.log.info('session resumed', { jid: session.jid.toString(), address: session.address })
    this.tell(sessionResumed, { session })
  }

  detached (session: Session, reason: Error | undefined): void {
    const event = { session, reason, keep: false }
    this.tell(sessionDetached, event)
    if (!event.keep) session.close(reason)
  }

  closed (session: Session, reason: Error | undefined): void {
    this.sessions.remove(session)
    this.log.info('session closed', { jid: session.jid.toString(), reason: reason?.message })
    const told = this.#tell(sessionClosed, { session, reason })
    if (this.#stopping && told !== undefined) this.#parting.waitsFor(told)
  }

  undelivered (stanza: Stanza): void {
    if (isMessage(stanza) && isAddressed(stanza)) this.redeliver(addressed(stanza, stanza.to), this.clock.now())
  }

  /** Has a message go the way of one to a device that is gone (RFC 6121 §8.5.3.2). `removing` is stored with what becomes of it. */
  redeliver (message: Message, at: number, removing?: Write): void {
    const meant = original(message)
    if (meant !== undefined) this.#delivery.redeliver(meant, at, removing)
    else if (removing !== undefined) this.storage.submit([removing])
  }

  // ---- From modules and the operator ---------------------------------------------------

  /** Sends a request of the server's own and waits for its result; rejects with the StanzaError that came instead. */
  ask (to: Jid, payload: Element, how: { readonly from?: Jid, readonly type?: 'get' | 'set', readonly timeout?: number } = {}): Promise<Element> {
    if (this.#stopping) return Promise.reject(stops())
    const id = this.ids.next()
    const answer = this.requests.wait(to, id, how.timeout ?? PATIENCE)
    const iq = stanzaOf(xml('iq', { type: how.type ?? 'get', id }, payload), how.from ?? this.jid, to)
    const session = this.sessions.at(to)
    if (session !== undefined) session.send(iq)
    else this.router.route(iq)
    return answer
  }

  /** Runs `work` once all that came for the account is stored; what comes for it later waits until the work is done. */
  turn (account: Jid, work: () => Promise<void>): void { this.#delivery.turn(account, work) }

  /** Resolves once all that has come for the account so far is stored; undefined where it is. */
  stored (account: Jid): Promise<void> | undefined { return this.#delivery.stored(account) }

  exists (account: Jid): Maybe<boolean> { return this.accounts.exists(account) }

  /** What leaves this address of the host, in one order. */
  outlet (from: Jid): Outlet { return this.#outlets.of(from) }

  /** Makes an account. Throws AccountExists, JidError, PrepError. */
  async createAccount (account: Jid, password: string): Promise<void> {
    const batch = new PendingBatch()
    batch.add(await this.accounts.creating(account, password))
    await this.hooks.fire(accountCreated, { account, batch })
    await this.commit(batch)
    this.log.info('account created', { account: account.toString() })
  }

  /**
   * A new password: whoever came in by the old one is out, but for `by`, the session that has set it (RFC 6120 §4.9.3.16 reset).
   * Throws AccountMissing, PasswordError, PrepError, Overloaded.
   */
  async setPassword (account: Jid, password: string, by?: Session): Promise<void> {
    // Tokens first: should the rest fail, clients ask for the password once more, and none gets in that should not.
    await this.clients.passwordChanged(account)
    await this.accounts.setPassword(account, password)
    this.kick(account, new StreamError('reset', 'the password was changed'), by)
    // And those that were given meanwhile to who still came by the old one.
    await this.clients.passwordChanged(account)
    await this.hooks.fire(passwordChanged, { account })
  }

  /** Takes the access of one client away, and ends its logins under way; what else it has is the caller's to end. As `Clients.revoke`. */
  async revoke (account: Jid, id: string): ReturnType<Clients['revoke']> {
    const revoked = await this.clients.revoke(account, id)
    if (revoked !== undefined) this.logins.end(account, new StreamError('not-authorized', 'its access was revoked'), revoked[0])
    return revoked
  }

  /** Removes an account and every trace of it; its sessions end (RFC 6120 §4.9.3.12 not-authorized). */
  async removeAccount (account: Jid): Promise<void> {
    const batch = new PendingBatch()
    await this.removingAccount(account, batch)
    await this.commit(batch)
  }

  /** The same as part of a batch: the sessions end once it is stored, and what asked for it is answered. */
  removingAccount (account: Jid, batch: Batch): Maybe<void> {
    return follow(this.hooks.fire(accountRemoved, { account, batch }), () => {
      batch.add(this.storage.erasing(account.toString()))
      this.accounts.removingIn(batch, account)
      batch.committed(() => {
        this.kick(account, new StreamError('not-authorized', 'the account was removed'))
        this.log.info('account removed', { account: account.toString() })
      })
    })
  }

  /** Ends all sessions of an account, and its logins under way, but for one session; answers how many sessions there were. */
  kick (account: Jid, reason: StreamError, spared?: Session): number {
    this.logins.end(account, reason)
    const sessions = this.sessions.of(account).filter(session => session !== spared)
    for (const session of sessions) session.close(reason)
    return sessions.length
  }

  /** Stores a batch that belongs to no stanza. Rejects if it is not stored. */
  commit (batch: PendingBatch): Promise<void> { return batch.commit(this.storage) }

  service<T> (service: Service<T>): T | undefined {
    return this.services.get(service)
  }

  defect (error: unknown): void { this.log.error('defect', { error }) }

  /**
   * Once it stops: resolves when every message that has come is on its way to storage, and all else that devices have said, and others
   * have been told of sessions that have ended.
   */
  async settled (): Promise<void> {
    await this.#parting.settled()
    await this.#delivery.idle()
  }

  /** Ends every session. New ones are refused. */
  stop (): void {
    this.#stopping = true
    for (const session of [...this.sessions.all()]) {
      if (!this.#parting.keeps(session)) session.close(new StreamError('system-shutdown'))
    }
    this.requests.clear(stops())
  }

  /** Before the server stops: ends the sessions that cannot live on behind its next start. */
  leave (): void {
    this.#stopping = true
    this.#parting.begin()
    this.stop()
  }

  /** Takes up the stanzas that the process before this one has left on their way to accounts of this host. */
  resume (): Promise<void> { return this.#delivery.resume() }

  /** The last: what is stored on its way is left to the next start. */
  end (): void { this.#delivery.end() }

  /** Writes down those that can. Their connections end, their streams do not (XEP-0198 §6). */
  park (): Promise<void> { return this.#parting.park() }

  /** Tells of what has happened: nobody can object any more, and an error is only logged. */
  tell<E> (hook: Hook<E>, event: E): void { void this.#tell(hook, event) }

  #tell<E> (hook: Hook<E>, event: E): Promise<void> | undefined {
    try {
      const wait = this.hooks.fire(hook, event)
      if (wait instanceof Promise) return wait.then(() => {}, (error: unknown) => { this.defect(error) })
    } catch (error) {
      this.defect(error)
    }
    return undefined
  }

  #addressFor (account: Jid, resource: string | undefined): Jid {
    if (resource === undefined || resource === '') return account.withResource(this.ids.next())
    try {
      return account.withResource(resource)
    } catch (error) {
      if (!(error instanceof JidError)) throw error
      throw new StanzaError('bad-request', 'this resource is not valid', { cause: error }) // RFC 6120 §7.7.2.1
    }
  }
}

/** What an answer is that does not come any more: it says nothing of whom was asked. */
function stops (): StanzaError { return new StanzaError('service-unavailable', 'the server stops', { type: 'wait' }) }

/** RFC 3921 §3: what a client of old asks for it has by binding. A stanza like others: both sides count it (XEP-0198 §4). */
function legacySession ({ session }: Request): void {
  if (session === undefined) throw new StanzaError('service-unavailable')
}

function isKind (name: string): name is Kind {
  return name === 'message' || name === 'presence' || name === 'iq'
}
