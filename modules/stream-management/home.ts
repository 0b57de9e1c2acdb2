/** The needs of managed sessions, and what is known of sessions from the previous process. */
import type { Batch, Entry, DeliveryTracker, Maybe, Timer, Write } from '../../lib/api.js'
import type { SharedBodies, SharedBody } from './shared-body.js'
import type { Counts, Row, Stores } from './stores.js'

/** The functions that a managed session `S` asks of the module. */
export interface ManagedSessionHome<S> {
  readonly stores: Stores
  /** The most unacknowledged stanzas and bytes before the session ends. */
  readonly bounds: { readonly stanzas: number, readonly bytes: number }
  now (): number
  /** Runs `run` after `ms` milliseconds. */
  after (ms: number, run: () => void): Timer
  id (): string
  /** Asks that the session's changes are stored within a second. */
  dirty (managed: S): void
  /** Stores the session's changes now. */
  commit (managed: S): Promise<void>
  /**
   * Hands back a stanza that the device did not acknowledge, for other devices or the offline store. `removing` is
   * stored together with that.
   */
  undelivered (octets: string, at: number, removing: Write | undefined): void
  /** Calls `back` for each stanza of an ended session, in as many turns as needed; `bytes`: what they hold together. */
  handBack<T> (items: readonly T[], bytes: number, back: (item: T) => void): Maybe<void>
  /** Stores what `add` adds to a batch. */
  store (add: (batch: Batch) => void): void
  /** Stores one write by itself. */
  submit (write: Write): void
  /** The bodies of broadcasts to devices of this host. */
  readonly bodies: Pick<SharedBodies, 'of' | 'pin'>
  /** Notes a stanza in memory that has this body. May end sessions. */
  hold (body: SharedBody): void
  /** Notes that a stanza with this body has left memory. */
  leave (body: SharedBody): void
  /** Notes that a reference in the body's row is over, and that this is stored. */
  unpin (body: SharedBody): void
  /** Logs an unexpected error. */
  defect (error: unknown): void
  /** Called if more than `bounds` is unacknowledged. */
  overflowed (managed: S): void
  /** Called if the unacknowledged bytes have changed by `by`. May end this session or another one. */
  holds (managed: S, by: number): void
  /** True if the account's sessions hold much less than their bound. */
  hasRoom (managed: S): boolean
}

/** A stanza of the previous process with a row of its own. `body`: that of its broadcast, if it has one. */
export interface PastRow {
  readonly entry: Entry<Row>
  readonly handed: DeliveryTracker
  readonly body: SharedBody | undefined
}
/** A stanza of the previous process that only the row of its broadcast names. */
export interface PastReference { readonly body: SharedBody, readonly seq: number }

/** A session of the previous process, as far as it is known. */
export interface Past {
  readonly counts: Counts
  /** `SessionState.numbering`. */
  readonly numbering: number
  readonly items: readonly (PastRow | PastReference)[]
  readonly isWhole: boolean
}
