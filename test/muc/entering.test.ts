/** XEP-0045 §7.1 and §7.2: entering a room, and §10.1: making one. */
import t from 'tap'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import { conditionOf } from '../stanzas.js'
import { asking, codesIn, configuring, entering, guest, hall, HALL, itemIn, OWNER, says, SERVICE, stage, subject, told } from './stage.js'

t.test('§10.1.1 the first who enters owns the room, which is locked until it is configured', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(entering('juliet'))
  t.same(told(juliet.unread), ['juliet owner/moderator 110,201', '(room) subject'])
  juliet.forget()
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(entering('romeo'))
  t.same(told(romeo.unread), ['presence error item-not-found'], '§7.2.11')
  t.equal((await juliet.asks(configuring())).attrs['type'], 'result', '§10.1.2 an instant room')
  romeo.forget()
  await romeo.says(entering('romeo'))
  t.same(told(romeo.unread), ['juliet owner/moderator', 'romeo none/participant 110', '(room) subject'])
  t.same(told(juliet.unread), ['romeo none/participant'])
})

t.test('§10.1.3 a form that is cancelled ends the new room; so does the owner who leaves', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(entering('juliet'))
  juliet.forget()
  const form = await juliet.asks(asking(`<query ${OWNER}/>`, 'get'))
  t.equal(form.getChild('query')?.getChild('x')?.attrs['type'], 'form')
  await juliet.says(asking(`<query ${OWNER}><x xmlns='jabber:x:data' type='cancel'/></query>`))
  const gone = juliet.unread.find(({ name }) => name === 'presence')
  t.equal(gone?.attrs['type'], 'unavailable')
  t.ok(gone?.getChild('x')?.getChild('destroy'))
  juliet.forget()
  for (const text of [entering('juliet'), `<presence to='${HALL}/juliet' type='unavailable'/>`]) await juliet.says(text)
  juliet.forget()
  t.equal(conditionOf(await juliet.asks(asking("<query xmlns='http://jabber.org/protocol/disco#info'/>", 'get'))), 'item-not-found')
})

t.test('§7.1 the order: the others, oneself, the history, the subject, what happens then', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  await juliet.says(says('1'), subject('Love'), says('2'))
  await guest(s, 'nurse@capulet.lit/room')
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(entering('romeo'), says('3'))
  t.same(told(romeo.unread), [
    'juliet owner/moderator', 'nurse none/participant', 'romeo none/participant 110',
    'juliet says 1 (delayed)', 'juliet says 2 (delayed)', 'juliet subject Love (delayed)', 'romeo says 3',
  ])
  for (const late of romeo.unread.filter(element => element.getChild('delay') !== undefined)) {
    t.equal(late.getChild('delay')?.attrs['from'], HALL, '§7.2.13')
  }
})

t.test('§7.2.14 the history is as short as the one who enters wants it', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  await juliet.says(says('1'))
  await s.pass('10m')
  await juliet.says(says('2'), says('3'))
  const since = new Date(s.clock.now() - 1000).toISOString()
  for (const [wanted, expected] of [
    ["maxstanzas='1'", ['3']], ["maxstanzas='0'", []], ["maxchars='0'", []], ["seconds='60'", ['2', '3']],
    [`since='${since}'`, ['2', '3']], ["since='1970-01-01T00:00:00Z'", ['1', '2', '3']], ["maxchars='500' maxstanzas='3'", ['3']],
  ] as const) {
    const romeo = await s.device('romeo@montague.lit/orchard')
    await romeo.says(entering('romeo', `<history ${wanted}/>`))
    const found = romeo.unread.flatMap(element => element.getChildText('body') ?? [])
    t.same(found.slice(-3), expected, wanted)
    await romeo.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  }
})

