/** XEP-0045 §8, §9 and §10: roles, affiliations, configuration, the end of a room, and what discovery says of it. */
import t from 'tap'
import { conditionOf } from '../stanzas.js'
import { asking, changing, codesIn, configuring, entering, guest, hall, HALL, itemIn, itemsOf, listing, OWNER, says, SERVICE, stage, told, userIn } from './stage.js'

const INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
const ITEMS = 'http://jabber.org/protocol/disco#items'

t.test('§17.4 an occupant who is removed by one item does not come back by the next', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  t.equal(conditionOf(await juliet.asks(changing("<item nick='romeo' role='none'/>", "<item nick='ROMEO' role='visitor'/>"))), 'bad-request')
  t.same([juliet.unread, romeo.unread], [[], []])
})

t.test('§9.3 one request reserves a nick for one user, however it is written', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const both = (one: string, other: string): string =>
    changing(`<item affiliation='member' jid='romeo@montague.lit' nick='${one}'/>`, `<item affiliation='member' jid='paris@verona.lit' nick='${other}'/>`)
  t.equal(conditionOf(await juliet.asks(both('Moon', 'moon'))), 'conflict')
  t.equal((await juliet.asks(both('Moon', 'Sun'))).attrs['type'], 'result')
})

t.test('§9.3 a nick that is reserved for somebody is one that they can have', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const reserving = (nick: string): string => changing(`<item affiliation='member' jid='romeo@montague.lit' nick='${nick}'/>`)
  for (const nick of ['n'.repeat(1024), '\u2060', ' ']) t.equal((await juliet.asks(reserving(nick))).getChild('error')?.attrs['type'], 'modify', nick.slice(0, 4))
  t.same(itemsOf(await juliet.asks(listing("<item affiliation='member'/>"))), [])
  await juliet.asks(reserving('romeo'))
  t.equal(itemsOf(await juliet.asks(listing("<item affiliation='member'/>")))[0]?.['nick'], 'romeo')
})

t.test('§8.2 a kick: the one who is kicked first, then the moderator, then the others', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  juliet.forget()
  await juliet.says(changing("<item nick='romeo' role='none'><reason>Avaunt</reason></item>"))
  t.same(told(romeo.unread.slice(-1)), ['romeo unavailable none/none 110,307'])
  const item = userIn(romeo.unread.at(-1))?.getChild('item')
  t.equal(item?.getChildText('reason'), 'Avaunt')
  t.equal(item?.getChild('actor')?.attrs['nick'], 'juliet')
  t.same(juliet.unread.map(({ name, attrs }) => [name, attrs['type']]), [['iq', 'result'], ['presence', 'unavailable']])
  t.same(told(nurse.unread), ['romeo unavailable none/none 307'])
  await romeo.says(says('I defy you'))
  t.equal(conditionOf(romeo.unread.at(-1)), 'not-acceptable')
})

t.test('§8.2 to §9.8 what a moderator may not do', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  await juliet.asks(changing("<item affiliation='admin' jid='nurse@capulet.lit'/>", "<item affiliation='member' jid='romeo@montague.lit'/>"))
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const tybalt = await guest(s, 'tybalt@capulet.lit/square')
  await juliet.asks(changing("<item nick='tybalt' role='moderator'/>"))
  const role = (nick: string, role: string): string => changing(`<item nick='${nick}' role='${role}'/>`)
  const affiliation = (jid: string, affiliation: string): string => changing(`<item jid='${jid}' affiliation='${affiliation}'/>`)
  for (const [device, request, condition] of [
    [romeo, role('tybalt', 'none'), 'forbidden'], [tybalt, role('nurse', 'none'), 'not-allowed'], [nurse, role('juliet', 'none'), 'not-allowed'],
    [tybalt, role('romeo', 'moderator'), 'forbidden'], [tybalt, role('nurse', 'visitor'), 'not-allowed'], [tybalt, role('romeo', 'visitor'), 'not-allowed'],
    [nurse, role('juliet', 'participant'), 'not-allowed'], [nurse, role('nobody', 'none'), 'item-not-found'],
    [nurse, affiliation('juliet@capulet.lit', 'outcast'), 'not-allowed'], [nurse, affiliation('nurse@capulet.lit', 'outcast'), 'conflict'],
    [nurse, affiliation('romeo@montague.lit', 'admin'), 'forbidden'], [nurse, affiliation('juliet@capulet.lit', 'none'), 'forbidden'],
    [romeo, affiliation('tybalt@capulet.lit', 'member'), 'forbidden'], [juliet, affiliation('juliet@capulet.lit', 'none'), 'conflict'],
    [juliet, changing("<item nick='romeo' role='visitor' affiliation='none'/>"), 'bad-request'], [juliet, changing(), 'bad-request'],
    [juliet, affiliation('romeo@montague.lit', 'king'), 'bad-request'], [juliet, affiliation('a@b@c', 'member'), 'jid-malformed'],
  ] as const) t.equal(conditionOf(await device.asks(request)), condition, request)
})

