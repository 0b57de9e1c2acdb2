/** Sends presence to everyone who may see it (RFC 6121 §4.2.2, §4.4.2, §4.5.2). */
import { addressed, blocklists, follow, hasFrom, rosters, Stanza, xml } from '../../lib/api.js'
import type { Jid, Maybe, ModuleHost, Presence, Roster, Session } from '../../lib/api.js'

/** Returns the roster of an account; without a promise if it is in memory. */
export function rosterOf (host: ModuleHost, account: Jid): Maybe<Roster> { return host.use(rosters).of(account) }

/** True if the contact is subscribed to the account's presence. */
export function isSubscriber (contacts: Roster, jid: Jid): boolean {
  const item = contacts.item(jid.bare)
  return item !== undefined && hasFrom(item)
}

/** Makes unavailable presence without a recipient. */
export function absence (jid: Jid): Presence {
  return new Stanza('presence', xml('presence', { type: 'unavailable' }), jid, undefined)
}

/**
 * Sends presence to the subscribers and to the account's own devices, the sender `self` included. It may take several
 * turns of the event loop, and stops once `isMeant` returns false.
 */
export function broadcast (
  host: ModuleHost, presence: Presence, contacts: Roster, self?: Session, isMeant = (): boolean => true,
): Maybe<void> {
  const account = presence.from.bare
  const blocked = host.find(blocklists)
  const subscribers = [...contacts.items()].filter(hasFrom)
  self?.charge(subscribers.length)
  const told = host.router.each(subscribers, ({ jid }) => {
    if (!isMeant()) return
    void follow(blocked?.blocks(account, jid) ?? false, isBlocked => {
      if (!isBlocked) host.router.route(addressed(presence.with({ to: jid }), jid))
    })
  })
  return follow(told, () => {
    if (!isMeant()) return
    for (const device of host.sessions.of(account)) {
      if (device.available || device === self) device.send(presence.with({ to: device.jid }))
    }
  })
}

/** The end of a session: its unavailable presence, and who saw it as available. */
export interface Departure {
  readonly presence: Presence
  readonly contacts: Roster
  /** Subscribers saw it as available. */
  readonly wasAvailable: boolean
  /** The recipients of its directed presence. */
  readonly told: Iterable<Jid>
}

/** Sends unavailable presence to subscribers, if the session was available, and to recipients of directed presence. */
export function announceEnd (
  host: ModuleHost, { presence, contacts, wasAvailable, told }: Departure, self?: Session,
): Maybe<void> {
  const heard = wasAvailable ? broadcast(host, presence, contacts, self) : undefined
  return follow(heard, () => host.router.each([...told], to => {
    if (!wasAvailable || !isSubscriber(contacts, to)) host.router.route(addressed(presence.with({ to }), to))
  }))
}

/** Counts stanzas like this one that were not sent because they brought nothing new. */
export function countSpared (host: ModuleHost, kind: 'presence' | 'probe', stanzas: number, one: Stanza): void {
  if (stanzas === 0) return
  host.count('spared.stanzas', stanzas, { kind })
  host.count('spared.bytes', stanzas * one.octets().length, { kind })
}
