/** The parts of group chat that all others use: the host, the stores, the archive, and the rooms that are loaded. */
import { StanzaError, StorageUnavailable, stanza, xml } from '../../lib/api.js'
import type { Batch, Element, EntityArchive, EntityTable, Jid, ModuleHost, Stanza, Write } from '../../lib/api.js'
import { avatarHash } from './photo.js'
import { DEFAULTS, MOST_HISTORY, type RoomConfig } from './config.js'
import { History } from './history.js'
import type { Device, Room, Venue } from './room.js'
import { clearing, readRoom, ROOM, saidOf, type RoomStores } from './stored.js'

/** The settings of the service, as the conf file has them. */
export interface MucSettings {
  readonly creators: 'admins' | 'local' | 'anybody'
  readonly rooms: number
  readonly roomsPerUser: number
  readonly occupants: number
  readonly occupantsPerServer: number
  readonly affiliations: number
  readonly historyBytes: number
  readonly history: number
  readonly persistent: boolean
}

export class MucService {
  readonly host: ModuleHost
  readonly stores: RoomStores
  readonly settings: MucSettings
  table: EntityTable<Venue> | undefined
  archive: EntityArchive | undefined
  /** Finds out whether a device of another server is there, after an error that does not say so. */
  doubt: (room: Room, device: Device) => void = () => {}
  /** Who makes a room now: by its address, until it is stored. */
  readonly making = new Map<string, string>()
  /** The rooms with somebody in them, as far as they are loaded. */
  readonly #busy = new Set<Room>()

  constructor (host: ModuleHost, stores: RoomStores, settings: MucSettings) {
    this.host = host
    this.stores = stores
    this.settings = settings
  }

  /** The loaded rooms with occupants. */
  get loaded (): Iterable<Room> {
    for (const room of this.#busy) {
      if (room.isEmpty || this.table?.of(room.address)?.room !== room) this.#busy.delete(room)
    }
    return this.#busy
  }

  get now (): number { return this.host.clock.now() }
  get defaults (): RoomConfig {
    const { history, persistent } = this.settings
    return { ...DEFAULTS, history: Math.min(history, MOST_HISTORY), isPersistent: persistent }
  }

  /** Notes that somebody is in a room. */
  isBusy (room: Room): void { this.#busy.add(room) }

  newHistory (): History { return new History(MOST_HISTORY, this.settings.historyBytes) }

  /** Loads what there is at an address: a room with its history, or none. */
  async load (address: Jid): Promise<Venue> {
    const room = await readRoom(this.stores, address, this.newHistory(), this.host.router.each)
    if (room === undefined) return { address, room }
    const card = await this.stores.cards.get(room.owner, ROOM)
    room.avatar = card === undefined ? '' : avatarHash(card)
    for (const archived of await this.archive?.last(address, MOST_HISTORY) ?? []) {
      try {
        const said = saidOf(archived, address)
        if (said !== undefined) room.history.add(said)
      } catch (error) {
        this.host.log.warn('archived message not read', { room: room.owner, error })
      }
    }
    if (!room.isEmpty) this.isBusy(room)
    return { address, room }
  }

  /**
   * Resolves when the writes are stored. What a room does then is true whatever happens. Rejects with
   * resource-constraint of type wait if they cannot be stored.
   */
  async store (writes: readonly Write[]): Promise<void> {
    const batch = this.host.batch()
    for (const write of writes) batch.add(write)
    try {
      await batch.commit()
    } catch (error) {
      if (!(error instanceof StorageUnavailable)) this.host.log.warn('room not stored', { error })
      throw new StanzaError('resource-constraint', 'the change cannot be stored now', { type: 'wait' })
    }
  }

  /** Sends a stanza to one, after all that the room has sent before. */
  send (room: Room, from: Jid, to: Jid, element: Element): void {
    this.host.outlet(room.address).send(stanza(element, from, to))
  }

  /** Sends a stanza to many with the batch: in one order for all. */
  broadcast (room: Room, batch: Batch, stanza: Stanza, to: Iterable<Jid>): void {
    this.host.outlet(room.address).broadcast(batch, stanza, to)
  }

  /** Sends a message of the room itself to these devices. */
  announce (room: Room, batch: Batch, to: Iterable<Jid>, ...children: readonly Element[]): void {
    const message = xml('message', { type: 'groupchat', id: this.host.ids.next() }, ...children)
    this.broadcast(room, batch, stanza(message, room.address, room.address), to)
  }

  /** Removes a room with all that is stored of it. Nobody is told. */
  async remove (venue: Venue): Promise<void> {
    const { room } = venue
    if (room === undefined) return
    const batch = this.host.batch()
    for (const write of clearing(this.stores, room.owner)) batch.add(write)
    this.archive?.clear(room.address, batch)
    await batch.commit()
    venue.room = undefined
  }
}

/** Returns the room of a venue. Throws item-not-found if there is none, or if it is locked for the asker (§7.2.11). */
export function roomOf ({ room }: Venue, asker?: Jid): Room {
  if (room === undefined) throw new StanzaError('item-not-found')
  if (room.isLocked && asker !== undefined && room.affiliationOf(asker) !== 'owner') throw new StanzaError('item-not-found')
  return room
}
