/** The queues to other domains, as an incoming stream sees them. */
import type { Verifier } from '../trust/claims.js'
import type { S2sAcks } from '../acks/acks.js'
import type { PeerCutStreams } from '../acks/resumption.js'
import type { StanzaSink } from '../ground/stanza-sink.js'

/** The queues to other domains, as an incoming stream sees them. */
export interface IncomingHome extends Verifier {
  /** Streams that peers opened, kept to be resumed after a cut. */
  readonly resumables: PeerCutStreams
  /** Makes the stream management state for a stream to or from a remote domain. */
  managed (remote: string): S2sAcks
  /** Takes note that a peer has proved a domain, so its server is there. */
  alive (local: string, remote: string): void
  /** Uses a peer's stream for our stanzas too (XEP-0288), unless earlier stanzas are not settled yet. */
  offer (local: string, remote: string, carrier: StanzaSink): void
  /** Takes note that a stream which was offered is over. */
  withdraw (local: string, remote: string, carrier: StanzaSink, reason: Error | undefined): void
  /** True if an iq response with this id answers one of our requests to `remote`. */
  isAnswer (local: string, remote: string, id: string): boolean
}
