/** What a program that watches the server reads. */
import t from 'tap'
import type { Federated } from '../../lib/admin/commands.js'
import { answer } from '../../lib/admin/commands.js'
import type { Measure } from '../../lib/admin/metrics.js'
import { Counters } from '../../lib/base/counters.js'
import { LINK_COUNTS, type LinkCount } from '../../lib/s2s/counts.js'
import { scenario } from '../scenario.js'
import { Listening, worldOf } from './world.js'

const LINK = { local: 'montague.lit', remote: 'capulet.lit', security: 'EXTERNAL', unacknowledged: 2, address: '192.0.2.1', since: 0, error: '' }

t.test('all that is counted stands there by name and labels, with its type and what it says', async t => {
  const s = await scenario(t, { modules: ['presence', 'csi'], hosts: ['montague.lit'] })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const phone = await s.device('juliet@montague.lit/phone')
  await phone.says("<inactive xmlns='urn:xmpp:csi:0'/>")
  for (const status of ['here', 'there']) await romeo.says(`<presence to='juliet@montague.lit/phone'><status>${status}</status></presence>`)
  s.server.router.traffic.clients.in.add(0, 100)
  const counters = new Counters()
  const count = (metric: LinkCount, by?: number, labels?: Readonly<Record<string, string>>): void => { counters.count(metric, by, labels) }
  count('opened', 2)
  count('bounced', 3, { condition: 'remote-server-timeout' })
  count('bounced', 1, { condition: 'remote-server-not-found' })
  const federation: Federated = {
    numbers: () => counters.told(LINK_COUNTS),
    report: () => [
      { ...LINK, direction: 'both', state: 'established', queue: 0, bytes: 5 }, { ...LINK, direction: 'both', state: 'established', queue: 0, bytes: 0 },
      { ...LINK, direction: 'out', state: 'resting', queue: 3, bytes: 900 },
    ],
    test: () => Promise.resolve([]),
  }
  const more: Measure = { name: 'sestina_build_info', kind: 'gauge', help: 'Always 1.', value: 1, labels: { version: 'a "quoted" \\ version\n' } }
  const text = await answer(worldOf(s.server, { federation, measures: () => [more] }), { command: 'metrics', args: [] }, new Listening())
  const lines = String(text).split('\n')
  for (const line of [
    '# TYPE sestina_sessions gauge', 'sestina_sessions{host="montague.lit"} 2', 'sestina_accounts_online{host="montague.lit"} 2', 'sestina_storage_failed 0',
    '# TYPE sestina_traffic_bytes_total counter', 'sestina_traffic_bytes_total{peers="clients",kind="chat",direction="in"} 100',
    'sestina_traffic_stanzas_total{peers="clients",kind="chat",direction="in"} 1', 'sestina_traffic_bytes_total{peers="servers",kind="stream",direction="out"} 0',
    '# HELP sestina_csi_spared_stanzas_total Stanzas that devices nobody looks at were spared, by kind.', 'sestina_csi_wakeups_spared_total{host="montague.lit"} 0', 'sestina_csi_spared_stanzas_total{host="montague.lit",kind="presence"} 1',
    '# HELP sestina_links_opened_total Connections to other servers that came to stand.', '# TYPE sestina_links_opened_total counter', 'sestina_links_opened_total 2',
    'sestina_links_bounced_total{condition="remote-server-timeout"} 3', 'sestina_links_bounced_total{condition="remote-server-not-found"} 1',
    'sestina_links_dropped_total 0', 'sestina_links{direction="both",state="established"} 2', 'sestina_links{direction="out",state="resting"} 1',
    'sestina_links_queue_stanzas 3', 'sestina_links_queue_bytes 905', 'sestina_links_unacknowledged_stanzas 6',
    'sestina_build_info{version="a \\"quoted\\" \\\\ version\\n"} 1',
  ]) t.ok(lines.includes(line), line)
  t.equal(lines.filter(line => line.startsWith('# TYPE sestina_sessions ')).length, 1)
})

t.test('counters: each label for itself or all together, within a bound', t => {
  const counters = new Counters()
  t.equal(counters.get('x'), undefined)
  counters.count('x')
  counters.count('x', 4, { why: 'a' })
  counters.count('x', 2, { why: 'b' })
  counters.count('xy', 100)
  t.equal(counters.get('x'), 7)
  t.equal(counters.get('x', { why: 'a' }), 4)
  for (let n = 0; n < 20_000; n++) counters.count('flood', 1, { n: String(n) })
  counters.count('x')
  t.equal(counters.get('x'), 8, 'what is known goes on')
  t.equal([...counters].length, 10_000)
  t.end()
})
