/** `sestina metrics`: writes all counters and gauges in the text format of Prometheus. */
import type { Server } from '../host/server.js'
import { expositionOf } from './exposition.js'
import type { AdminDeps, FederationAdmin, Metric } from './world.js'

/**
 * Returns all metrics as text. Names follow Prometheus: they end with the unit, and those of counters with `_total`.
 */
export function metricsOf (world: AdminDeps, isOpenMetrics = false): string {
  const { server, federation } = world
  const ofPeers = federation === undefined ? [] : ofLinks(federation)
  return expositionOf([...ofServer(server), ...ofModules(server), ...ofPeers, ...world.measures()], isOpenMetrics)
}

function * ofServer ({ pipeline, hosts, storage }: Server): Iterable<Metric> {
  yield { name: 'sestina_storage_failed', kind: 'gauge', help: '1 if the storage accepts no writes, else 0.', value: storage.trouble === undefined ? 0 : 1 }
  yield { name: 'sestina_storage_unreadable_total', kind: 'counter', help: 'Stored items that could not be read since the start.', value: storage.aside.count }
  for (const { domain: host, sessions } of hosts) {
    yield { name: 'sestina_sessions', kind: 'gauge', help: 'Sessions of devices.', value: sessions.count, labels: { host } }
    yield { name: 'sestina_accounts_online', kind: 'gauge', help: 'Accounts with a session.', value: sessions.accounts, labels: { host } }
  }
  for (const { peers, kind, ...counts } of pipeline.traffic.lines()) {
    for (const direction of ['in', 'out'] as const) {
      const labels = { peers, kind, direction }
      yield { name: 'sestina_traffic_stanzas_total', kind: 'counter', help: 'Stanzas and other elements at the top level of a stream.', value: counts[direction], labels }
      yield { name: 'sestina_traffic_bytes_total', kind: 'counter', help: 'Bytes of these elements, without TLS.', value: counts[`${direction}Bytes`], labels }
    }
  }
}

/** Yields the counters of modules. A name is made of the module's name and its own name for the counter. */
function * ofModules (server: Server): Iterable<Metric> {
  for (const { domain: host, counters } of server.hosts) {
    const names = server.modules(host)?.counts ?? {}
    for (const { metric, labels, value, help } of counters.described(names)) {
      yield { name: `sestina_${metric.replaceAll(/\W/g, '_')}_total`, kind: 'counter', help, value, labels: { host, ...labels } }
    }
  }
}

function * ofLinks (federation: FederationAdmin): Iterable<Metric> {
  for (const { metric, ...number } of federation.numbers()) yield { name: `sestina_links_${metric}_total`, kind: 'counter', ...number }
  const links = federation.report()
  for (const [key, count] of tally(links.map(({ direction, state }) => `${direction} ${state}`))) {
    const [direction = '', state = ''] = key.split(' ')
    yield { name: 'sestina_links', kind: 'gauge', help: 'Pairs of domains with a connection or a queue, by direction and state.', value: count, labels: { direction, state } }
  }
  const sum = (of: 'queue' | 'bytes' | 'unacknowledged'): number => links.reduce((total, link) => total + link[of], 0)
  yield { name: 'sestina_links_queue_stanzas', kind: 'gauge', help: 'Stanzas that wait for a connection.', value: sum('queue') }
  yield { name: 'sestina_links_queue_bytes', kind: 'gauge', help: 'Bytes that wait for a connection, or for a peer that reads slowly.', value: sum('bytes') }
  yield { name: 'sestina_links_unacknowledged_stanzas', kind: 'gauge', help: 'Stanzas that were sent to peers and are not acknowledged yet.', value: sum('unacknowledged') }
}

function tally (keys: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
  return counts
}
