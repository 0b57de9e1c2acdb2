/** What is counted of the links to other servers, and what each number says. */
import type { Labels } from '../base/counters.js'

export const LINK_COUNTS = {
  opened: 'Connections to other servers that came to stand.',
  failed: 'Ways to other servers that ended without a connection, by error condition and by who has to mend it.',
  resumed: 'Connections that were cut and taken up again (XEP-0198).',
  accepted: 'Pairs of domains that other servers have proven, by how they did.',
  refused: 'What other servers were refused, by why.',
  bounced: 'Stanzas that came back to their senders, by error condition.',
  dropped: 'Stanzas that could not be delivered, and of which nobody is told: presence, errors and answers.',
  unacknowledged: 'Stanzas that were on their way when a connection was lost for good.',
  relayed: 'Stanzas to other servers from senders for whom this one does not speak.',
  malformed: 'Stanzas of other servers whose addresses are none.',
} as const

export type LinkCount = keyof typeof LINK_COUNTS

/** Counts, since the start. */
export type CountLinks = (metric: LinkCount, by?: number, labels?: Labels) => void