t.test('several items at once are changed, or none of them', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  t.equal(conditionOf(await juliet.asks(changing("<item nick='romeo' role='visitor'/>", "<item nick='nobody' role='none'/>"))), 'item-not-found')
  t.same(romeo.unread, [])
  t.equal(conditionOf(await juliet.asks(changing("<item jid='romeo@montague.lit' affiliation='member'/>", "<item jid='juliet@capulet.lit' affiliation='outcast'/>"))), 'conflict')
  t.same(romeo.unread, [])
})

t.test('§9.1, §9.2 a ban counts for the bare address, removes with 301, and keeps out', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  await juliet.asks(changing("<item affiliation='outcast' jid='romeo@montague.lit/orchard'><reason>Treason</reason></item>"))
  t.same(told(romeo.unread.slice(-1)), ['romeo unavailable outcast/none 110,301'])
  t.same(told(nurse.unread), ['romeo unavailable outcast/none 301'])
  t.equal(itemIn(nurse.unread[0])['jid'], undefined)
  t.same(itemsOf(await juliet.asks(listing("<item affiliation='outcast'/>"))), [{ affiliation: 'outcast', jid: 'romeo@montague.lit' }])
  t.equal(conditionOf(await nurse.asks(listing("<item affiliation='outcast'/>"))), 'forbidden')
  romeo.forget()
  await romeo.says(entering('romeo'))
  t.equal(conditionOf(romeo.unread[0]), 'forbidden')
  await juliet.asks(changing("<item affiliation='none' jid='romeo@montague.lit'/>", "<item affiliation='outcast' jid='montague.lit'/>"))
  romeo.forget()
  await romeo.says(entering('romeo'))
  t.equal(conditionOf(romeo.unread[0]), 'forbidden', '§9.2: the whole domain')
})

t.test('§9.3, §9.4 membership: all are told, and who loses it leaves a members-only room with 321', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { membersonly: '1' })
  await juliet.asks(changing("<item affiliation='member' jid='romeo@montague.lit'/>", "<item affiliation='member' jid='nurse@capulet.lit'/>"))
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  romeo.forget()
  await juliet.asks(changing("<item affiliation='none' jid='romeo@montague.lit'/>"))
  t.same(told(romeo.unread), ['romeo unavailable none/none 110,321'], '§9.4: one presence only')
  t.same(told(nurse.unread), ['romeo unavailable none/none 321'])
  const tybalt = await s.device('tybalt@capulet.lit/square')
  await juliet.asks(changing("<item affiliation='member' jid='tybalt@capulet.lit'/>"))
  t.ok(userIn(tybalt.unread[0])?.getChild('invite'), '§9.5: a new member is invited')
})

t.test('§8.3, §8.4, §9.6 voice and moderation are granted and revoked, and all are told', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  for (const role of ['visitor', 'participant', 'moderator', 'participant']) {
    romeo.forget()
    await juliet.asks(changing(`<item nick='romeo' role='${role}'/>`))
    t.same(told(romeo.unread), [`romeo none/${role} 110`])
  }
  t.same(itemsOf(await juliet.asks(listing("<item role='participant'/>"))), [{ role: 'participant', nick: 'romeo', affiliation: 'none', jid: 'romeo@montague.lit/orchard' }])
  t.equal(conditionOf(await romeo.asks(listing("<item role='participant'/>"))), 'forbidden')
})

t.test('§10.3 to §10.8 owners and admins: lists, changes, and the last owner', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  await juliet.asks(changing("<item affiliation='owner' jid='romeo@montague.lit/any'/>"))
  t.same(told(juliet.unread), ['romeo owner/moderator'])
  t.same(itemsOf(await romeo.asks(listing("<item affiliation='owner'/>"))).map(({ jid }) => jid).sort(), ['juliet@capulet.lit', 'romeo@montague.lit'])
  juliet.forget()
  await romeo.asks(changing("<item affiliation='admin' jid='juliet@capulet.lit'/>"))
  t.same(told(juliet.unread), ['juliet admin/moderator 110'])
  t.equal(conditionOf(await juliet.asks(listing("<item affiliation='owner'/>"))), 'forbidden', 'semi-anonymous')
  t.equal(conditionOf(await juliet.asks(asking(`<query ${OWNER}/>`, 'get'))), 'forbidden')
  t.equal(conditionOf(await juliet.asks(configuring({ roomname: 'Mine' }))), 'forbidden')
})

