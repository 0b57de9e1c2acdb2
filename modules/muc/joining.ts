/** How somebody enters a room (XEP-0045 §7.2), and how a room is made (§10.1). */
import { addressed, attributeOf, child, formatDateTime, NS, octets, stanza, StanzaError, xml } from '../../lib/api.js'
import type { Addressed, Element, Jid, ToEntity, Write } from '../../lib/api.js'
import { checkEntry } from './entry.js'
import { changesFor } from './following.js'
import { readWanted, type Said, type Wanted } from './history.js'
import { makeRoom, newRoomWrites } from './making.js'
import { changeNick, checkNick } from './nicks.js'
import { presenceOf, spread, userElement, versionFor } from './presences.js'
import type { Device, Occupant, Room, Venue } from './room.js'
import type { MucService } from './service.js'
import { roleOnEntering } from './standing.js'
import { leave } from './leaving.js'
import { deviceWrite, readPresence } from './stored.js'

type Arrival = ToEntity<'presence'>

/** §7.2.18: tells somebody who sends presence, and is not in the room, that they are not. */
export function refuseStray (service: MucService, { stanza: { from, to } }: Arrival): void {
  const x = userElement({ affiliation: 'none', role: 'none', jid: undefined, reason: 'You are not in the room.', codes: [110, 307, 333] })
  service.host.outlet(to.bare).send(stanza(xml('presence', { type: 'unavailable' }, x), to, from))
}

/** Lets a device enter, or sends all anew to one that is in the room (§17.3). Rejects with the errors of §7.2.17. */
export async function join (service: MucService, venue: Venue, arrival: Arrival, x: Element): Promise<void> {
  const { to } = arrival.stanza
  checkNick(to)
  try {
    await enter(service, venue, arrival, x)
  } finally {
    service.making.delete(to.bare.toString())
  }
}

async function enter (service: MucService, venue: Venue, arrival: Arrival, x: Element): Promise<void> {
  const { stanza: { from, to } } = arrival
  const isNew = venue.room === undefined
  const room = venue.room ?? await newRoom(service, from, to.bare)
  const wanted = readWanted(child(x, NS.MUC, 'history'), room.config.history, service.now)
  const known = room.of(from)
  if (known !== undefined) {
    await rejoin(service, room, known, arrival, wanted, knowledgeIn(arrival, x))
    return
  }
  const token = isNew ? undefined : checkEntry(service, room, from, to.resource, x)
  const { presence, bytes } = readPresence(arrival.stanza.children())
  const device: Device = { jid: from, presence, bytes, heard: service.now }
  const affiliation = token === undefined ? room.affiliationOf(from) : 'member'
  const role = room.called(to.resource)?.role ?? roleOnEntering(affiliation, room.config.isModerated)
  const writes: Write[] = [deviceWrite(service.stores, room, device, { nick: to.resource, role })]
  if (token !== undefined) writes.push(...token.writes)
  if (isNew) writes.push(...newRoomWrites(service, room))
  await service.store(writes)
  venue.room = room
  const version = token?.used()
  const occupant = room.enter(to.resource, role, device)
  service.isBusy(room)
  welcome(service, room, occupant, device, { wanted, codes: isNew ? [201] : [], knows: knowledgeIn(arrival, x) })
  arrival.payer?.charge(room.deviceCount, from)
  spread(service, room, arrival.batch, occupant, { but: device, notice: { version } })
}

/** Makes a room, which is locked until it is configured (§10.1.1). Rejects with not-allowed and resource-constraint. */
async function newRoom (service: MucService, creator: Jid, address: Jid): Promise<Room> {
  const { host, settings, stores } = service
  const { domain } = host
  const who = creator.bare.toString()
  const isAdmin = host.admins.includes(who)
  if (!isAdmin && settings.creators !== 'anybody' && (settings.creators === 'admins' || !host.router.serves(creator.domain))) {
    throw new StanzaError('not-allowed', 'you may not create rooms')
  }
  // One user can enter many rooms at once: those that are not stored yet count as well.
  service.making.set(address.toString(), who)
  const making = [...service.making.values()]
  const own = making.filter(one => one === who).length
  if (!isAdmin && await stores.rooms.count({ host: domain }, { by: 'creator', from: who, to: who }) + own > settings.roomsPerUser) {
    throw new StanzaError('resource-constraint', 'you have too many rooms', { type: 'wait' })
  }
  if (await stores.rooms.count({ host: domain }) + making.length > settings.rooms) {
    throw new StanzaError('resource-constraint', 'there are too many rooms', { type: 'wait' })
  }
  return makeRoom(service, address, who)
}

