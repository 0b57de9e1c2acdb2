/** The presence that a room sends: what an occupant says, and what the room says of the occupant (XEP-0045 §7.2.3). */
import { clone, NS, stanza, xml } from '../../lib/api.js'
import type { Addressed, Batch, Element, Jid } from '../../lib/api.js'
import { mayFollow, stepElement } from './following.js'
import type { Device, Occupant, Room } from './room.js'
import type { MucService } from './service.js'
import type { Affiliation, Role } from './standing.js'
import type { Step } from './versions.js'

/** The additions of the room to a presence. */
export interface Notice {
  readonly codes?: readonly number[]
  /** §7.6: the new nick. */
  readonly nick?: string
  readonly reason?: string
  /** The nick of the occupant who caused it. */
  readonly actor?: string
  /** The change of the list of affiliations that this is, or its version: for those who see real addresses. */
  readonly version?: Step | undefined
}

/** The presence of an occupant, or of one who has left. */
export interface Showing extends Notice {
  readonly type?: 'unavailable'
  readonly affiliation: Affiliation
  readonly role: Role
  /** The real address; undefined if the recipient may not see it. */
  readonly jid: Jid | undefined
  /** The elements that the occupant sends. */
  readonly children?: readonly Element[]
}

/** Returns the presence from an occupant's address. */
export function presenceFrom (room: Room, occupant: Occupant, from: Jid, showing: Showing): Addressed {
  const { type, children = [] } = showing
  const hats = type === undefined ? room.hats.elementFor(occupant.bare) : undefined
  const said = [...children.map(clone), room.occupantId(occupant), hats, userElement(showing)]
  return stanza(xml('presence', { type }, ...said), from, room.address)
}

/** Returns `<x/>` with one item, and the codes of what happens. */
export function userElement ({ affiliation, role, jid, nick, reason, actor, version, codes = [] }: Showing): Element {
  return xml('x', { xmlns: NS.MUC_USER }, version === undefined ? undefined : stepElement(version),
    xml('item', { affiliation, role, jid: jid?.toString(), nick },
      actor === undefined ? undefined : xml('actor', { nick: actor }),
      reason === undefined || reason === '' ? undefined : xml('reason', {}, reason)),
    ...codes.map(code => xml('status', { code })))
}

/** Returns the presence of an occupant as it is now. `sees`: the recipient sees real addresses. */
export function presenceOf (room: Room, occupant: Occupant, sees: boolean, notice: Notice = {}): Addressed {
  const { shown, role } = occupant
  const affiliation = room.affiliationOf(occupant.bare)
  return presenceFrom(room, occupant, room.addressOf(occupant), {
    ...notice, role, affiliation, jid: sees ? shown?.jid : undefined, children: shown?.presence ?? [],
  })
}

/** Divides all devices but those of one occupant into those that see real addresses, and the others. */
export function onlookers (
  room: Room, but: Occupant,
): { readonly seeing: readonly Jid[], readonly others: readonly Jid[] } {
  const seeing: Jid[] = []
  const others: Jid[] = []
  for (const occupant of room.occupants) {
    if (occupant === but) continue
    const list = room.seesAddresses(occupant) ? seeing : others
    for (const { jid } of occupant.devices.values()) list.push(jid)
  }
  return { seeing, others }
}

/** How a presence is shown. */
export interface Spread {
  readonly notice?: Notice
  /** A device of the occupant that is not told. */
  readonly but?: Device
  /** True if all see it, although the role of the occupant is not shown: somebody whose role was shown has lost it. */
  readonly toAll?: boolean
}

/** Sends an occupant's presence to all, and with code 110 to the occupant's own devices. */
export function spread (
  service: MucService, room: Room, batch: Batch, occupant: Occupant, { notice = {}, but, toAll = false }: Spread = {},
): void {
  if (toAll || room.isShown(occupant)) {
    const { seeing, others } = onlookers(room, occupant)
    if (seeing.length > 0) service.broadcast(room, batch, presenceOf(room, occupant, true, notice), seeing)
    if (others.length > 0) service.broadcast(room, batch, presenceOf(room, occupant, false, hidden(notice)), others)
  }
  const own = [...occupant.devices.values()].filter(device => device !== but).map(({ jid }) => jid)
  const codes = [110, ...notice.codes ?? []]
  const version = notice.version ?? versionFor(room, occupant.bare)
  const shown = presenceOf(room, occupant, true, { ...notice, codes, version })
  if (own.length > 0) service.broadcast(room, batch, shown, own)
}

/** Returns the version that belongs into presence with code 110 (XEP-0463 §4.3); undefined for who may not follow. */
export function versionFor (room: Room, jid: Jid): Step | undefined {
  return mayFollow(room, jid) ? { until: room.versions.current } : undefined
}

/** Returns a notice for those who do not see real addresses. */
export function hidden<T extends Notice> (notice: T): T { return { ...notice, version: undefined } }

/** Tells all in the room what has happened, by status codes of the room itself (§10.2.1). */
export function announceCodes (service: MucService, room: Room, batch: Batch, ...codes: readonly number[]): void {
  const x = xml('x', { xmlns: NS.MUC_USER }, ...codes.map(code => xml('status', { code })))
  service.announce(room, batch, room.devices(), x)
}

/** §9.3, §10.3: tells those who may see real addresses that somebody who is not there has another affiliation. */
export function tellOfAbsent (
  service: MucService, room: Room, batch: Batch, jid: Jid, affiliation: Affiliation, version: Step | undefined,
): void {
  const seeing = [...room.occupants].filter(one => room.seesAddresses(one))
    .flatMap(({ devices }) => [...devices.values()].map(device => device.jid))
  if (seeing.length === 0) return
  service.announce(room, batch, seeing, userElement({ affiliation, role: 'none', jid, version }))
}
