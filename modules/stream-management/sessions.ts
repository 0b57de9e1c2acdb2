/** The managed sessions of a host: found by their ids, bounded, and closed if they hibernate for too long. */
import { management, service, SharedLedger, StreamError } from '../../lib/api.js'
import type { Batch, Jid, Maybe, ModuleHost, Timer, Write } from '../../lib/api.js'
import { HandingBack } from './handing-back.js'
import type { ManagedSessionHome } from './home.js'
import { ManagedSession } from './managed.js'
import { SharedBodies, type SharedBody } from './shared-body.js'
import { sharedBytes, SharedBytes } from './shared-bytes.js'
import { Shares } from './shares.js'
import type { Stores } from './stores.js'
import { undelivered } from './undelivered.js'
import type { Writer } from './writer.js'

/** The number of ended sessions whose counts are remembered, so that their devices learn how much was handled (§5). */
const ENDED = 10_000

/** The unacknowledged bytes of all hosts. */
const unacknowledgedBytes = service<SharedLedger>('stream-management.unacknowledged')

/** The bounds of unacknowledged stanzas and bytes: of a session, of an account, of all hosts. */
export interface SessionBounds {
  readonly stanzas: number
  readonly bytes: number
  readonly accountBytes: number
  readonly totalBytes: number
}

/** The managed sessions of a host. Each asks it for what it needs. */
export class ManagedSessions implements ManagedSessionHome<ManagedSession> {
  readonly stores: Stores
  readonly bounds: SessionBounds
  readonly writer: Writer
  readonly bodies: SharedBodies
  readonly #host: ModuleHost
  readonly #table: management.ResumeTable<ManagedSession>
  readonly #ledger: SharedLedger
  readonly #shares: Shares<ManagedSession>
  readonly #sharedBytes: SharedBytes
  readonly #handing: HandingBack

