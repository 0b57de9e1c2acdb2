/** The stored form of managed sessions, so that they outlive the process. */
import { hasForm, journal, records } from '../../lib/api.js'
import type { Stores as StoresOf } from '../../lib/api.js'
import { isStoredBroadcast, type StoredBroadcast } from './shared-body.js'

/** A session, under its id: everything that does not change with each stanza. */
export interface SessionState {
  readonly resource: string
  /** When it was bound, in milliseconds since 1970. */
  readonly since: number
  readonly address: string
  readonly secure: boolean
  readonly lang?: string
  /** Its presence as octets; left out while it is unavailable. */
  readonly presence?: string
  readonly priority: number
  readonly slots: Readonly<Record<string, string>>
  /** How long it may hibernate, in milliseconds; 0: it cannot be resumed. */
  readonly patience: number
  /**
   * How often its unacknowledged stanzas got other numbers. References with a lower count are over (shared-body.ts).
   * Left out while it is 0.
   */
  readonly numbering?: number
  /** All unacknowledged stanzas are stored: the process stopped in order. */
  readonly isWhole: boolean
}

/**
 * The counts, which change with each stanza. `in`: stanzas handled from the device; `out`: stanzas that it
 * acknowledged.
 */
export interface Counts { readonly in: number, readonly out: number }

/**
 * One unacknowledged stanza. `seq`: its number among all sent stanzas, left out if it is unknown. `group`: shared by
 * its copies for other devices of the account; `confirmed`: one of them was acknowledged. `of`: the id of the broadcast
 * whose body the stanza has; then `octets` is empty, and the row stands for the reference in the broadcast's own row.
 */
export interface Row {
  readonly seq?: number
  readonly octets: string
  readonly group?: string
  readonly confirmed?: true
  readonly of?: string
}

function isSessionState (value: unknown): boolean {
  return hasForm(value, {
    resource: 'string', since: 'number', address: 'string', secure: 'boolean', lang: 'string?', presence: 'string?', priority: 'number',
    slots: 'object', patience: 'number', numbering: 'number?', isWhole: 'boolean',
  })
}

function isRow (value: unknown): boolean {
  return hasForm(value, { seq: 'number?', octets: 'string', group: 'string?', confirmed: 'boolean?', of: 'string?' })
}

/** The stores of the module. */
export const shapes = {
  sessions: records<SessionState>(1, undefined, { check: isSessionState, unreadable: 'moved', byHost: true }),
  counts: records<Counts>(1, undefined, {
    check: value => hasForm(value, { in: 'number', out: 'number' }), unreadable: 'moved', byHost: true,
  }),
  unacknowledged: journal<Row>(1, undefined, { check: isRow, byHost: true }),
  broadcasts: journal<StoredBroadcast>(1, undefined, { check: isStoredBroadcast }),
}

/** The opened stores. */
export type Stores = StoresOf<typeof shapes>
