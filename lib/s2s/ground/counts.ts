/** The metrics of the links to other servers, with their help texts. */
import type { Labels } from '../../base/counters.js'

export const LINK_COUNTS = {
  opened: 'Connections to other servers that were established.',
  failed: 'Attempts to connect to another server that failed, by error condition and by who has to fix it.',
  resumed: 'Connections that were cut and resumed (XEP-0198).',
  accepted: 'Pairs of domains that other servers have proven, by the kind of proof.',
  refused: 'Requests and claims of other servers that were refused, by reason.',
  bounced: 'Stanzas that were returned to their senders, by error condition.',
  dropped: 'Stanzas that could not be delivered and were dropped silently: presence, errors and replies.',
  unacknowledged: 'Unacknowledged stanzas on connections that were lost and not resumed.',
  relayed: 'Stanzas to other servers from senders that are not of this server.',
  malformed: 'Stanzas of other servers with addresses that are not valid.',
} as const

export type LinkCount = keyof typeof LINK_COUNTS

/** Counts an event. `by`: 1 by default. */
export type CountLinks = (metric: LinkCount, by?: number, labels?: Labels) => void