  constructor (host: ModuleHost, stores: Stores, bounds: SessionBounds, writer: Writer) {
    this.#host = host
    this.stores = stores
    this.bounds = bounds
    this.writer = writer
    this.#table = new management.ResumeTable({
      clock: host.clock,
      ended: ENDED,
      expired: ({ session }) => {
        host.count('expired')
        session.close(new Error('not resumed in time'))
      },
    })
    this.bodies = new SharedBodies({
      domain: host.domain, store: stores.broadcasts, now: () => host.clock.now(), id: () => host.ids.next(),
    })
    this.#sharedBytes = host.shared(sharedBytes, () => new SharedBytes())
    this.#ledger = host.shared(unacknowledgedBytes, () => new SharedLedger())
    this.#shares = new Shares(this.#ledger, bounds.accountBytes, managed => { this.overflowed(managed) })
    this.#handing = new HandingBack(host.router.each)
  }

  // ---- For a managed session --------------------------------------------------------------

  now (): number { return this.#host.clock.now() }
  after (ms: number, run: () => void): Timer { return this.#host.clock.after(ms, run) }
  id (): string { return this.#host.ids.next() }
  dirty (managed: ManagedSession): void { this.writer.add(managed) }
  commit (managed: ManagedSession): Promise<void> { return this.writer.store([managed]) }
  submit (write: Write): void { submit(this.#host, write) }
  defect (error: unknown): void { this.#host.log.error('stanza not settled', { error }) }
  hasRoom (managed: ManagedSession): boolean {
    return this.#shares.hasRoom(managed.session.account.toString(), managed)
  }
  holds ({ session }: ManagedSession, by: number): void { this.#shares.change(session.account.toString(), by) }

  hold (body: SharedBody): void { this.#sharedBytes.hold(body) }
  leave (body: SharedBody): void { this.#sharedBytes.leave(body) }
  unpin (body: SharedBody): void { if (--body.pins === 0) this.writer.remove(body.id) }

  undelivered (octets: string, at: number, removing: Write | undefined): void {
    undelivered(this.#host, octets, at, removing)
  }
  handBack<T> (items: readonly T[], bytes: number, back: (item: T) => void): Maybe<void> {
    return this.#handing.run(items, bytes, back)
  }
  store (add: (batch: Batch) => void): void {
    const batch = this.#host.batch()
    add(batch)
    batch.commit().catch((error: unknown) => { this.writer.failed(error) })
  }

  overflowed (managed: ManagedSession): void {
    this.#host.count('overflowed')
    managed.session.close(new StreamError('resource-constraint', 'too much is unacknowledged'))
  }

  // ---- For the module ----------------------------------------------------------------------

  /** All managed sessions. */
  all (): Iterable<ManagedSession> { return this.#table.all() }

  /** Returns the session with this id if it is the account's (§5). */
  at (id: string, account: Jid): ManagedSession | undefined { return this.#table.at(id, account.toString()) }

  /**
   * Locks a session for resumption until all that came is handled. Resolves with false if the session has ended, or
   * somebody has locked it later.
   */
  async lock (managed: ManagedSession): Promise<boolean> {
    const isOurs = await this.#table.lock(managed.id, () => managed.settled())
    managed.forgetAnswer()
    return isOurs
  }

  /** Returns the number of stanzas that an ended session of this account had handled, if that is known. */
  countOf (id: string, account: Jid): Maybe<number> | undefined { return this.#table.countOf(id, account.toString()) }

  /** Adds a session. */
  enter (managed: ManagedSession): void {
    const account = managed.session.account.toString()
    this.#table.enter(managed.id, account, managed)
    managed.account(true)
    this.#shares.join(account, managed)
  }

  /** Removes a session. */
  exit (managed: ManagedSession): void {
    this.#table.leave(managed.id)
    this.#shares.leave(managed.session.account.toString(), managed)
    managed.account(false)
  }

  /** Closes a session unless it is resumed in time. */
  wait (managed: ManagedSession): void { this.#table.wait(managed.id, managed.resumeTimeout) }

  /** Stops the time of a session that was resumed. */
  stopWaiting (managed: ManagedSession): void { this.#table.stopWaiting(managed.id) }

  /** Ends the management of a session that was closed, and hands back what its device did not acknowledge. */
  end (managed: ManagedSession): void {
    this.writer.forget(managed)
    this.#table.end(managed.id, { handled: managed.count })
    const handed = managed.end()
    this.exit(managed)
    if (handed !== undefined) handed.catch((error: unknown) => { this.defect(error) })
  }

  /** Resolves when the stanzas of all sessions that have ended are handed back. */
  async handedBack (): Promise<void> { await this.#handing.settled() }

  /**
   * Takes the sessions that another instance of the module has managed until now. Returns a function that gives them
   * up, and stores everything, so that the next instance of the module, or the next process, finds the latest state.
   */
  start (): () => void {
    this.#handing.begin()
    const release = this.#ledger.bound(this.bounds.totalBytes)
    const part = this.#sharedBytes.join(body => {
      for (const managed of [...this.#table.all()]) if (managed.isLateWith(body)) this.overflowed(managed)
    })
    for (const { manager } of this.#host.sessions.all()) {
      if (!(manager instanceof ManagedSession)) continue
      manager.home = this
      this.enter(manager)
      if (manager.session.connection === 'waiting') this.wait(manager)
    }
    return () => {
      this.#handing.hurry()
      this.#shares.clear()
      release()
      part()
      this.writer.stop()
      this.#table.stop()
    }
  }

  /**
   * Closes all managed sessions when the module is turned off. Otherwise hibernating ones would never end, and
   * connected ones would go on counting and requesting. Clients reconnect without stream management; unacknowledged
   * stanzas are handed back.
   */
  closeAll (): void {
    this.#handing.hurry()
    for (const { isParked, session } of [...this.#table.all()]) {
      // RFC 6120 §4.9.3.16
      if (!isParked) session.close(new StreamError('reset', 'stream management is turned off'))
    }
  }
}

/** Stores one write by itself. */
export function submit (host: Pick<ModuleHost, 'batch' | 'log'>, write: Write): void {
  const batch = host.batch()
  batch.add(write)
  batch.commit().catch((error: unknown) => { host.log.warn('session not stored', { error }) })
}
