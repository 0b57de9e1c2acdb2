/** Delivers stored messages to a device that becomes available (XEP-0160 §2). */
import {
  archiveIdIn, archives, boundInline, childElements, ownersAt, parseElement, parseJid, toOctets,
} from '../../lib/api.js'
import type { Batch, Entry, Jid, ModuleHost, Records, Session } from '../../lib/api.js'
import { delayed } from './delay.js'
import { Drains, isLeading, type StoredDebt } from './drains.js'
import { PAGE, type OfflineStore } from './store.js'

/** The most delivered messages that are remembered because they could not be removed from storage. */
const MOST_GIVEN = 100_000

/** Where a page begins: after this id, or at the first message. */
interface Place { readonly after: string | undefined }

/** Delivers stored messages, and remembers those that could not be removed afterwards. */
export class Delivery {
  /** The deliveries that wait for a device. */
  readonly drains: Drains
  readonly #host: ModuleHost
  readonly #debts: Records<StoredDebt>
  readonly #store: OfflineStore
  /** Ids of messages that were delivered but could not be removed from storage. */
  readonly #given = new Set<string>()

  /** `debts`: which sessions wait for which messages. */
  constructor (host: ModuleHost, store: OfflineStore, debts: Records<StoredDebt>) {
    this.#host = host
    this.#store = store
    this.#debts = debts
    this.drains = new Drains({
      debts,
      sessionAt: (account, resource) => host.sessions.at(account.withResource(resource)),
      submit: write => {
        const batch = host.batch()
        batch.add(write)
        batch.commit().catch((error: unknown) => { host.log.warn('waiting devices not stored', { error }) })
      },
    })
  }

