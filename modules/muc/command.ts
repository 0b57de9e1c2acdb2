/** `sestina room list|show|destroy`: the operator's view of rooms. */
import { parseJid, StanzaError } from '../../lib/api.js'
import { destroy } from './leaving.js'
import type { Room } from './room.js'
import type { MucService } from './service.js'

const USAGE = 'room list · room show ADDRESS · room destroy ADDRESS'
/** The most rooms that are listed. */
const MOST_LISTED = 10_000

/**
 * Runs the command. Throws JidError or StanzaError for arguments that cannot be read, and for a room that is not
 * there.
 */
export async function command (service: MucService, args: readonly string[]): Promise<unknown> {
  const [what, address, more] = args
  if (what === 'list' && address === undefined) return await list(service)
  if (address === undefined || more !== undefined) throw new StanzaError('bad-request', USAGE)
  const jid = parseJid(address).bare
  if (what === 'show') return await service.table?.with(jid, ({ room }) => shown(found(room)))
  if (what !== 'destroy') throw new StanzaError('bad-request', USAGE)
  await service.table?.with(jid, async venue => {
    found(venue.room)
    await destroy(service, venue, {})
  })
  return { destroyed: jid.toString() }
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
