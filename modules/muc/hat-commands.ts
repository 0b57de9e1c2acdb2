/** The commands by which admins manage hats, and all who may enter list them (XEP-0317 §3.2 to §3.7). */
import { adHocCommands, costOfBytes, DataForm, field, FormError, resultTable, StanzaError } from '../../lib/api.js'
import type { AdHocCommand, CommandAsker, CommandRun, FilledField, Jid, Maybe } from '../../lib/api.js'
import { bytesOfHat, LARGEST_HAT, MOST_ASSIGNED, MOST_BYTES, MOST_HATS, MOST_WORN, sizeOfHat, type Hat } from './hats.js'
import { tellEach } from './leaving.js'
import { announceCodes, spread } from './presences.js'
import type { Occupant, Room } from './room.js'
import { roomOf, type MucService } from './service.js'
import { isRuling } from './standing.js'

const COMMANDS = 'urn:xmpp:hats:commands'
/** The most characters of a title, and of a URI. */
const LONGEST_TITLE = 128
const LONGEST_URI = 512

const FIELD = {
  title: field.text('hats#title', { label: 'Title of the hat', required: true }),
  uri: field.text('hats#uri', { label: 'URI of the hat', required: true }),
  hue: field.text('hats#hue', { label: 'Hue of the hat, as an angle from 0 to 360' }),
  jid: field.jid('hats#jid', { label: 'Address of the user', required: true }),
  /** An address in the list, which was read when the hat was assigned. */
  who: field.text('hats#jid'),
  which: field.option('hats#uri', [], { label: 'Hat', required: true }),
} as const

const CREATE = new DataForm(COMMANDS, [FIELD.title, FIELD.uri, FIELD.hue], { title: 'Create or change a hat' })
const DESTROY = new DataForm(COMMANDS, [FIELD.which], { title: 'Destroy a hat' })
const ASSIGN = new DataForm(COMMANDS, [FIELD.jid, FIELD.which], { title: 'Assign a hat' })
const UNASSIGN = new DataForm(COMMANDS, [FIELD.jid, FIELD.which], { title: 'Remove a hat from a user' })

/** Offers the commands while the host has commands. */
export function offerHats (service: MucService): void {
  const { host } = service
  host.whileUp(() => {
    const commands = host.find(adHocCommands)
    const added = commands === undefined ? [] : commandsOf(service).map(command => commands.declare(command))
    return () => { for (const remove of added) remove() }
  })
}

function commandsOf (service: MucService): readonly AdHocCommand[] {
  const roomAt = ({ to, asker }: CommandAsker): Room =>
    roomOf(service.table?.of(to) ?? { address: to, room: undefined }, asker)
  const isAdmin = (run: CommandAsker): boolean => isRuling(roomAt(run).affiliationOf(run.asker))
  const filled = (run: CommandRun): readonly FilledField[] => choiceOf(roomAt(run))
  const command = (
    name: string, title: string, form: DataForm, work: (room: Room, run: CommandRun) => Promise<void>,
  ): AdHocCommand => ({
    node: `${COMMANDS}:${name}`,
    name: title,
    at: 'entity',
    mayRun: isAdmin,
    steps: [form === CREATE ? { form } : { form, filled }],
    finish: async run => {
      await work(roomAt(run), run)
      return {}
    },
  })
  return [
    command('create', 'Create or change a hat', CREATE, (room, run) => create(service, room, run)),
    command('destroy', 'Destroy a hat', DESTROY, (room, run) => destroy(service, room, run)),
    command('assign', 'Assign a hat', ASSIGN, (room, run) => assign(service, room, run)),
    command('unassign', 'Remove a hat from a user', UNASSIGN, (room, run) => unassign(service, room, run)),
    {
      node: `${COMMANDS}:list`, name: 'List hats', at: 'entity',
      mayRun: run => roomAt(run).admits(run.asker),
      finish: run => ({ payload: listed(roomAt(run)) }),
    },
    {
      node: `${COMMANDS}:list-assigned`, name: 'List who wears hats', at: 'entity', mayRun: isAdmin,
      finish: run => ({ payload: assigned(roomAt(run)) }),
    },
  ]
}

/** The hats that can be chosen now. */
function choiceOf ({ hats }: Room): readonly FilledField[] {
  const options = [...hats.all].map(([value, { title }]) => ({ value, label: title }))
  return [{ field: { ...FIELD.which, options }, values: [] }]
}

/** §3.2: makes a hat, or changes the title and hue of one. */
async function create (service: MucService, room: Room, run: CommandRun): Promise<void> {
  const [answers] = run.answers
  const uri = uriIn(answers?.get(FIELD.uri))
  const title = answers?.get(FIELD.title) ?? ''
  if (title.length > LONGEST_TITLE) throw new FormError('not-acceptable', 'the title is too long', FIELD.title.name)
  const hue = hueIn(answers?.get(FIELD.hue) ?? '')
  const old = room.hats.all.get(uri)
  if (old === undefined && room.hats.size >= MOST_HATS) throw tooMany(`a room has at most ${MOST_HATS} hats`)
  if (old?.title === title && old.hue === hue) return
  const hat = { title, hue, wearers: old?.wearers ?? [] }
  if (sizeOfHat(uri, hat) > LARGEST_HAT) throw new FormError('not-acceptable', 'the title and the URI are too long together', FIELD.uri.name)
  await put(service, room, run, uri, hat)
  await tell(service, room, run, hat.wearers)
  tellOfList(service, room, run)
}

