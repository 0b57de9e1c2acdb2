/** Messages that are taken back: by their author (XEP-0424), or by a moderator of the room (XEP-0425). */
import {
  addressed, attributeOf, child, childElements, clone, costOfBytes, formatDateTime, NS, Stanza, StanzaError, xml,
} from '../../lib/api.js'
import type { Addressed, Batch, Element, Jid, Payer, Request, ToEntity } from '../../lib/api.js'
import { reasonIn } from './admin.js'
import type { Said } from './history.js'
import { actorOf } from './roles.js'
import type { Room } from './room.js'
import type { MucService } from './service.js'
import { isSubjectChange, saidOf } from './stored.js'
import { pace, reflected, say, speakerWithVoice } from './talking.js'

/** The cost of parsing a byte, relative to sending a stored byte. */
const PARSED = 10

/** The hints that keep a message out of an archive (XEP-0334 §4). */
const UNSTORED: ReadonlySet<string> = new Set(['no-store', 'no-permanent-store'])

/** Who retracts a message, and with which batch. */
interface Retracting { readonly from: Jid, readonly batch: Batch, readonly payer: Payer | undefined }

/** Returns the id of the message that this one retracts; undefined if it is no retraction. */
export function retractedBy (message: Stanza<'message'>): string | undefined {
  const retract = message.child(NS.RETRACT, 'retract')
  return retract === undefined || isSubjectChange(message) ? undefined : attributeOf(retract, 'id')
}

/**
 * XEP-0424 §5: lets an occupant retract a message of their own, whatever their nick was then. A message that the room
 * does not know any more may still be known to others, who see by the occupant id whose it was. Rejects with forbidden
 * if the message is somebody else's.
 */
export async function retract (
  service: MucService, room: Room, arrival: ToEntity<'message'>, id: string,
): Promise<void> {
  const { stanza: message, batch, payer } = arrival
  const speaker = speakerWithVoice(service, room, message.from)
  if (message.id === undefined || message.id === '') throw new StanzaError('bad-request', 'a retraction needs an id')
  const by: Retracting = { from: message.from, batch, payer }
  payer?.charge(room.deviceCount, message.from)
  const target = await find(service, room, by, id)
  if (target !== undefined) {
    if (authorOf(target.message) !== speaker.id) throw new StanzaError('forbidden', 'the message is not yours')
    checkTarget(target)
  }
  const isFresh = target !== undefined && !isBuried(target)
  // XEP-0500 §5: a text without a text that it takes back is one like others.
  if (message.has(NS.CLIENT, 'body') && !(isFresh && target.message.has(NS.CLIENT, 'body'))) pace(service, room, speaker, batch)
  if (isFresh) await bury(service, room, by, target, [retractedElement(service, message.id)])
  // §5: the archive stores the retraction, whatever its sender says about that
  const said = message.with({ without: one => one.getNS() === NS.HINTS && UNSTORED.has(one.getName()) })
  await say(service, room, batch, reflected(room, speaker, addressed(said, message.to)))
}

/** A request to retract a message: the id that the room has given it, and why. */
interface Moderation { readonly id: string, readonly reason: string }

/** Reads `<moderate/>` (XEP-0425 §3). Throws bad-request. */
export function moderationIn (moderate: Element): Moderation {
  return readModeration(attributeOf(moderate, 'id'), moderate, NS.RETRACT)
}

/** Reads `<apply-to/>` of XEP-0425 version 0.2. Throws bad-request, or service-unavailable for anything else. */
export function oldModerationIn (applied: Element): Moderation {
  const moderate = child(applied, NS.MODERATE_OLD, 'moderate')
  if (moderate === undefined) throw new StanzaError('service-unavailable')
  return readModeration(attributeOf(applied, 'id'), moderate, NS.RETRACT_OLD)
}

function readModeration (id: string | undefined, moderate: Element, namespace: string): Moderation {
  if (id === undefined || id === '') throw new StanzaError('bad-request', 'the id of the message is missing')
  if (child(moderate, namespace, 'retract') === undefined) throw new StanzaError('bad-request', 'there is nothing to do with the message')
  return { id, reason: reasonIn(moderate) }
}

/**
 * XEP-0425 §3: retracts a message as a moderator, or as an admin who is not in the room. Rejects with forbidden,
 * item-not-found, and not-allowed for what is itself a retraction.
 */
