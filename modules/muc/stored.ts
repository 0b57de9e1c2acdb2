/** The stored form of rooms, and how a room is made from it. */
import {
  attributeOf, childElements, clone, fromOctets, hasForm, isElementText, localName, NS, octets, parseElement,
  parseJid, records, shortened, Stanza, table, toOctets, xml,
} from '../../lib/api.js'
import type { ArchivedMessage, Element, Jid, ModuleHost, Records, Table, Write } from '../../lib/api.js'
import { DEFAULTS, isConfig, type RoomConfig } from './config.js'
import { isHat, type Hat } from './hats.js'
import { History, type Said } from './history.js'
import { Relays } from './relays.js'
import { Room, type Belonging, type Device, type Occupant, type Subject, type Token } from './room.js'
import { readAffiliation, readRole } from './standing.js'

/** The one row of a room in its table. `listed`: the place in the list of rooms; without it the room is not listed. */
export interface StoredRoom {
  readonly config: RoomConfig
  readonly subject: Subject
  readonly creator: string
  readonly salt: string
  readonly isLocked: boolean
  readonly listed?: string
}

/** A device in a room. `presence`: an element with what others see of it. */
export interface StoredDevice { readonly nick: string, readonly role: string, readonly presence: string }

/** An invitation that was not answered yet, by the bare address of the invited. `by`: that of the inviter. */
export interface StoredInvitation { readonly by: string, readonly at: number }

/** The key of a room's own row. */
export const ROOM = 'room'
/** The most bytes of the presence of a device: more is left out, and only what RFC 6121 defines stays. */
const LARGEST_PRESENCE = 8192
/** The most characters of a room's place in the list. */
const LONGEST_RANK = 200

export const STORES = {
  rooms: table<StoredRoom>(1, {
    by: { listed: ({ listed }) => listed, creator: ({ creator }) => creator },
  }, undefined, { check: isStoredRoom }),
  belongings: records<Belonging>(1, undefined, { check: value => hasForm(value, { affiliation: 'string', nick: 'string', reason: 'string' }) }),
  devices: records<StoredDevice>(1, undefined, {
    check: value => hasForm(value, { nick: 'string', role: 'string', presence: 'string' }) && isElementText(value['presence']), unreadable: 'moved',
  }),
  invitations: records<StoredInvitation>(1, undefined, { check: value => hasForm(value, { by: 'string', at: 'number' }), unreadable: 'moved' }),
  cards: records<string>(1, undefined, { check: isElementText, unreadable: 'moved' }),
  hats: records<Hat>(1, undefined, { check: isHat, unreadable: 'moved' }),
  tokens: records<Token>(1, undefined, {
    check: value => hasForm(value, { by: 'string', until: 'number', left: 'number' }), unreadable: 'moved',
  }),
}

export interface RoomStores {
  readonly rooms: Table<StoredRoom>
  readonly belongings: Records<Belonging>
  readonly devices: Records<StoredDevice>
  readonly invitations: Records<StoredInvitation>
  readonly cards: Records<string>
  readonly hats: Records<Hat>
  readonly tokens: Records<Token>
}

function isStoredRoom (value: unknown): boolean {
  return hasForm(value, { config: 'object', subject: 'object', creator: 'string', salt: 'string', isLocked: 'boolean', listed: 'string?' }) &&
    isConfig(value['config']) && hasForm(value['subject'], { text: 'string', nick: 'string', at: 'number' })
}

// ---- Writing ----------------------------------------------------------------------------------------------------

/** Returns the write of a room's own row, with these changes. */
export function roomWrite (
  { rooms }: RoomStores, room: Room, change: Partial<Pick<StoredRoom, 'config' | 'subject' | 'isLocked'>> = {},
): Write {
  const { config, subject, creator, salt, isLocked } = { ...partsOf(room), ...change }
  const name = config.name === '' ? room.address.local : config.name
  return rooms.putting(room.owner, ROOM, {
    config, subject, creator, salt, isLocked,
    ...config.isPublic && !isLocked ? { listed: shortened(name.toLowerCase(), LONGEST_RANK) } : {},
  })
}

function partsOf ({ config, subject, creator, salt, isLocked }: Room): StoredRoom {
  return { config, subject, creator, salt, isLocked }
}

/** Returns the write of somebody's affiliation; without any affiliation and nick, there is no row. */
export function belongingWrite ({ belongings }: RoomStores, room: Room, who: string, belonging: Belonging): Write {
  const isNothing = belonging.affiliation === 'none' && belonging.nick === ''
  return belongings.putting(room.owner, who, isNothing ? undefined : belonging)
}

/** Returns the write of a device that is in the room. */
export function deviceWrite (
  { devices }: RoomStores, room: Room, device: Pick<Device, 'jid' | 'presence'>,
  { nick, role }: Pick<Occupant, 'nick' | 'role'>,
): Write {
  const presence = fromOctets(octets(xml('presence', {}, ...device.presence.map(clone))))
  return devices.putting(room.owner, device.jid.toString(), { nick, role, presence })
}

