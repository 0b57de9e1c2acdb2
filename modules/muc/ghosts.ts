/** Finds occupants who are gone without a word: asks those of other servers (XEP-0045 §18.1.2). */
import { hostOpened, NS, parseJid, serverReturned, stanza, StanzaError, xml } from '../../lib/api.js'
import type { Jid, Timer } from '../../lib/api.js'
import { expireRelays } from './asking.js'
import { endIfEmpty, leave } from './leaving.js'
import type { Device, Room, Venue } from './room.js'
import type { MucService } from './service.js'

/** How often silent occupants are looked for, in milliseconds. */
const EVERY = 60_000
/** How many are asked at a time, how long until the next are asked, in milliseconds, and how many may wait for that. */
const AT_ONCE = 50
const PAUSE = 1000
const MOST_DUE = 20_000
/** How long an occupant is not doubted again, in milliseconds. */
const TRUSTED = 60_000
/** The rooms that are read at a time after a start. */
const PAGE = 100
/** The conditions of a ping that say that nobody is there. Other conditions say nothing: see `probe`. */
const GONE: ReadonlySet<string> = new Set([
  'gone', 'item-not-found', 'recipient-unavailable', 'remote-server-not-found', 'remote-server-timeout',
])

/** Asks silent occupants until the module ends. `after`: the silence in milliseconds. */
export function watchGhosts (service: MucService, after: number): void {
  const { host } = service
  const watch = new GhostWatch(service, after)
  service.doubt = (room, device) => { watch.doubt(room, device) }
  const timer = host.clock.every(EVERY, () => { watch.look() })
  // Who left while the link was down could not say so.
  host.on(serverReturned, ({ peer }) => { watch.askAll(peer) }, 'observe')
  host.on(hostOpened, () => { void wake(service).catch(watch.failed) }, 'observe')
  host.defer(() => {
    timer.cancel()
    watch.end()
  })
}

interface Suspect { readonly room: Room, readonly device: Device }

class GhostWatch {
  readonly #service: MucService
  readonly #after: number
  /** Those who will be asked, by room and device. */
  readonly #due = new Map<string, Suspect>()
  #timer: Timer | undefined
  readonly failed = (error: unknown): void => { this.#service.host.log.warn('occupant not removed', { error }) }

  constructor (service: MucService, after: number) {
    this.#service = service
    this.#after = after
  }

  /** Removes those of this server who are gone, and asks those of other servers who are silent. */
  look (): void {
    const { host } = this.#service
    void Promise.resolve(host.router.each([...this.#service.loaded], room => {
      expireRelays(this.#service, room)
      for (const device of room.allDevices()) {
        if (!host.router.hasAccounts(device.jid.domain)) {
          if (device.heard + this.#after <= this.#service.now) this.#ask(room, device)
        } else if (!host.router.isHere(device.jid)) {
          // The device was in the room before a restart, and its session is not back. If the server was killed, nobody
          // may have said that it is gone.
          void remove(this.#service, room.address, device).catch(this.failed)
        }
      }
    }, 1)).catch(this.failed)
  }

  /** Asks all occupants of another server. */
  askAll (peer: string): void {
    void Promise.resolve(this.#service.host.router.each([...this.#service.loaded], room => {
      for (const device of room.allDevices()) if (device.jid.domain === peer) this.#ask(room, device)
    }, 1)).catch(this.failed)
  }

  /** Asks an occupant who has sent an error back, but not more often than TRUSTED. */
  doubt (room: Room, device: Device): void {
    const { now } = this.#service
    if ((device.doubted ?? -Infinity) + TRUSTED > now) return
    device.doubted = now
    this.#ask(room, device)
  }

  end (): void {
    this.#timer?.cancel()
    this.#due.clear()
  }

  #ask (room: Room, device: Device): void {
    if (this.#due.size >= MOST_DUE) return // found again when they have been silent for long enough
    device.heard = this.#service.now
    this.#due.set(`${room.owner} ${device.jid.toString()}`, { room, device })
    if (this.#timer === undefined) this.#askSome()
  }

  #askSome (): void {
    this.#timer = undefined
    for (const [key, { room, device }] of [...this.#due].slice(0, AT_ONCE)) {
      this.#due.delete(key)
      void ask(this.#service, room, device).catch(this.failed)
    }
    this.#timer = this.#service.host.clock.after(PAUSE, () => {
      this.#timer = undefined
      if (this.#due.size > 0) this.#askSome()
    })
  }
}

async function ask (service: MucService, room: Room, device: Device): Promise<void> {
  try {
    await service.host.ask(device.jid, xml('ping', { xmlns: NS.PING }), { from: room.address })
  } catch (error) {
    if (!(error instanceof StanzaError)) return
    if (GONE.has(error.condition)) await remove(service, room.address, device)
    else probe(service, room, device)
  }
}

/**
 * A client that knows no ping answers service-unavailable, as does a server on which nobody has the address (RFC 6121
 * §8.5.3.2.3). A message of type groupchat tells them apart: a client answers none, and a server sends it back
 * (§8.5.3.2.1). It is empty, so clients show nothing.
 */
function probe (service: MucService, room: Room, device: Device): void {
  device.probe = service.host.ids.next()
  const hint = xml('no-store', { xmlns: NS.HINTS })
  const message = xml('message', { type: 'groupchat', id: device.probe }, hint)
  service.host.outlet(room.address).send(stanza(message, room.address, device.jid))
}

/** Lets a device leave that is gone, if it has not entered anew. */
async function remove (service: MucService, address: Jid, gone: Device): Promise<void> {
  await service.table?.with(address, async (venue: Venue, batch) => {
    const device = venue.room?.of(gone.jid)?.devices.get(gone.jid.toString())
    if (venue.room === undefined || device === undefined) return
    leave(service, venue.room, batch, device, { codes: [333] })
    await endIfEmpty(service, venue)
  })
}

/**
 * Loads the rooms that had somebody in them before a start, so that those who are gone leave them, and ends temporary
 * rooms whose last occupant had left.
 */
async function wake (service: MucService): Promise<void> {
  const { host, stores: { rooms, devices } } = service
  let after: string | undefined
  for (;;) {
    const query = { limit: PAGE, ...after === undefined ? {} : { after } }
    const { rows, complete } = await rooms.page({ host: host.domain }, query)
    for (const { owner, value: { config, isLocked } } of rows) {
      const mayStay = config.isPersistent && !isLocked
      if (mayStay && (await devices.all(owner, { limit: 1 })).size === 0) continue
      await service.table?.with(parseJid(owner), venue => endIfEmpty(service, venue))
    }
    after = rows.at(-1)?.place
    if (complete || after === undefined) return
  }
}
