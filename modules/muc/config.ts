/** The configuration of a room, and its form (XEP-0045 §10.1.3, §10.2, §15.5.3). */
import { DataForm, field, FormError, hasForm, NS, StanzaError } from '../../lib/api.js'
import type { Element, FilledField, FormField, Jid } from '../../lib/api.js'
import type { Role } from './standing.js'

const ROLES = ['moderator', 'participant', 'visitor'] as const

export interface RoomConfig {
  readonly name: string
  readonly description: string
  readonly lang: string
  readonly isPersistent: boolean
  readonly isPublic: boolean
  /** True if everybody may read who is in the room. */
  readonly showsOccupants: boolean
  readonly isMembersOnly: boolean
  readonly isModerated: boolean
  /** '' if the room has none. */
  readonly password: string
  /** Who sees real addresses. */
  readonly whois: 'anyone' | 'moderators'
  /** True if all who may speak may change the subject. */
  readonly changeSubject: boolean
  /** Who may send private messages. */
  readonly privateMessages: 'anyone' | 'participants' | 'moderators' | 'none'
  /** True if all occupants may invite. */
  readonly invites: boolean
  /** True if occupants may send requests to each other. */
  readonly queries: boolean
  /** The roles whose presence all occupants see. */
  readonly presenceOf: readonly Role[]
  /** The roles that may read the lists of members, admins and owners. */
  readonly listsFor: readonly Role[]
  /** The most occupants; 0 for the bound of the service. */
  readonly maxUsers: number
  /** True if the owner says that what is said is published. */
  readonly isLogged: boolean
  readonly isArchived: boolean
  /** The most messages that somebody who enters is sent. */
  readonly history: number
  /** True if those who belong to the room get messages that mention them while they are away (XEP-0452). */
  readonly forwardsMentions: boolean
  /** The seconds between two messages of one user (XEP-0500); 0: as often as they like. */
  readonly slowMode: number
}

/** The most messages of the history, whatever a room asks for. */
export const MOST_HISTORY = 100
/** The longest time between two messages of a user that an owner can ask for, in seconds: a day. */
const SLOWEST = 86_400
/** The most characters of a text in the configuration. */
const LONGEST = 4096

export const DEFAULTS: RoomConfig = {
  name: '', description: '', lang: '', isPersistent: false, isPublic: true, showsOccupants: false,
  isMembersOnly: false, isModerated: false, password: '', whois: 'moderators', changeSubject: false,
  privateMessages: 'anyone', invites: false, queries: true, presenceOf: ROLES,
  listsFor: ROLES, maxUsers: 0, isLogged: false, isArchived: true, history: 20, forwardsMentions: false, slowMode: 0,
}

/** True for a stored configuration. */
export function isConfig (value: unknown): boolean {
  return hasForm(value, {
    name: 'string', description: 'string', lang: 'string', isPersistent: 'boolean', isPublic: 'boolean',
    showsOccupants: 'boolean', isMembersOnly: 'boolean', isModerated: 'boolean', password: 'string', whois: 'string',
    changeSubject: 'boolean', privateMessages: 'string', invites: 'boolean', queries: 'boolean', presenceOf: 'strings',
    listsFor: 'strings', maxUsers: 'number', isLogged: 'boolean', isArchived: 'boolean', history: 'number',
    forwardsMentions: 'boolean?', slowMode: 'number?',
  })
}

/** Clients show the label of an option, and some show nothing without one. */
const ROLE_OPTIONS = [
  { value: 'moderator', label: 'Moderators' }, { value: 'participant', label: 'Participants' },
  { value: 'visitor', label: 'Visitors' },
] as const

