/** Configuration and end of a room (XEP-0045 §10.1, §10.2, §10.9). */
import { attributeOf, child, childElements, formIn, NS, parseJid, readForm, StanzaError, textOf, xml } from '../../lib/api.js'
import type { Batch, Element, Jid, Maybe, Request } from '../../lib/api.js'
import { reasonIn } from './admin.js'
import { applyBelongings } from './affiliating.js'
import { configForm, readConfig, type RoomConfig, type Rulers } from './config.js'
import { addressIn } from './inviting.js'
import { depart, departures, destroy, tellEach } from './leaving.js'
import { announceCodes, spread } from './presences.js'
import type { Belonging, Occupant, Room, Venue } from './room.js'
import type { MucService } from './service.js'
import { roomWrite } from './stored.js'

/** Up to this number of occupants, all are shown anew when a room begins to show real addresses. */
const MOST_SHOWN_ANEW = 200

/** Answers with the form. Throws forbidden for all but owners (§10.2). */
export function form (room: Room, { stanza: { from } }: Request): Element {
  if (room.affiliationOf(from) !== 'owner') throw new StanzaError('forbidden')
  const listed = (affiliation: 'admin' | 'owner'): Jid[] => [...room.withAffiliation(affiliation)].map(([who]) => parseJid(who))
  return xml('query', { xmlns: NS.MUC_OWNER }, configForm(room.config, { admins: listed('admin'), owners: listed('owner') }))
}

/** Takes a form of the owner, or ends the room. */
export async function own (service: MucService, venue: Venue, room: Room, request: Request): Promise<void> {
  const { stanza: { from }, payload, payer } = request
  if (room.affiliationOf(from) !== 'owner') throw new StanzaError('forbidden')
  payer?.charge(room.deviceCount, from)
  const end = child(payload, NS.MUC_OWNER, 'destroy')
  if (end !== undefined) {
    const password = child(end, NS.MUC_OWNER, 'password')
    await destroy(service, venue, {
      reason: reasonIn(end) || undefined, password: password === undefined ? undefined : textOf(password),
      venue: attributeOf(end, 'jid') === undefined ? undefined : addressIn(end, 'jid'),
    })
    return
  }
  const form = formIn(payload)
  if (form === undefined) throw new StanzaError('bad-request')
  if (readForm(form).type === 'cancel') {
    // §10.1.3: a new room whose configuration is cancelled ends; later nothing changes
    if (room.isLocked) await destroy(service, venue, {})
    return
  }
  await configure(service, room, request.batch, form, room.of(from)?.nick)
}

/** Applies a submitted form, and tells everybody. `actor`: the nick of who did it. Rejects as `readConfig` throws. */
export async function configure (
  service: MucService, room: Room, batch: Batch, form: Element, actor: string | undefined,
): Promise<void> {
  // §10.1.2: an empty form accepts the configuration as it is
  const isEmpty = childElements(form).length === 0
  const { config, rulers } = isEmpty ? { config: room.config, rulers: {} } : readConfig(form, room.config)
  const after = belongingsAfter(room, rulers)
  if (![...room.withAffiliation('owner')].some(([who]) => (after.get(who)?.affiliation ?? 'owner') === 'owner') &&
    ![...after.values()].some(({ affiliation }) => affiliation === 'owner')) throw new StanzaError('conflict', 'a room needs an owner')
  const strangers = config.isMembersOnly && !room.config.isMembersOnly
    ? [...room.occupants].filter(({ bare }) => (after.get(bare.toString())?.affiliation ?? room.affiliationOf(bare)) === 'none')
    : []
  await service.store([
    roomWrite(service.stores, room, { config, isLocked: false }),
    ...strangers.flatMap(({ devices }) => departures(service, room, devices.values())),
  ])
  const [before, wasLocked] = [room.config, room.isLocked]
  room.config = config
  room.isLocked = false
  await removeStrangers(service, room, batch, strangers)
  if (after.size > 0) await applyBelongings(service, room, batch, after, actor)
  if (!wasLocked) tellOfChange(service, room, batch, before)
}

/** §10.2: those who may not be in a members-only room leave it. */
function removeStrangers (
  service: MucService, room: Room, batch: Batch, strangers: readonly Occupant[],
): Maybe<void> {
  return tellEach(service, room, batch, strangers, (occupant, batch) => {
    depart(service, room, batch, occupant, { codes: [322] })
  })
}

/** Returns the affiliations that change because the form has full lists of owners and admins. */
function belongingsAfter (room: Room, { admins, owners }: Partial<Rulers>): ReadonlyMap<string, Belonging> {
  const after = new Map<string, Belonging>()
  const put = (who: string, affiliation: Belonging['affiliation']): void => {
    const { nick = '', affiliation: old = 'none' } = room.belongings.get(who) ?? {}
    if (old !== affiliation) after.set(who, { affiliation, nick, reason: '' })
    else after.delete(who)
  }
  const demote = (from: 'admin' | 'owner', kept: readonly Jid[]): void => {
    const names = new Set(kept.map(jid => jid.bare.toString()))
    for (const [who] of room.withAffiliation(from)) if (!names.has(who)) put(who, 'member')
  }
  if (admins !== undefined) {
    demote('admin', admins)
    for (const jid of admins) if (room.affiliationOf(jid) !== 'owner' || owners !== undefined) put(jid.bare.toString(), 'admin')
  }
  if (owners !== undefined) {
    const gone = new Set(after.keys())
    for (const [who] of room.withAffiliation('owner')) {
      if (!owners.some(jid => jid.bare.toString() === who) && !gone.has(who)) put(who, 'member')
    }
    for (const jid of owners) put(jid.bare.toString(), 'owner')
  }
  return after
}

/** §10.2.1: tells everybody what has changed for their privacy, or that something has. */
function tellOfChange (service: MucService, room: Room, batch: Batch, before: RoomConfig): void {
  const { config } = room
  const codes: number[] = []
  if (config.isLogged !== before.isLogged) codes.push(config.isLogged ? 170 : 171)
  if (config.whois !== before.whois) codes.push(config.whois === 'anyone' ? 172 : 173)
  const others = (of: RoomConfig): string => JSON.stringify({ ...of, isLogged: false, whois: 'anyone' })
  if (others(config) !== others(before)) codes.push(104)
  if (codes.length === 0) return
  announceCodes(service, room, batch, ...codes)
  if (codes.includes(172) && room.occupantCount <= MOST_SHOWN_ANEW) {
    for (const occupant of room.occupants) spread(service, room, batch, occupant)
  }
}
