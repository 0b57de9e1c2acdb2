/** What is written down of managed sessions, so that they outlive the process. */
import { hasForm, journal, records } from '../../lib/api.js'
import type { Stores as StoresOf } from '../../lib/api.js'

/** A session, under its id: all but what changes with each stanza. */
export interface SessionState {
  readonly resource: string
  /** When it was bound, in milliseconds since 1970. */
  readonly since: number
  readonly address: string
  readonly secure: boolean
  readonly lang?: string
  /** Its presence, as octets; left out while it is unavailable. */
  readonly presence?: string
  readonly priority: number
  readonly slots: Readonly<Record<string, string>>
  /** How long it waits for its device, in milliseconds; 0: it cannot be resumed. */
  readonly patience: number
  /** Everything that is not confirmed has been written down: the process has ended in order. */
  readonly isWhole: boolean
}

/** What changes with each stanza. `in`: stanzas that have come from the device; `out`: that it has confirmed. */
export interface Counts { readonly in: number, readonly out: number }

/**
 * One stanza that the device has not confirmed. `seq`: its number among all that was sent; left out where it has not been sent, and what
 * has is not known for sure. `group`: found on other devices of the account too; `confirmed`: one of those has it.
 */
export interface Row { readonly seq?: number, readonly octets: string, readonly group?: string, readonly confirmed?: true }

function isSessionState (value: unknown): boolean {
  return hasForm(value, {
    resource: 'string', since: 'number', address: 'string', secure: 'boolean', lang: 'string?', presence: 'string?', priority: 'number',
    slots: 'object', patience: 'number', isWhole: 'boolean',
  })
}

function isRow (value: unknown): boolean {
  return hasForm(value, { seq: 'number?', octets: 'string', group: 'string?', confirmed: 'boolean?' })
}

export const shapes = {
  sessions: records<SessionState>(1, undefined, { check: isSessionState, unreadable: 'moved' }),
  counts: records<Counts>(1, undefined, { check: value => hasForm(value, { in: 'number', out: 'number' }), unreadable: 'moved' }),
  unacknowledged: journal<Row>(1, undefined, { check: isRow }),
}

export type Stores = StoresOf<typeof shapes>
