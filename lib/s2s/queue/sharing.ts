/** Finds an open stream that may serve another pair of domains as well (XEP-0220 §2.6). */
import type { Outgoing } from '../streams/outgoing.js'
import type { Target } from '../ground/target.js'
import type { FederationContext } from './context.js'

/**
 * Returns a stream to the same domain, or to another domain that DNS places on the same server; undefined if there is
 * none.
 */
export async function shareable (
  outgoing: Iterable<Outgoing>, world: FederationContext, local: string, remote: string,
): Promise<Outgoing | undefined> {
  const fitting = [...outgoing].filter(one => one.mayCarry(local, remote))
  const same = fitting.find(one => one.remote === remote)
  if (same !== undefined || fitting.length === 0) return same
  // XEP-0220 §2.6.2
  const targets = await world.resolver.resolve(remote, world.policy(local, remote).byHand).catch(() => [])
  return fitting.find(({ isOver, target }) => !isOver && targets.some(({ address, port, tls }) =>
    address === target.address && port === target.port && tls === target.tls && mayShare(world, local, remote, target)))
}

/** False if DNS places the domain on one of our private servers, even if a stream to it is open for another domain. */
function mayShare (world: FederationContext, local: string, remote: string, target: Target): boolean {
  const { byHand, isPrivate = false } = world.policy(local, remote)
  return world.dialer.objection({ ...target, isAllowed: byHand !== undefined || isPrivate }) === undefined
}
