/** Changes of affiliations, and what they mean for those who are in the room (XEP-0045 §9, §10.3 to §10.8). */
import { parseJid, StanzaError } from '../../lib/api.js'
import type { Batch, Jid } from '../../lib/api.js'
import { changeBelonging } from './following.js'
import { sendInvitation, tooMany } from './inviting.js'
import { depart, departures, tellEach, type Departure } from './leaving.js'
import { spread, tellOfAbsent } from './presences.js'
import { folded, type Belonging, type Occupant, type Room } from './room.js'
import type { MucService } from './service.js'
import { checkAffiliation, isMember, roleAfter, type Affiliation, type Role } from './standing.js'
import { belongingWrite, deviceWrites } from './stored.js'
import type { Step } from './versions.js'

/** One change of an affiliation. `nick`: the nick to reserve, '' for none; undefined if it stays. */
export interface BelongingChange {
  readonly jid: Jid
  readonly affiliation: Affiliation
  readonly nick?: string | undefined
  readonly reason: string
}

/** The fate of an occupant whose affiliation changes. */
interface Fate { readonly occupant: Occupant, readonly role: Role, readonly departure: Departure | undefined }

/**
 * Changes affiliations: all of them or none. `asker`: who wants it. Rejects with the errors of `checkAffiliation`, and
 * with conflict if no owner would be left, or if a nick belongs to somebody else.
 */
export async function changeAffiliations (
  service: MucService, room: Room, batch: Batch, asker: Jid, changes: readonly BelongingChange[],
): Promise<void> {
  const by = room.affiliationOf(asker)
  const after = new Map<string, Belonging>()
  checkNicks(room, changes)
  for (const { jid, affiliation, nick, reason } of changes) {
    const who = jid.bare.toString() // §10.3: a full address means its bare address
    const old = after.get(who) ?? room.belongings.get(who)
    checkAffiliation({ by, from: old?.affiliation ?? 'none', to: affiliation, isOwn: jid.bare.equals(asker.bare) })
    after.set(who, { affiliation, nick: nickFor(affiliation, nick ?? old?.nick), reason })
  }
  await applyBelongings(service, room, batch, after, room.of(asker)?.nick)
}

/** §9.1: returns the reserved nick that somebody keeps: who is banned, or is nothing to the room, has none. */
export function nickFor (affiliation: Affiliation, nick = ''): string { return isMember(affiliation) ? nick : '' }

/** Throws conflict if a nick belongs to somebody else, or would belong to two. */
function checkNicks (room: Room, changes: readonly BelongingChange[]): void {
  const reserved = new Map<string, string>()
  for (const { jid: { bare }, nick = '' } of changes) {
    if (nick === '') continue
    const other = reserved.get(folded(nick)) ?? bare.toString()
    if (other !== bare.toString() || room.isTaken(nick, bare)) throw new StanzaError('conflict', 'the nick belongs to somebody else')
    reserved.set(folded(nick), bare.toString())
  }
}

/** Stores belongings, and tells everybody what has changed. Rejects with conflict if no owner would be left (§10.6). */
export async function applyBelongings (
  service: MucService, room: Room, batch: Batch, after: ReadonlyMap<string, Belonging>, actor: string | undefined,
): Promise<void> {
  checkOwners(room, after)
  const more = [...after].filter(([who, { affiliation }]) => affiliation !== 'none' && !room.belongings.has(who)).length
  if (more > 0 && room.belongings.size + more > service.settings.affiliations) throw tooMany()
  const before = new Map([...after.keys()].map(who => [who, room.affiliationOf(parseJid(who))]))
  const fates = fatesOf(room, after, before)
  await service.store([
    ...[...after].map(([who, belonging]) => belongingWrite(service.stores, room, who, belonging)),
    ...fates.flatMap(({ occupant, role, departure }) => departure !== undefined
      ? departures(service, room, occupant.devices.values())
      : deviceWrites(service.stores, room, { nick: occupant.nick, devices: occupant.devices, role })),
  ])
  await tell(service, room, batch, { after, before, fates, actor, steps: belongAll(room, after, fates) })
}

