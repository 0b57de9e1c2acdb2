/** One room: who is in it, who belongs to it, and how it is configured (XEP-0045 §4, §5). */
import { follow, jidOf, NS, parseJid, xml } from '../../lib/api.js'
import type { Element, Jid, Maybe, ModuleHost } from '../../lib/api.js'
import { createHmac } from 'node:crypto'
import type { RoomConfig } from './config.js'
import type { History } from './history.js'
import type { Relays } from './relays.js'
import { Hats } from './hats.js'
import { SlowMode } from './slow-mode.js'
import { Versions } from './versions.js'
import { isRuling, type Affiliation, type Role } from './standing.js'

/** One device that is in a room. */
export interface Device {
  readonly jid: Jid
  /** The part of its presence that others see, besides what the room says. */
  presence: readonly Element[]
  /** The bytes of that. */
  bytes: number
  /** When something last came from it, in milliseconds since 1970. */
  heard: number
  /** When an error last made the room doubt that it is there, in milliseconds since 1970. */
  doubted?: number
  /** The id of the message that only a server without this device answers. */
  probe?: string
}

/** A user in a room under one nick, with one or more devices (§7.2.9). */
export class Occupant {
  nick: string
  role: Role
  readonly bare: Jid
  /** XEP-0421: the id that others see. */
  readonly id: string
  /** By full address. The one that has spoken of its presence last is the last. */
  readonly devices = new Map<string, Device>()
  /** When the occupant last asked for voice, in milliseconds since 1970. */
  askedForVoice = -Infinity

  constructor (nick: string, role: Role, bare: Jid, id: string) {
    this.nick = nick
    this.role = role
    this.bare = bare
    this.id = id
  }

  /** The device whose presence stands for the occupant; undefined if there is none left. */
  get shown (): Device | undefined { return [...this.devices.values()].at(-1) }

  /** Makes a device the one whose presence stands for the occupant. */
  show (device: Device): void {
    this.devices.delete(device.jid.toString())
    this.devices.set(device.jid.toString(), device)
  }
}

/** The affiliation of somebody. `nick`: the nick that is reserved for them; '' if there is none. */
export interface Belonging { readonly affiliation: Affiliation, readonly nick: string, readonly reason: string }

/** A token that makes members (XEP-0488). `left`: how many more users it admits; 0 if that is not limited. */
export interface Token {
  /** The bare address of its maker. */
  readonly by: string
  /** In milliseconds since 1970. */
  readonly until: number
  readonly left: number
}

/** The subject, and when and by whom it was set; `nick` is '' if nobody has set it. */
export interface Subject { readonly text: string, readonly nick: string, readonly at: number }

/** The parts of a new room. */
export interface RoomParts {
  readonly address: Jid
  readonly config: RoomConfig
  readonly subject: Subject
  readonly creator: string
  /** Makes occupant ids irreversible, and different in each room (XEP-0421 §4). */
  readonly salt: string
  readonly isLocked: boolean
  readonly history: History
  readonly relays: Relays
}

/** About how many bytes of memory an occupant id takes in the index of a room. */
const ID_BYTES = 150

export class Room {
  readonly address: Jid
  readonly creator: string
  readonly salt: string
  config: RoomConfig
  subject: Subject
  /** §10.1.1: nobody else may enter until the owner has configured the room. */
  isLocked: boolean
  /** The hash of the avatar; '' if there is none. */
  avatar = ''
  readonly history: History
  readonly relays: Relays
  readonly hats = new Hats()
  /** The tokens that were made, by their text. */
  readonly tokens = new Map<string, Token>()
  readonly slowMode = new SlowMode()
  readonly #belongings = new Map<string, Belonging>()
  #belongingBytes = 0
  #versions: Versions | undefined
  /** The addresses of those who belong to the room, by occupant id; made when it is needed. */
  #byId: Map<string, string> | undefined
  /** The addresses for which nicks are reserved, by folded nick. */
  readonly #byReservedNick = new Map<string, string>()
  /** Who was invited by whom: the bare address of the inviter by that of the invited. */
  readonly invited = new Map<string, Jid>()
  readonly #byNick = new Map<string, Occupant>()
  readonly #byDevice = new Map<string, Occupant>()
  /** The bytes of the presence of all devices. */
  #bytes = 0

  constructor ({ address, config, subject, creator, salt, isLocked, history, relays }: RoomParts) {
    this.address = address
    this.config = config
    this.subject = subject
    this.creator = creator
    this.salt = salt
    this.isLocked = isLocked
    this.history = history
    this.relays = relays
  }

