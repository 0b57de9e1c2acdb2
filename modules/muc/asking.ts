/** Requests to occupants: self-pings, and those that are sent on (XEP-0045 §6.6, §17.4; XEP-0410). */
import { child, childElements, clone, NS, stanza, StanzaError, xml } from '../../lib/api.js'
import type { Batch, Element, Jid, ToEntity } from '../../lib/api.js'
import type { Relay } from './relays.js'
import type { Occupant, Room, Venue } from './room.js'
import { roomOf, type MucService } from './service.js'
import { hear } from './talking.js'
import { withoutAddress } from './whispering.js'

type Arrival = ToEntity<'iq'>

/** The most characters of the id of a request that is sent on: it is kept until the answer comes. */
const LONGEST_ID = 1024
/** How long an answer is waited for, in milliseconds. Then the asker is told within a minute. */
const LONGEST_WAIT = 120_000
/** Requests that the account of a user answers, not one of its devices. */
const OF_ACCOUNT: readonly string[] = [NS.VCARD, NS.VCARD4, NS.PUBSUB]

/** Takes an iq that no handler of the room answers. */
export function takeIq (service: MucService, venue: Venue, arrival: Arrival): 'handled' | undefined {
  const { stanza: { type, to } } = arrival
  if (type === 'result' || type === 'error') {
    if (venue.room !== undefined) sendBack(service, venue.room, arrival)
    return 'handled'
  }
  if (to.resource === '') {
    roomOf(venue)
    return undefined
  }
  return ask(service, venue, arrival)
}

function ask (service: MucService, venue: Venue, arrival: Arrival): 'handled' {
  const { stanza: { from, to, element }, batch, payer } = arrival
  const { room } = venue
  const isPing = child(element, NS.PING, 'ping') !== undefined
  const asker = room?.of(from)
  if (room === undefined || asker === undefined) throw notInside(element, room, isPing)
  hear(service, asker, from)
  const whom = room.called(to.resource)
  if (whom === undefined) throw new StanzaError('item-not-found', 'there is nobody with that nick')
  if (isPing && whom === asker) { // XEP-0410 §3.3: the room answers for the occupant
    service.host.outlet(room.address).sendWith(batch, stanza(xml('iq', { type: 'result', id: arrival.stanza.id }), to, from))
    return 'handled'
  }
  if ((arrival.stanza.id?.length ?? 0) > LONGEST_ID) throw new StanzaError('policy-violation', 'the id is too long')
  if (!room.config.queries && !isPing) throw new StanzaError('not-allowed', 'requests to occupants are not allowed')
  payer?.charge(1, from)
  sendOn(service, room, arrival, asker, whom)
  return 'handled'
}

/** XEP-0410 §3.3: not-acceptable says that the asker is not in the room; so it does if the room is gone. */
function notInside (element: Element, room: Room | undefined, isPing: boolean): StanzaError {
  if (isPing) return new StanzaError('not-acceptable', 'you are not in the room')
  if (child(element, NS.DISCO_INFO) !== undefined || child(element, NS.DISCO_ITEMS) !== undefined) return new StanzaError('bad-request') // §6.6
  return room === undefined ? new StanzaError('item-not-found') : new StanzaError('not-acceptable', 'you are not in the room')
}

/** Sends a request to an occupant, from the asker's address in the room, and with an id of the room's own. */
function sendOn (
  service: MucService, room: Room, { stanza: iq, batch }: Arrival, asker: Occupant, whom: Occupant,
): void {
  const [payload] = childElements(iq.element)
  const device = whom.shown
  if (payload === undefined || device === undefined || iq.id === undefined) return
  const answerer = OF_ACCOUNT.some(namespace => payload.getNS() === namespace) ? whom.bare : device.jid
  const id = service.host.ids.next()
  const dropped = room.relays.add(answerer, id, { asker: iq.from, id: iq.id, from: iq.to, at: service.now })
  if (dropped !== undefined) answer(service, room, batch, dropped, 'error', [unanswered()])
  const request = xml('iq', { type: iq.type, id }, clone(payload))
  service.host.outlet(room.address).sendWith(batch, stanza(request, room.addressOf(asker), answerer))
}

/** Tells those who have asked long ago that there is no answer. */
export function expireRelays (service: MucService, room: Room): void {
  for (const { asker, id, from } of room.relays.expire(service.now - LONGEST_WAIT)) {
    if (isStillThere(room, asker)) service.send(room, from, asker, xml('iq', { type: 'error', id }, unanswered()))
  }
}

function unanswered (): Element { return new StanzaError('remote-server-timeout', 'there is no answer').element() }

/** Sends an answer back to the one who asked. */
function sendBack (service: MucService, room: Room, { stanza: { from, id, type, element }, batch }: Arrival): void {
  const relay = id === undefined ? undefined : room.relays.take(from, id)
  if (relay === undefined) return
  const error = child(element, NS.CLIENT, 'error')
  const content = type === 'result' ? childElements(element).map(clone)
    : [error === undefined ? new StanzaError('undefined-condition').element() : withoutAddress(error)]
  answer(service, room, batch, relay, type, content)
}

function answer (
  service: MucService, room: Room, batch: Batch, { asker, id, from }: Relay, type: string, content: readonly Element[],
): void {
  if (isStillThere(room, asker)) service.host.outlet(room.address).sendWith(batch, stanza(xml('iq', { type, id }, ...content), from, asker))
}

function isStillThere (room: Room, asker: Jid): boolean { return room.of(asker) !== undefined }
