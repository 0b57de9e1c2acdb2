/** A managed session (XEP-0198): acknowledged both ways, and kept, connection or none, until its device is back or it is too late. */
import { flatten, fromOctets, management, namespaceOf, NS, toOctets } from '../../lib/api.js'
import type { Arrival, Batch, Booking, Entry, Handed, Manager, Session, Stanza, Write } from '../../lib/api.js'
import { Inbound } from './inbound.js'
import { Outbound, type Item } from './outbound.js'
import type { Counts, Row, SessionState, Stores } from './stores.js'

/** What a managed session asks of the module. */
export interface ManagedHome {
  readonly stores: Stores
  /** The most that may be unconfirmed before the session ends. */
  readonly bounds: { readonly stanzas: number, readonly bytes: number }
  now (): number
  id (): string
  /** It has something to be written down within a second. */
  dirty (managed: Managed): void
  /** It is written down now. */
  commit (managed: Managed): Promise<void>
  /** Its device has not got this: others may, or it waits. `removing` is stored with what becomes of it. */
  undelivered (octets: string, at: number, removing: Write | undefined): void
  /** Stores this on its own. */
  discard (removing: Write): void
  /** Something failed that should not: it is logged. */
  defect (error: unknown): void
  /** More is unconfirmed than may be. */
  overflowed (managed: Managed): void
  /** So many bytes more are unconfirmed, or fewer. May end its session, or another one. */
  holds (managed: Managed, by: number): void
  /** The devices of its account hold far less than they may. */
  hasRoom (managed: Managed): boolean
}

/** What is known of a session that lived before this process. */
export interface Past { readonly counts: Counts, readonly rows: readonly (readonly [Entry<Row>, Handed])[], readonly isWhole: boolean }

export class Managed implements Manager {
  readonly session: Session
  /** XEP-0198 §5: what it can be resumed by. */
  readonly id: string
  /** How long it waits for its device, in milliseconds; 0: it does not. */
  readonly patience: number
  /** Another one where the module was set up anew. */
  home: ManagedHome
  /** When the device was asked what it has, and has not answered; in milliseconds since 1970. */
  askedAt: number | undefined
  /** The silence of both sides that this question ended, in milliseconds. */
  tried = 0
  readonly #inbound: Inbound
  readonly #outbound: Outbound
  /** Rows that are needed no more, and rows that say something else now. */
  #gone: string[] = []
  #moved = new Set<Item>()
  #hasChanged = true
  #isEnded = false
  /** Bytes that its home knows of; undefined while it counts none. */
  #counted: number | undefined
  /** They wait for the device to confirm something. */
  #confirming: (() => void)[] = []
  #claims = 0

