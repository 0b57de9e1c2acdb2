/** The answers of service discovery about rooms (XEP-0045 §6). */
import { DataForm, field, NS, parseJid, readPaging, StanzaError, UnknownEntry } from '../../lib/api.js'
import type { DiscoInfo, DiscoItem, DiscoPage, Element, EntityArchive, Jid, Paging, Request, TableQuery } from '../../lib/api.js'
import type { Room, Venue } from './room.js'
import { roomOf, type MucService } from './service.js'
import { ROOM } from './stored.js'

/** The most rooms of a page. */
const PAGE = 100
/** Nodes with a meaning of their own (§6.6, §7.12, §18.1.1). */
const RESERVED_NICK = 'x-roomuser-item'
const TRAFFIC = 'http://jabber.org/protocol/muc#traffic'

/** The features of all rooms. */
export const ROOM_FEATURES: readonly string[] = [
  NS.MUC, NS.MUC_STABLE_ID, NS.MUC_SELF_PING, NS.OCCUPANT_ID, NS.REGISTER, NS.STANZA_ID, NS.VCARD,
  NS.RETRACT, NS.MODERATE, NS.MODERATE_OLD, NS.HATS, NS.MUC_AFFILIATIONS,
  NS.MUC_TOKENS,
]

const INFO = {
  name: field.text('muc#roomconfig_roomname', { label: 'Name' }),
  description: field.text('muc#roominfo_description', { label: 'Description' }),
  occupants: field.count('muc#roominfo_occupants', { label: 'Number of occupants' }),
  subject: field.text('muc#roominfo_subject', { label: 'Subject' }),
  subjectChange: field.flag('muc#roominfo_changesubject', { label: 'Occupants may change the subject' }),
  configSubject: field.flag('muc#roomconfig_changesubject', { label: 'Occupants may change the subject' }),
  invites: field.flag('muc#roomconfig_allowinvites', { label: 'Occupants may invite' }),
  privateMessages: field.text('muc#roomconfig_allowpm', { label: 'Who may send private messages' }),
  lang: field.text('muc#roominfo_lang', { label: 'Language' }),
  avatar: field.text('muc#roominfo_avatarhash', { label: 'Avatar' }),
  history: field.count('muc#maxhistoryfetch', { label: 'Most messages of the history' }),
  queries: field.flag('muc#roomconfig_allow_query_users', { label: 'Occupants may ask each other' }),
  hats: field.text('hats#hash', { label: 'Hash of the hats' }),
  slowMode: field.count('muc#roominfo_slow_mode_duration', { label: 'Seconds between two messages of one occupant' }),
}
const INFO_FORM = new DataForm(NS.MUC_ROOM_INFO, Object.values(INFO))

/** Returns what a room is. Throws item-not-found if it does not exist, or is locked for the asker. */
export function infoOf (
  service: MucService, venue: Venue, node: string | undefined, asker: Jid,
): DiscoInfo | undefined {
  const room = roomOf(venue, asker)
  if (node === RESERVED_NICK) {
    const nick = room.reservedNick(asker)
    return { identities: nick === '' ? [] : [{ category: 'conference', type: 'text', name: nick }] }
  }
  if (node === TRAFFIC) throw new StanzaError('service-unavailable') // §18.1.1: nothing is held back
  if (node !== undefined) return undefined
  const { config } = room
  return {
    identities: [{ category: 'conference', type: 'text', name: config.name === '' ? room.address.local : config.name }],
    features: [...ROOM_FEATURES, ...config.isArchived ? featuresOf(service.archive) : [], ...kindsOf(room)],
    forms: [infoForm(room, asker)],
  }
}

/** XEP-0424 §4: the archive has tombstones. */
function featuresOf (archive: EntityArchive | undefined): readonly string[] {
  return archive === undefined ? [] : [...archive.features, NS.RETRACT_TOMBSTONE]
}

/** §15.3: one of each pair. */
function kindsOf ({ config }: Room): readonly string[] {
  return [
    config.isPublic ? 'muc_public' : 'muc_hidden', config.isPersistent ? 'muc_persistent' : 'muc_temporary',
    config.isMembersOnly ? 'muc_membersonly' : 'muc_open', config.isModerated ? 'muc_moderated' : 'muc_unmoderated',
    config.whois === 'anyone' ? 'muc_nonanonymous' : 'muc_semianonymous',
    config.password === '' ? 'muc_unsecured' : 'muc_passwordprotected',
  ]
}

/** The subject is for those who may enter: it is a part of what is said in the room. */
function infoForm (room: Room, asker: Jid): Element {
  const { config, subject, avatar } = room
  return INFO_FORM.result([
    INFO.name.is(config.name), INFO.description.is(config.description), INFO.occupants.is(room.occupantCount),
    ...room.admits(asker) ? [INFO.subject.is(subject.text)] : [], INFO.subjectChange.is(config.changeSubject),
    INFO.configSubject.is(config.changeSubject),
    INFO.invites.is(config.invites), INFO.privateMessages.is(config.privateMessages), INFO.lang.is(config.lang),
    INFO.avatar.is(avatar), INFO.history.is(config.history), INFO.queries.is(config.queries),
    INFO.slowMode.is(config.slowMode), ...room.hats.size > 0 ? [INFO.hats.is(room.hats.hash)] : [],
  ])
}

/** §6.5: lists the occupants for those in the room, and for all if the room shows them. */
export function occupantsOf (venue: Venue, node: string | undefined, asker: Jid): readonly DiscoItem[] | undefined {
  const room = roomOf(venue, asker)
  if (node !== undefined) return undefined
  if (!room.config.showsOccupants && room.of(asker) === undefined) return []
  return [...room.occupants].filter(one => room.isShown(one)).map(one => ({ jid: room.addressOf(one) }))
}

/** §6.3: lists the public rooms, page by page (XEP-0059). */
export async function listRooms ({ host, stores: { rooms } }: MucService, { payload }: Request): Promise<DiscoPage> {
  const paging = readPaging(payload)
  if (paging?.index !== undefined) throw new StanzaError('feature-not-implemented', 'a page cannot be requested by index')
  const by = 'listed'
  const scope = { host: host.domain }
  const limit = Math.min(paging?.max ?? PAGE, PAGE)
  const count = await rooms.count(scope, { by })
  if (limit === 0) return { items: [], page: { count } }
  try {
    const { rows } = await rooms.page(scope, { by, limit, ...rangeOf(paging) })
    const items = rows.map(({ owner, value: { config: { name } } }) => ({ jid: parseJid(owner), name: name === '' ? nameOf(owner) : name }))
    return { items, page: { first: rows[0]?.owner, last: rows.at(-1)?.owner, count } }
  } catch (error) {
    if (error instanceof UnknownEntry) throw new StanzaError('item-not-found') // XEP-0059 §2.2
    throw error
  }
}

/** Returns the range of rooms that is asked for: an item is the address of a room. */
function rangeOf ({ after, before }: Partial<Paging> = {}): Partial<TableQuery> {
  return {
    last: before !== undefined,
    ...after === undefined ? {} : { after: { owner: after, key: ROOM } },
    ...before === undefined || before === '' ? {} : { before: { owner: before, key: ROOM } },
  }
}

function nameOf (owner: string): string { return parseJid(owner).local }
