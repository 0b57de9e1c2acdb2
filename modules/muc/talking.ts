/** Messages to all who are in a room, and the subject (XEP-0045 §7.4, §8.1). */
import { addressed, child, flatten, follow, jidOf, namespaceOf, NS, storingOf, StanzaError, textOf, xml, archiveIdIn, localName, attributeOf } from '../../lib/api.js'
import type { Addressed, Batch, Element, Jid, Maybe, ToEntity } from '../../lib/api.js'
import { forwardMentions, mentions } from './mentions.js'
import type { Occupant, Room } from './room.js'
import type { MucService } from './service.js'
import { isRuling } from './standing.js'
import { isHistory, isPassed, isSubjectChange, roomWrite } from './stored.js'

type Arrival = ToEntity<'message'>

/** The most characters of a subject. */
const LONGEST_SUBJECT = 4096

/** Returns the occupant who sends something. Throws not-acceptable if the sender is not in the room (§7.4). */
export function speakerOf (room: Room, from: Jid): Occupant {
  const occupant = room.of(from)
  if (occupant === undefined) throw new StanzaError('not-acceptable', 'you are not in the room')
  return occupant
}

/** Returns the occupant who speaks to all. Throws forbidden if they have no voice (§7.4). */
export function speakerWithVoice (service: MucService, room: Room, from: Jid): Occupant {
  const speaker = speakerOf(room, from)
  hear(service, speaker, from)
  if (speaker.role === 'visitor') throw new StanzaError('forbidden', 'you have no voice')
  return speaker
}

/** Takes a message of type groupchat to the room. */
export function talk (service: MucService, room: Room, arrival: Arrival): Maybe<void> {
  const { stanza: message, batch, payer } = arrival
  const speaker = speakerWithVoice(service, room, message.from)
  if (isSubjectChange(message)) return changeSubject(service, room, speaker, arrival)
  // Mentions are forwarded to those who are away, so they count whether there is a text or not.
  if (message.has(NS.CLIENT, 'body') || room.config.forwardsMentions && mentions(message)) pace(service, room, speaker, batch)
  payer?.charge(room.deviceCount, message.from)
  const said = reflected(room, speaker, message)
  return follow(say(service, room, batch, said), stamped =>
    isKept(stamped) ? forwardMentions(service, room, arrival, stamped) : undefined)
}

/**
 * XEP-0500 §5: throws policy-violation of type `wait` if the user spoke too short a time ago, with whatever device or
 * nick. Admins and owners are not limited.
 */
export function pace (service: MucService, room: Room, { bare }: Occupant, batch: Batch): void {
  const { slowMode: seconds } = room.config
  if (seconds === 0 || isRuling(room.affiliationOf(bare))) return
  const user = bare.toString()
  const { now } = service
  const before = room.slowMode.take(user, now, seconds)
  batch.failed(() => { room.slowMode.giveBack(user, now, before) })
}

/** Notes that a device is there. */
export function hear ({ now }: MucService, { devices }: Occupant, from: Jid): void {
  const device = devices.get(from.toString())
  if (device !== undefined) device.heard = now
}

/** Sends a message to all, and keeps it in the archive and in the history. Returns it with its id. */
export function say (
  service: MucService, room: Room, batch: Batch, message: Addressed<'message'>,
): Maybe<Addressed<'message'>> {
  const archived = room.config.isArchived ? service.archive?.add(room.address, message, batch) : undefined
  return follow(archived ?? message, said => {
    const stamped = withId(service, room, said)
    service.broadcast(room, batch, stamped, room.devices())
    remember(service, room, batch, stamped)
    return stamped
  })
}

/** XEP-0359 §3: a message that is not archived has an id as well if it may be referred to. */
function withId ({ host }: MucService, room: Room, said: Addressed<'message'>): Addressed<'message'> {
  if (archiveIdIn(said.children(), room.address) !== undefined || !isKept(said)) return said
  return addressed(said.with({ plus: [xml('stanza-id', { xmlns: NS.STANZA_ID, by: room.owner, id: host.ids.next() })] }), said.to)
}

function remember (service: MucService, room: Room, batch: Batch, message: Addressed<'message'>): void {
  if (!isHistory(message) || !isKept(message)) return
  const said = { message: message.detached(), at: service.now, id: archiveIdIn(message.children(), room.address) }
  room.history.add(said)
  batch.failed(() => { room.history.remove(one => one === said) })
}

/** XEP-0334: true for a message with content, or one that wants to be kept. */
function isKept (message: Addressed<'message'>): boolean {
  const { noStore, noPermanentStore, store, holds } = storingOf(message)
  return !noStore && !noPermanentStore && (store || holds === 'content')
}

/**
 * Returns the message as the room sends it: from the occupant's address, with the occupant's id, and without what only
 * the room may say.
 */
export function reflected (room: Room, speaker: Occupant, message: Addressed<'message'>): Addressed<'message'> {
  const from = room.addressOf(speaker)
  const plus = [room.occupantId(speaker)]
  return addressed(message.with({ from, without: isForged(room.address), plus }), room.address)
}

/** True for what only the room may say, and for what would tell real addresses. */
export function isForged (room: Jid): (element: Element) => boolean {
  return element => {
    if (!isPassed(element)) return true
    const namespace = namespaceOf(element)
    if (namespace === NS.STANZA_ID) return localName(element) === 'stanza-id' && attributeOf(element, 'by') === room.toString()
    // XEP-0045 §7.9: an owner who enters the talk of two says when each sentence was said; nobody speaks for the room
    if (namespace === NS.DELAY || namespace === NS.DELAY_LEGACY) return attributeOf(element, 'from') === room.toString()
    return false
  }
}

/** §8.1: changes the subject. Throws forbidden if the speaker may not. */
function changeSubject (
  service: MucService, room: Room, speaker: Occupant, { stanza: message, batch, payer }: Arrival,
): Maybe<void> {
  if (speaker.role !== 'moderator' && !room.config.changeSubject) {
    throw new StanzaError('forbidden', 'you may not change the subject')
  }
  const subject = child(message.element, NS.CLIENT, 'subject')
  const text = subject === undefined ? '' : flatten(textOf(subject))
  if (text.length > LONGEST_SUBJECT) throw new StanzaError('not-acceptable', 'the subject is too long')
  payer?.charge(room.deviceCount, message.from)
  const before = room.subject
  room.subject = { text, nick: jidOf(room.address.local, room.address.domain, speaker.nick).resource, at: service.now }
  batch.add(roomWrite(service.stores, room))
  batch.failed(() => { room.subject = before })
  return follow(say(service, room, batch, reflected(room, speaker, message)), () => {})
}
