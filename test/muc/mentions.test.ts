/** XEP-0452: messages that mention somebody who belongs to a room and is not in it. */
import t from 'tap'
import type { Element } from '../../lib/xml/element.js'
import { parseJid, type Jid } from '../../lib/xmpp/jid.js'
import { DEFAULTS } from '../../modules/muc/config.js'
import { History } from '../../modules/muc/history.js'
import { Relays } from '../../modules/muc/relays.js'
import { Room } from '../../modules/muc/room.js'
import type { Device } from '../scenario.js'
import { changing, guest, hall, HALL, says, stage, subject, userIn } from './stage.js'

const mention = (uri: string): string => `<reference xmlns='urn:xmpp:reference:0' type='mention' begin='0' end='5' uri='${uri}'/>`
const MMN = 'urn:xmpp:mmn:0'
/** The messages that were forwarded to a device. */
const forwardedTo = (device: Device): readonly (Element | undefined)[] =>
  device.unread.flatMap(one => one.getChild('mentions', MMN)?.getChild('forwarded', 'urn:xmpp:forward:0') ?? []).map(one => one.getChild('message', 'jabber:client'))

t.test('§4 a member who is away gets the message as the room sent it, with its ids and its time, and no real address', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { forwardmentions: '1' })
  await juliet.asks(changing("<item affiliation='member' jid='nurse@capulet.lit'/>"))
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says('<presence/>')
  nurse.forget()
  await romeo.says(says('Nurse?', mention('xmpp:nurse@capulet.lit')))
  const [copy] = nurse.unread
  t.equal(copy?.attrs['from'], HALL)
  t.equal(copy?.attrs['to'], 'nurse@capulet.lit')
  t.equal(copy?.attrs['type'], undefined)
  t.ok(copy?.getChild('store', 'urn:xmpp:hints'))
  t.match(copy?.getChild('mentions', MMN)?.getChild('forwarded')?.getChild('delay')?.attrs['stamp'], /^\d{4}-/)
  const [inside] = forwardedTo(nurse)
  t.equal(inside?.attrs['from'], `${HALL}/romeo`)
  t.equal(inside?.attrs['id'], 'Nurse?')
  t.ok(inside?.getChild('stanza-id'))
  t.ok(inside?.getChild('occupant-id'))
  t.notMatch(String(copy), 'montague')
})

t.test('§4 nobody gets a copy who is in the room, does not belong to it or is banned, and no room forwards unless its owner wants it', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  await juliet.asks(changing("<item affiliation='member' jid='nurse@capulet.lit'/>", "<item affiliation='outcast' jid='tybalt@capulet.lit'/>"))
  const nurse = await s.device('nurse@capulet.lit/room')
  const tybalt = await s.device('tybalt@capulet.lit/street')
  const benvolio = await s.device('benvolio@montague.lit/street')
  for (const device of [nurse, tybalt, benvolio]) await device.says('<presence/>')
  const all = [nurse, tybalt, benvolio].map(({ jid }) => mention(`xmpp:${jid.bare.toString()}`)).join('')
  await juliet.says(says('one', all))
  t.same(forwardedTo(nurse), [], 'not configured')
  const other = await stage(t)
  const owner = await hall(other, { forwardmentions: '1' })
  const there = await guest(other, 'nurse@capulet.lit/room')
  await owner.asks(changing("<item affiliation='member' jid='nurse@capulet.lit'/>", "<item affiliation='outcast' jid='tybalt@capulet.lit'/>"))
  const banned = await other.device('tybalt@capulet.lit/street')
  const stranger = await other.device('benvolio@montague.lit/street')
  for (const device of [banned, stranger]) await device.says('<presence/>')
  await owner.says(says('two', all))
  for (const device of [there, banned, stranger]) t.same(forwardedTo(device), [], device.jid.toString())
})

t.test('a user is mentioned by address, by reserved nick, and by occupant id, and gets one copy of a message', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { forwardmentions: '1' })
  await juliet.asks(changing("<item affiliation='member' jid='nurse@capulet.lit' nick='Old Nurse'/>"))
  const there = await guest(s, 'nurse@capulet.lit/room', 'Old Nurse')
  await there.says(says('here'))
  const id = String(there.unread.find(one => one.getChild('body') !== undefined)?.getChild('occupant-id')?.attrs['id'])
  await there.says(`<presence to='${HALL}/Old Nurse' type='unavailable'/>`, '<presence/>')
  const by = async (...ways: readonly string[]): Promise<number> => {
    there.forget()
    await juliet.says(says('hark', ways.join('')))
    return forwardedTo(there).length
  }
  const byId = (more = ''): string => `<mention xmlns='urn:xmpp:mentions:0' occupantid='${id}'>${more}</mention>`
  t.equal(await by(mention(`xmpp:${HALL}/old%20nurse`)), 1)
  t.equal(await by(byId()), 1)
  t.equal(await by("<mention xmlns='urn:xmpp:mentions:0' jid='nurse@capulet.lit'/>"), 1)
  t.equal(await by(byId(), mention('xmpp:nurse@capulet.lit?message'), mention(`xmpp:${HALL}/Old%20Nurse`)), 1)
  t.equal(await by(byId("<noping xmlns='urn:xmpp:mentions:0'/>")), 0)
  t.equal(await by("<mention xmlns='urn:xmpp:mentions:0' mentions='urn:xmpp:mentions:0#channel'/>"), 0)
  t.equal(await by(mention('xmpp:%ff'), mention('http://example.org'), mention(''), `<mention xmlns='urn:xmpp:mentions:0' occupantid='nobody'/>`), 0)
  t.equal(await by(...Array.from({ length: 20 }, () => mention('xmpp:romeo@montague.lit')), byId()), 0, 'the room looks at 20 mentions')
})

