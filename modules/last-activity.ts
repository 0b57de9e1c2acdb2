/** XEP-0012 Last Activity: how long a device has been idle, an account has been away, or the server has been up. */
import {
  defineModule, flatten, follow, hasForm, mayKnow, NS, presenceSent, records, rosters, sessionUnavailable, shortened,
  slot, StanzaError, textOf, writable, xml,
} from '../lib/api.js'
import type { Batch, Element } from '../lib/api.js'

/** When an account was last available, and the status text of its last unavailable presence. */
interface Last { readonly at: number, readonly status: string }

/** The status text of the session's last unavailable presence. */
const farewell = slot('last-activity.farewell', { initial: () => '' })
/** The batch of the unavailable presence that is being handled. */
const leaving = slot<Batch | undefined>('last-activity.leaving', { initial: () => undefined })
const STATUS_LIMIT = 1023

export default defineModule({
  name: 'last-activity',
  about: 'Tells contacts that may see the presence of an account when it was last online.',
  xeps: ['0012 v2.0'],
  features: { host: [NS.LAST], account: [NS.LAST] },
  requires: ['roster', 'presence'],
  stores: { last: records<Last>(1, undefined, { check: value => hasForm(value, { at: 'number', status: 'string' }), unreadable: 'moved' }) },

  setup (host) {
    const { last } = host.stores
    const started = host.clock.now()

    host.on(presenceSent, ({ presence, session, batch }) => {
      if (presence.type !== 'unavailable' || presence.to !== undefined) return
      const status = presence.child(NS.CLIENT, 'status')
      session.put(farewell, status === undefined ? '' : flatten(shortened(textOf(status), STATUS_LIMIT)))
      if (!session.available) return
      session.put(leaving, batch)
      batch.failed(() => { session.put(leaving, undefined) })
    }, 'stamp')

    host.on(sessionUnavailable, async ({ session, last: isLast }) => {
      const { account } = session
      const batch = session.get(leaving)
      session.put(leaving, undefined)
      if (!isLast) return
      const written: Last = { at: host.clock.now(), status: session.get(farewell) }
      // Stored with the presence, so that the next request finds it.
      if (batch !== undefined) batch.add(last.putting(account.toString(), 'last', written))
      // If the account is being removed, nothing is stored: it would outlive the account.
      else if (await host.accounts.exists(account)) await last.put(account.toString(), 'last', written)
    }, 'observe')

    host.iq.get('host', NS.LAST, 'query', () => seconds(host.clock.now() - started)) // §6: the uptime of the server

    host.iq.get('account', NS.LAST, 'query', ({ stanza }) => follow(mayKnow(stanza.from, stanza.to, host.use(rosters)), async allowed => {
      if (!allowed) throw new StanzaError('forbidden') // §4: only for those who may see the presence
      if (host.sessions.of(stanza.to).some(device => device.available)) return seconds(0)
      const known = await last.get(stanza.to.toString(), 'last')
      if (known === undefined) throw new StanzaError('item-not-found', 'the account was never online')
      return seconds(host.clock.now() - known.at, known.status)
    }))
  },
})

function seconds (ms: number, status = ''): Element {
  return xml('query', { xmlns: NS.LAST, seconds: String(Math.max(0, Math.floor(ms / 1000))) }, ...status === '' ? [] : [writable(status)])
}