export async function moderate (
  service: MucService, room: Room, { stanza: { from }, batch, payer }: Request, { id, reason }: Moderation,
): Promise<void> {
  const actor = actorOf(room, from)
  if (actor.role !== 'moderator') throw new StanzaError('forbidden', 'only moderators retract messages of others')
  const by: Retracting = { from, batch, payer }
  const target = await find(service, room, by, id)
  if (target === undefined) throw new StanzaError('item-not-found', 'there is no such message')
  checkTarget(target)
  if (isBuried(target)) return
  payer?.charge(room.deviceCount, from)
  // The address in the room alone: that of a moderator who is not in the room would be a real one.
  const occupant = room.of(from)
  const name = occupant === undefined ? undefined : room.addressOf(occupant).toString()
  const whom = xml('occupant-id', { xmlns: NS.OCCUPANT_ID, id: room.idOf(from.bare) })
  const why = reason === '' ? [] : [xml('reason', {}, reason)]
  const moderated = xml('moderated', { xmlns: NS.MODERATE, by: name }, whom)
  const own = service.host.ids.next()
  await bury(service, room, by, target, [retractedElement(service, own, moderated, ...why)])
  const message = xml('message', { type: 'groupchat', id: own },
    xml('retract', { xmlns: NS.RETRACT, id }, clone(moderated), ...why.map(clone)),
    xml('apply-to', { xmlns: NS.FASTEN, id },
      xml('moderated', { xmlns: NS.MODERATE_OLD, by: name }, xml('retract', { xmlns: NS.RETRACT_OLD }), ...why.map(clone))))
  await say(service, room, batch, messageOf(room, room.address, message))
}

function retractedElement ({ now }: MucService, id: string, ...more: readonly Element[]): Element {
  return xml('retracted', { xmlns: NS.RETRACT, id, stamp: formatDateTime(now) }, ...more)
}

function checkTarget ({ message }: Said): void {
  if (message.child(NS.RETRACT, 'retract') !== undefined) throw new StanzaError('not-allowed', 'a retraction stays')
}

function isBuried ({ message }: Said): boolean { return message.child(NS.RETRACT, 'retracted') !== undefined }

// ---- The messages -----------------------------------------------------------------------------------------------

/** XEP-0421: the author of a message, which is not the nick: others may have it later. */
function authorOf (message: Stanza<'message'>): string | undefined {
  const id = message.child(NS.OCCUPANT_ID, 'occupant-id')
  return id === undefined ? undefined : attributeOf(id, 'id')
}

/** Returns a message by the id that the room has given it. A change of the subject is none. */
async function find (service: MucService, room: Room, by: Retracting, id: string): Promise<Said | undefined> {
  const recent = room.history.find(id)
  if (recent !== undefined) return recent
  const archived = await service.archive?.find(room.address, id)
  if (archived === undefined) return undefined
  by.payer?.charge(costOfBytes(archived.octets.length) * PARSED, by.from)
  return saidOf(archived, room.address)
}

/** Puts tombstones in the place of a message and of its corrections (XEP-0424 §4), in archive, history and search. */
async function bury (
  service: MucService, room: Room, { from, batch, payer }: Retracting, target: Said, inside: readonly Element[],
): Promise<void> {
  const replace = (said: Said): void => {
    const tombstone = tombstoneOf(said.message, room, inside)
    if (said.id !== undefined) service.archive?.replace(room.address, said.id, tombstone, batch)
    room.history.replace(said, { ...said, message: withStanzaId(tombstone, room, said.id) }, batch)
  }
  replace(target)
  const author = authorOf(target.message)
  const root = rootOf(target.message)
  if (author === undefined || root === undefined) return
  const isVersion = ({ id, message }: Said): boolean =>
    id !== target.id && rootOf(message) === root && authorOf(message) === author && !isAboutRetraction(message)
  for (const said of room.history.all.filter(isVersion)) replace(said)
  for await (const page of service.archive?.versions(room.address, root) ?? []) {
    payer?.charge(costOfBytes(page.reduce((sum, { octets }) => sum + octets.length, 0)) * PARSED, from)
    for (const archived of page) {
      const said = room.history.find(archived.id) === undefined ? saidOf(archived, room.address) : undefined
      if (said !== undefined && isVersion(said)) replace(said)
    }
  }
}

function isAboutRetraction ({ element }: Stanza): boolean {
  return childElements(element).some(one => one.getNS() === NS.RETRACT)
}

/** XEP-0308: the id of a message, or that of the message which it corrects. */
function rootOf (message: Stanza<'message'>): string | undefined {
  const corrected = message.child(NS.CORRECT, 'replace')
  return (corrected === undefined ? undefined : attributeOf(corrected, 'id')) ?? message.id
}

/** XEP-0425 §4: what stays is who has said something, under which id. */
function tombstoneOf (message: Stanza<'message'>, room: Room, inside: readonly Element[]): Addressed<'message'> {
  const author = message.child(NS.OCCUPANT_ID, 'occupant-id')
  const kept = [...author === undefined ? [] : [author], ...inside].map(element => clone(element))
  return messageOf(room, message.from, xml('message', { type: 'groupchat', id: message.id }, ...kept))
}

function messageOf ({ address }: Room, from: Jid, element: Element): Addressed<'message'> {
  return addressed(new Stanza('message', element, from, address), address)
}

function withStanzaId (message: Stanza<'message'>, room: Room, id: string | undefined): Stanza<'message'> {
  return id === undefined ? message : message.with({ plus: [xml('stanza-id', { xmlns: NS.STANZA_ID, by: room.owner, id })] })
}
