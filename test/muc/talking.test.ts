/** XEP-0045 §7.4 to §7.13 and §8.1: messages, invitations, voice, requests. */
import t from 'tap'
import { conditionOf } from '../stanzas.js'
import { asking, changing, codesIn, configuring, entering, field, guest, hall, HALL, itemIn, says, SERVICE, stage, subject, told, USER, userIn } from './stage.js'

const voice = (fields: string): string =>
  `<message to='${HALL}'><x xmlns='jabber:x:data' type='submit'>${field('FORM_TYPE', 'http://jabber.org/protocol/muc#request')}${field('muc#role', 'participant')}${fields}</x></message>`

t.test('§7.4 a message reaches all with its id, the stanza id and the occupant id of the room, and no forged ones', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  await romeo.says(says('hark', `<stanza-id xmlns='urn:xmpp:sid:0' by='${HALL}' id='forged'/><stanza-id xmlns='urn:xmpp:sid:0' by='${HALL}' id='forged2'/>` +
    "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='f'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='g'/>" +
    `<x xmlns='${USER}'><status code='307'/></x><delay xmlns='urn:xmpp:delay' from='${HALL}' stamp='2002-10-13T23:58:37Z'/>` +
    "<reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>x</reaction></reactions>"))
  for (const device of [juliet, romeo]) {
    const [said] = device.unread
    t.equal(said?.attrs['from'], `${HALL}/romeo`)
    t.equal(said?.attrs['id'], 'hark')
    t.equal(said?.getChildren('stanza-id').length, 1)
    t.not(said?.getChild('stanza-id')?.attrs['id'], 'forged')
    t.equal(said?.getChildren('occupant-id').length, 1)
    t.equal(said?.getChild('x', USER), undefined)
    t.equal(said?.getChild('delay'), undefined)
    t.ok(said?.getChild('reactions', 'urn:xmpp:reactions:0'), 'unknown children pass')
  }
  const first = juliet.unread[0]?.getChild('occupant-id')?.attrs['id']
  await romeo.says(`<presence to='${HALL}/romeo' type='unavailable'/>`, entering('other'))
  juliet.forget()
  await romeo.says(says('again'))
  t.equal(juliet.unread[0]?.getChild('occupant-id')?.attrs['id'], first, 'XEP-0421: it is stable')
})

t.test('§7.4 who is not in the room, and who has no voice, cannot speak', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { moderatedroom: '1' })
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says(says('ay me'))
  t.equal(conditionOf(nurse.unread[0]), 'not-acceptable')
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  await romeo.says(says('speak again'))
  t.equal(conditionOf(romeo.unread[0]), 'forbidden')
  t.same(juliet.unread, [])
  await romeo.says(`<message to='nowhere@${SERVICE}' type='groupchat'><body>hello</body></message>`)
  t.equal(conditionOf(romeo.unread[1]), 'item-not-found', '§17.2')
})

t.test('§8.1 the subject: who may change it, what is no change, and an empty one', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  await romeo.says(subject('Hate'))
  t.equal(conditionOf(romeo.unread[0]), 'forbidden')
  await juliet.says(subject('Love'), subject('Talk', '<body>with text</body>'))
  t.same(told(juliet.unread), ['juliet subject Love', 'juliet says with text'])
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says(entering('nurse'))
  t.same(told(nurse.unread).at(-1), 'juliet subject Love (delayed)')
  await juliet.says(subject(''))
  await nurse.says(entering('nurse'))
  t.match(told(nurse.unread).at(-1), /^juliet subject *\(delayed\)$/)
  await juliet.asks(configuring({ changesubject: '1' }))
  romeo.forget()
  await romeo.says(subject('Hate'))
  t.ok(told(romeo.unread).includes('romeo subject Hate'))
})

