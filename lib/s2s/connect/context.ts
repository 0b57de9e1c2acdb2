/** How other servers are found and reached. */
import type { Transport } from '../../stream/transport.js'
import type { GroundContext } from '../ground/context.js'
import type { Target } from '../ground/target.js'
import type { Resolver } from './resolve.js'

export interface Dialer {
  /** Connects. Rejects if nobody answers or there is an objection; stops if `signal` says so. */
  dial (target: Target, signal: AbortSignal): Promise<Transport>
  /** Returns why a target must not be connected to, for the operator; undefined if it may. */
  objection (target: Target): string | undefined
}

/** The outside world as connecting sees it. */
export interface ConnectContext extends GroundContext {
  resolver: Resolver
  readonly dialer: Dialer
}
