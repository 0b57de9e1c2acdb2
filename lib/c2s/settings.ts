/** The settings and dependencies of a client's stream: those of its listener, and those that all listeners share. */
import type { Clock } from '../base/clock.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import type { Turns } from '../base/turns.js'
import type { Throttle } from '../auth/throttle.js'
import type { Host } from '../host/host.js'
import type { Certificates } from '../stream/certificates.js'
import type { UnauthenticatedLimits } from '../stream/limits.js'
import type { Meter } from '../stream/traffic.js'
import type { UnavailableLogins } from './unavailable.js'

export interface ListenerSettings {
  /** 'required': STARTTLS before anything else; 'direct': TLS from the first byte; 'none': no TLS, loopback only. */
  readonly tls: 'required' | 'direct' | 'none'
  /** The size of the largest stanza, in bytes. */
  readonly stanza: number
  /** Bytes per second that a connection may send on average. */
  readonly rate: number
}

export interface ClientLimits {
  /** How long a connection may take to get a session, in milliseconds. */
  readonly negotiation: number
  /** How long a connection is silent before a whitespace keepalive is sent, in milliseconds. */
  readonly keepalive: number
  /** How long a connection is silent before the stream ends, in milliseconds. */
  readonly idle: number
  /** The most connections from one network at the same time. */
  readonly connections: number
  readonly unauthenticated: UnauthenticatedLimits
}

export interface Authentication {
  readonly mechanisms: readonly string[]
  /** The most failed attempts on one connection. */
  readonly attempts: number
  /** True if clients get tokens to log in with (XEP-0484). */
  readonly fast: boolean
  /** The lifetime of such a token, in milliseconds. */
  readonly token: number
}

/** The dependencies that all client streams share. A reload may replace `limits` and `authentication`. */
export interface ClientDeps {
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly certificates: Pick<Certificates, 'contextFor' | 'asksClients'>
  readonly throttle: Throttle
  /** Logs the attempts that the server could not decide. */
  readonly unavailable: UnavailableLogins
  /** Counts what clients send and receive. */
  readonly traffic: Meter
  /** Shares the event loop among streams. */
  readonly turns?: Turns | undefined
  limits: ClientLimits
  authentication: Authentication
  host (domain: string): Host | undefined
  /** The domain for a peer that named none. */
  readonly domain: string
}
