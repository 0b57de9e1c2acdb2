/** The connection of a session: a stream as the session sees it, whatever carries it. */
import type { TrafficKind } from '../stream/traffic.js'
import type { StreamError } from '../xmpp/errors.js'

/** What a session needs of a stream. */
export interface Connection {
  /** The peer's address, as text. */
  readonly address: string
  /** Under TLS. */
  readonly secure: boolean
  /** xml:lang of the peer's stream header. */
  readonly lang: string | undefined
  /** When the last byte came, in milliseconds since 1970. */
  readonly lastRead: number
  /** Bytes not yet taken by the kernel. */
  readonly backlog: number
  /** Writes UTF-8, one character a byte; gathered, and written once a turn of the event loop. `kind`: what it is, where that is known. */
  send (octets: string, kind?: TrafficKind): void
  /** Runs `then` once the kernel has taken all that was written; never, if the connection ends before. Something has to wait. */
  drained (then: () => void): void
  /** Ends the stream, with a stream error if one is given. */
  close (error?: StreamError): void
  /** Ends the connection and leaves the stream unfinished, to be resumed (XEP-0198 §7). What was written still goes out. */
  leave (): void
  /** Stops reading, and goes on: a session over its limits is not read. */
  pause (): void
  resume (): void
}
