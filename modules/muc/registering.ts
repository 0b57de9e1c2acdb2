/** Registration of nicks, and how somebody learns of their own (XEP-0045 §7.10, §7.12). */
import { child, DataForm, field, formIn, NS, StanzaError, textOf, xml } from '../../lib/api.js'
import type { Element, Request } from '../../lib/api.js'
import { applyBelongings } from './affiliating.js'
import { tooMany } from './inviting.js'
import { preparedNick } from './nicks.js'
import type { Belonging, Room } from './room.js'
import type { MucService } from './service.js'

const NICK = field.text('muc#register_roomnick', { label: 'Desired nickname', required: true })
const FORM = new DataForm(NS.MUC_REGISTER, [NICK], { title: 'Registration of a nick', instructions: 'The nick is reserved for you in this room.' })

/** Answers with the nick of somebody who is registered, and with the form to others. */
export function registration (room: Room, { stanza: { from } }: Request): Element {
  const nick = room.reservedNick(from)
  if (nick !== '') return xml('query', { xmlns: NS.REGISTER }, xml('registered'), xml('username', {}, nick))
  checkAllowed(room, from)
  return xml('query', { xmlns: NS.REGISTER }, xml('instructions', {}, 'Choose a nick for this room.'), FORM.form())
}

/**
 * Reserves a nick, or gives it up. Who belongs to an open room as nothing becomes a member. Rejects with conflict,
 * not-allowed and bad-request.
 */
export async function register (
  service: MucService, room: Room, { stanza: { from }, payload, batch }: Request,
): Promise<void> {
  const who = from.bare.toString()
  const old: Belonging = room.belongings.get(who) ?? { affiliation: 'none', nick: '', reason: '' }
  if (child(payload, NS.REGISTER, 'remove') !== undefined) {
    // The nick is free again. Membership stays: clients unregister when they leave a private group.
    await applyBelongings(service, room, batch, new Map([[who, { ...old, nick: '' }]]), undefined)
    return
  }
  checkAllowed(room, from)
  const form = formIn(payload)
  const plain = child(payload, NS.REGISTER, 'username')
  if (form === undefined && plain === undefined) throw new StanzaError('bad-request', 'the form is missing')
  const wanted = form === undefined ? textOf(plain ?? payload) : FORM.read(form).get(NICK)
  const nick = preparedNick(room, wanted ?? '')
  if (room.isTaken(nick, from.bare)) throw new StanzaError('conflict', 'the nick belongs to somebody else')
  // Half of the room is for those whom admins make members, or ban.
  if (old.affiliation === 'none' && room.belongings.size >= service.settings.affiliations / 2) throw tooMany()
  const affiliation = old.affiliation === 'none' ? 'member' : old.affiliation
  await applyBelongings(service, room, batch, new Map([[who, { ...old, affiliation, nick }]]), undefined)
}

/**
 * Who belongs to the room may register. Others may if that gives them no right that only an admin gives: to enter a
 * members-only room, or to speak in a moderated one. Who is in a room with a password has shown that they know it;
 * members read its archive without.
 */
function checkAllowed (room: Room, from: Request['stanza']['from']): void {
  const affiliation = room.affiliationOf(from)
  const { isMembersOnly, isModerated, password } = room.config
  const isClosed = isMembersOnly || isModerated || password !== '' && room.ofUser(from.bare).length === 0
  if (affiliation === 'outcast' || affiliation === 'none' && isClosed) throw new StanzaError('not-allowed')
}