const FIELD = {
  name: field.text('muc#roomconfig_roomname', { label: 'Name of the room' }),
  description: field.text('muc#roomconfig_roomdesc', { label: 'Description of the room' }),
  lang: field.text('muc#roomconfig_lang', { label: 'Language of the room' }),
  isPersistent: field.flag('muc#roomconfig_persistentroom', { label: 'Keep the room when the last occupant leaves?' }),
  isPublic: field.flag('muc#roomconfig_publicroom', { label: 'List the room in public?' }),
  showsOccupants: field.flag('public_list', { label: 'Show to everybody who is in the room?' }),
  isMembersOnly: field.flag('muc#roomconfig_membersonly', { label: 'Only members may enter?' }),
  isModerated: field.flag('muc#roomconfig_moderatedroom', { label: 'Only occupants with voice may speak?' }),
  isProtected: field.flag('muc#roomconfig_passwordprotectedroom', { label: 'A password is needed to enter?' }),
  password: field.secret('muc#roomconfig_roomsecret', { label: 'Password' }),
  whois: field.choice('muc#roomconfig_whois', [
    { value: 'moderators', label: 'Moderators only' }, { value: 'anyone', label: 'Anyone' },
  ], { label: 'Who sees the real addresses of occupants?' }),
  changeSubject: field.flag('muc#roomconfig_changesubject', { label: 'May all occupants change the subject?' }),
  privateMessages: field.choice('muc#roomconfig_allowpm', [
    { value: 'anyone', label: 'Anyone' }, { value: 'participants', label: 'Anyone with voice' },
    { value: 'moderators', label: 'Moderators only' }, { value: 'none', label: 'Nobody' },
  ], { label: 'Who may send private messages?' }),
  invites: field.flag('muc#roomconfig_allowinvites', { label: 'May all occupants invite others?' }),
  queries: field.flag('muc#roomconfig_allow_query_users', { label: 'May occupants ask each other, for example for vCards?' }),
  presenceOf: field.choices('muc#roomconfig_presencebroadcast', ROLE_OPTIONS, { label: 'Roles whose presence is shown to all' }),
  listsFor: field.choices('muc#roomconfig_getmemberlist', ROLE_OPTIONS, { label: 'Roles that may read the list of members' }),
  maxUsers: field.text('muc#roomconfig_maxusers', { label: 'Most occupants (a number, or none)' }),
  isLogged: field.flag('muc#roomconfig_enablelogging', { label: 'Is what is said published?' }),
  isArchived: field.flag('muc#roomconfig_enablearchiving', { label: 'Keep an archive for those who may enter?' }),
  history: field.count('muc#maxhistoryfetch', { label: 'Most messages of the history on entering', most: MOST_HISTORY }),
  forwardsMentions: field.flag('muc#roomconfig_forwardmentions', { label: 'Forward mentions to members who are not in the room?' }),
  slowMode: field.count('muc#roomconfig_slow_mode_duration', {
    label: 'Slow mode', description: 'Seconds between two messages of one occupant; 0: no limit', most: SLOWEST,
  }),
  admins: field.jids('muc#roomconfig_roomadmins', { label: 'Admins of the room' }),
  owners: field.jids('muc#roomconfig_roomowners', { label: 'Owners of the room' }),
} as const

export const CONFIG_FORM = new DataForm(NS.MUC_ROOM_CONFIG, Object.values(FIELD), { title: 'Configuration of the room' })

