/** The objects that a host is given. */
import type { Accounts } from '../auth/accounts.js'
import type { Clients } from '../auth/clients.js'
import type { Clock } from '../base/clock.js'
import type { Hook } from '../base/hook.js'
import type { Ids } from '../base/ids.js'
import type { Logger } from '../base/logger.js'
import type { Maybe } from '../base/maybe.js'
import type { Named } from '../base/slot.js'
import type { Jid } from '../xmpp/jid.js'
import type { DiscoItem } from './disco.js'
import type { EntityBounds } from './entities.js'
import type { Pipeline } from './pipeline/pipeline.js'
import type { TransferRows } from './pipeline/transfers.js'

/** The settings of a host in the conf, besides its modules. */
export interface HostSettings {
  /** Bare addresses of the administrators. */
  readonly admins: readonly string[]
  /** The most sessions that an account may have at a time. */
  readonly resources: number
  /** Whether a device replaces another with the same resource, or is refused (RFC 6120 §7.7.2.2). */
  readonly conflict: 'replace' | 'refuse'
  /** The domain of the host that shows this service; undefined if that is the host of which this is a subdomain. */
  readonly parent?: string | undefined
  /** The bounds of the loaded entities of a service; undefined for those of `entities.ts`. */
  readonly entities?: EntityBounds | undefined
}

/** The dependencies of a host. */
export interface HostDeps {
  readonly domain: string
  /** True if the host is a service: it has no accounts. */
  readonly isService: boolean
  /** Returns the services that a host shows, with their names. */
  readonly offeredServices: (host: Jid) => readonly DiscoItem[]
  /** Fires a hook at all hosts of the server, one after another. */
  readonly fireEverywhere: <E>(hook: Hook<E>, event: E) => Maybe<void>
  /** Returns the addresses of the web as the clients of the host reach them: "https://example.org:5281". */
  readonly webOrigins: () => readonly string[]
  /** The folder of the server's data. */
  readonly dataFolder: string
  readonly settings: HostSettings
  readonly clock: Clock
  readonly ids: Ids
  readonly log: Logger
  readonly pipeline: Pipeline
  readonly accounts: Accounts
  readonly clients: Clients
  readonly transfers: TransferRows
  /** The values that modules of all hosts share. */
  readonly shared: Named
}
