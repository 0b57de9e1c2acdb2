/**
 * A managed session (XEP-0198): acknowledged in both directions, and kept with or without a connection until it is
 * resumed or expires.
 */
import { flatten, follow, isLasting, management, recipientAttribute, toOctets } from '../../lib/api.js'
import type {
  Arrival, Batch, Broadcast, DeliveryTracker, Maybe, Reservation, Session, Stanza, StreamManager, Write,
} from '../../lib/api.js'
import type { ManagedSessionHome, Past, PastReference, PastRow } from './home.js'
import { IncomingOrder } from './incoming-order.js'
import { OutgoingOrder, type Item } from './outgoing-order.js'
import type { SharedBody } from './shared-body.js'
import { SharedItem, type SharedItemHome } from './shared-item.js'
import { stateOf, StoredSession } from './stored-session.js'
import type { Counts, SessionState } from './stores.js'

export type { ManagedSessionHome as ManagedHome, Past } from './home.js'

/** The bytes of a session's state that cost its device one unit each time they are stored at once. */
const COST_UNIT = 1024

/** The stream management of one session. */
export class ManagedSession implements StreamManager, SharedItemHome {
  readonly session: Session
  /** The id by which the session can be resumed (XEP-0198 §5). */
  readonly id: string
  /** How long the session may hibernate, in milliseconds; 0: not at all. */
  readonly resumeTimeout: number
  /** Replaced when the module is set up again. */
  home: ManagedSessionHome<ManagedSession>
  /** The silence in both directions that the open `<r/>` ended, in milliseconds. */
  tried = 0
  readonly #inbound: IncomingOrder
  readonly #outbound: OutgoingOrder
  readonly #requests: management.RequestLoop
  readonly #stored: StoredSession
  #isEnded = false
  /** After the end: resolves when its stanzas are handed back. */
  #handing: Maybe<void> = undefined
  /** The bytes that the module counts for this session; undefined while it counts none. */
  #counted: number | undefined
  /** Callbacks that wait until the device acknowledges something. */
  #confirming: (() => void)[] = []
  /** The process ends: all unacknowledged stanzas are stored; later ones are stored at once. */
  #isParked = false
  /** The device has been told that the session is managed, and by which id. */
  #hasBegun: boolean
  #toAttribute: string | undefined

