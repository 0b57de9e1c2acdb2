/** Finds occupants who are gone without a word: asks those of other servers who are silent (XEP-0045 §18.1.2). */
import { NS, StanzaError, xml } from '../../lib/api.js'
import type { Jid } from '../../lib/api.js'
import { endIfEmpty, leave } from './leaving.js'
import type { Device, Room, Venue } from './room.js'
import type { MucService } from './service.js'

/** How often silent occupants are looked for, in milliseconds, and how many are asked at a time. */
const EVERY = 60_000
const AT_ONCE = 50
/** The conditions of a ping that say that nobody is there. A client that knows no ping answers service-unavailable. */
const GONE: ReadonlySet<string> = new Set([
  'gone', 'item-not-found', 'recipient-unavailable', 'remote-server-not-found', 'remote-server-timeout',
])

/** Asks silent occupants until the module ends. `after`: the silence in milliseconds. */
export function watchGhosts (service: MucService, after: number): void {
  const { host } = service
  const failed = (error: unknown): void => { host.log.warn('occupant not removed', { error }) }
  const timer = host.clock.every(EVERY, () => {
    let left = AT_ONCE
    for (const room of service.loaded) {
      for (const jid of lost(service, room)) void remove(service, room.address, jid).catch(failed)
      if (left > 0) for (const device of silent(service, room, after)) {
        if (left-- <= 0) break
        device.heard = service.now
        void ask(service, room, device).catch(failed)
      }
    }
  })
  host.defer(() => { timer.cancel() })
}

/** The devices of other servers and of components from which nothing has come. */
function * silent ({ host, now }: MucService, room: Room, after: number): Iterable<Device> {
  for (const { devices } of room.occupants) {
    for (const device of devices.values()) {
      if (device.heard + after <= now && !host.router.hasAccounts(device.jid.domain)) yield device
    }
  }
}

/**
 * Devices of this server that were in the room before a restart, and whose sessions are not back. If the server was
 * killed, nobody may have said that they are gone.
 */
function lost ({ host }: MucService, room: Room): readonly Jid[] {
  return [...room.devices()].filter(jid => host.router.hasAccounts(jid.domain) && !host.router.isHere(jid))
}

async function ask (service: MucService, room: Room, device: Device): Promise<void> {
  try {
    await service.host.ask(device.jid, xml('ping', { xmlns: NS.PING }), { from: room.address })
  } catch (error) {
    if (!(error instanceof StanzaError) || !GONE.has(error.condition)) return
    await remove(service, room.address, device.jid)
  }
}

/** Lets a device leave that is gone, if it has not entered anew. */
async function remove (service: MucService, address: Jid, jid: Jid): Promise<void> {
  await service.table?.with(address, async (venue: Venue, batch) => {
    const device = venue.room?.of(jid)?.devices.get(jid.toString())
    if (venue.room === undefined || device === undefined) return
    leave(service, venue.room, batch, device, { codes: [333] })
    await endIfEmpty(service, venue)
  })
}
