/** The presence that the server sends for an account when a subscription changes (RFC 6121 §3). */
import { addressed, hasFrom, hasTo, stanza, xml } from '../../lib/api.js'
import type { Jid, ModuleHost } from '../../lib/api.js'
import type { StoredItem } from './items.js'
import type { SubscriptionType } from './subscription.js'

/** Sends a subscription stanza in the account's name. */
export function tell ({ router }: ModuleHost, account: Jid, contact: Jid, type: SubscriptionType): void {
  router.route(stanza(xml('presence', { type }), account, contact))
}

/** Sends the contact the current presence of the account's sessions. */
export function present ({ sessions, router }: ModuleHost, account: Jid, contact: Jid): void {
  for (const device of sessions.of(account)) {
    if (device.presence !== undefined) router.route(addressed(device.presence, contact))
  }
}

/** Sends the contact unavailable presence for the account's available sessions. */
export function absent ({ sessions, router }: ModuleHost, account: Jid, contact: Jid): void {
  for (const device of sessions.of(account)) {
    if (device.available) router.route(stanza(xml('presence', { type: 'unavailable' }), device.jid, contact))
  }
}

/** Ends all subscriptions between an account and a contact, and refuses a pending request. */
export function part (host: ModuleHost, account: Jid, contact: Jid, old: StoredItem): void {
  if (hasTo(old) || old.ask) tell(host, account, contact, 'unsubscribe')
  if (!hasFrom(old) && old.request === undefined) return
  if (hasFrom(old)) absent(host, account, contact)
  tell(host, account, contact, 'unsubscribed')
}
