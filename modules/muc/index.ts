/** XEP-0045 Multi-User Chat as a service: rooms at a domain such as conference.example.org. */
import { defineModule, discovery, entityArchives, entityKind, NS, setting, StanzaError, xml } from '../../lib/api.js'
import type { EntityTable, Maybe, ModuleHost, Request, ToEntity } from '../../lib/api.js'
import { change, list } from './admin.js'
import { takeIq } from './asking.js'
import { card, setCard } from './avatar.js'
import { addCommands } from './command.js'
import { infoOf, listRooms, occupantsOf, ROOM_FEATURES } from './discovering.js'
import { offerHats } from './hat-commands.js'
import { decline, invitationIn, invite } from './inviting.js'
import { join, joinElement, refuseStray } from './joining.js'
import { endIfEmpty, leave } from './leaving.js'
import { changePresence } from './nicks.js'
import { form, own } from './owner.js'
import { register, registration } from './registering.js'
import { moderate, moderationIn, oldModerationIn, retract, retractedBy } from './retracting.js'
import type { Room, Venue } from './room.js'
import { MucService, roomOf } from './service.js'
import { STORES, readPresence } from './stored.js'
import { talk } from './talking.js'
import { listTokens, makeToken, revokeToken } from './tokens.js'
import { takeVoiceForm, voiceFormIn } from './voice.js'
import { bounce, saysGone, whisper } from './whispering.js'
import { watchGhosts } from './ghosts.js'

const VENUES = entityKind<Venue>('room')

export default defineModule({
  name: 'muc',
  about: 'Serves rooms for group chat at a domain of its own.',
  at: 'services',
  xeps: [
    '0045 v1.35.5', '0317 v0.3.1', '0410 v1.1.0', '0421 v1.0.1', '0424 v0.4.2', '0425 v0.3.0', '0452 v0.2.2', '0463 v0.2.0', '0486 v0.1.0',
    '0488 v0.1.0', '0500 v0.1.1',
  ],
  features: { host: [NS.MUC, NS.MUC_STABLE_ID, NS.OCCUPANT_ID, NS.RSM, NS.VCARD], entity: ROOM_FEATURES },
  requires: ['disco'],
  after: ['mam', 'ping', 'ad-hoc-commands'],
  settings: {
    creators: setting.choice('admins', 'local', 'anybody').default('local').says('Who may make rooms: the administrators of the service, all users of this server, or anybody.'),
    rooms: setting.count({ min: 1, max: 1_000_000 }).default(100_000).says('The most rooms of the service.'),
    roomsPerUser: setting.count({ min: 1, max: 100_000 }).default(100).says('The most rooms that a user may have made, administrators excepted.'),
    occupants: setting.count({ min: 2, max: 100_000 }).default(5000).says('The most occupants of a room. A few admins and owners may enter a full room.'),
    occupantsPerServer: setting.count({ min: 2, max: 100_000 }).default(500).says('The most occupants of a room from one other server. If it goes away, all of them leave at once.'),
    affiliations: setting.count({ min: 10, max: 100_000 }).default(5000).says('The most members, admins, owners and banned users of a room together.'),
    history: setting.count({ min: 0, max: 100 }).default(20).says('The most messages that somebody is sent who enters a new room. Its owner may change that, up to 100.'),
    historyBytes: setting.size({ min: '4KiB', max: '16MiB' }).default('256KiB').says('The most bytes of the messages of one room that are in memory for those who enter.'),
    persistent: setting.flag().default(false).says('Whether a new room stays when its last occupant leaves, unless its owner wants it otherwise.'),
    pingAfter: setting.duration({ min: '1m', max: '1d' }).default('15m').says('How long an occupant of another server may be silent before the room asks whether it is still there.'),
  },
  stores: STORES,

  setup (host) {
    const service = new MucService(host, host.stores, host.settings)
    const table = host.entities(VENUES, {
      load: address => service.load(address),
      bytes: ({ room }) => room?.bytes ?? 500,
      isBusy: ({ room }) => room !== undefined && (!room.isEmpty || room.isLocked),
      message: (venue, arrival) => takeMessage(service, venue, arrival),
      presence: (venue, arrival) => takePresence(service, venue, arrival),
      returned: () => xml('x', { xmlns: NS.MUC }), // §7.2.5 to §7.2.9, §7.6
      iq: (venue, arrival) => takeIq(service, venue, arrival),
      info: (venue, node, asker) => infoOf(service, venue, node, asker),
      items: (venue, node, asker) => occupantsOf(venue, node, asker),
    })
    service.table = table
    service.archive = host.find(entityArchives)?.serve(table, {
      read (venue, asker) { if (!roomOf(venue, asker).admits(asker)) throw new StanzaError('forbidden') },
    })
    answerRequests(service, table)
    showService(host, service)
    watchGhosts(service, host.settings.pingAfter)
    addCommands(service)
    offerHats(service)
  },
})

