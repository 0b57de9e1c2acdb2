/** Who may enter a room (XEP-0045 §7.2.5 to §7.2.11), and whom a token makes a member (XEP-0488). */
import { child, NS, StanzaError, textOf } from '../../lib/api.js'
import type { Element, Jid, Write } from '../../lib/api.js'
import { changeBelonging } from './following.js'
import { tooMany } from './inviting.js'
import type { Room, Token } from './room.js'
import type { MucService } from './service.js'
import { isRuling, type Affiliation } from './standing.js'
import { belongingWrite } from './stored.js'
import { expiredToken, goodToken, useToken } from './tokens.js'
import type { Step } from './versions.js'

/** How many admins and owners may enter a full room (§7.2.10). */
const MORE_RULERS = 20
/** The most devices of an account of another server in one room: nobody fills it alone. */
const MOST_DEVICES = 20

/**
 * Throws the error of somebody who may not enter (§7.2.5 to §7.2.11). Returns the admission of somebody whom a token
 * makes a member (XEP-0488).
 */
export function checkEntry (
  service: MucService, room: Room, who: Jid, nick: string, x: Element,
): Admission | undefined {
  const affiliation = room.affiliationOf(who)
  const { config } = room
  if (affiliation === 'outcast') throw new StanzaError('forbidden', 'you are banned from the room')
  if (room.isLocked && affiliation !== 'owner') throw new StanzaError('item-not-found')
  const element = child(x, NS.MUC, 'password')
  const password = element === undefined ? undefined : textOf(element)
  const token = password === undefined || password === config.password ? undefined : goodToken(service, room, password)
  if (token === undefined) checkKnown(room, affiliation, password)
  if (room.isTaken(nick, who.bare)) throw new StanzaError('conflict', 'the nick belongs to somebody else')
  checkSpace(service, room, who, isRuling(affiliation))
  // XEP-0488 §5: a token is nothing to somebody who belongs to the room already
  return token === undefined || affiliation !== 'none' ? undefined : admit(service, room, who, password ?? '', token)
}

/** Throws service-unavailable if the room is full (§7.2.10), and what `checkForeign` throws. */
function checkSpace (service: MucService, room: Room, who: Jid, isRuler: boolean): void {
  if (!service.host.router.serves(who.domain)) checkForeign(service, room, who, isRuler)
  const most = Math.min(room.config.maxUsers || Infinity, service.settings.occupants)
  const bound = most + (isRuler ? MORE_RULERS : 0)
  if (room.occupantCount >= bound || room.deviceCount >= 2 * bound) throw new StanzaError('service-unavailable', 'the room is full', { type: 'wait' })
}

/** Throws the error of somebody without a token who is no member, or does not know the password. */
function checkKnown ({ config }: Room, affiliation: Affiliation, password: string | undefined): void {
  if (config.isMembersOnly && affiliation === 'none') {
    // XEP-0488 §4.3: a password for a room without one was a token
    if (password === undefined || config.password !== '') throw new StanzaError('registration-required', 'only members may enter')
    throw new StanzaError('not-authorized', 'the token is over', { plus: expiredToken() })
  }
  if (config.password !== '' && password !== config.password) throw new StanzaError('not-authorized', 'the password is missing or wrong')
}

/** How a token lets somebody in. `used`: called when the writes are stored; returns the step of the affiliations. */
export interface Admission { readonly writes: readonly Write[], used (): Step | undefined }

function admit (service: MucService, room: Room, who: Jid, text: string, token: Token): Admission {
  if (room.belongings.size >= service.settings.affiliations) throw tooMany()
  const bare = who.bare.toString()
  const member = { affiliation: 'member', nick: '', reason: '' } as const
  const { write, used } = useToken(service, room, text, token)
  return {
    writes: [belongingWrite(service.stores, room, bare, member), write],
    used: () => {
      used()
      return changeBelonging(room, bare, member)
    },
  }
}

/** Throws resource-constraint if too many from another server are in the room, or too many devices of one account. */
function checkForeign (service: MucService, room: Room, who: Jid, isRuler: boolean): void {
  let [neighbours, own] = [0, 0]
  for (const { bare, devices } of room.occupants) {
    if (bare.domain !== who.domain) continue
    neighbours++
    if (bare.equals(who.bare)) own += devices.size
  }
  if (own >= MOST_DEVICES) throw new StanzaError('resource-constraint', 'too many of your devices are in the room', { type: 'wait' })
  if (neighbours >= service.settings.occupantsPerServer + (isRuler ? MORE_RULERS : 0)) {
    throw new StanzaError('resource-constraint', 'too many from your server are in the room', { type: 'wait' })
  }
}
