/** `sestina room list|show|destroy`: the operator's view of rooms. */
import { parseJid, StanzaError } from '../../lib/api.js'
import type { Maybe } from '../../lib/api.js'
import { destroy } from './leaving.js'
import type { Room, Venue } from './room.js'
import type { MucService } from './service.js'

/** The most rooms that are listed. */
const MOST_LISTED = 10_000

/** Adds the commands. They throw JidError or StanzaError for an address that cannot be read, or has no room. */
export function addCommands (service: MucService): void {
  const { host } = service
  host.command('room list', () => list(service))
  host.command('room show', ([address]) => at(service, address, ({ room }) => shown(found(room))))
  host.command('room destroy', async ([address]) => {
    await at(service, address, async venue => {
      found(venue.room)
      await destroy(service, venue, {})
    })
    return 'destroyed'
  })
}

async function at<T> (
  service: MucService, address: string | undefined, work: (venue: Venue) => Maybe<T>,
): Promise<T | undefined> {
  if (address === undefined) throw new StanzaError('bad-request', 'the address of the room is missing')
  return await service.table?.with(parseJid(address).bare, work)
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
    occupants: [...room.occupants].map(({ nick, role, devices }) => ({ nick, role, devices: [...devices.keys()] })),
    affiliations: [...room.belongings].map(([jid, { affiliation, nick }]) => ({ jid, affiliation, nick })),
  }
}

function found (room: Room | undefined): Room {
  if (room === undefined) throw new StanzaError('item-not-found', 'there is no such room')
  return room
}
