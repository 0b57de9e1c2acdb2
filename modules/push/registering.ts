/** The requests that register and end push registrations (XEP-0357 §5, §6). */
import { deviceOf, NS, StanzaError } from '../../lib/api.js'
import type { ModuleHost, Request, Session } from '../../lib/api.js'
import type { Ending } from './ending.js'
import type { PendingNotifications } from './notices.js'
import { keyOf, type Registration, type Registrations } from './registrations.js'
import { optionsIn, targetIn } from './request.js'

/** `services`: the allowed domains of app servers, all if empty; `registrations`: the most of an account. */
export interface RegisteringSettings { readonly services: readonly string[], readonly registrations: number }

/** The parts that the requests change. */
export interface RegisteringDeps {
  readonly registrations: Registrations
  readonly notices: PendingNotifications
  readonly ending: Ending
  readonly settings: RegisteringSettings
}

/** Answers requests to enable and disable push. */
export function answerRequests (host: ModuleHost, parts: RegisteringDeps): void {
  host.iq.set('self', NS.PUSH, 'enable', request => enable(host, parts, request))
  host.iq.set('self', NS.PUSH, 'disable', async ({ session, payload, batch }) => {
    const { service, node } = targetIn(payload)
    // §6: without a node, all registrations of the service end.
    await parts.ending.remove(session.account, one =>
      one.service.equals(service) && (node === undefined || one.node === node), batch)
  })
}

type OwnRequest = Request & { readonly session: Session }

async function enable (
  host: ModuleHost, parts: RegisteringDeps, { session, payload, batch }: OwnRequest,
): Promise<void> {
  const { registrations, notices, ending, settings } = parts
  const { service, node } = targetIn(payload)
  const options = optionsIn(payload)
  if (settings.services.length > 0 && !settings.services.includes(service.domain)) {
    throw new StanzaError('not-allowed', 'this app server is not allowed')
  }
  const { account } = session
  const key = keyOf(service, node)
  const fresh: Registration = {
    id: host.ids.next(), key, service, device: deviceOf(session), seen: host.clock.now(),
    ...node === undefined ? {} : { node },
    ...options === undefined ? {} : { options },
  }
  await registrations.change(account, all => {
    const stale = [...all.values()].filter(one => one.key !== key && ending.isForgotten(account, one))
    // §5: a new request for the same node replaces the former one.
    if (!all.has(key) && all.size - stale.length >= settings.registrations) {
      throw new StanzaError('resource-constraint', 'too many push registrations', { type: 'cancel' })
    }
    return new Map([...stale.map(one => [one.key, undefined] as const), [key, fresh]])
  }, batch)
  batch.committed(() => { notices.renewed(account, key) })
}