  /** `past`: the state from the previous process. */
  constructor (
    home: ManagedSessionHome<ManagedSession>, session: Session,
    terms: { readonly id: string, readonly resumeTimeout: number }, past?: Past,
  ) {
    this.home = home
    this.session = session
    this.id = terms.id
    this.resumeTimeout = terms.resumeTimeout
    this.#hasBegun = past !== undefined
    const write = (octets: string): void => { session.write(octets) }
    this.#inbound = new IncomingOrder({
      unstored: () => { if (!this.#isEnded) this.home.dirty(this) },
      commit: () => { void this.home.commit(this).catch(() => {}) },
      tell: write,
      failed: error => { this.home.defect(error) },
      after: (ms, run) => this.home.after(ms, run),
    }, past?.counts.in)
    this.#outbound = new OutgoingOrder({
      write,
      hasRoom: () => session.hasRoom,
      drained: then => {
        if (session.connection !== 'attached') return false
        session.drained(then)
        return true
      },
      moved: item => { this.#rewrite(item) },
    }, { confirmed: past?.counts.out ?? 0, isHeld: past === undefined, isVague: past !== undefined && !past.isWhole })
    // A connection that does not answer is found by the rounds of the module, so that no stanza costs a timer.
    this.#requests = new management.RequestLoop({ now: () => this.home.now(), write })
    this.#stored = new StoredSession(this.#storing(), session, terms.id, past?.numbering)
    for (const item of past?.items ?? []) this.#restore(item)
  }

  get isResumable (): boolean { return this.resumeTimeout > 0 }
  /** When `<r/>` was sent, if it was not answered yet; in milliseconds since 1970. */
  get askedAt (): number | undefined { return this.#requests.askedAt }

  // ---- Outgoing ---------------------------------------------------------------------------

  send (stanza: Stanza): 'sent' | 'kept' | 'full' {
    const item = this.#item(stanza, undefined, 'ready')
    if (this.#isParked) this.home.submit(this.#appending(item))
    this.#outbound.place(item)
    this.#sent()
    if (this.session.connection === 'closed') return 'full'
    return this.session.connection === 'attached' && this.#outbound.isClear ? 'sent' : 'kept'
  }

  reserve (stanza: Stanza, handed: DeliveryTracker | undefined, batch: Batch): Reservation {
    const item = this.#item(stanza, handed, 'waiting')
    if (!this.#isEnded) {
      if (this.#isParked || isLasting(stanza)) batch.add(this.#appending(item))
      this.#outbound.place(item)
      this.#count()
    }
    return { ready: () => { this.readied(item) }, failed: () => { this.voided(item) } }
  }

  reserveShared (broadcast: Broadcast, stanza: Stanza, batch: Batch): Reservation {
    const body = this.home.bodies.of(broadcast)
    const seq = this.#outbound.next
    // Without a number, the row of the body cannot name this device: the stanza gets a row of its own.
    if (this.#isEnded || this.#isParked || body.isLasting && seq === undefined) {
      return this.reserve(stanza, undefined, batch)
    }
    const item = new SharedItem(this, body, 'waiting', this.session.mayBeDelayed)
    if (body.isLasting && seq !== undefined) {
      item.seq = item.pinned = seq
      this.home.bodies.pin(body, [this.id, seq, this.#stored.numbering], batch)
    }
    this.#outbound.place(item)
    this.home.hold(body)
    this.#count()
    return item
  }

  readied (item: Item): void {
    item.state = 'ready'
    if (this.#isEnded) {
      void follow(this.#handing, () => {
        this.#lose(item)
        if (item.pinned !== undefined && item.body !== undefined) this.home.unpin(item.body)
      })
      return
    }
    this.#outbound.drain()
    this.#sent()
  }

  voided (item: Item): void {
    this.#stored.forget(item)
    this.#outbound.drop(item)
    this.#leave([item])
    this.#count()
  }

  get toAttribute (): string { return this.#toAttribute ??= recipientAttribute(this.session.jid) }

  /** True if the oldest broadcast that the device has not acknowledged has this body. */
  isLateWith (body: SharedBody): boolean {
    for (const item of this.#outbound.items()) if (item.body !== undefined) return item.body === body
    return false
  }

  #leave (items: readonly Item[]): void { for (const { body } of items) if (body !== undefined) this.home.leave(body) }

  get hasBegun (): boolean { return this.#hasBegun }
  get isParked (): boolean { return this.#isParked }

  /** Starts sending: the device has been told that it is managed. */
  begin (): void {
    this.#hasBegun = true
    if (!this.#isParked) this.#outbound.begin()
    this.#sent()
  }

  flushDelayed (): void {
    this.#outbound.rouse()
    this.#sent()
  }

  /** The unacknowledged bytes that the module counts. */
  get bytes (): number { return this.#counted ?? 0 }

  /** Starts or stops counting the session's bytes for the module. */
  account (isCounted: boolean): void { this.#counted = isCounted ? this.#outbound.ownBytes : undefined }

  #count (): void {
    if (this.#counted === undefined) return
    const by = this.#outbound.ownBytes - this.#counted
    this.#counted += by
    if (by !== 0) this.home.holds(this, by)
  }

  /** True while at least half of the bound is free; the other half is for stanzas from other senders. */
  get hasRoom (): boolean {
    const { stanzas, bytes } = this.home.bounds
    const { length, bytes: kept } = this.#outbound
    return !this.#isEnded && length < stanzas / 2 && kept < bytes / 2 && this.home.hasRoom(this)
  }

  confirming (then: () => void): void { this.#confirming.push(then) }

  /** Called when the connection is gone: nothing is acknowledged until there is a new one. */
  detached (): void { this.#confirm() }

  #confirm (): void { for (const then of this.#confirming.splice(0)) then() }

  unconfirmed (): Iterable<string> { return this.#outbound.octets() }

  /** Sends all unacknowledged stanzas again on a new connection (XEP-0198 §5). */
  attached (): void {
    this.#requests.rest()
    this.#outbound.repeat()
    this.#ask()
  }

  /** Handles `<a/>`, or the `h` of `<resume/>`. Throws StreamError for an impossible count. */
  confirmed (h: number): void {
    const before = this.#outbound.confirmed
    const handled = this.#outbound.confirm(h)
    for (const { handed, confirmed } of handled) handed?.confirm(confirmed)
    this.#stored.gone(handled)
    this.#leave(handled)
    const isReached = this.#requests.answered(h, before, this.#outbound.sent)
    this.#count()
    this.#confirm()
    // A device that has not counted everything would answer the same at once, and so on without end. It is asked again
    // when there is more to acknowledge, or after a time.
    if (isReached) this.#ask()
  }

  /** Asks the device again if its last acknowledgement did not cover everything. */
  remind (): void { this.#ask() }

  #item (stanza: Stanza, handed: DeliveryTracker | undefined, state: Item['state']): Item {
    // Copied: an unacknowledged stanza must not keep its input buffer in memory.
    const item: Item = {
      octets: flatten(stanza.octets()), handed, at: this.home.now(), row: undefined, seq: undefined, state,
      isPatient: this.session.mayBeDelayed,
      confirmed: () => { this.#rewrite(item) },
    }
    handed?.give(item.confirmed)
    return item
  }

  /** Notes that an item's stored row is outdated. */
  #rewrite (item: Item): void {
    if (!this.#isEnded) this.#stored.moved(item)
  }

  #sent (): void {
    this.#count()
    const { bounds } = this.home
    if (this.#isEnded) return
    if (this.#outbound.length > bounds.stanzas || this.#outbound.bytes > bounds.bytes) this.home.overflowed(this)
    else this.#ask()
  }

  /** Sends `<r/>`, one at a time: its answer covers everything sent before. */
  #ask (): void {
    if (this.askedAt !== undefined || !this.#outbound.isOpen || this.session.connection !== 'attached') return
    this.tried = this.session.unansweredSilence
    this.#requests.ask(this.#outbound.sent)
  }

  #restore (past: PastRow | PastReference): void {
    if (past.body !== undefined) this.#outbound.restore(this.#restoredReference(past, past.body))
    else if ('entry' in past) this.#outbound.restore(this.#restored(past))
  }

  #restored ({ entry: { id, at, value }, handed }: PastRow): Item {
    const item: Item = {
      octets: toOctets(value.octets), handed, at, row: id, seq: value.seq, state: 'ready', isPatient: false,
      confirmed: () => { this.#rewrite(item) },
    }
    handed.give(item.confirmed)
    return item
  }

  #restoredReference (past: PastRow | PastReference, body: SharedBody): Item {
    const item = new SharedItem(this, body, 'ready', false)
    item.row = 'entry' in past ? past.entry.id : undefined
    item.seq = 'entry' in past ? past.entry.value.seq : past.seq
    item.pinned = item.seq ?? 0
    body.pins++
    this.home.hold(body)
    return item
  }

  // ---- Incoming -----------------------------------------------------------------------------

  arrive (): Arrival { return this.#inbound.arrive() }

  async settled (): Promise<void> { await this.#inbound.settled() }

  settling (batch: Batch, isEmpty: boolean, isAnswered: boolean): void {
    const { isUrgent } = this.#stored
    if (!isEmpty || isUrgent && isAnswered) this.write(batch)
    // On a full disk, presence is sent to others all the same, and the state is stored later.
    else if (isUrgent) void this.home.commit(this).catch(() => {})
    else this.home.dirty(this)
    if (isUrgent) this.session.charge(Math.floor(this.#stored.stateBytes / COST_UNIT))
  }

  /** Handles `<r/>`. */
  asked (): void { this.#inbound.asked() }

  waits (isSo: () => boolean): void { if (!this.#isEnded) this.#inbound.waits(isSo) }

  // ---- Storage ---------------------------------------------------------------------------------

  changed (decides: boolean): void { if (!this.#isEnded) this.#stored.changed(decides) }

  /** Adds everything that is not stored yet to a batch. */
  write (batch: Batch): void {
    if (this.#isEnded) return
    this.#stored.write(batch, this.#counts, () => this.#state())
    this.#inbound.submitted(batch)
  }

  /**
   * Stores the whole session in order before the process ends. Nothing is sent after this, for the device would count
   * stanzas that might not be stored; later stanzas are stored at once.
   */
  park (batch: Batch): void {
    if (this.#isEnded) return
    this.#isParked = true
    this.#outbound.hold()
    this.#inbound.forget()
    this.#stored.rewrite(batch, this.#outbound.all(), this.#counts, () => this.#state())
    this.#inbound.submitted(batch)
    batch.failed(() => { this.#isParked = false }) // the next start finds the state as after a crash
  }

  /** Sends the last `<a/>` before the process ends: the count that is stored. */
  farewell (): void { this.#inbound.acknowledge() }

  get #counts (): Counts { return { in: this.#inbound.count, out: this.#outbound.confirmed } }

  #state (): SessionState {
    return stateOf(this.session, {
      patience: this.#isEnded ? 0 : this.resumeTimeout,
      numbering: this.#stored.numbering,
      isWhole: this.#isParked && this.#outbound.isWhole,
    })
  }

  #appending (item: Item): Write { return this.#stored.appending(item, this.#outbound.next) }

  #storing (): ConstructorParameters<typeof StoredSession>[0] {
    const stores = (): ManagedSessionHome<ManagedSession>['stores'] => this.home.stores
    return {
      get stores () { return stores() },
      id: () => this.home.id(),
      items: () => this.#outbound.items(),
      dirty: () => { this.home.dirty(this) },
      unpin: body => { this.home.unpin(body) },
    }
  }

  // ---- Resumption and end --------------------------------------------------------------------------

  /** Cancels a due answer to `<r/>`: a device that resumes the session gets the count with `<resumed/>`. */
  forgetAnswer (): void { this.#inbound.forget() }

  /** The number of handled stanzas. */
  get count (): number { return this.#inbound.count }
  /** True if that number and the numbers of outgoing stanzas are stored, so that no crash changes them. */
  get isStored (): boolean {
    return this.#inbound.isStored && this.#stored.hasNumbers && !this.#stored.isInherited
  }

  /**
   * Ends the session: hands back the stanzas that the device did not acknowledge (XEP-0198 §4). Resolves when that is
   * done; until then the session is stored as one that cannot be resumed.
   */
  end (): Maybe<void> {
    if (this.#isEnded) return
    const { bytes } = this.#outbound
    const items = this.#outbound.take()
    this.#isEnded = true
    this.#count()
    this.#confirm()
    this.#inbound.forget()
    const ready = items.filter(({ state }) => state === 'ready')
    this.#handing = this.home.handBack(ready, bytes, item => { this.#lose(item) })
    if (this.#handing !== undefined) this.home.store(batch => { this.#stored.end(batch, this.#state()) })
    return follow(this.#handing, () => { this.home.store(batch => { this.#stored.remove(batch, ready) }) })
  }

  #lose (item: Item): void {
    this.#leave([item])
    const isLost = item.handed?.lose(item.confirmed) ?? true
    const removing = this.#stored.removing(item)
    if (!isLost) {
      if (removing !== undefined) this.home.submit(removing)
      return
    }
    try {
      this.home.undelivered(item.octets, item.at, removing)
    } catch (error) {
      // One unreadable stanza affects neither the others nor the removal of the session's rows.
      this.#stored.setAside(item, error)
    }
  }
}