/** Changes the belongings, in the order in which all are told. Returns the step of each to a new version (XEP-0463). */
function belongAll (
  room: Room, after: ReadonlyMap<string, Belonging>, fates: readonly Fate[],
): ReadonlyMap<string, Step> {
  const steps = new Map<string, Step>()
  const shown = fates.filter(fate => isTold(room, fate)).map(({ occupant }) => occupant.bare.toString())
  for (const who of new Set([...shown, ...after.keys()])) {
    const belonging = after.get(who)
    if (belonging === undefined) continue
    const step = changeBelonging(room, who, belonging)
    if (step !== undefined) steps.set(who, step)
  }
  return steps
}

/** True if all see the presence of an occupant who changes, or has gone. */
function isTold (room: Room, { occupant, role, departure }: Fate): boolean {
  return room.isShown(occupant) || departure === undefined && room.isShown({ role })
}

function checkOwners (room: Room, after: ReadonlyMap<string, Belonging>): void {
  for (const [who] of room.withAffiliation('owner')) {
    const then = after.get(who)
    if (then === undefined || then.affiliation === 'owner') return
  }
  if ([...after.values()].some(({ affiliation }) => affiliation === 'owner')) return
  throw new StanzaError('conflict', 'a room needs an owner')
}

/** Returns what becomes of those who are in the room and whose affiliation changes. */
function fatesOf (
  room: Room, after: ReadonlyMap<string, Belonging>, before: ReadonlyMap<string, Affiliation>,
): readonly Fate[] {
  const fates: Fate[] = []
  for (const occupant of room.occupants) {
    const bare = occupant.bare.toString()
    const own = after.get(bare)
    const domain = room.belongings.has(bare) ? undefined : after.get(occupant.bare.domain)
    if (own === undefined && domain?.affiliation !== 'outcast') continue
    const affiliation = own?.affiliation ?? 'outcast'
    const code = codeOf(affiliation, room.config.isMembersOnly)
    const role = roleAfter(occupant.role, before.get(bare) ?? 'none', affiliation, room.config.isModerated)
    const reason = (own ?? domain)?.reason ?? ''
    fates.push({ occupant, role, departure: code === undefined ? undefined : { codes: [code], reason } })
  }
  return fates
}

/** §9.1, §9.4: the code with which somebody is removed; undefined for one who stays. */
function codeOf (affiliation: Affiliation, isMembersOnly: boolean): number | undefined {
  if (affiliation === 'outcast') return 301
  return isMembersOnly && affiliation === 'none' ? 321 : undefined
}

interface Changed {
  readonly after: ReadonlyMap<string, Belonging>
  readonly before: ReadonlyMap<string, Affiliation>
  readonly fates: readonly Fate[]
  readonly actor: string | undefined
  readonly steps: ReadonlyMap<string, Step>
}

async function tell (
  service: MucService, room: Room, batch: Batch, { after, before, fates, actor, steps }: Changed,
): Promise<void> {
  const by = actor === undefined ? {} : { actor }
  const untold = new Map(steps)
  await tellEach(service, room, batch, fates, (fate, batch) => {
    const { occupant, role, departure } = fate
    const who = occupant.bare.toString()
    const belonging = after.get(who)
    if (departure === undefined && (belonging === undefined || belonging.affiliation === before.get(who))) return
    const version = isTold(room, fate) ? untold.get(who) : undefined
    if (version !== undefined) untold.delete(who)
    if (departure !== undefined) {
      depart(service, room, batch, occupant, { ...departure, ...by, version })
      return
    }
    const wasShown = room.isShown(occupant)
    occupant.role = role
    const notice = { reason: belonging?.reason ?? '', ...by, version }
    spread(service, room, batch, occupant, { notice, toAll: wasShown })
  })
  await tellEach(service, room, batch, [...untold], ([who, step], batch) => {
    const { affiliation } = after.get(who) ?? { affiliation: 'none' }
    tellOfAbsent(service, room, batch, parseJid(who), affiliation, step)
    // §9.5: a new member of a members-only room is invited
    if (affiliation === 'member' && before.get(who) === 'none' && room.config.isMembersOnly) {
      sendInvitation(service, room, batch, parseJid(who), {})
    }
  })
}
