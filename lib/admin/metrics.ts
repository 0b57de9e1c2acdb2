/** `sestina metrics`: all that is counted and measured, in the text format of Prometheus. */
import { Counter, Gauge, Registry } from 'prom-client'
import type { Labels } from '../base/counters.js'
import type { Server } from '../host/server.js'
import type { AdminWorld, Federated } from './commands.js'

/** A number with a name. A counter only grows, from the start on. */
export interface Measure {
  readonly name: string
  readonly kind: 'counter' | 'gauge'
  readonly help: string
  readonly value: number
  readonly labels?: Labels
}

/** Names are those of Prometheus: with the unit, and `_total` behind what only grows. */
export async function metricsOf (world: AdminWorld): Promise<string> {
  const { server, federation } = world
  const all = [...ofServer(server), ...ofModules(server), ...federation === undefined ? [] : ofLinks(federation), ...world.measures()]
  const byName = new Map<string, Measure[]>()
  for (const measure of all) byName.set(measure.name, [...byName.get(measure.name) ?? [], measure])
  const registry = new Registry()
  for (const [name, measures] of byName) register(registry, name, measures)
  return (await registry.metrics()).trimEnd()
}

function register (registry: Registry, name: string, measures: readonly Measure[]): void {
  const { help = '', kind } = measures[0] ?? {}
  const about = { name, help, labelNames: [...new Set(measures.flatMap(({ labels = {} }) => Object.keys(labels)))], registers: [registry] }
  if (kind === 'counter') {
    const counter = new Counter(about)
    for (const { labels = {}, value } of measures) counter.inc(labels, value)
  } else {
    const gauge = new Gauge(about)
    for (const { labels = {}, value } of measures) gauge.set(labels, value)
  }
}

function * ofServer ({ router, hosts, storage }: Server): Iterable<Measure> {
  yield { name: 'sestina_storage_failed', kind: 'gauge', help: 'Whether the storage takes nothing more: 1, else 0.', value: storage.trouble === undefined ? 0 : 1 }
  yield { name: 'sestina_storage_unreadable_total', kind: 'counter', help: 'Stored items that could not be read since the start.', value: storage.aside.count }
  for (const { domain: host, sessions } of hosts) {
    yield { name: 'sestina_sessions', kind: 'gauge', help: 'Devices with a session.', value: sessions.count, labels: { host } }
    yield { name: 'sestina_accounts_online', kind: 'gauge', help: 'Accounts with a session.', value: sessions.accounts, labels: { host } }
  }
  for (const { peers, kind, ...counts } of router.traffic.lines()) {
    for (const direction of ['in', 'out'] as const) {
      const labels = { peers, kind, direction }
      yield { name: 'sestina_traffic_stanzas_total', kind: 'counter', help: 'Stanzas, and what else stands at the top level of a stream.', value: counts[direction], labels }
      yield { name: 'sestina_traffic_bytes_total', kind: 'counter', help: 'Their bytes, before TLS.', value: counts[`${direction}Bytes`], labels }
    }
  }
}

/** Each module's own, by the name of the module and what it calls them. */
function * ofModules (server: Server): Iterable<Measure> {
  for (const { domain: host, counters } of server.hosts) {
    const names = server.modules(host)?.counts ?? {}
    for (const { metric, labels, value, help } of counters.told(names)) {
      yield { name: `sestina_${metric.replaceAll(/\W/g, '_')}_total`, kind: 'counter', help, value, labels: { host, ...labels } }
    }
  }
}

function * ofLinks (federation: Federated): Iterable<Measure> {
  for (const { metric, ...number } of federation.numbers()) yield { name: `sestina_links_${metric}_total`, kind: 'counter', ...number }
  const links = federation.report()
  for (const [key, count] of tally(links.map(({ direction, state }) => `${direction} ${state}`))) {
    const [direction = '', state = ''] = key.split(' ')
    yield { name: 'sestina_links', kind: 'gauge', help: 'Pairs of domains with a link, by its direction and state.', value: count, labels: { direction, state } }
  }
  const sum = (of: 'queue' | 'bytes' | 'unacknowledged'): number => links.reduce((total, link) => total + link[of], 0)
  yield { name: 'sestina_links_queue_stanzas', kind: 'gauge', help: 'Stanzas that wait for a link.', value: sum('queue') }
  yield { name: 'sestina_links_queue_bytes', kind: 'gauge', help: 'Bytes that wait for a link, or for a peer that reads slowly.', value: sum('bytes') }
  yield { name: 'sestina_links_unacknowledged_stanzas', kind: 'gauge', help: 'Stanzas that were sent and are not acknowledged yet.', value: sum('unacknowledged') }
}

function tally (keys: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
  return counts
}