t.test('§9.5 members of a members-only, non-anonymous room read its lists, in the room or not', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { membersonly: '1', whois: 'anyone' })
  await juliet.asks(changing("<item affiliation='member' jid='romeo@montague.lit'/>"))
  const romeo = await s.device('romeo@montague.lit/orchard')
  const nurse = await s.device('nurse@capulet.lit/room')
  for (const [affiliation, jid] of [['owner', 'juliet@capulet.lit'], ['admin', undefined], ['member', 'romeo@montague.lit']] as const) {
    t.same(itemsOf(await romeo.asks(listing(`<item affiliation='${affiliation}'/>`))).map(item => item['jid']), jid === undefined ? [] : [jid])
    t.equal(conditionOf(await nurse.asks(listing(`<item affiliation='${affiliation}'/>`))), 'forbidden')
  }
})

t.test('§10.2 the form of the configuration, sent back as it is, changes nothing; fields that are not sent stay', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { roomname: 'Hall', roomdesc: 'A dance', allowpm: 'moderators', presencebroadcast: ['moderator', 'participant'], maxusers: '30' })
  const before = String((await juliet.asks(asking(`<query ${OWNER}/>`, 'get'))).getChild('query'))
  const form = (await juliet.asks(asking(`<query ${OWNER}/>`, 'get'))).getChild('query')?.getChild('x')
  t.same(form?.getChildren('field').map(({ attrs }) => [attrs['var'], attrs['type']]).filter(([name]) => /persistent|membersonly|whois/.test(String(name))), [
    ['muc#roomconfig_persistentroom', 'boolean'], ['muc#roomconfig_membersonly', 'boolean'], ['muc#roomconfig_whois', 'list-single'],
  ], 'Monal needs these')
  if (form !== undefined) form.attrs['type'] = 'submit'
  juliet.forget()
  t.equal((await juliet.asks(asking(`<query ${OWNER}>${String(form)}</query>`))).attrs['type'], 'result')
  t.same(juliet.unread, [], 'nothing has changed')
  await juliet.asks(configuring({ moderatedroom: '1' }))
  t.same(codesIn(juliet.unread[0]), ['104'])
  const after = String((await juliet.asks(asking(`<query ${OWNER}/>`, 'get'))).getChild('query'))
  t.equal(after.replace(/(moderatedroom"[^>]*><value>)1/, '$10'), before)
  t.equal(conditionOf(await juliet.asks(configuring({ passwordprotectedroom: '1' }))), 'not-acceptable', '§10.1.3')
})

t.test('§10.2 each option of the form of the configuration has a label: profanity shows nothing else', async t => {
  const juliet = await hall(await stage(t))
  const form = (await juliet.asks(asking(`<query ${OWNER}/>`, 'get'))).getChild('query')?.getChild('x')
  const options = form?.getChildren('field').flatMap(field => field.getChildren('option')) ?? []
  t.ok(options.length > 0)
  t.same(options.filter(({ attrs }) => (attrs['label'] ?? '') === '').map(option => option.getChildText('value')), [])
})

t.test('§10.2.1 what changes for privacy is told: 170, 171, 172, 173', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  for (const [fields, codes] of [
    [{ enablelogging: '1' }, ['170']], [{ enablelogging: '0' }, ['171']], [{ whois: 'anyone' }, ['172']], [{ whois: 'moderators', roomname: 'Hall' }, ['173', '104']],
  ] as const) {
    juliet.forget()
    await juliet.asks(configuring(fields))
    t.same(codesIn(juliet.unread[0]), codes)
    t.equal(juliet.unread[0]?.attrs['type'], 'groupchat')
  }
})

t.test('§10.2 a room that becomes members-only is left by all others, with 322; owners and admins by the form', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  await juliet.asks(configuring({ roomadmins: ['nurse@capulet.lit'], membersonly: '1' }))
  t.ok(told(romeo.unread).includes('romeo unavailable none/none 110,322'))
  t.ok(told(nurse.unread).includes('nurse admin/moderator 110'))
  t.equal(conditionOf(await juliet.asks(configuring({ roomowners: [] }))), 'conflict')
  await juliet.asks(configuring({ roomadmins: [] }))
  t.ok(told(nurse.unread).includes('nurse member/participant 110'))
})

