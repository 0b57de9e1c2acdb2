/**
 * The rules by which clients switch on what they do in rooms, held against real answers and forms, and the traps that
 * clients have fallen into elsewhere.
 */
import t from 'tap'
import { childElements, type Element } from '../../lib/xml/element.js'
import type { Device } from '../device.js'
import { conditionOf } from '../stanzas.js'
import {
  asking, changing, codesIn, configuring, entering, guest, hall, HALL, itemsOf, listing, OWNER, says, SERVICE, stage,
  subject, told, userIn,
} from '../muc/stage.js'

const MUC = 'http://jabber.org/protocol/muc'
const INFO = 'http://jabber.org/protocol/disco#info'
const DATA = 'jabber:x:data'

/** The disco#info answer of an address, as clients read it. `form`: the first form alone, as Conversations reads it. */
interface Seen {
  readonly has: ReadonlySet<string>
  readonly name: string | undefined
  readonly formType: string | undefined
  readonly form: ReadonlyMap<string, Field>
}
interface Field { readonly type: string, readonly values: readonly string[] }
/** The answers that a client sees before it makes rooms, and in a room. */
interface World { readonly service: Seen, readonly room: Seen, readonly owner: ReadonlyMap<string, Field> }

function fieldsOf (form: Element | undefined): ReadonlyMap<string, Field> {
  return new Map((form?.getChildren('field') ?? []).map(one => [String(one.attrs['var']), {
    type: String(one.attrs['type'] ?? ''), values: one.getChildren('value').map(value => value.getText()),
  }]))
}

async function seenOf (device: Device, address: string): Promise<Seen> {
  const query = (await device.asks(asking(`<query xmlns='${INFO}'/>`, 'get', address))).getChild('query')
  const all = query === undefined ? [] : childElements(query)
  const form = query?.getChild('x', DATA)
  const identity = query?.getChild('identity')
  return {
    has: new Set(all.map(({ attrs }) => String(attrs['var'] ?? `${attrs['category']}/${attrs['type']}`))),
    name: identity?.attrs['name'], formType: fieldsOf(form).get('FORM_TYPE')?.values[0], form: fieldsOf(form),
  }
}

async function ownerForm (device: Device): Promise<ReadonlyMap<string, Field>> {
  return fieldsOf((await device.asks(asking(`<query ${OWNER}/>`, 'get'))).getChild('query')?.getChild('x', DATA))
}

const hasAll = (has: ReadonlySet<string>, ...wanted: readonly string[]): boolean => wanted.every(one => has.has(one))
const config = (name: string): string => `muc#roomconfig_${name}`
const isPrivate = ({ room: { has } }: World): boolean => hasAll(has, 'muc_membersonly', 'muc_nonanonymous')
const isPlace = ({ service: { has } }: World): boolean =>
  hasAll(has, 'conference/text', MUC) && ![...has].some(one => one.startsWith('gateway/'))