t.test('an error that comes back for a copy removes nobody and reaches nobody', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { forwardmentions: '1' })
  await juliet.asks(changing("<item affiliation='member' jid='nobody@capulet.lit'/>"))
  juliet.forget()
  await juliet.says(says('hark', mention('xmpp:nobody@capulet.lit')))
  t.same(juliet.unread.map(one => one.getChildText('body')), ['hark'])
  t.equal(userIn(juliet.unread[0]), undefined)
})

t.test('what takes back a message, changes the subject or is not to be stored is forwarded to nobody', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { forwardmentions: '1' })
  await juliet.asks(changing("<item affiliation='member' jid='nurse@capulet.lit'/>"))
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says('<presence/>')
  nurse.forget()
  const whom = mention('xmpp:nurse@capulet.lit')
  await juliet.says(
    subject('Nurse?', whom),
    `<message to='${HALL}' type='groupchat' id='r'><retract xmlns='urn:xmpp:message-retract:1' id='x'/><body>Nurse?</body>${whom}</message>`,
    says('secret', `${whom}<no-store xmlns='urn:xmpp:hints'/>`))
  t.same(forwardedTo(nurse), [])
})

t.test('who sends a message pays for its copies', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { forwardmentions: '1' })
  const members = ['nurse', 'paris', 'tybalt'].map(name => `${name}@capulet.lit`)
  await juliet.asks(changing(...members.map(jid => `<item affiliation='member' jid='${jid}'/>`)))
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const charges: [number, string][] = []
  const session = s.host('montague.lit').sessions.at(romeo.jid)
  if (session !== undefined) session.charge = (units: number, from?: Jid) => { charges.push([units, String(from)]) }
  await romeo.says(says('hark', members.map(jid => mention(`xmpp:${jid}`)).join('')))
  t.same(charges.filter(([units]) => units === members.length), [[members.length, romeo.jid.toString()]])
})

t.test('the occupant ids of a room are computed once, in turns, and follow those who belong to it', t => {
  const room = new Room({
    address: parseJid(HALL), config: DEFAULTS, subject: { text: '', nick: '', at: 0 }, creator: '', salt: 'salt', isLocked: false,
    history: new History(1, 1), relays: new Relays(),
  })
  const [nurse, paris] = [parseJid('nurse@capulet.lit'), parseJid('paris@verona.lit')]
  const member = { affiliation: 'member', nick: '', reason: '' } as const
  room.belong(nurse.toString(), member)
  const before = room.bytes
  let computed = 0
  const each = <T>(items: readonly T[], work: (item: T) => void): void => {
    computed += items.length
    items.forEach(work)
  }
  t.equal(room.withId(room.idOf(nurse)), undefined)
  for (let n = 0; n < 2; n++) void room.learnIds(each)
  t.equal(computed, 1)
  t.ok(room.bytes > before)
  room.belong(paris.toString(), member)
  for (const jid of [nurse, paris]) t.equal(String(room.withId(room.idOf(jid))), jid.toString())
  room.belong(nurse.toString(), { ...member, affiliation: 'none' })
  t.equal(room.withId(room.idOf(nurse)), undefined)
  t.end()
})

t.test('a reserved nick is found however it is written, until it is given up', t => {
  const room = new Room({
    address: parseJid(HALL), config: DEFAULTS, subject: { text: '', nick: '', at: 0 }, creator: '', salt: 'salt', isLocked: false,
    history: new History(1, 1), relays: new Relays(),
  })
  const [nurse, paris] = [parseJid('nurse@capulet.lit'), parseJid('paris@verona.lit')]
  const member = { affiliation: 'member', reason: '' } as const
  room.belong(nurse.toString(), { ...member, nick: 'Nurse' })
  t.equal(String(room.withReservedNick('NURSE')), nurse.toString())
  t.ok(room.isTaken('nurse', paris))
  t.notOk(room.isTaken('nurse', nurse))
  room.belong(nurse.toString(), { ...member, nick: 'Angelica' })
  t.notOk(room.isTaken('nurse', paris))
  room.belong(paris.toString(), { ...member, nick: 'Nurse' })
  room.belong(nurse.toString(), { ...member, affiliation: 'none', nick: '' })
  t.equal(room.withReservedNick('angelica'), undefined)
  t.equal(String(room.withReservedNick('nurse')), paris.toString())
  t.end()
})
