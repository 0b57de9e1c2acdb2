/** The hosts of this server with accounts: contacts may be at another one of them. */
import { service } from '../../lib/api.js'
import type { Jid, ModuleHost } from '../../lib/api.js'

/** A host as the others see it. */
export interface PepHost {
  /** Sends the last items of these nodes of an account to a device, as far as the device's user may see them. */
  sendLast (account: Jid, nodes: ReadonlySet<string>, to: Jid): void
  /** Returns the available devices of an account that want notifications of a node. */
  interested (account: Jid, node: string): readonly Jid[]
}

type PepHosts = Map<string, PepHost>
const pepHosts = service<PepHosts>('pepHosts')

/** Returns the hosts by domain. */
export function hostsOf (host: ModuleHost): PepHosts { return host.shared(pepHosts, () => new Map<string, PepHost>()) }
