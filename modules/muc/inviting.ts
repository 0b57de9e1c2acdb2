/** Invitations by way of the room, and how they are declined (XEP-0045 §7.8.2). */
import { attributeOf, child, children, clone, JidError, NS, parseJid, stanza, StanzaError, textOf, xml } from '../../lib/api.js'
import type { Batch, Element, Jid, ToEntity } from '../../lib/api.js'
import { changeBelonging } from './following.js'
import { tellOfAbsent } from './presences.js'
import type { Occupant, Room } from './room.js'
import type { MucService } from './service.js'
import { isRuling } from './standing.js'
import { belongingWrite } from './stored.js'
import { hear, speakerOf } from './talking.js'

type Arrival = ToEntity<'message'>

/** The most invitations in one message, and those of a room whose answer is awaited. */
const MOST_AT_ONCE = 10
const MOST_WAITING = 500

/** Returns the invitations or the declination in a message to the room. */
export function invitationIn (
  message: Arrival['stanza'],
): { readonly invites: readonly Element[], readonly decline: Element | undefined } | undefined {
  const x = message.child(NS.MUC_USER, 'x')
  if (x === undefined) return undefined
  const invites = children(x, NS.MUC_USER, 'invite')
  const decline = child(x, NS.MUC_USER, 'decline')
  return invites.length === 0 && decline === undefined ? undefined : { invites, decline }
}

/** Sends invitations on. In a members-only room, those who are invited become members (§9.5). */
export async function invite (
  service: MucService, room: Room, { stanza: message, batch, payer }: Arrival, invites: readonly Element[],
): Promise<void> {
  const inviter = speakerOf(room, message.from)
  hear(service, inviter, message.from)
  checkInviter(room, message.from)
  if (invites.length > MOST_AT_ONCE) throw new StanzaError('policy-violation', 'too many invitations at once')
  const all = invites.map(invite => ({ invite, to: addressIn(invite, 'to') }))
  await addMembers(service, room, batch, all.map(({ to }) => to))
  payer?.charge(invites.length * 4, message.from)
  for (const { invite, to } of all) {
    note(service, room, batch, to.bare, message.from.bare)
    sendInvitation(service, room, batch, to, {
      from: inviterOf(room, inviter), reason: child(invite, NS.MUC_USER, 'reason'), proceed: child(invite, NS.MUC_USER, 'continue'),
    })
  }
}

/** Throws forbidden for somebody who may not invite. */
export function checkInviter (room: Room, jid: Jid): void {
  if (!mayInvite(room, jid)) throw new StanzaError('forbidden', 'you may not invite')
}

/** True if somebody may invite: admins, and occupants as the room is configured (§7.8.2, allowinvites). */
function mayInvite (room: Room, jid: Jid): boolean {
  if (isRuling(room.affiliationOf(jid))) return true
  const inviter = room.of(jid)
  if (inviter === undefined) return false
  return room.config.invites || !room.config.isMembersOnly && inviter.role === 'moderator'
}

/** Lets the unaffiliated enter a members-only room. */
async function addMembers (service: MucService, room: Room, batch: Batch, whom: readonly Jid[]): Promise<void> {
  if (!room.config.isMembersOnly) return // §9.5: an invitation to an open room makes no member
  const fresh = whom.map(jid => jid.bare).filter(jid => room.affiliationOf(jid) === 'none')
  if (room.belongings.size + fresh.length > service.settings.affiliations) throw tooMany()
  const member = { affiliation: 'member', nick: '', reason: '' } as const
  await service.store(fresh.map(jid => belongingWrite(service.stores, room, jid.toString(), member)))
  for (const jid of fresh) {
    const step = changeBelonging(room, jid.toString(), member)
    if (step !== undefined) tellOfAbsent(service, room, batch, jid, 'member', step) // §9.3
  }
}

/** Returns the error of a room to which too many belong. */
export function tooMany (): StanzaError {
  return new StanzaError('resource-constraint', 'too many affiliations in this room', { type: 'wait' })
}

/** The content of an invitation. `from`: the inviter; without one, the room itself invites (§9.5). */
export interface Invitation {
  readonly from?: Jid | undefined
  readonly reason?: Element | undefined
  readonly proceed?: Element | undefined
}

/** Sends an invitation of the room, with the password if there is one. */
export function sendInvitation (
  service: MucService, room: Room, batch: Batch, to: Jid, { from, reason, proceed }: Invitation,
): void {
  const x = xml('x', { xmlns: NS.MUC_USER },
    xml('invite', { from: (from ?? room.address).toString() }, reason === undefined ? undefined : clone(reason), proceed === undefined ? undefined : clone(proceed)),
    room.config.password === '' ? undefined : xml('password', {}, room.config.password))
  const message = xml('message', { id: service.host.ids.next() }, x)
  service.host.outlet(room.address).sendWith(batch, stanza(message, room.address, to))
}

/** §7.8.2: the bare address of the inviter; in a semi-anonymous room the occupant's address. */
function inviterOf (room: Room, inviter: Occupant): Jid {
  return room.config.whois === 'anyone' ? inviter.bare : room.addressOf(inviter)
}

function note (service: MucService, room: Room, batch: Batch, invited: Jid, inviter: Jid): void {
  const { stores: { invitations }, now } = service
  const [oldest] = room.invited.size < MOST_WAITING ? [] : room.invited.keys()
  if (oldest !== undefined) forget(service, room, batch, oldest)
  const who = invited.toString()
  room.invited.delete(who) // the last invitation is the newest
  room.invited.set(who, inviter)
  batch.add(invitations.putting(room.owner, who, { by: inviter.toString(), at: now }))
}

function forget ({ stores: { invitations } }: MucService, room: Room, batch: Batch, invited: string): void {
  room.invited.delete(invited)
  batch.add(invitations.putting(room.owner, invited, undefined))
}

/** Tells the inviter that an invitation is declined. Only who was invited can decline, once. */
export function decline (
  service: MucService, room: Room, { stanza: { from }, batch }: Arrival, decline: Element,
): void {
  const inviter = room.invited.get(from.bare.toString())
  if (inviter === undefined) throw new StanzaError('item-not-found', 'you were not invited')
  forget(service, room, batch, from.bare.toString())
  const reason = child(decline, NS.MUC_USER, 'reason')
  const x = xml('x', { xmlns: NS.MUC_USER },
    xml('decline', { from: from.bare.toString() }, reason === undefined ? undefined : xml('reason', {}, textOf(reason))))
  const message = xml('message', { id: service.host.ids.next() }, x)
  service.host.outlet(room.address).sendWith(batch, stanza(message, room.address, inviter))
}

/** Returns the address in an attribute. Throws jid-malformed. */
export function addressIn (element: Element, name: string): Jid {
  const text = attributeOf(element, name)
  if (text === undefined) throw new StanzaError('bad-request', `${name} is missing`)
  try {
    return parseJid(text)
  } catch (error) {
    if (error instanceof JidError) throw new StanzaError('jid-malformed')
    throw error
  }
}