  /**
   * Delivers the stored messages of the session's account in the account's turn: earlier messages without a recipient
   * are stored by then, and later ones come after. A failure is logged.
   */
  begin (session: Session): void {
    this.#host.turn(session.account, () => this.#deliver(session).catch((error: unknown) => {
      this.drains.end(session.account) // the rest stays stored, and new messages do not wait for it
      this.#host.log.error('offline delivery failed', { jid: session.jid.toString(), error })
    }))
  }

  /** Goes on with the deliveries of the previous instance of the module. Returns a function that hands them over. */
  start (): () => void {
    for (const session of this.#host.sessions.all()) if (session.get(isLeading)) this.#restore(session)
    return () => { this.drains.handOver() }
  }

  /** Goes on with the deliveries of the previous process, whose sessions stream management has restored. */
  async raise (): Promise<void> {
    for (const session of this.#host.sessions.all()) this.#restore(session)
    for await (const owner of ownersAt(this.#debts, this.#host.domain)) {
      const account = parseJid(owner)
      // after the turns in which its sessions were restored
      this.#host.turn(account, () => Promise.resolve(this.drains.tidy(account)))
    }
  }

  /**
   * Lets new messages for a session of the previous process wait for those that are still stored for its account. The
   * session gets all of them when its device resumes it, unless another device comes first.
   */
  #restore (session: Session): void {
    const { account } = session
    this.#host.turn(account, async () => {
      if (!mayTake(session) || this.drains.has(account)) return
      if ((await this.#store.amountOf(account)).entries === 0) return
      this.drains.lead(session)
      await this.drains.recall(account)
      if (session.connection !== 'attached') return // its device has not resumed it yet
      if (hasRoom(session)) this.begin(session)
      else this.#goOnLater(session)
    })
  }

  /** Goes on when the device of the session that gets the account's messages is back. */
  resume (session: Session): void { if (this.drains.leadsTo(session)) this.begin(session) }

  /** Delivers the rest to another device, if this one was getting the account's messages. */
  handOn (session: Session): void {
    if (!this.drains.leadsTo(session)) return
    const { account } = session
    const next = this.#host.sessions.of(account).find(other => other !== session && !other.isFrozen && mayTake(other))
    if (next === undefined) this.drains.end(account) // the rest stays stored for the next device
    else this.begin(next)
  }

  /**
   * Goes on when the device has read or acknowledged something. Of all that comes for the account, only new messages
   * for this device wait for that, in the store.
   */
  #goOnLater (session: Session): void {
    const goOn = (): void => {
      if (!this.drains.leadsTo(session)) return
      if (!mayTake(session)) this.handOn(session)
      else if (hasRoom(session)) this.begin(session)
      else this.#goOnLater(session)
    }
    if (session.manager !== undefined) session.manager.confirming(goOn)
    else if (session.connection === 'attached') session.drained(goOn)
    else this.handOn(session)
  }

  async #deliver (session: Session): Promise<void> {
    const { account } = session
    if (!mayTake(session)) {
      this.handOn(session)
      return
    }
    if ((await this.#store.amountOf(account)).entries === 0) {
      this.drains.end(account)
      return
    }
    if (this.drains.has(account)) this.drains.lead(session)
    let place: Place | undefined = { after: undefined }
    for (;;) {
      place = await this.#deliverPage(session, place.after)
      if (place === undefined) {
        this.drains.end(account)
        return
      }
      if (hasRoom(session)) continue
      this.drains.lead(session)
      this.#goOnLater(session)
      return
    }
  }

  /** Delivers one page. Returns where the next one begins; undefined if there is none. */
  async #deliverPage (session: Session, after: string | undefined): Promise<Place | undefined> {
    const { account } = session
    let next = after
    const query = { ...PAGE, ...after === undefined ? {} : { after } }
    const { entries: found, complete } = await this.#store.page(account, query)
    // Skips messages that were delivered but could not be removed: a full disk must not repeat them at each login.
    const old = found.filter(({ id }) => this.#given.has(id))
    const all = found.filter(({ id }) => !this.#given.has(id))
    if (old.length > 0 && !await this.#isRemoved(account, old)) next = old.at(-1)?.id
    const entries = session.get(boundInline) ? await this.#remaining(session, all) : all
    if (session.manager !== undefined) {
      await this.#move(session, entries)
      return complete ? undefined : { after: next }
    }
    const sent = this.#send(session, entries)
    const sendToOthers = (batch: Batch): void => { this.#sendToOthers(session, sent, batch) }
    if (sent.length > 0 && !await this.#isRemoved(account, sent, sendToOthers)) {
      next = sent.at(-1)?.id
    }
    return complete || sent.length < entries.length ? undefined : { after: next }
  }

  /** Sends messages to a device without stream management. Returns those that were sent, or that it does not get. */
  #send (session: Session, entries: readonly Entry<string>[]): readonly Entry<string>[] {
    const { domain } = this.#host
    return entries.filter(entry => !this.#recipientsOf(session, entry).includes(session) ||
      session.connection === 'attached' && session.send(delayed(domain, entry, session.account)) === 'sent')
  }

  /** Sends messages to the other devices that wait for them, once the batch is stored. */
  #sendToOthers (session: Session, entries: readonly Entry<string>[], batch: Batch): void {
    const { account } = session
    for (const entry of entries) {
      for (const other of this.#recipientsOf(session, entry)) {
        if (other !== session) other.sendWith(batch, delayed(this.#host.domain, entry, account))
      }
      batch.committed(() => { this.drains.settle(account, entry.id) })
    }
  }

  #recipientsOf (session: Session, { id }: Entry<string>): readonly Session[] {
    return this.drains.recipientsOf(id, session)
  }

  /**
   * Removes and leaves out archived messages from before the session, which a client that binds inline reads from the
   * archive (XEP-0386 §3.2). It keeps messages that are not archived, and those that came after the binding, which may
   * be missing from the last page that the client read.
   */
  async #remaining (session: Session, all: readonly Entry<string>[]): Promise<readonly Entry<string>[]> {
    const { account } = session
    const own = all.filter(entry => entry.at < session.since && this.#recipientsOf(session, entry).includes(session))
    const ids = new Map(own.flatMap(entry => {
      const id = archiveIdIn(childElements(parseElement(toOctets(entry.value))), account)
      return id === undefined ? [] : [[entry, id] as const]
    }))
    const there = ids.size === 0 ? undefined : await this.#host.find(archives)?.has(account, [...ids.values()])
    const archived = all.filter(entry => there?.has(ids.get(entry) ?? '') === true)
    if (archived.length > 0) await this.#remove(account, archived)
    return all.filter(entry => !archived.includes(entry))
  }

  /**
   * Moves messages into the session's unacknowledged queue (XEP-0198) in one transaction, so that each is in exactly
   * one of the two.
   */
  async #move (session: Session, entries: readonly Entry<string>[]): Promise<void> {
    const { domain } = this.#host
    await this.#remove(session.account, entries, batch => {
      for (const entry of entries) {
        if (this.#recipientsOf(session, entry).includes(session)) {
          session.sendWith(batch, delayed(domain, entry, session.account))
        }
      }
      this.#sendToOthers(session, entries, batch)
    })
  }

  /** Removes messages, and who waits for them, in one commit with what `fill` adds to the batch. */
  async #remove (account: Jid, entries: readonly Entry<string>[], fill?: (batch: Batch) => void): Promise<void> {
    await this.#store.remove(account, entries, batch => {
      this.drains.removing(account, entries.map(({ id }) => id), batch)
      fill?.(batch)
    })
  }

  /**
   * Removes delivered messages and returns true. If that fails, remembers their ids for the life of the process and
   * returns false. Throws if too many are remembered.
   */
  async #isRemoved (
    account: Jid, sent: readonly Entry<string>[], fill?: (batch: Batch) => void,
  ): Promise<boolean> {
    try {
      await this.#remove(account, sent, fill)
      for (const { id } of sent) this.#given.delete(id)
      return true
    } catch (error) {
      if (this.#given.size + sent.length > MOST_GIVEN) throw error
      for (const { id } of sent) this.#given.add(id)
      this.#host.log.warn('offline messages not removed', { account: account.toString(), messages: sent.length, error })
      return false
    }
  }
}

/** True if the device can take another page. */
function hasRoom (session: Session): boolean { return session.manager?.hasRoom ?? session.hasRoom }

/**
 * RFC 6121 §8.5.2.1.1: false if the device is closed, unavailable or has a negative priority; the next device gets the
 * messages.
 */
function mayTake (session: Session): boolean {
  return session.connection !== 'closed' && session.available && session.priority >= 0
}