t.test('§10.9 the end of a room: one presence to each, with the reason and the other venue; nothing is left', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { persistentroom: '1' })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await guest(s, 'nurse@capulet.lit/room')
  await juliet.says(says('farewell'))
  romeo.forget()
  t.equal(conditionOf(await romeo.asks(asking(`<query ${OWNER}><destroy/></query>`))), 'forbidden')
  await juliet.asks(asking(`<query ${OWNER}><destroy jid='crypt@${SERVICE}'><reason>Death</reason><password>sesame</password></destroy></query>`))
  t.equal(romeo.unread.length, 1)
  const end = userIn(romeo.unread[0])?.getChild('destroy')
  t.same([end?.attrs['jid'], end?.getChildText('reason'), end?.getChildText('password')], [`crypt@${SERVICE}`, 'Death', 'sesame'])
  t.equal(itemIn(romeo.unread[0])['role'], 'none')
  t.equal(conditionOf(await romeo.asks(asking(INFO, 'get'))), 'item-not-found')
  t.same(await s.traces(HALL), [])
})

t.test('§6.4 what discovery says of a room: one of each pair, and its form first, with 1 and 0', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { roomname: 'Hall', membersonly: '1', whois: 'anyone', persistentroom: '1', publicroom: '0' })
  const query = (await juliet.asks(asking(INFO, 'get'))).getChild('query')
  t.same(query?.getChildren('identity').map(({ attrs }) => attrs), [{ category: 'conference', type: 'text', name: 'Hall' }])
  const features = new Set(query?.getChildren('feature').map(({ attrs }) => attrs['var']))
  for (const feature of [
    'http://jabber.org/protocol/muc', 'http://jabber.org/protocol/muc#stable_id', 'http://jabber.org/protocol/muc#self-ping-optimization', 'urn:xmpp:sid:0',
    'urn:xmpp:mam:2', 'urn:xmpp:occupant-id:0', 'jabber:iq:register', 'vcard-temp', 'muc_hidden', 'muc_persistent', 'muc_membersonly', 'muc_nonanonymous', 'muc_unmoderated', 'muc_unsecured',
  ]) t.ok(features.has(feature), feature)
  for (const feature of ['muc_public', 'muc_temporary', 'muc_open', 'muc_semianonymous', 'muc_moderated', 'muc_passwordprotected']) t.notOk(features.has(feature), feature)
  const [form] = query?.getChildren('x') ?? []
  const values = new Map(form?.getChildren('field').map(({ attrs, children }) => [attrs['var'], String(children[0]).replace(/<[^>]*>/g, '')]))
  t.equal(values.get('FORM_TYPE'), 'http://jabber.org/protocol/muc#roominfo')
  t.equal(values.get('muc#roomconfig_changesubject'), '0')
  t.equal(values.get('muc#roominfo_occupants'), '1')
  t.equal(conditionOf(await juliet.asks(asking("<query xmlns='http://jabber.org/protocol/disco#info' node='http://jabber.org/protocol/muc#traffic'/>", 'get'))), 'service-unavailable', '§18.1.1')
})

t.test('§6.3 the list of public rooms has pages; §6.5 who is in a room is shown as configured', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { roomname: 'Hall' })
  for (const name of ['alley', 'garden', 'crypt']) {
    const room = `${name}@${SERVICE}`
    await juliet.says(entering('juliet', '', room))
    await juliet.asks(configuring(name === 'crypt' ? { publicroom: '0' } : {}).replace(HALL, room))
  }
  const page = async (set = ''): Promise<readonly unknown[]> => {
    const query = (await juliet.asks(asking(`<query xmlns='${ITEMS}'>${set}</query>`, 'get', SERVICE))).getChild('query')
    return [query?.getChildren('item').map(({ attrs }) => [attrs['jid'], attrs['name']]), query?.getChild('set')?.getChildText('count')]
  }
  const rsm = (inside: string): string => `<set xmlns='http://jabber.org/protocol/rsm'>${inside}</set>`
  const [alley, garden, own] = [[`alley@${SERVICE}`, 'alley'], [`garden@${SERVICE}`, 'garden'], [HALL, 'Hall']]
  t.same(await page(), [[alley, garden, own], '3'])
  t.same(await page(rsm('<max>2</max>')), [[alley, garden], '3'])
  t.same(await page(rsm(`<max>2</max><after>garden@${SERVICE}</after>`)), [[own], '3'])
  t.same(await page(rsm('<max>1</max><before/>')), [[own], '3'])
  t.equal(conditionOf(await juliet.asks(asking(`<query xmlns='${ITEMS}'>${rsm('<after>x@y</after>')}</query>`, 'get', SERVICE))), 'item-not-found')
  const romeo = await s.device('romeo@montague.lit/orchard')
  const occupants = async (): Promise<unknown> => (await romeo.asks(asking(`<query xmlns='${ITEMS}'/>`, 'get'))).getChild('query')?.children.length
  t.equal(await occupants(), 0)
  await juliet.asks(configuring({ public_list: '1' }))
  t.equal(await occupants(), 1)
})
