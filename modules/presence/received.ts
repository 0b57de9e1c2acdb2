/** Presence and probes for an account (RFC 6121 §4.3.2, §8.5.2.1.2, §8.5.3). */
import { addressed, follow, hasTo, stanza, StanzaError, xml } from '../../lib/api.js'
import type { Addressed, Jid, Maybe, ModuleHost, PresenceArriving, Roster, Session } from '../../lib/api.js'
import { countSpared, isSubscriber, rosterOf } from './broadcast.js'
import type { Directed } from './directed.js'
import { ANSWERS, type RemotePresenceCache } from './remote-presence.js'
import { lookedAt } from './own.js'

/** The parts that know of presence and concern the presence of others. */
export interface ReceivedDeps { readonly directed: Directed, readonly known: RemotePresenceCache }

/** Chooses the recipients of presence, or answers a probe. Throws StanzaError for an unknown type. */
export function receive (host: ModuleHost, { directed, known }: ReceivedDeps, event: PresenceArriving): Maybe<'handled' | undefined> {
  const { presence, account } = event
  switch (presence.type) {
    case 'probe':
      return follow(answer(host, directed, presence, account), () => 'handled' as const)
    case 'available': case 'unavailable': case 'error':
      event.recipients = recipients(host, presence, account)
      if (presence.type === 'error') known.forget(account, contact => contact.equals(presence.from.bare)) // the probe failed
      if (presence.type === 'error' || event.recipients.length === 0 || host.router.serves(presence.from.domain)) return undefined
      return follow(rosterOf(host, account), contacts => {
        event.recipients = unheard(host, known, event, contacts)
        return undefined
      })
    case 'subscribe': case 'subscribed': case 'unsubscribe': case 'unsubscribed':
      return undefined
    default:
      throw new StanzaError('bad-request')
  }
}

/** Returns the recipients: all available devices, or the device with the given resource (§8.5.2.1.2, §8.5.3). */
function recipients ({ sessions }: ModuleHost, presence: Addressed<'presence'>, account: Jid): readonly Session[] {
  if (presence.to.resource === '') return presence.type === 'error' ? [] : sessions.of(account).filter(device => device.available)
  const device = sessions.at(presence.to)
  return device === undefined ? [] : [device]
}

/**
 * Returns the recipients that do not have this presence yet, if a remote contact sent it to all of them. Presence for
 * one device is always delivered.
 */
function unheard (
  host: ModuleHost, known: RemotePresenceCache, { account, presence, recipients }: PresenceArriving, contacts: Roster,
): readonly Session[] {
  const item = contacts.item(presence.from.bare)
  if (item === undefined || !hasTo(item)) return recipients
  const [device] = recipients
  const isForAll = presence.to.resource === ''
  const now = host.clock.now()
  if (!isForAll && (device === undefined || now - lookedAt(device) > ANSWERS)) return recipients
  const missing = known.hear(account, presence, recipients, now)
  if (!isForAll) return recipients
  countSpared(host, 'presence', recipients.length - missing.length, presence)
  return missing
}

/** Answers a probe (§4.3.2): with presence to those who may see it, with 'unsubscribed' to others. */
function answer (host: ModuleHost, directed: Directed, probe: Addressed<'presence'>, account: Jid): Maybe<void> {
  const { sessions, router } = host
  const prober = probe.from
  return follow(rosterOf(host, account), contacts => {
    const maySee = prober.bare.equals(account) || isSubscriber(contacts, prober)
    const shown = sessions.of(account).filter(device => device.presence !== undefined &&
      (maySee ? probe.to.resource === '' || device.jid.equals(probe.to) : directed.hasToldOf(device, prober)))
    for (const { presence } of shown) {
      if (presence !== undefined) router.route(addressed(presence.with({ to: prober }), prober))
    }
    if (shown.length > 0) return
    if (!maySee) router.route(stanza(xml('presence', { type: 'unsubscribed' }), account, prober.bare))
    // A remote server may still show a device that is gone; this server never does.
    else if (!router.serves(prober.domain)) router.route(stanza(xml('presence', { type: 'unavailable' }), account, prober))
  })
}
