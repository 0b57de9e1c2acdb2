/** The settings of the conf about other servers: the policy for a domain, and the bounds. */
import type { UnauthenticatedLimits } from '../../stream/limits.js'
import type { ByHand } from './target.js'

/** The conf's policy for one remote domain, as seen from one local domain. */
export interface Policy {
  /**
   * 'certificate': the server must show a valid certificate, in both directions. 'dialback': proof by DNS is enough
   * (XEP-0220). 'refuse': nothing is sent or accepted.
   */
  readonly trust: 'certificate' | 'dialback' | 'refuse'
  readonly byHand?: ByHand | undefined
  /** True if the domain's server may have a private address, whatever DNS says. */
  readonly isPrivate?: boolean
}

export interface FederationLimits {
  /**
   * The bounds of one pair's queue while there is no stream: stanzas, bytes, and how long one may wait in milliseconds.
   */
  readonly queue: { readonly stanzas: number, readonly size: number, readonly time: number }
  /** Milliseconds after which an unused link is closed. */
  readonly idle: number
  /** The most milliseconds from connecting to being authenticated. */
  readonly negotiation: number
  /** Milliseconds of silence after which a space is sent. */
  readonly keepalive: number
  /** Bytes of the largest stanza that is accepted from another server. */
  readonly stanza: number
  /** The most bytes and elements of a top-level element before a peer has proved a domain. */
  readonly unauthenticated: UnauthenticatedLimits
  /** The most connections from one network at a time. */
  readonly connections: number
}
