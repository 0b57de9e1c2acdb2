/** What a stanza costs the server beside its own bytes, in units: charged to whoever asked for it, after the fact. */

/** Another device or account that a stanza was brought to. */
export const PER_RECIPIENT = 1
/** Units for the bytes of an answer: one for each KiB. */
export const costOfBytes = (bytes: number): number => bytes / 1024
/** Units for rows that were read for an answer. */
export const costOfRows = (rows: number): number => rows / 10

/** Whoever sends stanzas: a session, or the stream of another server. One that has spent more than it has is read more slowly. */
export interface Payer { charge (units: number): void }

/** What the stream of another server may cost: units a second in the long run, and at once after a rest. Many users share one. */
export const SERVER_BUDGET = { rate: 20_000, burst: 200_000 } as const
