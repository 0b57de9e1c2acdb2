/** The presence that follows a change of a block list (XEP-0191 §3.3, §3.5). */
import { addressed, follow, hasFrom, presences, rosters, stanza, xml } from '../../lib/api.js'
import type { Jid, ModuleHost, Session } from '../../lib/api.js'
import { matches, textsOf } from './matching.js'

/**
 * Sends unavailable presence to subscribers that are about to be blocked, and to such recipients of directed presence
 * (§3.3). Call it before the change, while stanzas can still be sent to them.
 */
export function leave (host: ModuleHost, account: Jid, others: readonly Jid[]): void {
  const items = textsOf(others)
  const heard = new Set<string>()
  eachSubscriber(host, account, items, contact => {
    heard.add(contact.toString())
    for (const device of host.sessions.of(account)) if (device.available) sendUnavailable(host, device, contact)
  })
  for (const device of host.sessions.of(account)) {
    for (const to of host.find(presences)?.directedTo(device) ?? []) {
      const hasHeard = device.available && heard.has(to.bare.toString())
      if (!hasHeard && matches(items, account, to)) sendUnavailable(host, device, to)
    }
    host.find(presences)?.forgetDirected(device, to => matches(items, account, to))
  }
}

/** Sends current presence to unblocked subscribers, unless another item of the list still blocks them (§3.5). */
export function comeBack (host: ModuleHost, account: Jid, list: ReadonlySet<string>, others: readonly Jid[]): void {
  eachSubscriber(host, account, textsOf(others), contact => {
    if (matches(list, account, contact)) return
    for (const { presence } of host.sessions.of(account)) {
      if (presence !== undefined) host.router.route(addressed(presence.with({ to: contact }), contact))
    }
  })
}

function sendUnavailable (host: ModuleHost, device: Session, to: Jid): void {
  host.router.route(stanza(xml('presence', { type: 'unavailable' }), device.jid, to))
}

/** Calls `tell` for each contact that matches an item and is subscribed to the account's presence. */
function eachSubscriber (
  host: ModuleHost, account: Jid, items: ReadonlySet<string>, tell: (contact: Jid) => void,
): void {
  const roster = host.find(rosters)?.of(account)
  if (roster === undefined || items.size === 0) return
  void follow(roster, contacts => {
    for (const item of contacts.items()) if (hasFrom(item) && matches(items, account, item.jid)) tell(item.jid)
  })
}
