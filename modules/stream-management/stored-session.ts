/** Writes one managed session: its state, its counts, and a row for each unacknowledged stanza. */
import { fromOctets } from '../../lib/api.js'
import type { Batch, Entry, Session, Write } from '../../lib/api.js'
import type { Item } from './outgoing-order.js'
import type { SharedBody } from './shared-body.js'
import type { Counts, Row, SessionState, Stores } from './stores.js'

/** The needs of a stored session, met by its session. */
export interface StoredSessionHome {
  readonly stores: Stores
  /** Makes an id. */
  id (): string
  /** All unacknowledged stanzas. */
  items (): Iterable<Item>
  /** Asks that the changes are stored within a second. */
  dirty (): void
  /** Called when it is stored that a reference to this body is over. */
  unpin (body: SharedBody): void
}

/** The stored form of a session, and what of it is not stored yet. */
export class StoredSession {
  readonly #home: StoredSessionHome
  readonly #session: Session
  readonly #id: string
  /** Rows that are not needed any more, and items whose row is outdated. */
  #gone: string[] = []
  /** Bodies of broadcasts that the device has acknowledged: their references are over when the count is stored. */
  #released: SharedBody[] = []
  #moved = new Set<Item>()
  #hasChanged = true
  #isUrgent = false
  #stateBytes = 0
  #numbering: number
  /** The numbering has gone on, and items that are named by an earlier one have no rows of their own yet. */
  #isOwed = false
  #isInherited: boolean

  /** `id`: the key of the session. `numbering`: as the previous process stored it; undefined for a new session. */
  constructor (home: StoredSessionHome, session: Session, id: string, numbering: number | undefined) {
    this.#numbering = numbering ?? 0
    this.#isInherited = numbering !== undefined
    this.#home = home
    this.#session = session
    this.#id = id
  }

