/** What a client's stream needs to know: the listener's settings, and what stands behind all listeners. */
import type { Clock } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import type { Turns } from '../base/turns.js'
import type { Throttle } from '../auth/throttle.js'
import type { Host } from '../host/host.js'
import type { Certificates } from '../stream/certificates.js'
import type { Meter } from '../stream/traffic.js'

export interface ListenerSettings {
  /** 'required': STARTTLS before anything else; 'direct': from the first byte; 'none': loopback only. */
  readonly tls: 'required' | 'direct' | 'none'
  /** Bytes of the largest stanza. */
  readonly stanza: number
  /** Bytes a second that a connection may send on average. */
  readonly rate: number
}

export interface ClientLimits {
  /** Milliseconds from connecting to a session. */
  readonly negotiation: number
  /** Milliseconds of silence after which a space is sent. */
  readonly keepalive: number
  /** Milliseconds of silence after which the stream ends. */
  readonly idle: number
  /** Connections at once from one network. */
  readonly connections: number
  /** Bytes and elements of a top-level element before login. */
  readonly unauthenticated: { readonly stanza: number, readonly elements: number }
}

export interface Authentication {
  readonly mechanisms: readonly string[]
  /** Failed attempts a connection may make. */
  readonly attempts: number
  /** Clients are given tokens to log in with (XEP-0484). */
  readonly fast: boolean
  /** How long such a token is good for, in milliseconds. */
  readonly token: number
}

/** What all client streams share. `limits` and `authentication` may be others after a reload. */
export interface ClientWorld {
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly certificates: Pick<Certificates, 'contextFor' | 'asksClients'>
  readonly throttle: Throttle
  /** Counts what clients send and get. */
  readonly traffic: Meter
  /** Shares the event loop among streams. */
  readonly turns?: Turns | undefined
  limits: ClientLimits
  authentication: Authentication
  host (domain: string): Host | undefined
  /** The domain that speaks to a peer that named none. */
  readonly domain: string
}
