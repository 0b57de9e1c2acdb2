/** The listener for programs that watch the server: metrics in two formats, health and readiness, and nothing else. */
import t from 'tap'
import { expositionOf } from '../../lib/admin/exposition.js'
import { monitorRoutes } from '../../lib/web/monitor.js'
import { webStage } from './stage.js'

const METRICS = [
  { name: 'sestina_sessions', kind: 'gauge', help: 'Sessions.', value: 2, labels: { host: 'a' } },
  { name: 'sestina_sent_total', kind: 'counter', help: 'Sent.', value: 3 },
  { name: 'sestina_sent_total', kind: 'counter', help: 'Sent.', value: 4 },
] as const

async function stage (t: Parameters<typeof webStage>[0]) {
  const state = { isReady: true }
  const only = monitorRoutes({ metrics: isOpen => expositionOf(METRICS, isOpen), isReady: () => state.isReady })
  return { state, ...await webStage(t, { only }) }
}

t.test('metrics are told in the format of Prometheus, or as OpenMetrics to a program that asks for it', async t => {
  const { ask } = await stage(t)
  t.match(await ask('/metrics'), {
    status: 200,
    headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8', 'vary': 'accept' },
    body: '# HELP sestina_sessions Sessions.\n# TYPE sestina_sessions gauge\nsestina_sessions{host="a"} 2\n# HELP sestina_sent_total Sent.\n# TYPE sestina_sent_total counter\nsestina_sent_total 7\n',
  })
  const accept = 'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2'
  t.match(await ask('/metrics', { headers: { accept } }), {
    status: 200,
    headers: { 'content-type': 'application/openmetrics-text; version=1.0.0; charset=utf-8' },
    body: '# HELP sestina_sessions Sessions.\n# TYPE sestina_sessions gauge\nsestina_sessions{host="a"} 2\n# HELP sestina_sent Sent.\n# TYPE sestina_sent counter\nsestina_sent_total 7\n# EOF\n',
  })
})

t.test('a monitor learns whether the server lives, and whether it is ready', async t => {
  const { state, ask } = await stage(t)
  t.match(await ask('/health'), { status: 200, body: 'ok\n' })
  t.match(await ask('/ready'), { status: 200, body: 'ready\n' })
  state.isReady = false
  t.match(await ask('/ready'), { status: 503, body: 'not ready\n' })
  t.match(await ask('/health'), { status: 200, body: 'ok\n' })
})

t.test('clients find nothing at the listener for monitors, and monitors nothing at the one for clients', async t => {
  const { ask, webSocket } = await stage(t)
  for (const path of ['/http-bind', '/.well-known/host-meta', '/xmpp-websocket', '/upload/x/y/z', '/']) {
    t.equal((await ask(path)).status, 404, path)
  }
  t.ok((await webSocket()).isClosed)
  const clients = await webStage(t)
  for (const path of ['/metrics', '/ready']) t.equal((await clients.ask(path)).status, 404, path)
})