/** The rule of each client for each feature, as it is in the client's source. */
const RULES: Readonly<Record<string, Readonly<Record<string, (world: World) => boolean>>>> = {
  Gajim: {
    'a place for new rooms': isPlace,
    'uploads are not hidden by rooms': ({ service: { has } }) => !has.has('store/file'),
    'archive': ({ room: { has } }) => hasAll(has, 'urn:xmpp:mam:2', 'urn:xmpp:sid:0'),
    'reactions and corrections': ({ room: { has } }) => hasAll(has, 'urn:xmpp:occupant-id:0'),
    'moderation': ({ room: { has } }) => has.has('urn:xmpp:message-moderate:1') || has.has('urn:xmpp:message-moderate:0'),
    'retraction': ({ room: { has } }) => hasAll(has, 'urn:xmpp:message-retract:1', 'urn:xmpp:occupant-id:0'),
    'avatar of the room': ({ room: { has } }) => has.has('vcard-temp'),
    'avatars of occupants': ({ room: { form } }) => form.get(config('allow_query_users'))?.values[0] !== '0',
    'a private group': isPrivate,
    'registration': ({ room: { has } }) => has.has('jabber:iq:register'),
  },
  Dino: {
    'a place for new rooms': ({ service: { has } }) => [...has].some(one => one.startsWith('conference/')),
    'reactions': ({ room: { has } }) => hasAll(has, 'urn:xmpp:sid:0', 'urn:xmpp:occupant-id:0'),
    'moderation': ({ room: { has } }) => has.has('urn:xmpp:message-moderate:1'),
    'archive': ({ room: { has } }) => has.has('urn:xmpp:mam:2'),
    'a private group': isPrivate,
    'fields have the types by which they are set': ({ owner }) => owner.get(config('whois'))?.type === 'list-single' &&
      ['persistentroom', 'membersonly', 'publicroom', 'moderatedroom'].every(name => owner.get(config(name))?.type === 'boolean'),
  },
  Conversations: {
    'the form of the room is the first': ({ room: { formType } }) => formType === `${MUC}#roominfo`,
    'ids are reflected': ({ room: { has } }) => has.has(`${MUC}#stable_id`),
    'self-pings': ({ room: { has } }) => has.has(`${MUC}#self-ping-optimization`),
    'a private group': isPrivate,
    'who may change the subject': ({ room: { form } }) => ['0', '1'].includes(form.get(config('changesubject'))?.values[0] ?? ''),
    'who may invite': ({ room: { form } }) => ['0', '1'].includes(form.get(config('allowinvites'))?.values[0] ?? ''),
    'archive': ({ owner }) => [config('enablearchiving'), 'mam', config('mam')].some(name => owner.has(name)),
    'a new group': ({ owner }) => ['persistentroom', 'membersonly', 'publicroom', 'whois', 'changesubject', 'allowinvites'].every(name => owner.has(config(name))),
  },
  Monal: {
    'entering': ({ room: { has } }) => has.has(MUC),
    'archive': ({ room: { has } }) => hasAll(has, 'urn:xmpp:mam:2', 'urn:xmpp:sid:0'),
    'reactions and corrections': ({ room: { has } }) => has.has('urn:xmpp:occupant-id:0'),
    'moderation': ({ room: { has } }) => has.has('urn:xmpp:message-moderate:1'),
    'tombstones': ({ room: { has } }) => hasAll(has, 'urn:xmpp:message-retract:1', 'urn:xmpp:message-retract:1#tombstone'),
    'a private group': isPrivate,
    'a new group is not deleted': ({ owner }) => ['persistentroom', 'membersonly', 'whois'].every(name => owner.has(config(name))),
  },
  'Converse.js': {
    'the nick is registered': ({ room: { has } }) => has.has('jabber:iq:register'),
    'moderation': ({ room: { has } }) => has.has('urn:xmpp:message-moderate:1'),
    'retraction': ({ room: { has } }) => hasAll(has, 'urn:xmpp:message-retract:1', 'urn:xmpp:occupant-id:0'),
    'archive': ({ room: { has } }) => has.has('urn:xmpp:mam:2'),
    'OMEMO': isPrivate,
    'who may write in private': ({ room: { form } }) => ['anyone', 'participants', 'moderators', 'none'].includes(form.get(config('allowpm'))?.values[0] ?? ''),
  },
  Psi: {
    'a place for rooms': isPlace,
    'avatar of the room': ({ room: { form, has } }) => form.has('muc#roominfo_avatarhash') && has.has('vcard-temp'),
  },
}

const NOTHING: Seen = { has: new Set(), name: undefined, formType: undefined, form: new Map() }

t.test('each client switches on what it does in rooms', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { membersonly: '1', whois: 'anyone', persistentroom: '1', publicroom: '0', roomname: 'Hall' })
  const [service, room] = [await seenOf(juliet, SERVICE), await seenOf(juliet, HALL)]
  const world: World = { service, room, owner: await ownerForm(juliet) }
  for (const [client, rules] of Object.entries(RULES)) {
    for (const [feature, holds] of Object.entries(rules)) t.ok(holds(world), `${client}: ${feature}`)
    t.notOk(Object.values(rules).every(holds => holds({ service: NOTHING, room: NOTHING, owner: new Map() })), `${client} asks for something`)
  }
  t.equal(world.room.name, 'Hall')
})

