/** Changes of roles: voice, moderation, and removal from the room (XEP-0045 §8.2 to §8.5, §9.6 to §9.8). */
import { StanzaError } from '../../lib/api.js'
import type { Batch, Jid } from '../../lib/api.js'
import { depart, departures, tellEach } from './leaving.js'
import { spread } from './presences.js'
import type { Room } from './room.js'
import type { MucService } from './service.js'
import { checkRole, isRuling, type Role, type Standing } from './standing.js'
import { deviceWrites } from './stored.js'

/** Who changes roles. `nick`: undefined for somebody who is not in the room. */
export interface Actor extends Standing { readonly nick: string | undefined }

/** One change of a role. */
export interface RoleChange { readonly nick: string, readonly role: Role, readonly reason: string }

/**
 * Returns what somebody may do: by the occupant of this device, or as an admin or owner who is not in the room, who
 * counts as moderator (§5.1.2).
 */
export function actorOf (room: Room, asker: Jid): Actor {
  const affiliation = room.affiliationOf(asker)
  const occupant = room.of(asker)
  if (occupant !== undefined) return { role: occupant.role, affiliation, nick: occupant.nick }
  return { role: isRuling(affiliation) ? 'moderator' : 'none', affiliation, nick: undefined }
}

/**
 * Changes roles: all of them or none. Rejects with item-not-found for an unknown nick, and with the errors of
 * `checkRole`.
 */
export async function changeRoles (
  service: MucService, room: Room, batch: Batch, by: Actor, changes: readonly RoleChange[],
): Promise<void> {
  if (by.role !== 'moderator') throw new StanzaError('forbidden')
  const all = changes.map(change => {
    const whom = room.called(change.nick)
    if (whom === undefined) throw new StanzaError('item-not-found', 'there is nobody with that nick')
    checkRole(by, { role: whom.role, affiliation: room.affiliationOf(whom.bare) }, change.role)
    return { ...change, whom }
  })
  // Who has left by one item must not come back by the next.
  if (new Set(all.map(({ whom }) => whom)).size < all.length) throw new StanzaError('bad-request', 'an occupant is named twice')
  const changing = all.filter(({ whom, role }) => whom.role !== role)
  await service.store(changing.flatMap(({ whom, role }) => role === 'none'
    ? departures(service, room, whom.devices.values())
    : deviceWrites(service.stores, room, { nick: whom.nick, devices: whom.devices, role })))
  await tellEach(service, room, batch, changing, ({ whom, role, reason }, batch) => {
    const notice = { reason, ...by.nick === undefined ? {} : { actor: by.nick } }
    if (role === 'none') {
      depart(service, room, batch, whom, { ...notice, codes: [307] })
      return
    }
    const wasShown = room.isShown(whom)
    whom.role = role
    spread(service, room, batch, whom, { notice, toAll: wasShown })
  })
}
