/** A managed session (XEP-0198): acknowledged both ways, and kept, connection or none, until its device is back or it is too late. */
import { flatten, fromOctets, isLasting, management, toOctets } from '../../lib/api.js'
import type { Arrival, Batch, Booking, Entry, Handed, Manager, Session, Stanza, Write } from '../../lib/api.js'
import type { ManagedHome, Past } from './home.js'
import { Inbound } from './inbound.js'
import { Outbound, type Item } from './outbound.js'
import type { Row, SessionState } from './stores.js'

export type { ManagedHome, Past } from './home.js'

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
  /** The process ends: all that is not confirmed is written down, and what is sent from now on at once. */
  #isParked = false
  /** The device knows that it is managed, and by what its session can be resumed. */
  #hasBegun: boolean
  #claims = 0

  /** `past`: what it was before this process. */
  constructor (home: ManagedHome, session: Session, terms: { readonly id: string, readonly patience: number }, past?: Past) {
    this.home = home
    this.session = session
    this.id = terms.id
    this.patience = terms.patience
    this.#hasBegun = past !== undefined
    this.#inbound = new Inbound({
      write: batch => { this.write(batch) },
      unstored: () => { if (!this.#isEnded) this.home.dirty(this) },
      commit: () => { void this.home.commit(this).catch(() => {}) },
      tell: octets => { session.write(octets) },
      failed: error => { this.home.defect(error) },
      after: (ms, run) => this.home.after(ms, run),
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
    const item = this.#item(stanza, undefined, 'ready')
    if (this.#isParked) this.home.submit(this.#appending(item))
    this.#outbound.place(item)
    this.#sent()
    if (this.session.connection === 'closed') return 'full'
    return this.session.connection === 'attached' && this.#outbound.isClear ? 'sent' : 'kept'
  }

  book (stanza: Stanza, handed: Handed | undefined, batch: Batch): Booking {
    const item = this.#item(stanza, handed, 'waiting')
    if (!this.#isEnded) {
      if (this.#isParked || isLasting(stanza)) batch.add(this.#appending(item))
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

  get hasBegun (): boolean { return this.#hasBegun }
  get isParked (): boolean { return this.#isParked }

  /** The device knows that it is managed: what was sent meanwhile goes out behind that. */
  begin (): void {
    this.#hasBegun = true
    if (!this.#isParked) this.#outbound.begin()
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

  async settled (): Promise<void> { await this.#inbound.settled() }

  settling (batch: Batch, isEmpty: boolean): void {
    if (isEmpty) this.home.dirty(this)
    else this.write(batch)
  }

  /** `<r/>` */
  asked (): void { this.#inbound.asked() }

  waits (isSo: () => boolean): void { if (!this.#isEnded) this.#inbound.waits(isSo) }

  // ---- What is written down --------------------------------------------------------------------

  changed (): void {
    if (this.#isEnded) return
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
    batch.add(sessions.putting(this.#owner, this.id, this.#state()))
    batch.failed(() => { this.changed() })
  }

  /**
   * The process ends, and the session does not: all of it is written down, in its order. Nothing that is sent later goes out, for the
   * device would count it, and it might not be written down; it gets its row at once.
   */
  park (batch: Batch): void {
    if (this.#isEnded) return
    const { counts, sessions, unacknowledged } = this.home.stores
    this.#isParked = true
    this.#outbound.hold()
    this.#inbound.forget()
    const all = this.#outbound.all()
    const rows = [...this.#gone, ...all.flatMap(item => item.row ?? [])]
    if (rows.length > 0) batch.add(unacknowledged.removing(this.#owner, rows))
    for (const item of all) {
      item.row = this.home.id()
      batch.add(unacknowledged.appending(this.#owner, this.#entry(item)))
    }
    this.#gone = []
    this.#moved.clear()
    this.#hasChanged = false
    batch.add(counts.putting(this.#owner, this.id, { in: this.#inbound.count, out: this.#outbound.confirmed }))
    this.#inbound.submitted(batch)
    batch.add(sessions.putting(this.#owner, this.id, this.#state()))
    batch.failed(() => { this.#isParked = false }) // the next start finds it as after a crash
  }

  /** The last that the device hears before the process ends: so much of what has come from it is stored. */
  farewell (): void {
    this.session.write(management.answer(management.counted(this.#inbound.stored, 0)))
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

  #state (): SessionState {
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
      isWhole: this.#isParked && this.#outbound.isWhole,
    }
  }

  /** Gives the next item its number and its row. */
  #appending (item: Item): Write {
    item.seq = this.#outbound.next
    item.row = this.home.id()
    return this.home.stores.unacknowledged.appending(this.#owner, this.#entry(item))
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
    this.#inbound.forget()
    for (const item of items) if (item.state === 'ready') this.#lose(item)
    batch.add(sessions.putting(this.#owner, this.id, undefined))
    batch.add(counts.putting(this.#owner, this.id, undefined))
    if (this.#gone.length > 0) batch.add(unacknowledged.removing(this.#owner, this.#gone))
  }

  #lose (item: Item): void {
    const isLost = item.handed?.lose(item.confirmed) ?? true
    const removing = item.row === undefined ? undefined : this.home.stores.unacknowledged.removing(this.#owner, [item.row])
    if (!isLost) {
      if (removing !== undefined) this.home.submit(removing)
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