t.test('§7.5 private messages: to all devices of one, as configured, and their errors', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  for (const device of [juliet, romeo]) device.forget()
  const whisper = (nick: string, type = 'chat'): string => `<message to='${HALL}/${nick}' type='${type}'><body>psst</body></message>`
  await romeo.says(whisper('juliet'))
  t.equal(juliet.unread[0]?.attrs['from'], `${HALL}/romeo`)
  t.ok(userIn(juliet.unread[0]), 'the room adds <x/>')
  t.same(nurse.unread, [])
  await romeo.says(whisper('juliet', 'groupchat'), whisper('tybalt'))
  t.same(romeo.unread.map(conditionOf), ['bad-request', 'item-not-found'])
  const tybalt = await s.device('tybalt@capulet.lit/square')
  await tybalt.says(whisper('juliet'))
  t.equal(conditionOf(tybalt.unread[0]), 'not-acceptable')
  for (const [who, isHeard] of [['none', false], ['moderators', true], ['participants', true]] as const) {
    await juliet.asks(configuring({ allowpm: who }))
    for (const device of [juliet, romeo]) device.forget()
    await romeo.says(whisper('juliet'))
    t.equal(juliet.unread.length === 1, isHeard, who)
    await romeo.says(whisper('nurse'))
    t.equal(conditionOf(romeo.unread.at(-1)), who === 'participants' ? undefined : 'forbidden', who)
  }
})

t.test('§7.8.2 an invitation goes by way of the room, and may be declined once by the one who was invited', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { passwordprotectedroom: '1', roomsecret: 'cauldron' })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const invite = `<message to='${HALL}'><x xmlns='${USER}'><invite to='romeo@montague.lit'><reason>Come</reason><continue thread='t'/></invite></x></message>`
  await juliet.says(invite)
  const x = userIn(romeo.unread[0])
  t.equal(romeo.unread[0]?.attrs['from'], HALL)
  t.equal(x?.getChild('invite')?.attrs['from'], `${HALL}/juliet`, 'no real address in a semi-anonymous room')
  t.equal(x?.getChild('invite')?.getChildText('reason'), 'Come')
  t.equal(x?.getChild('invite')?.getChild('continue')?.attrs['thread'], 't')
  t.equal(x?.getChildText('password'), 'cauldron')
  juliet.forget()
  const decline = `<message to='${HALL}'><x xmlns='${USER}'><decline to='${HALL}/juliet'><reason>No</reason></decline></x></message>`
  await romeo.says(decline)
  const declined = userIn(juliet.unread[0])?.getChild('decline')
  t.equal(declined?.attrs['from'], 'romeo@montague.lit')
  t.equal(declined?.getChildText('reason'), 'No')
  romeo.forget()
  await romeo.says(decline)
  t.equal(conditionOf(romeo.unread[0]), 'item-not-found')
  t.equal(juliet.unread.length, 1)
})

t.test('§9.5 only admins invite to a members-only room, unless all may; who is invited becomes a member', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { membersonly: '1' })
  await juliet.asks(changing("<item affiliation='member' jid='nurse@capulet.lit'/>"))
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  const romeo = await s.device('romeo@montague.lit/orchard')
  const invite = `<message to='${HALL}'><x xmlns='${USER}'><invite to='romeo@montague.lit'/></x></message>`
  await nurse.says(invite)
  t.equal(conditionOf(nurse.unread[0]), 'forbidden')
  t.same(romeo.unread, [])
  await juliet.asks(configuring({ allowinvites: '1' }))
  await nurse.says(invite)
  t.equal(romeo.unread.length, 1)
  romeo.forget()
  await romeo.says(entering('romeo'))
  t.ok(told(romeo.unread).includes('romeo member/participant 110'))
})

t.test('§7.13, §8.6 a visitor asks for voice, and a moderator grants it', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { moderatedroom: '1' })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  for (const device of [juliet, romeo]) device.forget()
  await romeo.says(voice(''))
  const form = juliet.unread[0]?.getChild('x', 'jabber:x:data')
  t.same(form?.getChildren('field').map(({ attrs, children }) => [attrs['var'], String(children.at(-1)).replace(/<[^>]*>/g, '')]), [
    ['FORM_TYPE', 'http://jabber.org/protocol/muc#request'], ['muc#role', 'participant'], ['muc#jid', 'romeo@montague.lit/orchard'],
    ['muc#roomnick', 'romeo'], ['muc#request_allow', '0'],
  ].map(([name, value]) => [name, name === 'muc#role' ? t.ok(form) && 'participant' : value]))
  t.same(nurse.unread, [], 'only moderators are asked')
  await romeo.says(voice(''))
  t.same([conditionOf(romeo.unread[0]), romeo.unread[0]?.getChild('error')?.attrs['type']], ['policy-violation', 'wait'])
  const allow = voice(field('muc#roomnick', 'romeo') + field('muc#request_allow', 'true'))
  await nurse.says(allow)
  t.equal(conditionOf(nurse.unread[0]), 'forbidden')
  romeo.forget()
  await juliet.says(allow)
  t.same(told(romeo.unread), ['romeo none/participant 110'])
})