/** Returns the writes of all devices of an occupant, as the occupant is now or will be. */
export function deviceWrites (
  stores: RoomStores, room: Room, occupant: Pick<Occupant, 'nick' | 'role' | 'devices'>,
): readonly Write[] {
  return [...occupant.devices.values()].map(device => deviceWrite(stores, room, device, occupant))
}

/** Returns the writes that remove all that is stored of a room, besides its archive. */
export function clearing (stores: RoomStores, owner: string): readonly Write[] {
  const { rooms, belongings, devices, invitations, cards, hats, tokens } = stores
  return [rooms, belongings, devices, invitations, cards, hats, tokens].map(store => store.clearing(owner))
}

// ---- Reading ----------------------------------------------------------------------------------------------------

/** Reads a room, with the devices that are in it; undefined if there is none. `each` shares the event loop. */
export async function readRoom (
  stores: RoomStores, address: Jid, history: History, each: ModuleHost['router']['each'],
): Promise<Room | undefined> {
  const owner = address.toString()
  const row = await stores.rooms.get(owner, ROOM)
  if (row === undefined) return undefined
  const [belongings, devices, invitations, hats, tokens] = await Promise.all([
    stores.belongings.all(owner), stores.devices.all(owner), stores.invitations.all(owner), stores.hats.all(owner),
    stores.tokens.all(owner),
  ])
  // A configuration that an older version stored lacks what was added later.
  const config = { ...DEFAULTS, ...row.config }
  const room = new Room({ address, ...row, config, history, relays: new Relays() })
  await each([...belongings], ([who, belonging]) => {
    room.belong(who, { ...belonging, affiliation: readAffiliation(belonging.affiliation) })
  })
  for (const [uri, hat] of hats) room.hats.set(uri, hat)
  for (const [text, token] of tokens) room.tokens.set(text, token)
  for (const [jid, { by }] of [...invitations].sort(([, a], [, b]) => a.at - b.at)) room.invited.set(jid, parseJid(by))
  for (const [jid, { nick, role, presence }] of devices) {
    const shown = readPresence(childElements(parseElement(toOctets(presence))))
    room.enter(nick, readRole(role), { jid: parseJid(jid), ...shown, heard: 0 })
  }
  return room
}

/**
 * Returns what others see of a presence: all children but those that only a room may say (§17.3), and at most
 * LARGEST_PRESENCE bytes.
 */
export function readPresence (children: Iterable<Element>): Pick<Device, 'presence' | 'bytes'> {
  const passed = [...children].filter(isPassed).map(element => clone(element))
  const bytes = passed.reduce((sum, element) => sum + octets(element).length, 0)
  if (bytes <= LARGEST_PRESENCE) return { presence: passed, bytes }
  const basic = passed.filter(element => element.getNS() === NS.CLIENT && octets(element).length < 1024)
  return { presence: basic.slice(0, 8), bytes: basic.reduce((sum, element) => sum + octets(element).length, 0) }
}

/** True unless only a room may say this: roles, ids, hats, delays of rooms, tombstones and moderations. */
export function isPassed (element: Element): boolean {
  switch (element.getNS()) {
    case NS.MODERATE: case NS.MODERATE_OLD: return false
    case NS.RETRACT: return localName(element) !== 'retracted' && !holds(element, NS.MODERATE)
    case NS.FASTEN: return !holds(element, NS.MODERATE_OLD)
    case NS.MUC: case NS.MUC_USER: case NS.MUC_ADMIN: case NS.MUC_OWNER: return false
    case NS.OCCUPANT_ID: case NS.HATS: case NS.ADDRESS: return false
    default: return true
  }
}

function holds (element: Element, namespace: string): boolean {
  return childElements(element).some(one => one.getNS() === namespace)
}

/** Returns an archived message as it was said, and its id; undefined if it is no part of the history. */
export function saidOf ({ id, at, octets: stored }: ArchivedMessage, room: Jid): Said | undefined {
  const element = parseElement(stored)
  const from = attributeOf(element, 'from')
  if (from === undefined) return undefined
  const stanzaId = xml('stanza-id', { xmlns: NS.STANZA_ID, by: room.toString(), id })
  const message = new Stanza('message', element, parseJid(from), undefined).with({ plus: [stanzaId] })
  return isHistory(message) ? { message, at, id } : undefined
}

/** §7.2.15: true for a message that belongs to the history: changes of the subject do not. */
export function isHistory (message: Stanza<'message'>): boolean {
  return message.type === 'groupchat' && !isSubjectChange(message)
}

/** §8.1: true for a message that has a subject, and neither body nor thread. */
export function isSubjectChange (message: Stanza<'message'>): boolean {
  return message.has(NS.CLIENT, 'subject') && !message.has(NS.CLIENT, 'body') && !message.has(NS.CLIENT, 'thread')
}
