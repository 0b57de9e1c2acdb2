/** The settings of a stream, and the handlers that it calls. */
import type { Clock } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import type { Maybe } from '../base/maybe.js'
import type { TokenBucket } from '../base/rate.js'
import type { Turns } from '../base/turns.js'
import type { ParsedElement, Source } from '../xml/element.js'
import type { Limits } from '../xml/parser.js'
import type { Jid } from '../xmpp/jid.js'
import type { Framing } from './framing.js'
import type { StreamHeader } from './header.js'
import type { Meter } from './traffic.js'

export interface StreamSettings {
  readonly role: 'receiving' | 'initiating'
  /** How the stream is laid out on its transport: as an XML stream (RFC 6120) by default. */
  readonly framing?: Framing | undefined
  /** The namespace of the content: jabber:client or jabber:server. */
  readonly namespace: string
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly limits: Limits
  /** The domain that our header names if it is sent before the peer's is understood; undefined: none. */
  readonly domain: string | undefined
  /** The rates at which the peer may send in the long run. A peer that sends more is read more slowly. */
  readonly rate?: { readonly bytes?: TokenBucket, readonly elements?: TokenBucket }
  /** Counts what is received and sent. */
  readonly traffic?: Meter
  /** Shares the event loop among streams. Without it, a stream takes all the time that its peer can use. */
  readonly turns?: Turns | undefined
  /** The most elements that may wait for their turn. With more, reading pauses. */
  readonly queue?: number
  /** The bytes that may wait for the peer before we stop reading from it, and before it is given up. */
  readonly highWater?: number
  readonly backlogBound?: number
}

/** Where a stream stands. `by`: who established it. */
export type StreamState<T = unknown> =
  | { readonly at: 'opening' }
  | { readonly at: 'negotiating', readonly secure: boolean, readonly identity: Jid | undefined }
  | { readonly at: 'established', readonly by: T }
  | { readonly at: 'closing', readonly side: 'ours' | 'theirs' }
  | { readonly at: 'closed', readonly reason: Error | undefined }

/** How a stream ended: closed by the peer in order (RFC 6120 §4.4), by us, or with its connection. */
export interface StreamEnd { readonly by: 'peer' | 'us' | 'loss', readonly reason: Error | undefined }

export interface StreamHandlers {
  /** The peer's header has come and is valid. The receiving side answers with `reply`. May throw StreamError. */
  opened (header: StreamHeader, root: ParsedElement): void
  /** Handles one element; the next comes after that. May throw or reject with StreamError. */
  element (element: ParsedElement, source: Source): Maybe<void>
  /** Once established: an element waits for those before it. Later ones may not be read until then. */
  waits? (): void
  /** The peer has closed its side in order, and ours is closed next. Something may still be sent before that. */
  ending? (): Maybe<void>
  /** The stream is over: nothing is read or sent any more. Called once. */
  over (end: StreamEnd): void
  /** The connection is gone, too. Called once, after `over`. */
  closed (): void
}