t.test('XEP-0410 a self-ping is answered with a result inside, and with not-acceptable outside, also if the room is gone', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const ping = (nick: string, room = HALL): string => asking("<ping xmlns='urn:xmpp:ping'/>", 'get', `${room}/${nick}`)
  t.equal((await juliet.asks(ping('juliet'))).attrs['type'], 'result')
  const romeo = await s.device('romeo@montague.lit/orchard')
  t.equal(conditionOf(await romeo.asks(ping('juliet'))), 'not-acceptable')
  t.equal(conditionOf(await romeo.asks(ping('romeo', `nowhere@${SERVICE}`))), 'not-acceptable')
  t.equal(conditionOf(await romeo.asks(asking("<query xmlns='http://jabber.org/protocol/disco#info'/>", 'get', `${HALL}/juliet`))), 'bad-request', '§6.6')
})

t.test('§17.4 requests to occupants are sent on with another id, and neither address is told', async t => {
  const s = await stage(t, { modules: ['presence', 'roster', 'message', 'disco', 'vcard'] })
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  t.equal(conditionOf(await romeo.asks(asking("<query xmlns='jabber:iq:version'/>", 'get', `${HALL}/juliet`).replace("id='a'", `id='${'i'.repeat(1025)}'`))), 'policy-violation', 'an id that is kept is not long')
  await romeo.says(`<iq to='${HALL}/juliet' type='get' id='mine'><query xmlns='jabber:iq:version'/></iq>`)
  const [asked] = juliet.unread
  t.equal(asked?.attrs['from'], `${HALL}/romeo`)
  t.not(asked?.attrs['id'], 'mine')
  await juliet.says(`<iq to='${HALL}/romeo' type='result' id='${String(asked?.attrs['id'])}'><query xmlns='jabber:iq:version'><name>balcony</name></query></iq>`)
  t.same([romeo.unread[0]?.attrs['from'], romeo.unread[0]?.attrs['id']], [`${HALL}/juliet`, 'mine'])
  t.equal(romeo.unread[0]?.getChild('query')?.getChildText('name'), 'balcony')
  await juliet.says(`<iq to='${HALL}/romeo' type='result' id='${String(asked?.attrs['id'])}'/>`)
  t.equal(romeo.unread.length, 1, 'an answer is sent on once')
  await juliet.asks("<iq type='set' id='v'><vCard xmlns='vcard-temp'><FN>Juliet</FN></vCard></iq>")
  juliet.forget()
  const card = await romeo.asks(asking("<vCard xmlns='vcard-temp'/>", 'get', `${HALL}/juliet`))
  t.equal(card.getChild('vCard')?.getChildText('FN'), 'Juliet')
  t.equal(card.attrs['from'], `${HALL}/juliet`)
  t.same(juliet.unread, [], 'the account answers')
  await juliet.asks(configuring({ allow_query_users: '0' }))
  t.equal(conditionOf(await romeo.asks(asking("<vCard xmlns='vcard-temp'/>", 'get', `${HALL}/juliet`))), 'not-allowed')
})

t.test('§18.1.2 an error that means gone removes just that device, with 333; others remove nobody', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const street = await guest(s, 'romeo@montague.lit/street', 'romeo')
  const error = (condition: string): string =>
    `<message to='${HALL}/juliet' type='error'><error type='cancel'><${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`
  for (const condition of ['feature-not-implemented', 'service-unavailable', 'not-acceptable']) await romeo.says(error(condition))
  for (const device of [juliet, romeo, street]) device.forget()
  await romeo.says(says('still here'))
  t.same(told(juliet.unread), ['romeo says still here'])
  romeo.forget()
  await romeo.says(error('recipient-unavailable'))
  t.same(told(romeo.unread), ['romeo unavailable none/none 110,333'])
  await street.says(says('the other is'))
  t.ok(told(juliet.unread).includes('romeo says the other is'))
  juliet.forget()
  await street.says(error('gone'))
  t.same(told(juliet.unread).filter(text => text.startsWith('romeo')), ['romeo unavailable none/none 333'])
})

