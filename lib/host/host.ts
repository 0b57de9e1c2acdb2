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
import type { Batch, Write } from '../storage/store.js'
import type { Storage } from '../storage/storage.js'
import { namespaceOf, xml, type Element, type ParsedElement, type Source } from '../xml/element.js'
import { NS } from '../xml/namespaces.js'
import { StanzaError, StreamError } from '../xmpp/errors.js'
import { JidError, parseJid, type Jid } from '../xmpp/jid.js'
import {
  addressed, isAddressed, isKind, isMessage, stanza as stanzaOf, type Addressed, type Message, type Stanza,
} from '../xmpp/stanza.js'
import type { Broadcast, BroadcastPart } from './broadcast.js'
import { broadcastHere } from './broadcast-here.js'
import { messageToRedeliver } from './delivery-tracker.js'
import {
  accountCreated, accountLeaving, accountRemoved, passwordChanged, sending, sessionAvailable, sessionBound,
  sessionClosed, sessionDetached, sessionPresent, sessionResumed, sessionUnavailable, stanzaBounced,
} from './events.js'
import { Entities } from './entities.js'
import { IqHandlers, legacySession, PendingRequests, type Asking } from './iq.js'
import { Logins } from './logins.js'
import { Outlets, type Outlet } from './outlet.js'
import { AccountLanes } from './pipeline/account-lanes.js'
import { takeFromClient } from './pipeline/entry.js'
import type { Passage, Runner } from './pipeline/passage.js'
import type { Pipeline } from './pipeline/pipeline.js'
import { Redelivery } from './pipeline/redelivery.js'
import { TO_ACCOUNT, TO_ENTITY, TO_HOST } from './pipeline/steps.js'
import type { TransferRows } from './pipeline/transfers.js'
import { PlannedStop } from './planned-stop.js'
import type { HostDeps, HostSettings } from './host-deps.js'
import type { Destination, Router } from './router.js'
import { Session, type Connection, type SavedSession, type SessionHome } from './session.js'
import { Sessions } from './sessions.js'

export type { HostSettings } from './host-deps.js'

export type NonzaHandler = (nonza: Element, session: Session) => Maybe<void>
export type Served = (stanza: Addressed) => Maybe<'handled' | undefined | void>
export type Command = (args: readonly string[]) => Promise<unknown>

export class Host implements Destination, SessionHome {
  readonly domain: string
  /** The name of the host as a destination. */
  readonly place: string
  readonly jid: Jid
  /** True if the host is a service: it has no accounts. */
  readonly isService: boolean
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly storage: Storage
  readonly pipeline: Pipeline
  readonly router: Router
  readonly shared: Named
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
  /** Stream features that modules offer during stream negotiation. */
  readonly features: StreamFeature[] = []
  /** Features that modules offer within a login, or within its bind request. */
  readonly inline: InlineFeature<Session>[] = []
  readonly nonzas = new Map<string, NonzaHandler>()
  readonly commands = new Map<string, Command>()
  readonly services = new Named()
  readonly counters = new Counters()
  readonly #outlets = new Outlets(this)
  readonly deps: Pick<HostDeps, 'offeredServices' | 'fireEverywhere' | 'webOrigins' | 'dataFolder'>
  served: Served | undefined
  /** False while the module that serves the whole host does not answer; undefined if there is none that may not. */
  servedUp: (() => boolean) | undefined
  readonly lanes: AccountLanes
  readonly entities = new Entities(this)
  readonly #redelivery: Redelivery
  #stopping = false
  readonly #parting: PlannedStop = new PlannedStop(this)

  constructor (parts: HostDeps) {
    this.domain = parts.domain
    this.jid = parseJid(parts.domain)
    this.isService = parts.isService
    this.deps = parts
    this.settings = parts.settings
    this.clock = parts.clock
    this.ids = parts.ids
    this.log = parts.log.with({ host: parts.domain })
    this.pipeline = parts.pipeline
    this.storage = parts.pipeline.storage
    this.router = parts.pipeline.router
    this.turns = parts.pipeline.turns
    this.place = `host ${parts.domain}`
    this.shared = parts.shared
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
    this.lanes = new AccountLanes(this)
    this.#redelivery = new Redelivery(this)
    for (const to of ['self', 'host'] as const) this.handlers.add(to, 'set', NS.SESSION, 'session', legacySession)
  }

  // ---- From the stream ----------------------------------------------------------

