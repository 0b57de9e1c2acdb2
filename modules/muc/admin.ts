/** Lists and changes of affiliations and roles (XEP-0045 §8, §9, §10.3 to §10.8, §17.4). */
import { attributeOf, child, children, NS, StanzaError, textOf, xml } from '../../lib/api.js'
import type { Element, Jid, Request } from '../../lib/api.js'
import { changeAffiliations, type BelongingChange } from './affiliating.js'
import { addressIn } from './inviting.js'
import { preparedNick } from './nicks.js'
import { actorOf, changeRoles, type RoleChange } from './roles.js'
import type { Room } from './room.js'
import type { MucService } from './service.js'
import { isRuling, readAffiliation, readRole, type Affiliation, type Role } from './standing.js'

/** The most items of one request, and the characters of a reason. */
const MOST_ITEMS = 500
const LONGEST_REASON = 1024

/** Answers a request for a list. Throws forbidden if the asker may not read it. */
export function list (room: Room, { stanza: { from }, payload }: Request): Element {
  const [item, more] = children(payload, NS.MUC_ADMIN, 'item')
  if (item === undefined || more !== undefined) throw new StanzaError('bad-request', 'one item is needed')
  const affiliation = attributeOf(item, 'affiliation')
  const role = attributeOf(item, 'role')
  if ((affiliation === undefined) === (role === undefined)) throw new StanzaError('bad-request', 'an affiliation or a role is needed')
  const items = affiliation === undefined
    ? withRole(room, from, readRole(role ?? ''))
    : withAffiliation(room, from, readAffiliation(affiliation))
  return xml('query', { xmlns: NS.MUC_ADMIN }, ...items)
}

function withAffiliation (room: Room, asker: Jid, affiliation: Affiliation): readonly Element[] {
  if (affiliation === 'none') throw new StanzaError('bad-request', 'there is no list of those without affiliation')
  if (!room.mayReadList(asker, affiliation)) throw new StanzaError('forbidden')
  // §17.4: affiliation, bare address and nick, without a role
  return [...room.withAffiliation(affiliation)].map(([jid, { nick, reason }]) =>
    xml('item', { affiliation, jid, nick: nick === '' ? undefined : nick }, reason === '' ? undefined : xml('reason', {}, reason)))
}

function withRole (room: Room, asker: Jid, role: Role): readonly Element[] {
  if (role === 'none') throw new StanzaError('bad-request', 'there is no list of those without role')
  const actor = actorOf(room, asker)
  // §8.5: moderators; §9.8: the list of moderators is for admins and owners
  if (actor.role !== 'moderator' || role === 'moderator' && !isRuling(actor.affiliation)) throw new StanzaError('forbidden')
  return [...room.occupants].filter(one => one.role === role).map(one => xml('item', {
    role, nick: one.nick, affiliation: room.affiliationOf(one.bare), jid: one.shown?.jid.toString(),
  }))
}

/** Changes affiliations or roles, all or none. Rejects with the errors of the use cases. */
export async function change (service: MucService, room: Room, request: Request): Promise<void> {
  const { stanza: { from }, payload, batch, payer } = request
  const items = children(payload, NS.MUC_ADMIN, 'item')
  if (items.length === 0 || items.length > MOST_ITEMS) throw new StanzaError('bad-request', 'no item, or too many')
  const ofRoles = items.filter(item => attributeOf(item, 'role') !== undefined)
  const isMixed = ofRoles.length > 0 && items.some(item => attributeOf(item, 'affiliation') !== undefined)
  if (isMixed) throw new StanzaError('bad-request', 'roles and affiliations are changed apart') // §17.4
  payer?.charge(items.length * room.deviceCount, from)
  const isOfRoles = ofRoles.length === items.length
  if (isOfRoles) await changeRoles(service, room, batch, actorOf(room, from), items.map(readRoleChange))
  else await changeAffiliations(service, room, batch, from, items.map(item => readBelongingChange(room, item)))
}

function readRoleChange (item: Element): RoleChange {
  const nick = attributeOf(item, 'nick')
  if (nick === undefined) throw new StanzaError('bad-request', 'the nick is missing')
  return { nick, role: readRole(attributeOf(item, 'role') ?? ''), reason: reasonIn(item) }
}

function readBelongingChange (room: Room, item: Element): BelongingChange {
  const affiliation = attributeOf(item, 'affiliation')
  if (affiliation === undefined) throw new StanzaError('bad-request', 'an affiliation or a role is needed')
  const nick = attributeOf(item, 'nick')
  const isByNick = attributeOf(item, 'jid') === undefined
  const occupant = isByNick && nick !== undefined ? room.called(nick) : undefined
  if (isByNick && nick !== undefined && occupant === undefined) throw new StanzaError('item-not-found', 'there is nobody with that nick')
  return {
    jid: occupant?.bare ?? addressIn(item, 'jid'), affiliation: readAffiliation(affiliation), reason: reasonIn(item),
    nick: isByNick || nick === undefined ? undefined : nick === '' ? '' : preparedNick(room, nick),
  }
}

/**
 * Returns the reason in an item, a `<destroy/>` and the like; '' if there is none. Throws not-acceptable if it is
 * long.
 */
export function reasonIn (element: Element): string {
  const reason = child(element, element.getNS() ?? '', 'reason')
  const text = reason === undefined ? '' : textOf(reason)
  if (text.length > LONGEST_REASON) throw new StanzaError('not-acceptable', 'the reason is too long')
  return text
}
