/** `sestina traffic`: what was received and sent since the start, by kind, with shares, and what was saved. */
import type { Server } from '../host/server.js'

interface Line {
  readonly peers: string
  readonly kind: string
  readonly in: number
  readonly inBytes: number
  /** The share in percent of all bytes of the same peers and direction. */
  readonly inShare: number
  readonly out: number
  readonly outBytes: number
  readonly outShare: number
}

/** The savings of a module for devices: stanzas that were never sent, and wake-ups that sending together avoided. */
interface Spared {
  readonly by: string
  readonly kind: string
  readonly stanzas: number
  readonly bytes: number
  readonly wakeups: number
}

/** The answer of `sestina traffic`. */
export interface TrafficReport {
  readonly since: string
  readonly traffic: readonly Line[]
  readonly spared: readonly Spared[]
}

/** Returns the traffic of the server since its start. */
export function trafficOf (server: Server): TrafficReport {
  return { since: new Date(server.since).toISOString(), traffic: linesOf(server), spared: sparedBy(server) }
}

function linesOf ({ pipeline }: Server): readonly Line[] {
  const all = pipeline.traffic.lines()
  return (['clients', 'servers'] as const).flatMap(peers => {
    const lines = all.filter(line => line.peers === peers)
    const sum = (of: 'in' | 'inBytes' | 'out' | 'outBytes'): number => lines.reduce((total, line) => total + line[of], 0)
    const total = { peers, kind: 'all', in: sum('in'), inBytes: sum('inBytes'), out: sum('out'), outBytes: sum('outBytes') }
    return [...lines, total].map(line => ({
      peers,
      kind: line.kind,
      in: line.in,
      inBytes: line.inBytes,
      inShare: percent(line.inBytes, total.inBytes),
      out: line.out,
      outBytes: line.outBytes,
      outShare: percent(line.outBytes, total.outBytes),
    }))
  })
}

function percent (part: number, whole: number): number {
  return whole === 0 ? 0 : Math.round(1000 * part / whole) / 10
}

/** Modules count what they save as `spared.stanzas`, `spared.bytes` and `waited`, by `kind`. */
const SPARED = /^([\w-]+)\.(?:spared\.(stanzas|bytes)|waited)$/

/** Sums up what was saved, over all hosts. */
function sparedBy ({ hosts }: Server): readonly Spared[] {
  const found = new Map<string, { by: string, kind: string, stanzas: number, bytes: number, wakeups: number }>()
  for (const host of hosts) {
    for (const { metric, labels: { kind }, value } of host.counters) {
      const [, by, what] = SPARED.exec(metric) ?? []
      if (by === undefined || kind === undefined) continue
      const key = `${by} ${kind}`
      const line = found.get(key) ?? { by, kind, stanzas: 0, bytes: 0, wakeups: 0 }
      found.set(key, line)
      // A stanza that waited is sent together with others. Alone it would have woken the device.
      line[what === 'stanzas' || what === 'bytes' ? what : 'wakeups'] += value
    }
  }
  return [...found].sort(([a], [b]) => a < b ? -1 : 1).map(([, line]) => line)
}