t.test('§7.2.4, §7.2.12 codes: 100 without anonymity, 170 if what is said is published', async t => {
  const s = await stage(t)
  await hall(s, { whois: 'anyone', enablelogging: '1' })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(entering('romeo'))
  t.same(told(romeo.unread).slice(0, 2), ['juliet owner/moderator', 'romeo none/participant 110,100,170'])
  t.equal(itemIn(romeo.unread[0])['jid'], 'juliet@capulet.lit/balcony', '§7.2.4')
})

t.test('§7.2.5 in a semi-anonymous room only moderators see real addresses', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(entering('romeo'))
  t.equal(itemIn(romeo.unread[0])['jid'], undefined)
  t.equal(itemIn(juliet.unread[0])['jid'], 'romeo@montague.lit/orchard')
})

t.test('§7.2.17 the errors of entering', async t => {
  const s = await stage(t, { settings: { muc: { occupants: 2 } } })
  const juliet = await hall(s, { passwordprotectedroom: '1', roomsecret: 'cauldron' })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const refused = async (nick: string, inside = ''): Promise<unknown> => {
    romeo.forget()
    await romeo.says(entering(nick, inside))
    const [error] = romeo.unread
    t.ok(error?.getChild('x', 'http://jabber.org/protocol/muc'), 'slixmpp waits for ever without it')
    return [conditionOf(error), error?.getChild('error')?.attrs['type']]
  }
  const password = '<password>cauldron</password>'
  t.same(await refused('romeo'), ['not-authorized', 'auth'], '§7.2.6')
  t.same(await refused('romeo', '<password>wrong</password>'), ['not-authorized', 'auth'])
  t.same(await refused('JULIET', password), ['conflict', 'cancel'], '§7.2.9')
  await juliet.asks(configuring({ membersonly: '1' }))
  t.same(await refused('romeo', password), ['registration-required', 'auth'], '§7.2.7')
  await juliet.asks(`<iq to='${HALL}' type='set' id='b'><query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='outcast' jid='romeo@montague.lit'/></query></iq>`)
  t.same(await refused('romeo', password), ['forbidden', 'auth'], '§7.2.8')
  await juliet.asks(configuring({ membersonly: '0' }))
  await guest(s, 'nurse@capulet.lit/room', 'nurse', password)
  const tybalt = await s.device('tybalt@capulet.lit/square')
  await tybalt.says(entering('tybalt', password))
  t.same([conditionOf(tybalt.unread[0]), tybalt.unread[0]?.getChild('error')?.attrs['type']], ['service-unavailable', 'wait'], '§7.2.10')
  await romeo.says(`<presence to='${HALL}'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
  t.equal(conditionOf(romeo.unread.at(-1)), 'jid-malformed', '§7.2.2')
})

t.test('§7.2, §7.6 every refusal of presence to a room holds <x/>, whoever refuses it', async t => {
  const s = await stage(t, { host: { entities: { most: 1 } } })
  const juliet = await hall(s)
  const refused = async (presence: string): Promise<unknown> => {
    juliet.forget()
    await juliet.says(presence)
    return juliet.unread.map(error => [error.name, conditionOf(error), error.getChild('x', 'http://jabber.org/protocol/muc') !== undefined])
  }
  t.same(await refused(entering('juliet', '', `cellar@${SERVICE}`)), [['presence', 'resource-constraint', true]], 'there is no place for a room')
  t.same(await refused(entering('juliet', '', 'hall@rooms.elsewhere.lit')), [['presence', 'remote-server-not-found', true]], 'there is no such server')
  s.storage.failing = new Error('the disk is full')
  t.same(await refused(`<presence to='${HALL}/nurse'/>`), [['presence', 'resource-constraint', true]], 'a nick that cannot be stored')
  s.storage.failing = undefined
})

t.test('§7.10 a nick makes nobody a member who has not shown the password, and opens no archive', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { passwordprotectedroom: '1', roomsecret: 'cauldron' })
  await juliet.says(says('secret'))
  const romeo = await s.device('romeo@montague.lit/orchard')
  const registering = asking("<query xmlns='jabber:iq:register'><username>montague</username></query>")
  t.equal(conditionOf(await romeo.asks(registering)), 'not-allowed')
  t.equal(conditionOf(await romeo.asks(asking("<query xmlns='jabber:iq:register'/>", 'get'))), 'not-allowed')
  t.equal(conditionOf(await romeo.asks(asking("<query xmlns='urn:xmpp:mam:2'/>"))), 'forbidden')
  await romeo.says(entering('romeo', '<password>cauldron</password>'))
  t.equal((await romeo.asks(registering)).attrs['type'], 'result')
  await romeo.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  t.equal((await romeo.asks(asking("<query xmlns='urn:xmpp:mam:2'/>"))).attrs['type'], 'result')
})

t.test('§10.1.1 who may not make rooms gets not-allowed; who has too many, resource-constraint of type wait', async t => {
  const s = await stage(t, { settings: { muc: { roomsPerUser: 1 } } })
  await hall(s)
  const juliet = await s.device('juliet@capulet.lit/chamber')
  await juliet.says(entering('juliet', '', `crypt@${SERVICE}`))
  t.same([conditionOf(juliet.unread[0]), juliet.unread[0]?.getChild('error')?.attrs['type']], ['resource-constraint', 'wait'])
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says(...['one', 'two', 'three'].map(name => entering('nurse', '', `${name}@${SERVICE}`)))
  t.equal(told(nurse.unread).filter(text => text.includes('owner/moderator')).length, 1, 'also of rooms that are made at once')
  await s.reload('muc', { creators: 'admins' })
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(entering('romeo', '', `crypt@${SERVICE}`))
  t.equal(conditionOf(romeo.unread[0]), 'not-allowed')
})

t.test('§7.2.17 an account of another server has a bounded number of devices in a room', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  s.server.router.remote = { place: 'other servers', accept: passage => { passage.settle() }, bounced () {} }
  const enters = (device: number, nick: string): void => {
    s.server.pipeline.route(stanza(s.element(entering(nick)), parseJid(`user@far.lit/${device}`), parseJid(`${HALL}/${nick}`)))
  }
  for (let i = 0; i < 25; i++) {
    enters(i, i < 10 ? 'user' : `user${i}`)
    await s.settled()
  }
  const nicks = new Set(told(juliet.unread).filter(text => !text.includes('unavailable')).map(text => text.split(' ')[0]))
  t.same([nicks.has('user19'), nicks.has('user20')], [true, false])
})

t.test('§7.2.17 the users of one other server fill only a part of a room', async t => {
  const s = await stage(t, { settings: { muc: { occupantsPerServer: 3 } } })
  const juliet = await hall(s)
  s.server.router.remote = { place: 'other servers', accept: passage => { passage.settle() }, bounced () {} }
  const enters = async (user: string, nick: string): Promise<void> => {
    s.server.pipeline.route(stanza(s.element(entering(nick)), parseJid(`${user}/x`), parseJid(`${HALL}/${nick}`)))
    await s.settled()
  }
  for (const n of [1, 2, 3, 4]) await enters(`user${n}@far.lit`, `far${n}`)
  await enters('user@near.lit', 'near')
  const nicks = new Set(told(juliet.unread).filter(text => !text.includes('unavailable')).map(text => text.split(' ')[0]))
  t.same(['far3', 'far4', 'near'].map(nick => nicks.has(nick)), [true, false, true])
})

t.test('§7.2.18 presence without <x/> of somebody who is not in the room is no join', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await s.device('romeo@montague.lit/orchard')
  for (const room of [HALL, `nowhere@${SERVICE}`]) {
    romeo.forget()
    await romeo.says(`<presence to='${room}/romeo'/>`)
    t.same(told(romeo.unread), ['romeo unavailable none/none 110,307,333'])
  }
  t.same(juliet.unread, [])
})

t.test('§17.3 who enters again is sent all anew; the others see neither a leave nor a join', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  await juliet.says(says('1'))
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  await romeo.says(entering('romeo'))
  t.same(told(romeo.unread), ['juliet owner/moderator', 'romeo none/participant 110', 'juliet says 1 (delayed)', '(room) subject'])
  t.same(told(juliet.unread), ['romeo none/participant'])
})

t.test('§17.3 who enters again pays for all who are told', async t => {
  const s = await stage(t)
  await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  let charged = 0
  const session = s.host('montague.lit').sessions.at(parseJid('romeo@montague.lit/orchard'))
  if (session !== undefined) session.charge = units => { charged += units }
  await romeo.says(entering('romeo'))
  t.ok(charged >= 4, 'what romeo is sent, and what is sent of romeo')
})

t.test('§7.2.9 two devices under one nick: each is told for itself, others see one occupant', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const orchard = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  const street = await s.device('romeo@montague.lit/street')
  await street.says(entering('romeo'))
  t.same(told(street.unread), ['juliet owner/moderator', 'romeo none/participant 110', '(room) subject'])
  t.same(told(juliet.unread), ['romeo none/participant'])
  for (const device of [juliet, orchard, street]) device.forget()
  await orchard.says(says('hark'))
  for (const device of [juliet, orchard, street]) t.same(told(device.unread), ['romeo says hark'])
  for (const device of [juliet, orchard, street]) device.forget()
  const ping = asking("<ping xmlns='urn:xmpp:ping'/>", 'get', `${HALL}/romeo`)
  await street.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  t.same(told(street.unread), ['romeo unavailable none/none 110'])
  t.equal(conditionOf(await street.asks(ping)), 'not-acceptable')
  t.equal((await orchard.asks(ping)).attrs['type'], 'result')
  t.notOk(told(juliet.unread).some(text => text.includes('unavailable')))
  await orchard.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  t.same(told(juliet.unread).at(-1), 'romeo unavailable none/none')
})

t.test('§7.6 a nick change is two presences, with 303; a nick of somebody else is refused', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  await romeo.says(`<presence to='${HALL}/montague'/>`)
  t.same(told(romeo.unread), ['romeo unavailable none/participant 110,303', 'montague none/participant 110'])
  t.equal(itemIn(romeo.unread[0])['nick'], 'montague')
  t.same(told(juliet.unread), ['romeo unavailable none/participant 303', 'montague none/participant'])
  romeo.forget()
  await romeo.says(`<presence to='${HALL}/Juliet'/>`)
  t.equal(conditionOf(romeo.unread[0]), 'conflict')
})

t.test('§7.7 availability, and what only a room may say, which is not passed', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  await romeo.says(`<presence to='${HALL}/romeo'><show>away</show><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator'/><status code='110'/></x><occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/><own xmlns='urn:example:own'/></presence>`)
  const [seen] = juliet.unread
  t.same(told(juliet.unread), ['romeo none/participant'])
  t.equal(seen?.getChildText('show'), 'away')
  t.ok(seen?.getChild('own', 'urn:example:own'))
  const ids = seen?.getChildren('occupant-id').map(({ attrs }) => attrs['id']) ?? []
  t.equal(ids.length, 1)
  t.not(ids[0], 'forged')
  t.same(codesIn(seen), [])
})

t.test('§7.14 who leaves is told first, with 110 and their own words', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  await romeo.says(`<presence to='${HALL}/romeo' type='unavailable'><status>to Mantua</status></presence>`)
  t.same(told(romeo.unread), ['romeo unavailable none/none 110'])
  t.same(told(juliet.unread), ['romeo unavailable none/none'])
  t.equal(juliet.unread[0]?.getChildText('status'), 'to Mantua')
  await romeo.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  t.equal(romeo.unread.length, 1, '§17.3: ignored')
})
