/** The connections to other servers, as the operator sees them. */

/** A connection to another server, or the queue to it: one pair of domains. */
export interface LinkReport {
  readonly local: string
  readonly remote: string
  readonly direction: 'out' | 'in' | 'both'
  readonly state: string
  readonly security: string
  readonly queue: number
  readonly bytes: number
  /** The number of stanzas that were sent and not acknowledged yet. */
  readonly unacknowledged: number
  readonly address: string
  /** When the connection began, in milliseconds since 1970; undefined if there is none. */
  readonly since: number | undefined
  readonly error: string
}
