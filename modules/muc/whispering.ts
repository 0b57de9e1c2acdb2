/** Private messages between occupants, and errors that come back (XEP-0045 §7.5, §18.1.2). */
import { addressed, attributeOf, child, NS, stanza, StanzaError, xml } from '../../lib/api.js'
import type { Element, ToEntity } from '../../lib/api.js'
import { leave } from './leaving.js'
import type { Device, Occupant, Room } from './room.js'
import type { MucService } from './service.js'
import { hear, isForged, speakerOf } from './talking.js'

type Arrival = ToEntity<'message'>

/** Sends a message from one occupant to another, to all devices of that one (§7.2.8). */
export function whisper (service: MucService, room: Room, { stanza: message, batch, payer }: Arrival): void {
  const speaker = speakerOf(room, message.from)
  hear(service, speaker, message.from)
  if (message.type === 'groupchat') throw new StanzaError('bad-request', 'a message to one occupant is not for all')
  const whom = room.called(message.to.resource)
  if (whom === undefined) throw new StanzaError('item-not-found', 'there is nobody with that nick')
  checkPrivate(room, speaker, whom)
  payer?.charge(whom.devices.size, message.from)
  const plus = [room.occupantId(speaker), xml('x', { xmlns: NS.MUC_USER })]
  const from = room.addressOf(speaker)
  const private_ = message.with({ from, without: isForged(room.address), plus })
  const outlet = service.host.outlet(room.address)
  for (const { jid } of whom.devices.values()) outlet.sendWith(batch, addressed(private_, jid))
}

/** Throws forbidden if the configuration does not allow it; to a moderator, everybody may write who has voice. */
function checkPrivate ({ config: { privateMessages } }: Room, speaker: Occupant, whom: Occupant): void {
  const isAllowed = privateMessages === 'anyone' ||
    privateMessages === 'participants' && speaker.role !== 'visitor' ||
    privateMessages === 'moderators' && (speaker.role === 'moderator' || whom.role === 'moderator' && speaker.role === 'participant')
  if (!isAllowed) throw new StanzaError('forbidden', 'private messages are not allowed')
}

/**
 * §18.1.2 and XEP-0045 §15.6: conditions that say that nobody is at the address any more. Living clients send
 * feature-not-implemented and service-unavailable, so these are not among them.
 */
const GONE: ReadonlySet<string> = new Set([
  'gone', 'item-not-found', 'recipient-unavailable', 'redirect', 'remote-server-not-found', 'remote-server-timeout',
])

/** True for an error that says that nobody is there any more. */
export function saysGone (element: Element): boolean {
  const error = child(element, NS.CLIENT, 'error')
  return error?.children.some(node => typeof node !== 'string' && node.getNS() === NS.STANZAS && GONE.has(node.getName())) === true
}

/**
 * Takes a message of type error: who is gone leaves, and who wrote a private message is told. What is said to all has
 * not failed because one of them did not get it.
 */
export function bounce (service: MucService, room: Room, { stanza: message, batch }: Arrival): void {
  const occupant = room.of(message.from)
  const device = occupant?.devices.get(message.from.toString())
  if (occupant === undefined || device === undefined) return
  const sender = message.to.resource === '' ? undefined : room.called(message.to.resource)
  const error = child(message.element, NS.CLIENT, 'error')
  const wasForAll = message.id !== undefined && room.history.holds(message.to, message.id)
  if (sender !== undefined && error !== undefined && !wasForAll) {
    const element = xml('message', { type: 'error', id: message.id }, withoutAddress(error))
    const from = room.addressOf(occupant)
    const outlet = service.host.outlet(room.address)
    for (const { jid } of sender.devices.values()) outlet.sendWith(batch, stanza(element, from, jid))
  }
  const isGone = saysGone(message.element) || isLost(service, device, message.id)
  if (isGone) leave(service, room, batch, device, { codes: [333] })
  else if (!service.host.router.hasAccounts(device.jid.domain)) service.doubt(room, device)
}

/** True for a device that is not back after the server was killed, or that another server does not know. */
function isLost ({ host: { router } }: MucService, { jid, probe }: Device, failed: string | undefined): boolean {
  if (router.hasAccounts(jid.domain)) return !router.isHere(jid)
  return probe !== undefined && failed === probe
}

/** Returns an error with its condition alone: `by`, the text and an address to go to may hold the real address. */
export function withoutAddress (error: Element): Element {
  const condition = error.children.find((node): node is Element =>
    typeof node !== 'string' && node.getNS() === NS.STANZAS && node.getName() !== 'text')
  return xml('error', { type: attributeOf(error, 'type') ?? 'cancel' }, xml(condition?.getName() ?? 'undefined-condition', { xmlns: NS.STANZAS }))
}
