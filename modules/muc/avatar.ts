/** The vCard of a room, whose picture is its avatar (XEP-0486). */
import { fromOctets, NS, octets, parseElement, stanza, StanzaError, toOctets, xml } from '../../lib/api.js'
import type { Element, Request } from '../../lib/api.js'
import { avatarPresence } from './joining.js'
import { avatarHash } from './photo.js'
import { announceCodes } from './presences.js'
import type { Room } from './room.js'
import type { MucService } from './service.js'
import { ROOM } from './stored.js'

/** The most bytes of a room's vCard. */
const LARGEST = 128 * 1024

/** Answers with the vCard. */
export async function card ({ stores: { cards } }: MucService, room: Room): Promise<Element> {
  const stored = await cards.get(room.owner, ROOM)
  return stored === undefined ? xml('vCard', { xmlns: NS.VCARD }) : parseElement(toOctets(stored))
}

/** Stores a vCard of an owner, and tells everybody. Rejects with forbidden and not-acceptable. */
export async function setCard (
  service: MucService, room: Room, { stanza: { from }, payload, batch, payer }: Request,
): Promise<void> {
  if (room.affiliationOf(from) !== 'owner') throw new StanzaError('forbidden')
  const text = octets(payload)
  if (text.length > LARGEST) throw new StanzaError('policy-violation', 'the vCard is too large')
  const written = fromOctets(text)
  await service.store([service.stores.cards.putting(room.owner, ROOM, written)])
  room.avatar = avatarHash(written)
  payer?.charge(2 * room.deviceCount, from)
  // Older clients know the hash from presence of the room itself, newer ones from disco#info after code 104.
  service.broadcast(room, batch, stanza(avatarPresence(room), room.address, room.address), room.devices())
  announceCodes(service, room, batch, 104)
}