/** §7.2.2: sends all anew to a device that has lost track. Others see at most another presence, or another nick. */
async function rejoin (
  service: MucService, room: Room, occupant: Occupant, arrival: Arrival, wanted: Wanted, knows: Knowledge | undefined,
): Promise<void> {
  const { from, to } = arrival.stanza
  const device = occupant.devices.get(from.toString())
  if (device === undefined) return
  device.heard = service.now
  const { presence, bytes } = readPresence(arrival.stanza.children())
  await service.store([deviceWrite(service.stores, room, { jid: from, presence }, occupant)])
  room.update(occupant, device, presence, bytes)
  if (occupant.nick !== to.resource) await changeNick(service, room, occupant, arrival)
  welcome(service, room, occupant, device, { wanted, codes: [], knows })
  arrival.payer?.charge(2 * room.deviceCount, from)
  spread(service, room, arrival.batch, occupant, { but: device })
}

/** The version of the affiliations that a client knows, if any (XEP-0463 §4.1). `id`: that of its presence. */
interface Knowledge { readonly since: string | undefined, readonly id: string | undefined }

function knowledgeIn ({ stanza: { id } }: Arrival, x: Element): Knowledge | undefined {
  const mav = child(x, NS.MUC_AFFILIATIONS, 'mav')
  return mav === undefined ? undefined : { since: attributeOf(mav, 'since'), id }
}

/** The parts of a welcome besides the other occupants. */
interface Welcome {
  readonly wanted: Wanted
  readonly codes: readonly number[]
  /** Undefined if the client asks for no affiliations. */
  readonly knows: Knowledge | undefined
}

/**
 * Sends what somebody sees who enters (§7.1): the others, themselves, the history, the subject. What happens meanwhile
 * comes after that.
 */
function welcome (
  service: MucService, room: Room, occupant: Occupant, device: Device, welcome: Welcome,
): void {
  const added = octets(delay(room, service.now)).length + ` to="${device.jid.toString()}"`.length
  const pieces = welcoming(room, occupant, device.jid, room.history.page(welcome.wanted, added), welcome)
  const sent = service.host.outlet(room.address).draw(device.jid, pieces)
  if (sent === true) return
  void Promise.resolve(sent).then(async isSent => {
    // Who was not sent everything does not know the room: the client is told, and may enter again.
    if (!isSent) await lose(service, room.address, device)
  }).catch((error: unknown) => { service.host.log.error('entering a room failed', { room: room.owner, error }) })
}

async function lose (service: MucService, address: Jid, device: Device): Promise<void> {
  await service.table?.with(address, ({ room }, batch) => {
    const there = room?.of(device.jid)?.devices.get(device.jid.toString())
    if (room !== undefined && there === device) leave(service, room, batch, device, { codes: [333] })
  })
}

function * welcoming (
  room: Room, occupant: Occupant, to: Jid, history: readonly Said[], { codes, knows }: Welcome,
): Generator<Addressed> {
  if (knows !== undefined) yield * changesFor(room, to, knows.since, knows.id)
  const sees = room.seesAddresses(occupant)
  for (const other of [...room.occupants]) {
    if (other === occupant || other.shown === undefined || !room.isShown(other)) continue
    yield addressed(presenceOf(room, other, sees), to)
  }
  const { config } = room
  const all = [110, ...config.whois === 'anyone' ? [100] : [], ...config.isLogged ? [170] : [], ...codes]
  yield addressed(presenceOf(room, occupant, true, { codes: all, version: versionFor(room, to) }), to)
  if (room.avatar !== '') yield stanza(avatarPresence(room), room.address, to)
  for (const said of history) yield delayed(said, room, to)
  yield stanza(subjectElement(room), subjectFrom(room), to)
}

/** XEP-0153 §3: presence of the room itself, which names its avatar. Clients know no other way. */
export function avatarPresence ({ avatar }: Room): Element {
  return xml('presence', {}, xml('x', { xmlns: NS.VCARD_UPDATE }, xml('photo', {}, avatar)))
}

/** §7.2.13: a message of the history is stamped by the room. */
function delayed ({ message, at }: Said, room: Room, to: Jid): Addressed {
  return addressed(message.with({ to, plus: [delay(room, at)] }), to)
}

function delay (room: Room, at: number): Element {
  return xml('delay', { xmlns: NS.DELAY, from: room.owner, stamp: formatDateTime(at, { milliseconds: true }) })
}

/** §7.2.15: the subject, also if there is none. */
function subjectElement (room: Room): Element {
  const { text, at } = room.subject
  return xml('message', { type: 'groupchat' }, xml('subject', {}, text), at === 0 ? undefined : delay(room, at))
}

function subjectFrom (room: Room): Jid {
  const { nick } = room.subject
  const setter = nick === '' ? undefined : room.called(nick)
  return setter === undefined ? room.address : room.addressOf(setter)
}

/** Returns `<x/>` of a presence that wants to enter; undefined if there is none. */
export function joinElement (presence: Arrival['stanza']): Element | undefined { return presence.child(NS.MUC, 'x') }
