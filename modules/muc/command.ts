/** `sestina room list|show|create|set|affiliations|occupants|destroy`: the operator's view of rooms. */
import { NS, parseJid, StanzaError, xml } from '../../lib/api.js'
import type { Batch, Element, Jid, Maybe } from '../../lib/api.js'
import { applyBelongings, nickFor } from './affiliating.js'
import { SETTINGS } from './config.js'
import { destroy } from './leaving.js'
import { makeRoom, newRoomWrites } from './making.js'
import { configure } from './owner.js'
import type { Occupant, Room, Venue } from './room.js'
import type { MucService } from './service.js'
import { readAffiliation } from './standing.js'

/** The most rooms that are listed. */
const MOST_LISTED = 10_000

/** Adds the commands. They throw JidError or StanzaError for an address that cannot be read, or has no room. */
export function addCommands (service: MucService): void {
  const { host } = service
  host.command('room list', () => list(service))
  host.command('room show', ([address]) => at(service, address, ({ room }) => shown(found(room))))
  host.command('room create', ([address, owner]) =>
    at(service, address, venue => create(service, venue, userIn(owner))))
  host.command('room set', ([address, name, ...values]) => at(service, address, async ({ room }, batch) => {
    await configure(service, found(room), batch, settingForm(name ?? '', values), undefined)
    return 'changed'
  }))
  host.command('room affiliations', ([address, user, affiliation]) => at(service, address, ({ room }, batch) => {
    if (user === undefined) return affiliations(found(room))
    return affiliate(service, found(room), batch, userIn(user), affiliation)
  }))
  host.command('room occupants', ([address]) => at(service, address, ({ room }) => occupants(found(room))))
  host.command('room destroy', async ([address]) => {
    await at(service, address, async venue => {
      found(venue.room)
      await destroy(service, venue, {})
    })
    return 'destroyed'
  })
}

async function at<T> (
  service: MucService, address: string | undefined, work: (venue: Venue, batch: Batch) => Maybe<T>,
): Promise<T | undefined> {
  if (address === undefined) throw new StanzaError('bad-request', 'the address of the room is missing')
  const jid = parseJid(address).bare
  const { domain } = service.host
  if (jid.domain !== domain || jid.local === '') throw new StanzaError('item-not-found', `not the address of a room, such as coven@${domain}`)
  return await service.table?.with(jid, work)
}

async function list ({ host, stores: { rooms } }: MucService): Promise<unknown> {
  const { rows } = await rooms.page({ host: host.domain }, { limit: MOST_LISTED })
  return rows.map(({ owner, value: { config, creator } }) => ({
    room: owner, name: config.name, creator,
    public: config.isPublic, persistent: config.isPersistent, membersOnly: config.isMembersOnly,
  }))
}

function shown (room: Room): unknown {
  const { password, ...config } = room.config
  return {
    room: room.owner, creator: room.creator, locked: room.isLocked, subject: room.subject.text, ...config, hasPassword: password !== '',
    occupants: occupants(room), affiliations: affiliations(room),
  }
}

function occupants (room: Room): unknown {
  return [...room.occupants].map(({ nick, role, bare, devices }: Occupant) => ({
    nick, role, affiliation: room.affiliationOf(bare), devices: [...devices.keys()],
  }))
}

function affiliations (room: Room): unknown {
  return [...room.belongings].map(([jid, { affiliation, nick }]) => ({ jid, affiliation, nick }))
}

/** Makes a persistent room that is open at once. */
async function create (service: MucService, venue: Venue, owner: Jid): Promise<string> {
  if (venue.room !== undefined) throw new StanzaError('conflict', 'the room is there already')
  const room = makeRoom(service, venue.address, owner.bare.toString())
  room.config = { ...room.config, isPersistent: true }
  room.isLocked = false
  await service.store(newRoomWrites(service, room))
  venue.room = room
  return 'created'
}

/** Returns the form that changes one setting. Throws item-not-found if there is no such setting. */
function settingForm (name: string, values: readonly string[]): Element {
  const field = SETTINGS.get(name)
  if (field === undefined) throw new StanzaError('item-not-found', `there is no setting '${name}'; there are: ${[...SETTINGS.keys()].join(', ')}`)
  const fieldOf = (name: string, values: readonly string[]): Element =>
    xml('field', { var: name }, ...values.map(value => xml('value', {}, value)))
  return xml('x', { xmlns: NS.DATA, type: 'submit' }, fieldOf('FORM_TYPE', [NS.MUC_ROOM_CONFIG]), fieldOf(field, values))
}

async function affiliate (
  service: MucService, room: Room, batch: Batch, user: Jid, name: string | undefined,
): Promise<string> {
  const affiliation = readAffiliation(name ?? '')
  const who = user.bare.toString()
  const nick = nickFor(affiliation, room.belongings.get(who)?.nick)
  await applyBelongings(service, room, batch, new Map([[who, { affiliation, nick, reason: '' }]]), undefined)
  return 'changed'
}

function userIn (address: string | undefined): Jid {
  if (address === undefined) throw new StanzaError('bad-request', 'the address of the user is missing')
  return parseJid(address)
}

function found (room: Room | undefined): Room {
  if (room === undefined) throw new StanzaError('item-not-found', 'there is no such room')
  return room
}
