/** What managed sessions ask of their module, and what it knows of those that lived before this process. */
import type { Entry, Handed, Timer, Write } from '../../lib/api.js'
import type { Managed } from './managed.js'
import type { Counts, Row, Stores } from './stores.js'

/** What a managed session asks of the module. */
export interface ManagedHome {
  readonly stores: Stores
  /** The most that may be unconfirmed before the session ends. */
  readonly bounds: { readonly stanzas: number, readonly bytes: number }
  now (): number
  /** Runs `run` in so many milliseconds. */
  after (ms: number, run: () => void): Timer
  id (): string
  /** It has something to be written down within a second. */
  dirty (managed: Managed): void
  /** It is written down now. */
  commit (managed: Managed): Promise<void>
  /** Its device has not got this: others may, or it waits. `removing` is stored with what becomes of it. */
  undelivered (octets: string, at: number, removing: Write | undefined): void
  /** Stores this on its own. */
  submit (write: Write): void
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
