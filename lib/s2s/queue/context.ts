/** The outside world as the queues to other servers see it: all that federation is given. */
import type { StreamContext } from '../streams/context.js'
import type { Outbox } from './outbox.js'

/** The whole world of federation, which `lib/s2s/federation.ts` puts together. */
export interface FederationContext extends StreamContext { readonly outbox: Outbox }
