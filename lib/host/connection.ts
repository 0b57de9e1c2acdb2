/** The connection of a session: a stream as the session sees it, over any transport. */
import type { TrafficKind } from '../stream/traffic.js'
import type { StreamError } from '../xmpp/errors.js'

/** The parts of a stream that a session uses. */
export interface Connection {
  /** The peer's address, as text. */
  readonly address: string
  /** True under TLS. */
  readonly secure: boolean
  /** The xml:lang of the peer's stream header. */
  readonly lang: string | undefined
  /** The time of the last received byte, in milliseconds since 1970. */
  readonly lastRead: number
  /** Written bytes that the kernel has not taken yet. */
  readonly backlog: number
  /**
   * Writes UTF-8, one character a byte. Writes are collected and sent once in each turn of the event loop. `kind` is
   * the traffic kind, if known.
   */
  send (octets: string, kind?: TrafficKind): void
  /**
   * Runs `then` after the kernel has taken all that was written, but never if the connection ends before. Call it only
   * if something waits.
   */
  drained (then: () => void): void
  /** Ends the stream, with a stream error if one is given. */
  close (error?: StreamError): void
  /** Ends the connection and leaves the stream open, to be resumed (XEP-0198 §7). What was written is still sent. */
  leave (): void
  /** Stops and restarts reading: a session over its limits is not read. */
  pause (): void
  resume (): void
}