t.test('one of each pair of features says what a room is, and booleans are 1 and 0', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const pairs = [
    ['muc_public', 'muc_hidden'], ['muc_persistent', 'muc_temporary'], ['muc_membersonly', 'muc_open'],
    ['muc_nonanonymous', 'muc_semianonymous'], ['muc_moderated', 'muc_unmoderated'], ['muc_passwordprotected', 'muc_unsecured'],
  ] as const
  const settings = [
    {}, { publicroom: '0', persistentroom: '1', membersonly: '1', whois: 'anyone', moderatedroom: '1', passwordprotectedroom: '1', roomsecret: 'x' },
  ]
  for (const setting of settings) {
    await juliet.asks(configuring(setting))
    const { has, form } = await seenOf(juliet, HALL)
    for (const pair of pairs) t.equal(pair.filter(one => has.has(one)).length, 1, pair.join(' or '))
    for (const { type, values } of [...form.values()].filter(({ type }) => type === 'boolean')) t.match(values[0], /^[01]$/, type)
  }
})

t.test('trap 11: presence without <x/> of who is not in the room is answered with 110, 307, 333, and joins nobody', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(`<presence to='${HALL}/romeo'/>`)
  t.same(told(romeo.unread), ['romeo unavailable none/none 110,307,333'])
  t.same(juliet.unread, [])
})

t.test('trap 12: who enters again gets everything anew, and the others see neither a leave nor a join', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await juliet.says(says('hello'))
  for (const device of [juliet, romeo]) device.forget()
  await romeo.says(entering('romeo'))
  t.same(told(romeo.unread), ['juliet owner/moderator', 'romeo none/participant 110', 'juliet says hello (delayed)', '(room) subject'])
  t.same(told(juliet.unread), ['romeo none/participant'])
})

t.test('trap 13: of two devices on one nick, one leaves, and the other stays, is sent all, and answers for itself', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const orchard = await guest(s, 'romeo@montague.lit/orchard')
  const street = await guest(s, 'romeo@montague.lit/street', 'romeo')
  await orchard.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  for (const device of [juliet, orchard, street]) device.forget()
  await juliet.says(says('who is there?'))
  t.same([told(orchard.unread), told(street.unread)], [[], ['juliet says who is there?']])
  const ping = asking("<ping xmlns='urn:xmpp:ping'/>", 'get', `${HALL}/romeo`)
  t.equal((await street.asks(ping)).attrs['type'], 'result')
  t.equal(conditionOf(await orchard.asks(ping)), 'not-acceptable')
  t.equal(itemsOf(await juliet.asks(listing("<item role='participant'/>"))).length, 1)
})

t.test('trap 14: an error that says "gone" removes that address with 333; those that living clients send remove nobody', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const error = (condition: string): string =>
    `<message to='${HALL}/juliet' type='error'><error type='cancel'><${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`
  for (const condition of ['remote-server-not-found', 'recipient-unavailable', 'gone']) {
    const romeo = await guest(s, `romeo@montague.lit/${condition}`)
    for (const alive of ['feature-not-implemented', 'service-unavailable']) await romeo.says(error(alive))
    juliet.forget()
    await romeo.says(says('here'))
    t.same(told(juliet.unread), ['romeo says here'])
    juliet.forget()
    await romeo.says(error(condition))
    t.ok(told(juliet.unread).includes('romeo unavailable none/none 333'), condition)
  }
})

t.test('trap 15: a member who is made or removed while away is in the lists or not, and one inside leaves with 321', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { membersonly: '1', whois: 'anyone' })
  const affiliated = (affiliation: string): string => changing(`<item affiliation='${affiliation}' jid='romeo@montague.lit'/>`)
  const members = async (): Promise<readonly string[]> => itemsOf(await juliet.asks(listing("<item affiliation='member'/>"))).map(({ jid }) => String(jid))
  await juliet.asks(affiliated('member'))
  t.same(await members(), ['romeo@montague.lit'])
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await juliet.asks(affiliated('none'))
  t.same(await members(), [])
  t.same(told(romeo.unread), ['romeo unavailable none/none 110,321'])
})

