/**
 * How devices and occupants leave a room: by themselves, removed, or with the room (XEP-0045 §7.14, §8.2, §9.1,
 * §10.9).
 */
import { NS, stanza, xml } from '../../lib/api.js'
import type { Batch, Element, Jid, Maybe } from '../../lib/api.js'
import { hidden, onlookers, presenceFrom, spread, type Notice, type Showing } from './presences.js'
import type { Device, Occupant, Room, Venue } from './room.js'
import type { MucService } from './service.js'

/** Why somebody leaves. `children`: what they say of it. `isGone`: nobody answers at the address any more. */
export interface Departure extends Notice { readonly children?: readonly Element[], readonly isGone?: boolean }

/** Returns what stores that devices have left. */
export function departures (
  { stores }: MucService, room: Room, devices: Iterable<Device>,
): ReturnType<typeof stores.devices.putting>[] {
  return [...devices].map(({ jid }) => stores.devices.putting(room.owner, jid.toString(), undefined))
}

/**
 * Lets one device leave, with the batch: its occupant stays if there are others (§7.2.9). The caller then ends an empty
 * room (`endIfEmpty`).
 */
export function leave (service: MucService, room: Room, batch: Batch, device: Device, departure: Departure = {}): void {
  const occupant = room.of(device.jid)
  if (occupant === undefined) return
  for (const write of departures(service, room, [device])) batch.add(write)
  if (occupant.devices.size === 1) {
    depart(service, room, batch, occupant, departure)
    return
  }
  const wasShown = occupant.shown === device
  room.leave(occupant, device)
  const { codes = [] } = departure
  const showing = showingOf(room, occupant, { ...departure, codes: [110, ...codes] })
  const from = room.addressOf(occupant)
  service.broadcast(room, batch, presenceFrom(room, occupant, from, { ...showing, jid: device.jid }), [device.jid])
  if (wasShown) spread(service, room, batch, occupant)
}

/** Takes an occupant with all devices out of the room, and tells everybody. What is stored is the caller's business. */
export function depart (
  service: MucService, room: Room, batch: Batch, occupant: Occupant, departure: Departure = {},
): void {
  const { shown } = occupant
  const from = room.addressOf(occupant)
  const isShown = room.isShown(occupant)
  const showing = showingOf(room, occupant, departure)
  const { seeing, others } = onlookers(room, occupant)
  const devices = [...occupant.devices.values()]
  for (const device of devices) room.leave(occupant, device)
  const codes = [110, ...departure.codes ?? []]
  for (const { jid } of devices) {
    // §8.2: the one who is removed is told first
    const own = presenceFrom(room, occupant, from, { ...showing, jid, codes })
    service.send(room, from, jid, own.element)
  }
  if (!isShown) return
  const seen = { ...showing, jid: shown?.jid }
  if (seeing.length > 0) service.broadcast(room, batch, presenceFrom(room, occupant, from, seen), seeing)
  if (others.length > 0) service.broadcast(room, batch, presenceFrom(room, occupant, from, hidden(showing)), others)
}

/** How many devices are told of changes between two looks at the time that this turn of the event loop has taken. */
const MOST_TOLD = 1000
/** How many leave a room that ends between two such looks. */
const MOST_LEAVING = 16

/**
 * Does something with each item that all in the room are told of. If that is much, it takes several turns of the event
 * loop, and each item has a batch of its own.
 */
export function tellEach<T> (
  service: MucService, room: Room, batch: Batch, items: readonly T[], work: (item: T, batch: Batch) => void,
): Maybe<void> {
  const { host } = service
  if (items.length <= 1 || items.length * room.deviceCount <= MOST_TOLD) {
    for (const item of items) work(item, batch)
    return undefined
  }
  const failed = (error: unknown): void => { host.log.warn('room not told of a change', { room: room.owner, error }) }
  return host.router.each(items, item => {
    const own = host.batch()
    work(item, own)
    void own.commit().catch(failed)
  }, Math.max(1, Math.floor(MOST_TOLD / room.deviceCount)))
}

function showingOf (room: Room, { bare }: Occupant, { children = [], ...notice }: Departure): Showing {
  return { ...notice, type: 'unavailable', role: 'none', affiliation: room.affiliationOf(bare), jid: undefined, children }
}

/** Ends a room that nobody is in, unless it is persistent. A room that was never configured ends as well (§10.1.3). */
export async function endIfEmpty (service: MucService, venue: Venue): Promise<void> {
  const { room } = venue
  if (room?.isEmpty === true && (room.isLocked || !room.config.isPersistent)) await service.remove(venue)
}

/** The end of a room, as its owner wants it told (§10.9). */
export interface Ending {
  readonly reason?: string | undefined
  readonly venue?: Jid | undefined
  readonly password?: string | undefined
}

/**
 * Ends a room: one presence to each device, in several turns of the event loop if there are many. Rejects if that
 * cannot be stored; then nothing has happened.
 */
export async function destroy (
  service: MucService, venue: Venue, { reason, venue: other, password }: Ending,
): Promise<void> {
  const { room } = venue
  if (room === undefined) return
  const occupants = [...room.occupants]
  await service.remove(venue)
  await service.host.router.each(occupants, one => {
    const from = room.addressOf(one)
    for (const { jid } of one.devices.values()) {
      const x = xml('x', { xmlns: NS.MUC_USER }, xml('item', { affiliation: 'none', role: 'none' }),
        xml('destroy', { jid: other?.toString() },
          password === undefined ? undefined : xml('password', {}, password),
          reason === undefined ? undefined : xml('reason', {}, reason)),
        xml('status', { code: 110 }))
      const presence = xml('presence', { type: 'unavailable' }, room.occupantId(one), x)
      service.host.outlet(room.address).send(stanza(presence, from, jid))
    }
  }, MOST_LEAVING)
}