t.test('§7.10 those who register leave room for those whom admins ban', async t => {
  const s = await stage(t, { settings: { muc: { affiliations: 10 } } })
  const juliet = await hall(s)
  const conditions: (string | undefined)[] = []
  for (let i = 0; i < 5; i++) {
    const device = await s.device(`user${i}@montague.lit/street`)
    conditions.push(conditionOf(await device.asks(asking(`<query xmlns='jabber:iq:register'><username>nick${i}</username></query>`))))
  }
  t.same(conditions, [undefined, undefined, undefined, undefined, 'resource-constraint'])
  t.equal((await juliet.asks(changing("<item affiliation='outcast' jid='montague.lit'/>"))).attrs['type'], 'result')
})

t.test('§7.10, §7.12 a nick is registered: nobody else may use it, and its owner learns of it', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const register = (inside: string, type: 'get' | 'set' = 'set'): string => asking(`<query xmlns='jabber:iq:register'>${inside}</query>`, type)
  const form = (nick: string): string =>
    register(`<x xmlns='jabber:x:data' type='submit'>${field('FORM_TYPE', 'http://jabber.org/protocol/muc#register')}${field('muc#register_roomnick', nick)}</x>`)
  const own = asking("<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>", 'get')
  t.equal((await romeo.asks(register('', 'get'))).getChild('query')?.getChild('x')?.attrs['type'], 'form')
  t.equal((await romeo.asks(own)).getChild('query')?.children.length, 0)
  t.equal(conditionOf(await romeo.asks(form('juliet'))), 'conflict')
  t.equal(conditionOf(await romeo.asks(register(''))), 'bad-request')
  juliet.forget()
  t.equal((await romeo.asks(form('montague'))).attrs['type'], 'result')
  t.same(told(juliet.unread), ['romeo member/participant'])
  t.equal((await romeo.asks(register('', 'get'))).getChild('query')?.getChildText('username'), 'montague')
  t.equal((await romeo.asks(own)).getChild('query')?.getChild('identity')?.attrs['name'], 'montague')
  await juliet.says(`<presence to='${HALL}/Montague'/>`)
  t.equal(conditionOf(juliet.unread.at(-1)), 'conflict')
  t.equal((await romeo.asks(register('<remove/>'))).attrs['type'], 'result')
  t.equal((await romeo.asks(own)).getChild('query')?.children.length, 0)
  await juliet.asks(configuring({ membersonly: '1' }))
  const nurse = await s.device('nurse@capulet.lit/room')
  t.equal(conditionOf(await nurse.asks(register('', 'get'))), 'not-allowed')
  t.equal(conditionOf(await nurse.asks(asking(`<query xmlns='jabber:iq:register'/>`, 'get', `nowhere@${SERVICE}`))), 'item-not-found')
})

t.test('XEP-0486 the avatar of a room: set by owners, told by presence of the room and by 104', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const set = "<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>AAAA</BINVAL></PHOTO></vCard>"
  t.equal(conditionOf(await romeo.asks(asking(set))), 'forbidden')
  await juliet.asks(asking(set))
  const hash = '29e2dcfbb16f63bb0254df7585a15bb6fb5e927d'
  t.equal(romeo.unread[0]?.attrs['from'], HALL)
  t.equal(romeo.unread[0]?.getChild('x', 'vcard-temp:x:update')?.getChildText('photo'), hash)
  t.same(codesIn(romeo.unread[1]), ['104'])
  t.equal((await romeo.asks(asking("<vCard xmlns='vcard-temp'/>", 'get'))).getChild('vCard')?.getChild('PHOTO')?.getChildText('BINVAL'), 'AAAA')
  romeo.forget()
  await romeo.says(entering('romeo'))
  t.ok(romeo.unread.some(element => element.attrs['from'] === HALL && element.getChild('x', 'vcard-temp:x:update') !== undefined))
  t.equal(itemIn(romeo.unread[0])['affiliation'], 'owner')
})
