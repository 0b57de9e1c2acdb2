/** The metrics as a monitoring program reads them. */
import t from 'tap'
import type { FederationAdmin } from '../../lib/admin/world.js'
import { runCommand } from '../../lib/admin/commands.js'
import { expositionOf } from '../../lib/admin/exposition.js'
import type { Metric } from '../../lib/admin/world.js'
import { Counters } from '../../lib/base/counters.js'
import { LINK_COUNTS, type LinkCount } from '../../lib/s2s/ground/counts.js'
import { scenario } from '../scenario.js'
import { RecordedTalk, worldOf } from './world.js'

const LINK = { local: 'montague.lit', remote: 'capulet.lit', security: 'EXTERNAL', unacknowledged: 2, address: '192.0.2.1', since: 0, error: '' }

t.test('each metric is listed by name and labels, with its type and help text', async t => {
  const s = await scenario(t, { modules: ['presence', 'csi'], hosts: ['montague.lit'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const phone = await s.device('juliet@montague.lit/phone')
  await phone.says("<inactive xmlns='urn:xmpp:csi:0'/>")
  for (const status of ['here', 'there']) await romeo.says(`<presence to='juliet@montague.lit/phone'><status>${status}</status></presence>`)
  s.server.pipeline.traffic.clients.in.add(0, 100)
  const counters = new Counters()
  const count = (metric: LinkCount, by?: number, labels?: Readonly<Record<string, string>>): void => {
    counters.count(metric, by, labels)
  }
  count('opened', 2)
  count('bounced', 3, { condition: 'remote-server-timeout' })
  count('bounced', 1, { condition: 'remote-server-not-found' })
  const federation: FederationAdmin = {
    numbers: () => counters.described(LINK_COUNTS),
    report: () => [
      { ...LINK, direction: 'both', state: 'established', queue: 0, bytes: 5 }, { ...LINK, direction: 'both', state: 'established', queue: 0, bytes: 0 },
      { ...LINK, direction: 'out', state: 'resting', queue: 3, bytes: 900 },
    ],
    test: () => Promise.resolve([]),
  }
  const more: Metric = { name: 'sestina_build_info', kind: 'gauge', help: 'Always 1.', value: 1, labels: { version: 'a "quoted" \\ version\n' } }
  const text = await runCommand(worldOf(s.server, { federation, measures: () => [more] }), { command: 'metrics', args: [] }, new RecordedTalk())
  const lines = String(text).split('\n')
  for (const line of [
    '# TYPE sestina_sessions gauge', 'sestina_sessions{host="montague.lit"} 2', 'sestina_accounts_online{host="montague.lit"} 2', 'sestina_storage_failed 0',
    '# TYPE sestina_traffic_bytes_total counter', 'sestina_traffic_bytes_total{peers="clients",kind="chat",direction="in"} 100',
    'sestina_traffic_stanzas_total{peers="clients",kind="chat",direction="in"} 1', 'sestina_traffic_bytes_total{peers="servers",kind="stream",direction="out"} 0',
    '# HELP sestina_csi_spared_stanzas_total Stanzas that were dropped or replaced because their device was inactive, by kind.', 'sestina_csi_wakeups_spared_total{host="montague.lit"} 0', 'sestina_csi_spared_stanzas_total{host="montague.lit",kind="presence"} 1',
    '# HELP sestina_links_opened_total Connections to other servers that were established.', '# TYPE sestina_links_opened_total counter', 'sestina_links_opened_total 2',
    'sestina_links_bounced_total{condition="remote-server-timeout"} 3', 'sestina_links_bounced_total{condition="remote-server-not-found"} 1',
    'sestina_links_dropped_total 0', 'sestina_links{direction="both",state="established"} 2', 'sestina_links{direction="out",state="resting"} 1',
    'sestina_links_queue_stanzas 3', 'sestina_links_queue_bytes 905', 'sestina_links_unacknowledged_stanzas 6',
    'sestina_build_info{version="a \\"quoted\\" \\\\ version\\n"} 1',
  ]) t.ok(lines.includes(line), line)
  t.equal(lines.filter(line => line.startsWith('# TYPE sestina_sessions ')).length, 1)
})

t.test('the text is that of Prometheus, whatever a name or value holds', t => {
  const gauge = (name: string, value: number, labels?: Metric['labels']): Metric => (
    { name, kind: 'gauge', help: 'a \\ in\ntwo "lines"', value, ...labels === undefined ? {} : { labels } }
  )
  const counter = (value: number, why: string): Metric => ({ name: 'c_total', kind: 'counter', help: 'c', value, labels: { why } })
  t.equal(expositionOf([
    gauge('a', 1.5, {}), gauge('b', Infinity, { 'odd-name': '"\\\n' }), counter(2, 'x'), gauge('a', NaN, { '1st': '' }),
    counter(3, 'x'), counter(0, 'y'), gauge('b', -Infinity), gauge('a', 2), gauge('b', 1e21, { z: '1', a: '2' }),
  ]), [
    '# HELP a a \\\\ in\\ntwo "lines"', '# TYPE a gauge', 'a 2', 'a{_1st=""} NaN',
    '# HELP b a \\\\ in\\ntwo "lines"', '# TYPE b gauge', 'b{odd_name="\\"\\\\\\n"} +Inf', 'b -Inf', 'b{z="1",a="2"} 1e+21',
    '# HELP c_total c', '# TYPE c_total counter', 'c_total{why="x"} 5', 'c_total{why="y"} 0', '',
  ].join('\n'))
  t.equal(expositionOf([]), '')
  t.end()
})

t.test('counters add up for each label or for all, and their number is bounded', t => {
  const counters = new Counters()
  t.equal(counters.get('x'), undefined)
  counters.count('x')
  counters.count('x', 4, { reason: 'a' })
  counters.count('x', 2, { reason: 'b' })
  counters.count('xy', 100)
  t.equal(counters.get('x'), 7)
  t.equal(counters.get('x', { reason: 'a' }), 4)
  for (let n = 0; n < 20_000; n++) counters.count('flood', 1, { n: String(n) })
  counters.count('x')
  t.equal(counters.get('x'), 8, 'known labels still count')
  t.equal([...counters].length, 10_000)
  t.end()
})
