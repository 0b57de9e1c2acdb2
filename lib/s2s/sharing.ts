/** Which of the streams that stand may serve another pair of domains as well (XEP-0220 §2.6). */
import type { Outgoing } from './outgoing.js'
import type { Target } from './resolve.js'
import type { FederationWorld } from './world.js'

/** A stream to the same domain, or to another of the same server, as DNS has it; undefined where there is none. */
export async function shareable (
  outgoing: Iterable<Outgoing>, world: FederationWorld, local: string, remote: string,
): Promise<Outgoing | undefined> {
  const fitting = [...outgoing].filter(one => one.mayCarry(local, remote))
  const same = fitting.find(one => one.remote === remote)
  if (same !== undefined || fitting.length === 0) return same
  // XEP-0220 §2.6.2
  const targets = await world.resolver.resolve(remote, world.policy(local, remote).byHand).catch(() => [])
  return fitting.find(({ isOver, target }) => !isOver && targets.some(({ address, port, tls }) =>
    address === target.address && port === target.port && tls === target.tls && mayShare(world, local, remote, target)))
}

/** A domain whose DNS names a private server of ours is not sent there, even if a stream to that server stands for another domain. */
function mayShare (world: FederationWorld, local: string, remote: string, target: Target): boolean {
  const { byHand, isPrivate = false } = world.policy(local, remote)
  return world.dialer.objection({ ...target, isAllowed: byHand !== undefined || isPrivate }) === undefined
}