/** Answers requests to rooms. */
function answerRequests (service: MucService, table: EntityTable<Venue>): void {
  type Work = (venue: Venue, room: Room, request: Request) => Promise<void>
  const set = (namespace: string, name: string, work: Work): void => {
    table.set(namespace, name, async (venue, request) => {
      await work(venue, roomOf(venue, request.stanza.from), request)
      await endIfEmpty(service, venue)
      return undefined
    })
  }
  table.get(NS.MUC_ADMIN, 'query', (venue, request) => list(roomOf(venue, request.stanza.from), request))
  set(NS.MUC_ADMIN, 'query', (_, room, request) => change(service, room, request))
  table.get(NS.MUC_OWNER, 'query', (venue, request) => form(roomOf(venue, request.stanza.from), request))
  set(NS.MUC_OWNER, 'query', (venue, room, request) => own(service, venue, room, request))
  table.set(NS.MUC_TOKENS, 'request', (venue, request) => makeToken(service, roomOf(venue, request.stanza.from), request))
  table.get(NS.MUC_TOKENS, 'tokens', (venue, request) => listTokens(service, roomOf(venue, request.stanza.from), request))
  set(NS.MUC_TOKENS, 'revoke', (_, room, request) => revokeToken(service, room, request))
  set(NS.MODERATE, 'moderate', (_, room, request) => moderate(service, room, request, moderationIn(request.payload)))
  set(NS.FASTEN, 'apply-to', (_, room, request) => moderate(service, room, request, oldModerationIn(request.payload)))
  table.get(NS.REGISTER, 'query', (venue, request) => registration(roomOf(venue, request.stanza.from), request))
  set(NS.REGISTER, 'query', (_, room, request) => register(service, room, request))
  table.get(NS.VCARD, 'vCard', (venue, { stanza: { from } }) => card(service, roomOf(venue, from)))
  set(NS.VCARD, 'vCard', (_, room, request) => setCard(service, room, request))
  table.get(NS.PING, 'ping', venue => { roomOf(venue) })
}

/** Shows the service, and lists its rooms. */
function showService (host: ModuleHost, service: MucService): void {
  host.whileUp(() => {
    const disco = host.use(discovery)
    const added = [
      disco.identity({ category: 'conference', type: 'text', name: 'Group chat' }),
      disco.items('host', request => listRooms(service, request)),
    ]
    return () => { for (const remove of added) remove() }
  })
}

/** Takes a message to a room, or to an occupant. Waits for nothing if it is said to all, as most are. */
function takeMessage (service: MucService, venue: Venue, arrival: ToEntity<'message'>): Maybe<void> {
  const { stanza: message } = arrival
  if (message.type === 'error') {
    if (venue.room !== undefined) bounce(service, venue.room, arrival)
    return endIfEmpty(service, venue)
  }
  if (message.type === 'headline' && venue.room === undefined) return undefined
  const room = roomOf(venue, message.from)
  if (message.to.resource !== '') return whisper(service, room, arrival)
  if (message.type !== 'groupchat') return takeOther(service, room, arrival)
  const retracted = retractedBy(message)
  return retracted === undefined ? talk(service, room, arrival) : retract(service, room, arrival, retracted)
}

/** §7.4, §17.2: what is neither an invitation nor about voice must be of type groupchat. */
async function takeOther (service: MucService, room: Room, arrival: ToEntity<'message'>): Promise<void> {
  const { stanza: message } = arrival
  const invitation = invitationIn(message)
  if (invitation?.decline !== undefined) {
    decline(service, room, arrival, invitation.decline)
    return
  }
  if (invitation !== undefined) {
    await invite(service, room, arrival, invitation.invites)
    return
  }
  const form = voiceFormIn(message)
  if (form === undefined) throw new StanzaError(room.of(message.from) === undefined ? 'forbidden' : 'bad-request', 'a message to the room is of type groupchat')
  await takeVoiceForm(service, room, arrival, form)
}

/** Takes presence to a room, or to an occupant. */
async function takePresence (service: MucService, venue: Venue, arrival: ToEntity<'presence'>): Promise<void> {
  const { stanza: presence, batch } = arrival
  const { room } = venue
  const occupant = room?.of(presence.from)
  const device = occupant?.devices.get(presence.from.toString())
  if (presence.type === 'available') {
    const x = joinElement(presence)
    if (x !== undefined) await join(service, venue, arrival, x)
    else if (room === undefined || occupant === undefined) refuseStray(service, arrival)
    else await changePresence(service, room, occupant, arrival)
    return
  }
  // §17.3: all else of those who are not in the room is ignored, and no other type ends anything
  if (room === undefined || device === undefined) return
  if (presence.type === 'unavailable') {
    leave(service, room, batch, device, { children: readPresence(presence.children()).presence })
  } else if (presence.type === 'error' && saysGone(presence.element)) {
    leave(service, room, batch, device, { codes: [333] })
  }
  await endIfEmpty(service, venue)
}
