/**
 * Which devices wait for stored messages. While an account's stored messages are delivered piece by piece, a new
 * message for a device that waits is stored too, so that it comes after the earlier ones (RFC 6121 §8.5.2, RFC 6120
 * §10.1).
 */
import { slot } from '../../lib/api.js'
import type { Batch, Jid, Records, Session, Write } from '../../lib/api.js'

/** The sessions that wait for a message. `isElsewhere`: other sessions got it at once. */
interface Debt { readonly sessions: readonly Session[], readonly isElsewhere: boolean }

/** A debt as it is stored, so that it outlives the process: by account and id of the message. */
export interface StoredDebt { readonly resources: readonly string[], readonly isElsewhere: boolean }

/** The needs of Drains, met by its module. */
export interface DrainsHome {
  readonly debts: Records<StoredDebt>
  /** Returns the session with this resource. */
  sessionAt (account: Jid, resource: string): Session | undefined
  /** Stores a write by itself. */
  submit (write: Write): void
}

/** The delivery of an account's stored messages, from its first pause to its end. */
interface Drain {
  /** The session that gets the messages that nobody else waits for. */
  session: Session
  /** The messages that sessions wait for, by id. */
  readonly owed: Map<string, Debt>
  /** For each session, the number of stored messages that it waits for. */
  readonly waiting: Map<Session, number>
}

/** True for the session that gets its account's stored messages: the next instance of the module goes on with it. */
export const isLeading = slot('offline.leading', { initial: () => false })

/** The unfinished deliveries, by account. An account has as many entries as messages are stored for it. */
export class Drains {
  readonly #home: DrainsHome
  readonly #drains = new Map<string, Drain>()

  constructor (home: DrainsHome) { this.#home = home }

  /** True if stored messages go to this session now, or when it has room. */
  leadsTo (session: Session): boolean { return this.#drains.get(session.account.toString())?.session === session }

  /** True if the delivery of the account's stored messages has paused. */
  has (account: Jid): boolean { return this.#drains.has(account.toString()) }

  /** Notes that the rest of the account's stored messages goes to this session. */
  lead (session: Session): void {
    const key = session.account.toString()
    const drain = this.#drains.get(key)
    drain?.session.put(isLeading, false)
    session.put(isLeading, true)
    if (drain === undefined) this.#drains.set(key, { session, owed: new Map(), waiting: new Map() })
    else drain.session = session
  }

  /** Forgets the account: nothing is stored for it, or nobody takes what is stored. */
  end (account: Jid): void {
    const key = account.toString()
    const drain = this.#drains.get(key)
    this.#drains.delete(key)
    drain?.session.put(isLeading, false)
    if (drain !== undefined && drain.owed.size > 0) this.#home.submit(this.#home.debts.clearing(key))
  }

  /** Reads for which messages the sessions waited before a restart. They are restored by now. */
  async recall (account: Jid): Promise<void> {
    for (const [id, { resources, isElsewhere }] of await this.#home.debts.all(account.toString())) {
      const sessions = resources.flatMap(resource => this.#home.sessionAt(account, resource) ?? [])
      this.#note(account, id, { sessions, isElsewhere })
    }
  }

  /** Forgets all accounts, because another instance of the module goes on. */
  handOver (): void { this.#drains.clear() }

  /** Removes stored debts if nobody waits any more: the sessions were not restored. */
  tidy (account: Jid): void {
    if (!this.has(account)) this.#home.submit(this.#home.debts.clearing(account.toString()))
  }

  /** Returns those of the account's sessions that get a new message after stored ones. */
  waitingAmong (account: Jid, sessions: readonly Session[]): readonly Session[] {
    const drain = this.#drains.size === 0 ? undefined : this.#drains.get(account.toString())
    if (drain === undefined) return []
    return sessions.filter(session => session === drain.session || drain.waiting.has(session))
  }

  /** Notes that sessions wait for a message, which the batch stores. */
  owe (account: Jid, id: string, debt: Debt, batch: Batch): void {
    this.#note(account, id, debt)
    const resources = debt.sessions.map(({ jid }) => jid.resource)
    batch.add(this.#home.debts.putting(account.toString(), id, { resources, isElsewhere: debt.isElsewhere }))
    batch.failed(() => { this.settle(account, id) })
  }

  /** Lets the batch that removes messages also remove who waits for them. */
  removing (account: Jid, ids: Iterable<string>, batch: Batch): void {
    const owed = this.#drains.get(account.toString())?.owed
    if (owed === undefined || owed.size === 0) return
    for (const id of ids) if (owed.has(id)) batch.add(this.#home.debts.putting(account.toString(), id, undefined))
  }

  #note (account: Jid, id: string, debt: Debt): void {
    const drain = this.#drains.get(account.toString())
    if (drain === undefined) return
    drain.owed.set(id, debt)
    for (const session of debt.sessions) drain.waiting.set(session, (drain.waiting.get(session) ?? 0) + 1)
  }

  /** Notes that nobody waits for a message any more. */
  settle (account: Jid, id: string): void {
    const drain = this.#drains.get(account.toString())
    for (const session of drain?.owed.get(id)?.sessions ?? []) {
      const left = (drain?.waiting.get(session) ?? 1) - 1
      if (left > 0) drain?.waiting.set(session, left)
      else drain?.waiting.delete(session)
    }
    drain?.owed.delete(id)
  }

  /**
   * Returns the sessions that get a stored message, if `session` gets the account's messages: those that wait for it,
   * or else this session, unless others have got the message.
   */
  recipientsOf (id: string, session: Session): readonly Session[] {
    const debt = this.#drains.get(session.account.toString())?.owed.get(id)
    if (debt === undefined) return [session]
    const open = debt.sessions.filter(({ connection }) => connection !== 'closed')
    return open.length > 0 || debt.isElsewhere ? open : [session]
  }
}