  /** `past`: what it was before this process. */
  constructor (home: ManagedHome, session: Session, terms: { readonly id: string, readonly patience: number }, past?: Past) {
    this.home = home
    this.session = session
    this.id = terms.id
    this.patience = terms.patience
    this.#inbound = new Inbound({
      write: batch => { this.write(batch) },
      unstored: () => { this.home.dirty(this) },
      commit: () => { void this.home.commit(this).catch(() => {}) },
      tell: octets => { session.write(octets) },
      failed: error => { this.home.defect(error) },
    }, past?.counts.in)
    this.#outbound = new Outbound({
      write: octets => { session.write(octets) },
      hasRoom: () => session.hasRoom,
      drained: then => {
        if (session.connection !== 'attached') return false
        session.drained(then)
        return true
      },
      moved: item => { this.#rewrite(item) },
    }, { confirmed: past?.counts.out ?? 0, isHeld: past === undefined, isVague: past !== undefined && !past.isWhole })
    for (const [entry, handed] of past?.rows ?? []) this.#restore(entry, handed)
  }

  get isResumable (): boolean { return this.patience > 0 }

  // ---- What goes out ----------------------------------------------------------------------

  send (stanza: Stanza): 'sent' | 'kept' | 'full' {
    this.#outbound.place(this.#item(stanza, undefined, 'ready'))
    this.#sent()
    if (this.session.connection === 'closed') return 'full'
    return this.session.connection === 'attached' && this.#outbound.isClear ? 'sent' : 'kept'
  }

  book (stanza: Stanza, handed: Handed | undefined, batch: Batch): Booking {
    const item = this.#item(stanza, handed, 'waiting')
    if (!this.#isEnded) {
      item.seq = this.#outbound.next
      if (isLasting(stanza)) {
        item.row = this.home.id()
        batch.add(this.home.stores.unacknowledged.appending(this.#owner, this.#entry(item)))
      }
      this.#outbound.place(item)
      this.#count()
    }
    return {
      ready: () => {
        item.state = 'ready'
        if (this.#isEnded) { this.#lose(item); return }
        this.#outbound.drain()
        this.#sent()
      },
      failed: () => {
        item.row = undefined
        this.#outbound.drop(item)
        this.#count()
      },
    }
  }

  /** The device knows that it is managed: what was sent meanwhile goes out behind that. */
  begin (): void {
    this.#outbound.begin()
    this.#sent()
  }

  rouse (): void {
    this.#outbound.rouse()
    this.#sent()
  }

  /** What is counted for all sessions: bytes that are not confirmed. */
  get bytes (): number { return this.#counted ?? 0 }

  /** From now on its home is told how much is unconfirmed; or no longer. */
  account (isCounted: boolean): void { this.#counted = isCounted ? this.#outbound.bytes : undefined }

  #count (): void {
    if (this.#counted === undefined) return
    const by = this.#outbound.bytes - this.#counted
    this.#counted += by
    if (by !== 0) this.home.holds(this, by)
  }

  /** The other half is for what others say meanwhile. */
  get hasRoom (): boolean {
    return !this.#isEnded && this.#outbound.bytes < this.home.bounds.bytes / 2 && this.home.hasRoom(this)
  }

  confirming (then: () => void): void { this.#confirming.push(then) }

  /** Its connection is gone: nothing is confirmed until there is another. */
  detached (): void { this.#confirm() }

  #confirm (): void { for (const then of this.#confirming.splice(0)) then() }

  unconfirmed (): Iterable<string> { return this.#outbound.octets() }

  /** There is a new connection: what the device has not confirmed goes out again (XEP-0198 §5). */
  attached (): void {
    this.askedAt = undefined
    this.#outbound.repeat()
    this.#ask()
  }

  /** `<a/>`, and the `h` of who resumes. Throws the StreamError where it cannot be. */
  confirmed (h: number): void {
    for (const item of this.#outbound.confirm(h)) {
      item.handed?.confirm(item.confirmed)
      if (item.row !== undefined) this.#gone.push(item.row)
      this.#moved.delete(item)
    }
    this.askedAt = undefined
    if (this.#gone.length > 0) this.home.dirty(this)
    this.#count()
    this.#confirm()
    this.#ask()
  }

  #item (stanza: Stanza, handed: Handed | undefined, state: Item['state']): Item {
    // Copied: what is kept until it is confirmed must not pin the chunk that it came with.
    const item: Item = {
      octets: flatten(stanza.octets()), handed, at: this.home.now(), row: undefined, seq: undefined, state,
      isPatient: this.session.isPatient,
      confirmed: () => { this.#rewrite(item) },
    }
    handed?.give(item.confirmed)
    return item
  }

  /** What is written down of it is so no longer. */
  #rewrite (item: Item): void {
    if (item.row === undefined || this.#isEnded) return
    this.#moved.add(item)
    this.home.dirty(this)
  }

  #sent (): void {
    this.#count()
    const { bounds } = this.home
    if (this.#isEnded) return
    if (this.#outbound.length > bounds.stanzas || this.#outbound.bytes > bounds.bytes) this.home.overflowed(this)
    else this.#ask()
  }

  /** One question at a time: its answer tells of all that was sent before it. */
  #ask (): void {
    if (this.askedAt !== undefined || !this.#outbound.isOpen || this.session.connection !== 'attached') return
    this.askedAt = this.home.now()
    this.tried = this.session.unanswered
    this.session.write(management.REQUEST)
  }

  #restore ({ id, at, value }: Entry<Row>, handed: Handed): void {
    const item: Item = {
      octets: toOctets(value.octets), handed, at, row: id, seq: value.seq, state: 'ready', isPatient: false,
      confirmed: () => { this.#rewrite(item) },
    }
    handed.give(item.confirmed)
    this.#outbound.restore(item)
  }

  // ---- What comes in ------------------------------------------------------------------------

  arrive (): Arrival { return this.#inbound.arrive() }

  settling (batch: Batch, isEmpty: boolean): void {
    if (isEmpty) this.home.dirty(this)
    else this.write(batch)
  }

  /** `<r/>` */
  asked (): void { this.#inbound.asked() }

  // ---- What is written down --------------------------------------------------------------------

  changed (): void {
    this.#hasChanged = true
    this.home.dirty(this)
  }

  /** Adds all that is not written down yet. */
  write (batch: Batch): void {
    if (this.#isEnded) return
    const { counts, sessions } = this.home.stores
    batch.add(counts.putting(this.#owner, this.id, { in: this.#inbound.count, out: this.#outbound.confirmed }))
    this.#inbound.submitted(batch)
    this.#tidy(batch)
    if (!this.#hasChanged) return
    this.#hasChanged = false
    batch.add(sessions.putting(this.#owner, this.id, this.#state(false)))
    batch.failed(() => { this.changed() })
  }

  /** The process ends, and the session does not: all of it is written down, in its order. */
  park (batch: Batch): void {
    const { counts, sessions, unacknowledged } = this.home.stores
    const all = this.#outbound.all()
    const rows = [...this.#gone, ...all.flatMap(item => item.row ?? [])]
    if (rows.length > 0) batch.add(unacknowledged.removing(this.#owner, rows))
    for (const item of all) {
      item.row = this.home.id()
      batch.add(unacknowledged.appending(this.#owner, this.#entry(item)))
    }
    batch.add(counts.putting(this.#owner, this.id, { in: this.#inbound.count, out: this.#outbound.confirmed }))
    batch.add(sessions.putting(this.#owner, this.id, this.#state(this.#outbound.isWhole)))
    this.#isEnded = true
  }

  /** The last that the device hears before the process ends: all that has come from it is stored. */
  farewell (): void {
    this.session.write(management.answer(management.counted(this.#inbound.count, 0)))
  }

  #tidy (batch: Batch): void {
    const { unacknowledged } = this.home.stores
    const gone = this.#gone
    const moved = this.#moved
    if (gone.length === 0 && moved.size === 0) return
    this.#gone = []
    this.#moved = new Set()
    if (gone.length > 0) batch.add(unacknowledged.removing(this.#owner, gone))
    for (const item of moved) {
      if (item.row !== undefined) batch.add(unacknowledged.replacing(this.#owner, item.row, this.#row(item)))
    }
    batch.failed(() => {
      this.#gone.push(...gone)
      for (const item of moved) this.#moved.add(item)
      this.home.dirty(this)
    })
  }

  #state (isWhole: boolean): SessionState {
    const { session } = this
    return {
      resource: session.jid.resource,
      since: session.since,
      address: session.address,
      secure: session.secure,
      ...session.lang === undefined ? {} : { lang: session.lang },
      ...session.presence === undefined ? {} : { presence: fromOctets(session.presence.octets()) },
      priority: session.priority,
      slots: session.texts(),
      patience: this.patience,
      isWhole,
    }
  }

  #entry (item: Item): Entry<Row> {
    if (item.row === undefined) throw new Error('a row without an id')
    return { id: item.row, at: item.at, with: this.session.jid.toString(), value: this.#row(item) }
  }

  #row ({ seq, octets, handed }: Item): Row {
    const group = handed?.idFor(() => this.home.id())
    return {
      ...seq === undefined ? {} : { seq },
      octets: fromOctets(octets),
      ...group === undefined ? {} : { group },
      ...handed?.isConfirmed === true ? { confirmed: true } : {},
    }
  }

  get #owner (): string { return this.session.account.toString() }

  // ---- Its end, and who takes it up again ----------------------------------------------------------

  /** Whoever has called last may resume it: resolves with what has come, and whether it is still the caller's. */
  async claim (): Promise<{ readonly count: number, readonly isOurs: boolean }> {
    const claim = ++this.#claims
    const count = await this.#inbound.settled()
    this.#inbound.forget()
    return { count, isOurs: claim === this.#claims && !this.#isEnded }
  }

  /** How many have come. */
  get count (): number { return this.#inbound.count }
  /** That many may be told, and what goes out has the numbers that are written down: a crash takes neither back. */
  get isStored (): boolean { return this.#inbound.isStored && this.#moved.size === 0 }

  /** The session is no more: what its device has not confirmed goes the way of messages to one that is gone (XEP-0198 §4). */
  end (batch: Batch): void {
    const { counts, sessions, unacknowledged } = this.home.stores
    if (this.#isEnded) return
    const items = this.#outbound.take()
    this.#isEnded = true
    this.#count()
    this.#confirm()
    for (const item of items) if (item.state === 'ready') this.#lose(item)
    batch.add(sessions.putting(this.#owner, this.id, undefined))
    batch.add(counts.putting(this.#owner, this.id, undefined))
    if (this.#gone.length > 0) batch.add(unacknowledged.removing(this.#owner, this.#gone))
  }

  #lose (item: Item): void {
    const isLost = item.handed?.lose(item.confirmed) ?? true
    const removing = item.row === undefined ? undefined : this.home.stores.unacknowledged.removing(this.#owner, [item.row])
    if (!isLost) {
      if (removing !== undefined) this.home.discard(removing)
      return
    }
    try {
      this.home.undelivered(item.octets, item.at, removing)
    } catch (error) {
      // One that cannot be read keeps none of the others, and not the session's own rows.
      if (item.row !== undefined) void this.home.stores.unacknowledged.setAside(this.#owner, this.#entry(item), error)
    }
  }
}

/** What is not to go with a crash: messages, but for those that mean nothing later (XEP-0085, XEP-0334). */
function isLasting (stanza: Stanza): boolean {
  if (stanza.kind !== 'message' || stanza.has(NS.HINTS, 'no-store')) return false
  for (const child of stanza.children()) {
    const namespace = namespaceOf(child)
    if (namespace !== NS.CHAT_STATES && namespace !== NS.HINTS && namespace !== NS.STANZA_ID && child.getName() !== 'thread') return true
  }
  return false
}