  /** True if the number of each stanza is stored. */
  get hasNumbers (): boolean { return this.#moved.size === 0 && !this.#isOwed }

  /**
   * True if the stored state is that of the previous process. It may say that it is known what was sent, which is wrong
   * as soon as more is sent.
   */
  get isInherited (): boolean { return this.#isInherited }

  /** `SessionState.numbering`. */
  get numbering (): number { return this.#numbering }

  /** Makes the write that stores a new item with its number. */
  appending (item: Item, seq: number | undefined): Write {
    item.seq = seq
    item.row = this.#home.id()
    return this.#home.stores.unacknowledged.appending(this.#owner, this.#entry(item))
  }

  /** Makes the write that removes an item; undefined if it is not stored. */
  removing ({ row }: Item): Write | undefined {
    return row === undefined ? undefined : this.#home.stores.unacknowledged.removing(this.#owner, [row])
  }

  /** Notes that items are not needed any more. The next write removes them. */
  gone (items: readonly Item[]): void {
    for (const item of items) {
      if (item.row !== undefined) this.#gone.push(item.row)
      if (item.pinned !== undefined && item.body !== undefined) this.#released.push(item.body)
      this.#moved.delete(item)
    }
    if (this.#gone.length > 0 || this.#released.length > 0) this.#home.dirty()
  }

  /** Notes that an item was not stored and is never sent. What another commit has stored of it is removed. */
  forget (item: Item): void {
    if (item.row !== undefined) {
      this.#gone.push(item.row)
      this.#home.dirty()
    }
    item.row = item.pinned = undefined
    this.#moved.delete(item)
  }

  /** Notes that the row of an item is outdated. */
  moved (item: Item): void {
    if (item.row === undefined && item.pinned === undefined) return
    this.#moved.add(item)
    this.#home.dirty()
  }

  /**
   * Notes that the state of the session has changed. `isUrgent`: it is stored together with the stanza that changed it,
   * and not within a second.
   */
  changed (isUrgent: boolean): void {
    this.#hasChanged = true
    this.#isUrgent ||= isUrgent
    this.#home.dirty()
  }

  /** True if the state has changed, and must be stored with the stanza that changed it. */
  get isUrgent (): boolean { return this.#isUrgent }
  /** The characters of the state that was written last, without its fixed parts. */
  get stateBytes (): number { return this.#stateBytes }

  /** Puts an item aside that cannot be read. */
  setAside (item: Item, error: unknown): void {
    if (item.row !== undefined) void this.#home.stores.unacknowledged.setAside(this.#owner, this.#entry(item), error)
  }

  /** Adds everything that is not stored yet to a batch. */
  write (batch: Batch, count: Counts, state: () => SessionState): void {
    const { counts, sessions } = this.#home.stores
    batch.add(counts.putting(this.#owner, this.#id, count))
    this.#release(batch)
    this.#tidy(batch)
    if (!this.#hasChanged) return
    this.#hasChanged = this.#isUrgent = false
    const value = state()
    this.#stateBytes = sizeOf(value)
    batch.add(sessions.putting(this.#owner, this.#id, value))
    batch.committed(() => { this.#isInherited = false })
    batch.failed(() => { this.changed(false) })
  }

  /** Writes the whole session in order: a new row for each unacknowledged stanza, so that they are all in order. */
  rewrite (batch: Batch, items: readonly Item[], count: Counts, state: () => SessionState): void {
    const { counts, sessions, unacknowledged } = this.#home.stores
    const rows = [...this.#gone, ...items.flatMap(item => item.row ?? [])]
    if (rows.length > 0) batch.add(unacknowledged.removing(this.#owner, rows))
    const hasMoved = items.some(item => isPinnedAlone(item) && item.pinned !== item.seq)
    if (this.#isOwed || hasMoved) this.#renumber()
    for (const item of items) {
      // The row of its body names it already, unless all such names are over.
      if (this.#isOwed || !isPinnedAlone(item)) batch.add(this.appending(item, item.seq))
    }
    this.#isOwed = false
    this.#release(batch)
    this.#gone = []
    this.#moved.clear()
    this.#hasChanged = this.#isUrgent = false
    batch.add(counts.putting(this.#owner, this.#id, count))
    batch.add(sessions.putting(this.#owner, this.#id, state()))
  }

  /** Notes that the session has ended, in case that the process ends before all of its stanzas are handed back. */
  end (batch: Batch, state: SessionState): void {
    batch.add(this.#home.stores.sessions.putting(this.#owner, this.#id, state))
  }

  /** Removes the session. The rows of its `items` are removed one by one; their references are over. */
  remove (batch: Batch, items: readonly Item[]): void {
    const { counts, sessions, unacknowledged } = this.#home.stores
    batch.add(sessions.putting(this.#owner, this.#id, undefined))
    batch.add(counts.putting(this.#owner, this.#id, undefined))
    if (this.#gone.length > 0) batch.add(unacknowledged.removing(this.#owner, this.#gone))
    for (const { body, pinned } of items) if (body !== undefined && pinned !== undefined) this.#released.push(body)
    this.#release(batch)
  }

  /** Ends the references of acknowledged broadcasts with the batch that stores the count. */
  #release (batch: Batch): void {
    const released = this.#released
    if (released.length === 0) return
    this.#released = []
    batch.committed(() => { for (const body of released) this.#home.unpin(body) })
    batch.failed(() => {
      this.#released.push(...released)
      this.#home.dirty()
    })
  }

  #tidy (batch: Batch): void {
    const { unacknowledged } = this.#home.stores
    const gone = this.#gone
    const moved = this.#moved
    if (gone.length === 0 && this.hasNumbers) return
    this.#gone = []
    this.#moved = new Set()
    if (gone.length > 0) batch.add(unacknowledged.removing(this.#owner, gone))
    const fresh = this.#renumbered(moved)
    for (const item of moved) {
      if (item.row !== undefined) batch.add(unacknowledged.replacing(this.#owner, item.row, this.#row(item)))
    }
    for (const item of fresh) batch.add(this.appending(item, item.seq))
    batch.failed(() => {
      this.#gone.push(...gone)
      this.#isOwed ||= fresh.length > 0
      for (const item of fresh) item.row = undefined
      for (const item of moved) this.#moved.add(item)
      this.#home.dirty()
    })
  }

  /**
   * Ends all references to bodies if one of them has another number now. Returns the items that need rows of their own
   * instead.
   */
  #renumbered (moved: ReadonlySet<Item>): readonly Item[] {
    if (!this.#isOwed && ![...moved].some(isPinnedAlone)) return []
    this.#renumber()
    this.#isOwed = false
    return [...this.#home.items()].filter(isPinnedAlone)
  }

  #renumber (): void {
    this.#numbering++
    this.#hasChanged = this.#isOwed = true
  }

  #entry (item: Item): Entry<Row> {
    if (item.row === undefined) throw new Error('a row without an id')
    return { id: item.row, at: item.at, with: this.#session.jid.toString(), value: this.#row(item) }
  }

  #row (item: Item): Row {
    const { seq, handed, body } = item
    const group = handed?.idFor(() => this.#home.id())
    const of = item.pinned === undefined ? undefined : body?.id
    return {
      ...seq === undefined ? {} : { seq },
      ...of === undefined ? {} : { of },
      octets: of === undefined ? fromOctets(item.octets) : '',
      ...group === undefined ? {} : { group },
      ...handed?.isConfirmed === true ? { confirmed: true } : {},
    }
  }

  get #owner (): string { return this.#session.account.toString() }
}

/** True for an item that only the row of its body names. */
function isPinnedAlone ({ row, pinned }: Item): boolean { return row === undefined && pinned !== undefined }

/** Returns the state of a session as it is stored. */
export function stateOf (
  session: Session, { numbering, ...terms }: Pick<SessionState, 'patience' | 'isWhole'> & { readonly numbering: number },
): SessionState {
  return {
    resource: session.jid.resource,
    since: session.since,
    address: session.address,
    secure: session.secure,
    ...session.lang === undefined ? {} : { lang: session.lang },
    ...session.presence === undefined ? {} : { presence: fromOctets(session.presence.octets()) },
    priority: session.priority,
    slots: session.texts(),
    ...numbering === 0 ? {} : { numbering },
    ...terms,
  }
}

function sizeOf ({ presence = '', slots }: SessionState): number {
  return Object.values(slots).reduce((sum, text) => sum + text.length, presence.length)
}