  /** Makes a session (RFC 6120 §7). Throws StanzaError: conflict, resource-constraint, bad-request. */
  bind (account: Jid, resource: string | undefined, connection: Connection): Maybe<Session> {
    if (this.#stopping) throw new StreamError('system-shutdown')
    const jid = this.#addressFor(account, resource)
    const old = this.sessions.at(jid)
    // A hibernating session is always replaced: the new connection is probably its device.
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

  /** Closes the oldest hibernating session if the account has too many sessions. Throws if none hibernates. */
  #makeRoom (account: Jid): void {
    const sessions = this.sessions.of(account)
    if (sessions.length < this.settings.resources) return
    const waiting = sessions.find(session => session.connection === 'waiting')
    if (waiting === undefined) throw new StanzaError('resource-constraint')
    waiting.close(new StreamError('resource-constraint', 'the account has too many sessions'))
  }

  /** Fires `sessionBound`. If a module throws, the session is detached, and the device may bind again. */
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

  /** Restores a session of the previous process, without a connection. */
  restore (jid: Jid, former: SavedSession): Maybe<Session> {
    const session = new Session(this, jid, former)
    this.sessions.add(session)
    return follow(this.hooks.fire(sessionBound, { session }), () => session)
  }

  /** Takes one stanza or nonza of an established stream. Throws StreamError if the stream must end. */
  receive (session: Session, element: ParsedElement, source: Source): Maybe<void> {
    if (session.connection === 'closed') return undefined
    const name = element.getName()
    if (namespaceOf(element) === NS.CLIENT) {
      if (!isKind(name)) throw new StreamError('unsupported-stanza-type')
      return session.isFrozen ? undefined : takeFromClient(this, session, name, element, source)
    }
    const nonza = this.nonzas.get(`${namespaceOf(element) ?? ''} ${name}`)
    if (nonza === undefined) throw new StreamError('unsupported-stanza-type')
    return nonza(element, session)
  }

  // ---- From the router ------------------------------------------------------------

  /** Leads a stanza to an account or an entity, or to the host itself. */
  accept (passage: Passage, runner: Runner): Maybe<void> {
    const { kind, to } = passage.addressed
    if (to.local === '') return runner.run(passage, TO_HOST[kind], this)
    return this.isService ? runner.run(passage, TO_ENTITY[kind], this) : runner.run(passage, TO_ACCOUNT[kind], this)
  }

  /** Takes a broadcast to addresses of this host. */
  broadcast (broadcast: Broadcast, to: readonly Jid[], batch: Batch): BroadcastPart {
    return broadcastHere(this, broadcast, to, batch)
  }

  sessionAt (address: Jid): Session | undefined { return this.sessions.at(address) }

  bounced (stanza: Addressed, error: StanzaError): void { this.tell(stanzaBounced, { stanza, error }) }
  returned (stanza: Addressed): Element | undefined { return this.entities.returned(stanza) }

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

  /** Delivers a message as if its device were gone (RFC 6121 §8.5.3.2.1). The same batch stores `removing`. */
  redeliver (message: Message, at: number, removing?: Write): void {
    const meant = messageToRedeliver(message)
    if (meant !== undefined) this.#redelivery.again(meant, at, removing)
    else if (removing !== undefined) this.#redelivery.store(removing)
  }

  // ---- From modules and the operator ---------------------------------------------------

  /** Sends the server's own request, with a timeout in milliseconds. Rejects with the StanzaError of the answer. */
  ask (to: Jid, payload: Element, how: Asking = {}): Promise<Element> {
    const refusal = this.#stopping ? stops() : this.requests.refusal(to)
    if (refusal !== undefined) return Promise.reject(refusal)
    const id = this.ids.next()
    const answer = this.requests.wait(to, id, how.timeout)
    const iq = stanzaOf(xml('iq', { type: how.type ?? 'get', id }, payload), how.from ?? this.jid, to)
    const session = this.sessions.at(to)
    if (session === undefined) this.pipeline.route(iq); else session.send(iq)
    return answer
  }

  /** Runs `work` after all that came for the account is stored. Later stanzas for it wait until the work ends. */
  turn (account: Jid, work: () => Promise<void>): void { this.lanes.turn(account.toString(), work) }

  /** Resolves after all that has come for the account so far is stored; returns undefined if it is stored already. */
  stored (account: Jid): Promise<void> | undefined { return this.lanes.stored(account) }

  exists (account: Jid): Maybe<boolean> { return this.accounts.exists(account) }

  /** True if the host answers disco#info. */
  get answersInfo (): boolean { return this.servedUp?.() ?? this.handlers.has('host', 'get', NS.DISCO_INFO, 'query') }

  /** Returns the outlet of an address at this host. */
  outlet (from: Jid): Outlet { return this.#outlets.of(from) }

  /** Makes an account. Throws AccountExists, PasswordError, PrepError, Overloaded. */
  async createAccount (account: Jid, password: string): Promise<void> {
    const batch = new PendingBatch()
    batch.add(await this.accounts.creating(account, password))
    await this.hooks.fire(accountCreated, { account, batch })
    await this.commit(batch)
    this.log.info('account created', { account: account.toString() })
  }

  /**
   * Sets a new password and ends all sessions of the account, except `by`, the session that set it (RFC 6120 §4.9.3.16
   * reset). Throws AccountMissing, PasswordError, PrepError, Overloaded.
   */
  async setPassword (account: Jid, password: string, by?: Session): Promise<void> {
    // Tokens go first: if the rest fails, clients ask for the password once more, and nobody keeps an access that
    // should end.
    await this.clients.passwordChanged(account)
    await this.accounts.setPassword(account, password)
    this.kick(account, new StreamError('reset', 'the password was changed'), by)
    // Removes also tokens that were issued meanwhile to a login with the old password.
    await this.clients.passwordChanged(account)
    await this.hooks.fire(passwordChanged, { account })
  }

  /** As `Clients.revoke`. Ends the client's logins in progress; the caller ends its sessions. */
  async revoke (account: Jid, id: string): ReturnType<Clients['revoke']> {
    const revoked = await this.clients.revoke(account, id)
    if (revoked === undefined) return undefined
    this.logins.end(account, new StreamError('not-authorized', 'its access was revoked'), revoked[0])
    return revoked
  }

  /** Removes an account and everything stored for it. Its sessions end (RFC 6120 §4.9.3.12 not-authorized). */
  async removeAccount (account: Jid): Promise<void> {
    const batch = new PendingBatch()
    await this.removingAccount(account, batch)
    await this.commit(batch)
  }

  /** Removes an account as part of a batch. The sessions end after the batch is stored and its answer was sent. */
  removingAccount (account: Jid, batch: Batch): Maybe<void> {
    const left = this.deps.fireEverywhere(accountLeaving, { account, batch })
    return follow(follow(left, () => this.hooks.fire(accountRemoved, { account, batch })), () => {
      batch.add(this.storage.erasing(account.toString()))
      this.accounts.removingIn(batch, account)
      batch.committed(() => {
        this.kick(account, new StreamError('not-authorized', 'the account was removed'))
        this.log.info('account removed', { account: account.toString() })
      })
    })
  }

  /** Ends all sessions and logins in progress of an account, except one session. Returns how many sessions. */
  kick (account: Jid, reason: StreamError, spared?: Session): number {
    this.logins.end(account, reason)
    const sessions = this.sessions.of(account).filter(session => session !== spared)
    for (const session of sessions) session.close(reason)
    return sessions.length
  }

  /** Stores a batch that belongs to no stanza. Rejects if it is not stored. */
  commit (batch: PendingBatch): Promise<void> { return batch.commit(this.storage) }

  service<T> (service: Service<T>): T | undefined { return this.services.get(service) }
  defect (error: unknown): void { this.log.error('defect', { error }) }

  /** Resolves, during a stop, when all that devices sent is handled, and handlers of closed sessions have ended. */
  async settled (): Promise<void> {
    await this.#parting.settled()
    await this.lanes.idle()
  }

  /** Ends every session that is not saved for the next start. New ones are refused. */
  stop (): void {
    this.#stopping = true
    for (const session of [...this.sessions.all()]) {
      if (!this.#parting.keeps(session)) session.close(new StreamError('system-shutdown'))
    }
    this.requests.clear(stops())
  }

  /** Begins the stop: chooses the sessions that are saved for the next start, and ends all others. */
  leave (): void {
    this.#stopping = true
    this.#parting.begin()
    this.stop()
  }

  /** Delivers the stanzas that the previous process left for accounts of this host. */
  resume (): Promise<void> { return this.#redelivery.resume() }

  /** Ends delivery. Waiting stanzas that are stored are left to the next start. */
  end (): void {
    this.lanes.end()
    this.entities.end()
  }

  /** Saves the sessions that can be resumed. Their connections end, their streams do not (XEP-0198 §6). */
  park (): Promise<void> { return this.#parting.saveForRestart() }

  /** Fires a hook about something that has happened. An error is only logged. */
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

/** The answer to a request whose reply cannot come any more. It says nothing about the address that was asked. */
const stops = (): StanzaError => new StanzaError('service-unavailable', 'the server is stopping', { type: 'wait' })
