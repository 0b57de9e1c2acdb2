/** Nick changes and availability of occupants (XEP-0045 §7.6, §7.7). */
import { JidError, jidOf, StanzaError } from '../../lib/api.js'
import type { Jid, ToEntity } from '../../lib/api.js'
import { onlookers, presenceFrom, spread, type Showing } from './presences.js'
import type { Occupant, Room } from './room.js'
import type { MucService } from './service.js'
import { deviceWrite, deviceWrites, readPresence } from './stored.js'

type Arrival = ToEntity<'presence'>

/** Takes the presence of a device that is in the room. Rejects with the errors of a nick change. */
export async function changePresence (
  service: MucService, room: Room, occupant: Occupant, arrival: Arrival,
): Promise<void> {
  const { stanza, batch, payer } = arrival
  const device = occupant.devices.get(stanza.from.toString())
  if (device === undefined) return
  device.heard = service.now
  if (stanza.to.resource === '') throw new StanzaError('jid-malformed', 'the nick is missing')
  const { presence, bytes } = readPresence(stanza.children())
  if (stanza.to.resource !== occupant.nick) await changeNick(service, room, occupant, arrival)
  batch.add(deviceWrite(service.stores, room, { jid: device.jid, presence }, occupant))
  room.update(occupant, device, presence, bytes)
  payer?.charge(room.deviceCount, stanza.from)
  spread(service, room, batch, occupant)
}

/**
 * §7.6: gives an occupant, with all devices, another nick, and tells everybody that the old one is gone. The caller
 * sends the presence under the new nick. Rejects with conflict and jid-malformed.
 */
export async function changeNick (
  service: MucService, room: Room, occupant: Occupant, { stanza: { to }, batch }: Arrival,
): Promise<void> {
  checkNick(to)
  const nick = to.resource
  const there = room.called(nick)
  if (there !== undefined && there !== occupant || room.isTaken(nick, occupant.bare)) {
    throw new StanzaError('conflict', 'the nick belongs to somebody else')
  }
  await service.store(deviceWrites(service.stores, room, { nick, role: occupant.role, devices: occupant.devices }))
  const { seeing, others } = onlookers(room, occupant)
  const from = room.addressOf(occupant)
  const own = [...occupant.devices.values()].map(({ jid }) => jid)
  const showing: Showing = {
    type: 'unavailable', role: occupant.role, affiliation: room.affiliationOf(occupant.bare), jid: undefined, nick, codes: [303],
  }
  const seen = { ...showing, jid: occupant.shown?.jid }
  if (room.isShown(occupant)) {
    if (seeing.length > 0) service.broadcast(room, batch, presenceFrom(room, occupant, from, seen), seeing)
    if (others.length > 0) service.broadcast(room, batch, presenceFrom(room, occupant, from, showing), others)
  }
  service.broadcast(room, batch, presenceFrom(room, occupant, from, { ...seen, codes: [110, 303] }), own)
  room.rename(occupant, jidOf(room.address.local, room.address.domain, nick).resource)
}

/** §17.1.1: an address without a nick, and a nick that cannot be seen, are refused. */
export function checkNick ({ resource }: Jid): void {
  if (resource === '') throw new StanzaError('jid-malformed', 'the nick is missing')
  if (!/[\p{L}\p{N}\p{P}\p{S}]/u.test(resource)) throw new StanzaError('jid-malformed', 'the nick cannot be seen')
}

/** Returns a nick as it is in the address of an occupant. Throws not-acceptable if it cannot be in one. */
export function preparedNick ({ address }: Room, nick: string): string {
  try {
    const jid = jidOf(address.local, address.domain, nick)
    checkNick(jid)
    return jid.resource
  } catch (error) {
    if (error instanceof JidError) throw new StanzaError('not-acceptable', 'the nick is not valid')
    throw error
  }
}
