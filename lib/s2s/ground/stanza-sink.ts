/** A stream as the queue of a pair of domains sees it. */
import type { QueuedStanza } from './queued-stanza.js'

/** A stream that takes the stanzas of a pair of domains to the other server. */
export interface StanzaSink {
  readonly isOver: boolean
  /** True if it takes stanzas of the other direction as well (XEP-0288). */
  readonly isBidi: boolean
  /** How the pair was proven to the peer. */
  readonly security: string | undefined
  readonly address: string
  readonly since: number
  /** Bytes that the peer has not read yet. */
  readonly backlog: number
  /** The bytes of the largest stanza that the peer takes (XEP-0478); undefined if it does not say. */
  readonly largest: number | undefined
  /** The number of stanzas that the peer has not acknowledged. */
  readonly unacknowledged: number
  /** True if it takes another stanza. What is not acknowledged is bounded. */
  readonly hasRoom: boolean
  send (what: QueuedStanza): void
  /** Runs `then` once, when the peer has read what was written. Never runs it if the stream ends before. */
  drained (then: () => void): void
}
