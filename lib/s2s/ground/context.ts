/** The outside world as every room of s2s sees it. Each room adds what it needs itself; scenes hand in another. */
import type { Clock } from '../../base/clock.js'
import type { Ids } from '../../base/ids.js'
import type { Logger } from '../../base/logger.js'
import type { Budgets } from '../../base/rate.js'
import type { Host } from '../../host/host.js'
import type { Pipeline } from '../../host/pipeline/pipeline.js'
import type { Router } from '../../host/router.js'
import type { CountLinks } from './counts.js'
import type { FederationLimits, Policy } from './policy.js'

/** The outside world as everything between servers sees it. */
export interface GroundContext {
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly pipeline: Pipeline
  readonly router: Router
  limits: FederationLimits
  policy (local: string, remote: string): Policy
  host (domain: string): Host | undefined
  /** The domain that answers a peer which named no local domain. */
  readonly domain: string
  readonly count: CountLinks
  /** The budget of each remote domain, for all its streams together. */
  readonly budgets: Budgets
}