  get owner (): string { return this.address.toString() }
  get occupants (): Iterable<Occupant> { return this.#byNick.values() }
  get occupantCount (): number { return this.#byNick.size }
  get deviceCount (): number { return this.#byDevice.size }
  get isEmpty (): boolean { return this.#byDevice.size === 0 }
  /** About how many bytes of memory the room takes. */
  get bytes (): number {
    const lists = this.#bytes + this.#belongingBytes + 600 * this.#byDevice.size
    const small = 300 * (this.invited.size + this.tokens.size) + ID_BYTES * (this.#byId?.size ?? 0)
    const more = this.history.bytes + this.slowMode.bytes + this.hats.bytes + (this.#versions?.bytes ?? 0)
    return 2000 + lists + small + more
  }

  /** The addresses of all devices in the room. */
  * devices (): Iterable<Jid> { for (const { jid } of this.allDevices()) yield jid }

  * allDevices (): Iterable<Device> { for (const { devices } of this.#byNick.values()) yield * devices.values() }

  // ---- Who belongs to the room ----------------------------------------------------------------------------------

  /** Those who belong to the room, by bare address. */
  get belongings (): ReadonlyMap<string, Belonging> { return this.#belongings }

  /** The versions of the affiliations (XEP-0463), from now on. */
  get versions (): Versions { return this.#versions ??= new Versions(this.salt, this.belongings) }

  /** Changes what is known of somebody; who has no affiliation and no nick is forgotten. */
  belong (who: string, belonging: Belonging): void {
    const old = this.#belongings.get(who)
    if (old !== undefined) this.#belongingBytes -= bytesOf(who, old)
    this.#versions?.change(who, old?.affiliation ?? 'none', belonging.affiliation)
    if (old !== undefined && old.nick !== belonging.nick) this.#free(old.nick, who)
    if (belonging.affiliation === 'none' && belonging.nick === '') {
      this.#belongings.delete(who)
      this.#byId?.delete(this.#hashOf(who))
      return
    }
    this.#belongings.set(who, belonging)
    this.#belongingBytes += bytesOf(who, belonging)
    if (belonging.nick !== '' && old?.nick !== belonging.nick) this.#byReservedNick.set(folded(belonging.nick), who)
    if (old === undefined) this.#byId?.set(this.#hashOf(who), who)
  }

  #free (nick: string, who: string): void {
    const key = folded(nick)
    if (this.#byReservedNick.get(key) === who) this.#byReservedNick.delete(key)
  }

  /** §9.2: the bare address counts before its whole domain, which can only be banned. */
  affiliationOf (jid: Jid): Affiliation {
    const own = this.belongings.get(jid.bare.toString())
    if (own !== undefined) return own.affiliation
    return this.belongings.get(jid.domain)?.affiliation === 'outcast' ? 'outcast' : 'none'
  }

  /** The bare addresses with an affiliation, and what is known of each. */
  * withAffiliation (affiliation: Affiliation): Iterable<readonly [string, Belonging]> {
    for (const entry of this.belongings) if (entry[1].affiliation === affiliation) yield entry
  }

  /** Returns the address for which a nick is reserved. */
  withReservedNick (nick: string): Jid | undefined {
    const who = this.#byReservedNick.get(folded(nick))
    return who === undefined ? undefined : parseJid(who)
  }

  /**
   * Computes the occupant ids of all who belong to the room. `each` shares the event loop. Nobody may begin or cease to
   * belong to the room meanwhile.
   */
  learnIds (each: ModuleHost['router']['each']): Maybe<void> {
    if (this.#byId !== undefined) return undefined
    const byId = new Map<string, string>()
    const done = each([...this.#belongings.keys()], who => { byId.set(this.#hashOf(who), who) })
    return follow(done, () => { this.#byId = byId })
  }

  /** Returns who has this occupant id, of those who belong to the room, after `learnIds`. */
  withId (id: string): Jid | undefined {
    const who = this.#byId?.get(id)
    return who === undefined ? undefined : parseJid(who)
  }

  /** Returns the nick that is reserved for somebody; '' if there is none. */
  reservedNick (jid: Jid): string { return this.belongings.get(jid.bare.toString())?.nick ?? '' }

  /** True if the nick is used by, or reserved for, somebody else (§7.2.8). */
  isTaken (nick: string, bare: Jid): boolean {
    const key = folded(nick)
    const there = this.#byNick.get(key)
    if (there !== undefined && !there.bare.equals(bare)) return true
    const owner = this.withReservedNick(nick)
    return owner !== undefined && !owner.equals(bare)
  }

  // ---- Who is in the room ---------------------------------------------------------------------------------------

  /** Returns the occupant with this nick. */
  called (nick: string): Occupant | undefined { return this.#byNick.get(folded(nick)) }
  /** Returns the occupant to whom a device belongs. */
  of (device: Jid): Occupant | undefined { return this.#byDevice.get(device.toString()) }

  /** Returns the occupants of a user: more than one if devices have different nicks. */
  ofUser (bare: Jid): readonly Occupant[] { return [...this.#byNick.values()].filter(one => one.bare.equals(bare)) }

  /** Returns the address of an occupant. */
  addressOf ({ nick }: Occupant): Jid { return jidOf(this.address.local, this.address.domain, nick) }

  /** Lets a device enter. Returns its occupant, who may be in the room with another device already. */
  enter (nick: string, role: Role, device: Device): Occupant {
    const bare = device.jid.bare
    const occupant = this.called(nick) ?? new Occupant(nick, role, bare, this.idOf(bare))
    this.#byNick.set(folded(nick), occupant)
    this.#byDevice.set(device.jid.toString(), occupant)
    occupant.show(device)
    this.#bytes += device.bytes
    return occupant
  }

  /** Lets a device leave. */
  leave (occupant: Occupant, device: Device): void {
    occupant.devices.delete(device.jid.toString())
    this.#byDevice.delete(device.jid.toString())
    this.#bytes -= device.bytes
    if (occupant.devices.size === 0) this.#byNick.delete(folded(occupant.nick))
  }

  /** Gives a device another presence, which then stands for the occupant. */
  update (occupant: Occupant, device: Device, presence: readonly Element[], bytes: number): void {
    this.#bytes += bytes - device.bytes
    device.presence = presence
    device.bytes = bytes
    occupant.show(device)
  }

  rename (occupant: Occupant, nick: string): void {
    this.#byNick.delete(folded(occupant.nick))
    occupant.nick = nick
    this.#byNick.set(folded(nick), occupant)
  }

  /** XEP-0421 §4: stable in this room, different in others, and it tells nothing of the address. */
  idOf ({ bare }: Jid): string { return this.#hashOf(bare.toString()) }

  #hashOf (who: string): string { return createHmac('sha256', this.salt).update(who).digest('base64url') }

  occupantId (occupant: Occupant): Element { return xml('occupant-id', { xmlns: NS.OCCUPANT_ID, id: occupant.id }) }

  // ---- Who sees what --------------------------------------------------------------------------------------------

  /** True if the presence of this occupant is shown to all (§10.1.3, presencebroadcast). */
  isShown ({ role }: { readonly role: Role }): boolean { return this.config.presenceOf.includes(role) }

  /** True if an occupant sees real addresses (§7.2.4). */
  seesAddresses ({ role }: { readonly role: Role }): boolean { return this.config.whois === 'anyone' || role === 'moderator' }

  /** True if somebody may read the lists of members, admins and owners (§9.5, §10.5, §10.8). */
  mayReadLists (asker: Jid): boolean {
    const affiliation = this.affiliationOf(asker)
    if (isRuling(affiliation)) return true
    if (this.config.whois !== 'anyone') return false // §5.2.1: the lists hold real addresses
    const role = this.of(asker)?.role
    if (role !== undefined && this.config.listsFor.includes(role)) return true
    return affiliation === 'member' && this.config.listsFor.includes('participant')
  }

  /** True if somebody may read the list of those with this affiliation (§9.5, §9.2, §10.5, §10.8). */
  mayReadList (asker: Jid, affiliation: Exclude<Affiliation, 'none'>): boolean {
    const own = this.affiliationOf(asker)
    const isOpen = this.config.whois === 'anyone'
    if (affiliation === 'outcast') return isRuling(own)
    if (affiliation === 'member') return isOpen ? this.mayReadLists(asker) : isRuling(own)
    // in a semi-anonymous room, only owners read the lists of owners and admins
    return own === 'owner' || isOpen && this.mayReadLists(asker)
  }

  /** True if somebody who is not in the room could enter it, or is in it. */
  admits (asker: Jid): boolean {
    const affiliation = this.affiliationOf(asker)
    if (affiliation === 'outcast') return false
    if (isRuling(affiliation) || this.ofUser(asker.bare).length > 0) return true
    return affiliation === 'member' || !this.config.isMembersOnly && this.config.password === ''
  }
}

/** An address at the service: it has a room, or none. */
export interface Venue { readonly address: Jid, room: Room | undefined }

/** About how many bytes of memory a belonging takes: a character of a text may take two. */
function bytesOf (who: string, { nick, reason }: Belonging): number {
  return 200 + 2 * (who.length + nick.length + reason.length)
}

/** Nicks that differ only in case or width are one nick, so that nobody looks like somebody else. */
export function folded (nick: string): string { return nick.normalize('NFKC').toLowerCase() }
