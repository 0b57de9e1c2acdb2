/** The outside world as the streams between servers see it. */
import type { QueuedStanza } from '../ground/queued-stanza.js'
import type { TrustContext } from '../trust/context.js'

/** The outside world as the streams between servers see it. */
export interface StreamContext extends TrustContext {
  readonly outbox: {
    /** Marks a stanza as finished: the other server has it, or its sender has it back. */
    done (item: QueuedStanza): void
  }
}
