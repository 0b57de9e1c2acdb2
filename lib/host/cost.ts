/** What a stanza costs the server beside its own bytes, in units: charged to whoever asked for it, after the fact. */

import type { Jid } from '../xmpp/jid.js'

/** Presence or a request of another server: what its way takes, whatever comes of it. */
export const PER_REQUEST = 4
/** Another device or account that a stanza was brought to. */
export const PER_RECIPIENT = 1
/** Units for the bytes of an answer: one for each KiB. */
export const costOfBytes = (bytes: number): number => bytes / 1024
/** Units for rows that were read for an answer. */
export const costOfRows = (rows: number): number => rows / 10

/** Who pays for stanzas of another server: the stream that they come on. Over the budget of their domain it is read more slowly. */
export interface Payer {
  /** `from`: the sender; all that its domain sends, on whatever stream, has one budget. */
  charge (units: number, from: Jid): void
}

/** What one other domain may cost: units a second in the long run, and at once after a rest. Many users share it. */
export const DOMAIN_BUDGET = { rate: 20_000, burst: 200_000 } as const
/** Other domains whose budgets are remembered. */
export const DOMAINS = 10_000