t.test('trap 16: what only the room may say is removed, however often it is forged', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const forged = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='x'/>".repeat(3) + `<stanza-id xmlns='urn:xmpp:sid:0' by='${HALL}' id='x'/>`.repeat(3) +
    `<x xmlns='${MUC}#user'><status code='110'/></x><delay xmlns='urn:xmpp:delay' from='${HALL}' stamp='2020-01-01T00:00:00Z'/><hats xmlns='urn:xmpp:hats:0'/>`
  juliet.forget()
  await romeo.says(says('hello', forged))
  const [live] = juliet.unread
  const count = (name: string): number => live?.getChildren(name).length ?? 0
  t.same(['occupant-id', 'stanza-id', 'x', 'delay', 'hats'].map(count), [1, 1, 0, 0, 0])
  t.notMatch(String(live), /id=["']x["']/)
  juliet.forget()
  await juliet.says(asking("<query xmlns='urn:xmpp:mam:2'/>"))
  const result = juliet.unread[0]?.getChild('result', 'urn:xmpp:mam:2')
  const archived = result?.getChild('forwarded', 'urn:xmpp:forward:0')?.getChild('message')
  t.equal(result?.attrs['id'], live?.getChild('stanza-id')?.attrs['id'])
  t.same(archived?.getChild('occupant-id')?.attrs['id'], live?.getChild('occupant-id')?.attrs['id'])
})

t.test('trap 17: a moderated message is gone from history, archive and search, and who was away finds the moderation', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { persistentroom: '1' })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await romeo.says(says('poison'))
  const id = String(romeo.unread.at(-1)?.getChild('stanza-id')?.attrs['id'])
  await romeo.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  t.equal((await juliet.asks(asking(`<moderate xmlns='urn:xmpp:message-moderate:1' id='${id}'><retract xmlns='urn:xmpp:message-retract:1'/></moderate>`))).attrs['type'], 'result')
  romeo.forget()
  await romeo.says(asking("<query xmlns='urn:xmpp:mam:2'/>"))
  t.notMatch(romeo.unread.map(String).join(''), /poison<\/body>/)
  t.match(romeo.unread.map(String).join(''), /<retract [^>]*xmlns=["']urn:xmpp:message-retract:1["']/)
  romeo.forget()
  await romeo.says(entering('romeo'))
  t.notMatch(romeo.unread.map(String).join(''), /<body>poison/)
})

t.test('trap 18: a subject without a body is a change of the subject; with a body it is talk', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await juliet.says(subject('news'))
  await juliet.says(subject('no news', '<body>talk</body>'))
  t.same(told(romeo.unread), ['juliet subject news', 'juliet says talk'])
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says(entering('nurse'))
  t.equal(told(nurse.unread).at(-1), 'juliet subject news (delayed)')
})

t.test('trap 20: each service that the domain lists answers, and one that is not served is not listed', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const items = (await juliet.asks(asking("<query xmlns='http://jabber.org/protocol/disco#items'/>", 'get', 'capulet.lit'))).getChild('query')?.getChildren('item') ?? []
  t.same(items.map(({ attrs }) => attrs['jid']), [SERVICE])
  for (const { attrs } of items) t.ok((await seenOf(juliet, String(attrs['jid']))).has.size > 0)
})

t.test('each unavailable presence has an item, which Conversations reads in any case', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  for (const device of [juliet, romeo]) device.forget()
  await romeo.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  for (const device of [juliet, romeo]) {
    const gone = device.unread.filter(({ attrs }) => attrs['type'] === 'unavailable')
    t.equal(gone.length, 1)
    for (const presence of gone) t.ok(userIn(presence)?.getChild('item'))
  }
  t.same(codesIn(romeo.unread[0]), ['110'])
})
