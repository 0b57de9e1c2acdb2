/** Links as the operator sees them. */
import type { Incoming } from './incoming.js'
import type { Link } from './link.js'

export interface LinkReport {
  readonly local: string
  readonly remote: string
  readonly direction: 'out' | 'in' | 'both'
  readonly state: string
  readonly security: string
  readonly queue: number
  readonly bytes: number
  /** Sent, and not acknowledged yet. */
  readonly unacknowledged: number
  readonly address: string
  readonly since: number | undefined
  readonly error: string
}

const NOTHING = { security: '', queue: 0, bytes: 0, unacknowledged: 0, address: '', since: undefined, error: '' }

export function reportOf (link: Link): LinkReport {
  const { local, remote, carrier, state, queued: queue, bytes, lastError } = link
  const known = { ...NOTHING, local, remote, state, queue, bytes, error: lastError?.message ?? '' }
  if (carrier === undefined) return { ...known, direction: 'out' }
  const { isBidi, security = '', unacknowledged, address, since } = carrier
  return { ...known, direction: isBidi ? 'both' : 'out', security, unacknowledged, address, since }
}

/** A pair of domains that is left alone for a while. `pair`: their key. */
export function reportOfResting (pair: string, why: Error): LinkReport {
  const [local = '', remote = ''] = pair.split(' ')
  return { ...NOTHING, local, remote, direction: 'out', state: 'resting', error: why.message }
}

/** What comes in on a stream: one for each pair of domains that is proven on it. */
export function reportsOf (stream: Incoming): readonly LinkReport[] {
  const { isBidi, isOver, security = '', backlog: bytes, unacknowledged, address, since } = stream
  return stream.pairs.map(({ from, to }) => ({
    ...NOTHING, local: to, remote: from, direction: isBidi ? 'both' : 'in', state: isOver ? 'closing' : 'established', security, bytes,
    unacknowledged, address, since,
  }))
}
