/** The cost of a stanza for the server besides its own bytes, in units. The sender is charged afterwards. */

import type { Jid } from '../xmpp/jid.js'

/** The cost of a presence or request of another server, whatever its result. */
export const PER_REQUEST = 4
/** The cost of one more device or account that a stanza is delivered to. */
export const PER_RECIPIENT = 1
/** Returns the units for the bytes of an answer: one for each KiB. */
export const costOfBytes = (bytes: number): number => bytes / 1024
/** Returns the units for the rows that were read for an answer. */
export const costOfRows = (rows: number): number => rows / 10

/**
 * The stream that pays for stanzas of another server. Over the budget of its domain, the stream is read more slowly.
 */
export interface Payer {
  /** Charges units. `from` is the sender: all streams of its domain share one budget. */
  charge (units: number, from: Jid): void
}

/**
 * The budget of one other domain: units per second in the long run, and units at once after a rest. Many users share
 * it.
 */
export const DOMAIN_BUDGET = { rate: 20_000, burst: 200_000 } as const
/** Other domains whose budgets are remembered, at most. */
export const DOMAINS = 10_000
