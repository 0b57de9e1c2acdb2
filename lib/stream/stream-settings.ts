/** What a stream is made with, and whom it tells of what comes. */
import type { Clock } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import type { Maybe } from '../base/maybe.js'
import type { TokenBucket } from '../base/rate.js'
import type { Turns } from '../base/turns.js'
import type { ParsedElement, Source } from '../xml/element.js'
import type { Limits } from '../xml/parser.js'
import type { StreamHeader } from './header.js'
import type { Meter } from './traffic.js'

export interface StreamSettings {
  readonly role: 'receiving' | 'initiating'
  /** Of the content: jabber:client or jabber:server. */
  readonly namespace: string
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly limits: Limits
  /** Whom we speak for in a header of ours that comes before theirs is understood; undefined: nobody is named. */
  readonly domain: string | undefined
  /** What the peer may send in the long run; it is read more slowly when it sends more. */
  readonly rate?: { readonly bytes?: TokenBucket, readonly elements?: TokenBucket }
  /** Counts what comes and goes. */
  readonly traffic?: Meter
  /** Shares the event loop among streams; without it each takes all the time that its peer can use. */
  readonly turns?: Turns | undefined
  /** Elements that may wait for their turn; then reading pauses. */
  readonly queue?: number
  /** Bytes that may wait for the peer before we stop reading it, and before it is given up. */
  readonly highWater?: number
  readonly backlogBound?: number
}

/** How a stream came to its end: closed by the peer as RFC 6120 §4.4 wants, by us, or with its connection. */
export interface StreamEnd { readonly by: 'peer' | 'us' | 'loss', readonly reason: Error | undefined }

export interface StreamHandlers {
  /** The peer's header has come, and is in order. Receiving, it answers with `reply`. `root`: as it came. May throw StreamError. */
  opened (header: StreamHeader, root: ParsedElement): void
  /** One element; the next comes when this has been handled. May throw or reject with StreamError. */
  element (element: ParsedElement, source: Source): Maybe<void>
  /** Once it is established: an element has come that waits for those before it; what comes after it may not even be read. */
  waits? (): void
  /** The peer has closed its side in order, and ours is closed next: the last may be said before that. */
  ending? (): Maybe<void>
  /** Nothing is read or sent any more. Told once. */
  over (end: StreamEnd): void
  /** The connection is gone too. Told once, after `over`. */
  closed (): void
}
