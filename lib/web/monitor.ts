/** The routes for programs that watch the server: its metrics, and whether it lives and is ready. */
import type { WebRequest, WebRoute } from '../host/web-routes.js'
import { health } from './host-meta.js'

export interface MonitorDeps {
  /** Returns all metrics as text: of OpenMetrics 1.0, or else in the format of Prometheus. */
  readonly metrics: (isOpenMetrics: boolean) => string
  /** True if the server serves clients and stores what they send. */
  readonly isReady: () => boolean
}

const OPEN_METRICS = 'application/openmetrics-text'
const PROMETHEUS = 'text/plain; version=0.0.4; charset=utf-8'

export function monitorRoutes ({ metrics, isReady }: MonitorDeps): readonly WebRoute[] {
  return [
    health,
    {
      method: 'GET',
      path: '/ready',
      callers: 'anybody',
      answer: () => {
        const headers = { 'content-type': 'text/plain; charset=utf-8' }
        return isReady() ? { status: 200, headers, body: 'ready\n' } : { status: 503, headers, body: 'not ready\n' }
      },
    },
    {
      method: 'GET',
      path: '/metrics',
      callers: 'anybody',
      answer: request => {
        const isOpen = wantsOpenMetrics(request)
        const type = isOpen ? `${OPEN_METRICS}; version=1.0.0; charset=utf-8` : PROMETHEUS
        return { status: 200, headers: { 'content-type': type, 'vary': 'accept' }, body: metrics(isOpen) }
      },
    },
  ]
}

function wantsOpenMetrics ({ header }: WebRequest): boolean {
  return header('accept')?.toLowerCase().includes(OPEN_METRICS) === true
}
