/** The links as an operator sees them. */
import type { LinkReport } from '../../host/link-report.js'
import type { Incoming } from '../streams/incoming.js'
import type { DomainQueue } from './domain-queue.js'

const NOTHING = { security: '', queue: 0, bytes: 0, unacknowledged: 0, address: '', since: undefined, error: '' }

/** Reports the queues to other servers, and the pairs of domains that are left alone for a while: key and reason. */
export function queueReports (
  links: Iterable<DomainQueue>, resting: readonly (readonly [pair: string, why: Error])[],
): readonly LinkReport[] {
  return [...Array.from(links, reportOf), ...resting.map(([pair, why]) => reportOfResting(pair, why))]
}

function reportOf (link: DomainQueue): LinkReport {
  const { local, remote, carrier, state, queued: queue, bytes, lastError } = link
  const known = { ...NOTHING, local, remote, state, queue, bytes, error: lastError?.message ?? '' }
  if (carrier === undefined) return { ...known, direction: 'out' }
  const { isBidi, security = '', unacknowledged, address, since } = carrier
  return { ...known, direction: isBidi ? 'both' : 'out', security, unacknowledged, address, since }
}

/** Reports a pair of domains that is left alone for a while. `pair`: its key. */
function reportOfResting (pair: string, why: Error): LinkReport {
  const [local = '', remote = ''] = pair.split(' ')
  return { ...NOTHING, local, remote, direction: 'out', state: 'resting', error: why.message }
}

/** Reports an incoming stream: one entry for each pair of domains that is proven on it. */
export function reportsOf (stream: Incoming): readonly LinkReport[] {
  const { isBidi, isOver, security = '', backlog: bytes, unacknowledged, address, since } = stream
  return stream.pairs.map(({ from, to }) => ({
    ...NOTHING, local: to, remote: from, direction: isBidi ? 'both' : 'in', state: isOver ? 'closing' : 'established',
    security, bytes,
    unacknowledged, address, since,
  }))
}