/** The settings of a room that an operator can change, by the names of their fields without the prefix. */
export const SETTINGS: ReadonlyMap<string, string> = new Map(Object.values(FIELD)
  .map(({ name }) => [name.replace(/^muc#(?:roomconfig_)?/, ''), name]))

/** The lists of the form that are no part of the configuration: all owners and admins, by bare address. */
export interface Rulers { readonly admins: readonly Jid[], readonly owners: readonly Jid[] }

/** Returns the form with the values of a room. */
export function configForm (config: RoomConfig, { admins, owners }: Rulers): Element {
  return CONFIG_FORM.form([...filled(config), FIELD.admins.is(admins), FIELD.owners.is(owners)])
}

function filled (config: RoomConfig): FilledField[] {
  return [
    FIELD.name.is(config.name), FIELD.description.is(config.description), FIELD.lang.is(config.lang),
    FIELD.isPersistent.is(config.isPersistent), FIELD.isPublic.is(config.isPublic),
    FIELD.showsOccupants.is(config.showsOccupants), FIELD.isMembersOnly.is(config.isMembersOnly),
    FIELD.isModerated.is(config.isModerated), FIELD.isProtected.is(config.password !== ''),
    FIELD.password.is(config.password), FIELD.whois.is(config.whois), FIELD.changeSubject.is(config.changeSubject),
    FIELD.privateMessages.is(config.privateMessages), FIELD.invites.is(config.invites),
    FIELD.queries.is(config.queries), FIELD.presenceOf.is(config.presenceOf.filter(isShownRole)),
    FIELD.listsFor.is(config.listsFor.filter(isShownRole)),
    FIELD.maxUsers.is(config.maxUsers === 0 ? 'none' : String(config.maxUsers)), FIELD.isLogged.is(config.isLogged),
    FIELD.isArchived.is(config.isArchived), FIELD.history.is(config.history),
    FIELD.forwardsMentions.is(config.forwardsMentions), FIELD.slowMode.is(config.slowMode),
  ]
}

function isShownRole (role: Role): role is typeof ROLES[number] { return role !== 'none' }

/**
 * Reads a submitted form. Fields that were not sent keep their value. Throws FormError; not-acceptable if the room
 * needs a password and has none (§10.1.3).
 */
export function readConfig (
  form: Element, old: RoomConfig,
): { readonly config: RoomConfig, readonly rulers: Partial<Rulers> } {
  const answers = CONFIG_FORM.read(form)
  const given = <T> (field: FormField<T>, otherwise: T): T => answers.get(field) ?? otherwise
  const text = (field: FormField<string>, otherwise: string): string => {
    const value = given(field, otherwise)
    if (value.length > LONGEST) throw new FormError('not-acceptable', 'the text is too long', field.name)
    return value
  }
  const config: RoomConfig = {
    name: text(FIELD.name, old.name), description: text(FIELD.description, old.description),
    lang: text(FIELD.lang, old.lang),
    isPersistent: given(FIELD.isPersistent, old.isPersistent), isPublic: given(FIELD.isPublic, old.isPublic),
    showsOccupants: given(FIELD.showsOccupants, old.showsOccupants),
    isMembersOnly: given(FIELD.isMembersOnly, old.isMembersOnly),
    isModerated: given(FIELD.isModerated, old.isModerated),
    password: passwordIn(answers.get(FIELD.isProtected), text(FIELD.password, old.password)),
    whois: given(FIELD.whois, old.whois), changeSubject: given(FIELD.changeSubject, old.changeSubject),
    privateMessages: given(FIELD.privateMessages, old.privateMessages), invites: given(FIELD.invites, old.invites),
    queries: given(FIELD.queries, old.queries), presenceOf: given(FIELD.presenceOf, old.presenceOf.filter(isShownRole)),
    listsFor: given(FIELD.listsFor, old.listsFor.filter(isShownRole)),
    maxUsers: mostIn(answers.get(FIELD.maxUsers), old.maxUsers), isLogged: given(FIELD.isLogged, old.isLogged),
    isArchived: given(FIELD.isArchived, old.isArchived), history: given(FIELD.history, old.history),
    forwardsMentions: given(FIELD.forwardsMentions, old.forwardsMentions),
    slowMode: given(FIELD.slowMode, old.slowMode),
  }
  const [admins, owners] = [answers.get(FIELD.admins), answers.get(FIELD.owners)]
  return { config, rulers: { ...admins === undefined ? {} : { admins }, ...owners === undefined ? {} : { owners } } }
}

/** A password without the flag counts only as long as nobody says that there is none. */
function passwordIn (isProtected: boolean | undefined, password: string): string {
  if (isProtected === false) return ''
  if (isProtected === true && password === '') throw new StanzaError('not-acceptable', 'the password is missing')
  return password
}

/** XEP-0045 §10.1.3: a number, or `none`; '' is how some clients write it. */
function mostIn (text: string | undefined, old: number): number {
  if (text === undefined) return old
  if (text === '' || text === 'none' || text === '0') return 0
  if (!/^[0-9]{1,6}$/.test(text)) throw new FormError('not-acceptable', 'neither a number nor none', FIELD.maxUsers.name)
  return Number(text)
}