/** §3.3: destroys a hat; nobody wears it any more. */
async function destroy (service: MucService, room: Room, run: CommandRun): Promise<void> {
  const { uri, hat } = chosen(room, run.answers[0]?.get(FIELD.which))
  await put(service, room, run, uri, undefined)
  await tell(service, room, run, hat.wearers)
  tellOfList(service, room, run)
}

/** §3.5: somebody wears one more hat. */
async function assign (service: MucService, room: Room, run: CommandRun): Promise<void> {
  const [answers] = run.answers
  const { uri, hat } = chosen(room, answers?.get(FIELD.which))
  const bare = userIn(room, answers?.get(FIELD.jid))
  const who = bare.toString()
  if (hat.wearers.includes(who)) return
  if (room.hats.assigned >= MOST_ASSIGNED) throw tooMany(`the hats of a room are worn ${MOST_ASSIGNED} times at most`)
  if (room.hats.countOf(bare) >= MOST_WORN) throw tooMany(`a user wears at most ${MOST_WORN} hats`)
  await put(service, room, run, uri, { ...hat, wearers: [...hat.wearers, who] })
  await tell(service, room, run, [who])
}

/** §3.6: somebody wears one hat less. */
async function unassign (service: MucService, room: Room, run: CommandRun): Promise<void> {
  const [answers] = run.answers
  const { uri, hat } = chosen(room, answers?.get(FIELD.which))
  const who = userIn(room, answers?.get(FIELD.jid)).toString()
  if (!hat.wearers.includes(who)) throw new StanzaError('item-not-found', 'the user does not wear this hat')
  await put(service, room, run, uri, { ...hat, wearers: hat.wearers.filter(one => one !== who) })
  await tell(service, room, run, [who])
}

async function put (
  service: MucService, room: Room, { asker, payer }: CommandRun, uri: string, hat: Hat | undefined,
): Promise<void> {
  if (hat !== undefined && room.hats.bytesWith(uri, hat) > MOST_BYTES) throw tooMany('the hats of the room take too much')
  if (hat !== undefined) payer?.charge(costOfBytes(bytesOfHat(uri, hat)), asker)
  await service.store([service.stores.hats.putting(room.owner, uri, hat)])
  room.hats.set(uri, hat)
}

/** Sends the presence of those in the room whose hats have changed. */
function tell (
  service: MucService, room: Room, { asker, batch, payer }: CommandRun, wearers: readonly string[],
): Maybe<void> {
  const changed = new Set(wearers)
  const occupants: readonly Occupant[] = [...room.occupants].filter(({ bare }) => changed.has(bare.toString()))
  payer?.charge(occupants.length * room.deviceCount, asker)
  return tellEach(service, room, batch, occupants, (occupant, batch) => { spread(service, room, batch, occupant) })
}

/** §3.2: the list of hats is a part of the configuration. */
function tellOfList (service: MucService, room: Room, { asker, batch, payer }: CommandRun): void {
  payer?.charge(room.deviceCount, asker)
  announceCodes(service, room, batch, 104)
}

function chosen ({ hats }: Room, uri = ''): { readonly uri: string, readonly hat: Hat } {
  const hat = hats.all.get(uri)
  if (hat === undefined) throw new StanzaError('item-not-found', 'the room has no such hat')
  return { uri, hat }
}

/** Returns the user with this address, or with this nick in the room. Throws item-not-found, or FormError. */
function userIn (room: Room, jid: Jid | undefined): Jid {
  if (jid?.bare.equals(room.address) === true) {
    const occupant = room.called(jid.resource)
    if (occupant === undefined) throw new StanzaError('item-not-found', 'nobody in the room has this nick')
    return occupant.bare
  }
  if (jid === undefined || jid.local === '') throw new FormError('not-acceptable', 'not the address of a user', FIELD.jid.name)
  return jid.bare
}

function uriIn (uri = ''): string {
  if (uri.length > LONGEST_URI || !/^[a-z][a-z0-9+.-]*:[^\s<>"]+$/i.test(uri)) throw new FormError('not-acceptable', 'not a URI', FIELD.uri.name)
  return uri
}

/** XEP-0392 §5.1: an angle in degrees. */
function hueIn (text: string): string {
  if (text === '' || /^[0-9]{1,3}(?:\.[0-9]{1,12})?$/.test(text) && Number(text) <= 360) return text
  throw new FormError('not-acceptable', 'not an angle from 0 to 360', FIELD.hue.name)
}

/** §3.4: all hats of the room. */
function listed ({ hats }: Room): ReturnType<typeof resultTable> {
  return resultTable(COMMANDS, [FIELD.title, FIELD.uri, FIELD.hue],
    [...hats.all].map(([uri, { title, hue }]) => [FIELD.title.is(title), FIELD.uri.is(uri), FIELD.hue.is(hue)]))
}

/** §3.7: who wears which hats. */
function assigned ({ hats }: Room): ReturnType<typeof resultTable> {
  const rows = [...hats.all].flatMap(([uri, { title, hue, wearers }]) => wearers.map(who =>
    [FIELD.who.is(who), FIELD.uri.is(uri), FIELD.title.is(title), FIELD.hue.is(hue)]))
  return resultTable(COMMANDS, [FIELD.jid, FIELD.uri, FIELD.title, FIELD.hue], rows)
}

function tooMany (text: string): StanzaError { return new StanzaError('resource-constraint', text, { type: 'wait' }) }
