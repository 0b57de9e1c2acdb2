/**
 * No real address of a semi-anonymous room is put by the room into anything that it sends to others than moderators: a
 * search over every stanza that ordinary occupants and strangers get, whatever happens in the room.
 */
import t from 'tap'
import { octets } from '../../lib/xml/writer.js'
import { asking, changing, configuring, entering, field, guest, hall, HALL, listing, OWNER, says, SERVICE, stage, subject, USER } from './stage.js'

const SECRET = /romeo@montague\.lit|tybalt@capulet\.lit|juliet@capulet\.lit/

t.test('whatever happens in a semi-anonymous room, nobody learns the address of another', async t => {
  const s = await stage(t, { modules: ['presence', 'roster', 'message', 'disco', 'vcard'] })
  const juliet = await hall(s, { changesubject: '1', allowinvites: '1' })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const street = await guest(s, 'romeo@montague.lit/street', 'romeo')
  const tybalt = await guest(s, 'tybalt@capulet.lit/square')
  const nurse = await s.device('nurse@capulet.lit/room')
  const stranger = await s.device('paris@verona.lit/tomb')
  const heard: string[] = []
  for (const device of [nurse, stranger]) device.overhear(text => heard.push(text))
  const error = "<error type='cancel' by='romeo@montague.lit'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:romeo@montague.lit</gone><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>romeo@montague.lit</text></error>"

  await nurse.says(entering('nurse'))
  await romeo.says(says('1'), subject('2'), `<presence to='${HALL}/romeo'><show>away</show></presence>`, `<presence to='${HALL}/montague'/>`)
  await romeo.says(`<message to='${HALL}/nurse' type='chat'><body>psst</body></message>`)
  await romeo.says(says('addresses', "<addresses xmlns='http://jabber.org/protocol/address'><address type='ofrom' jid='romeo@montague.lit/orchard'/></addresses>"))
  await romeo.says(`<message to='${HALL}'><x xmlns='${USER}'><invite to='paris@verona.lit'/></x></message>`)
  await nurse.says(`<message to='${HALL}/montague' type='chat' id='m'><body>aye</body></message>`)
  await nurse.says(`<iq to='${HALL}/montague' type='get' id='v'><query xmlns='jabber:iq:version'/></iq>`)
  const asked = [...romeo.unread, ...street.unread].find(({ name, attrs }) => name === 'iq' && attrs['type'] === 'get')
  for (const device of [romeo, street]) await device.says(`<iq to='${HALL}/nurse' type='error' id='${String(asked?.attrs['id'])}'>${error}</iq>`)
  await nurse.says(asking("<vCard xmlns='vcard-temp'/>", 'get', `${HALL}/montague`))
  await romeo.says(`<message to='${HALL}/nurse' type='error' id='m'>${error}</message>`)
  for (const request of [
    listing("<item affiliation='owner'/>"), listing("<item affiliation='member'/>"), listing("<item affiliation='outcast'/>"), listing("<item role='participant'/>"),
    asking(`<query ${OWNER}/>`, 'get'), asking("<query xmlns='http://jabber.org/protocol/disco#info'/>", 'get'), asking("<query xmlns='http://jabber.org/protocol/disco#items'/>", 'get'),
    asking("<query xmlns='jabber:iq:register'/>", 'get'), asking("<query xmlns='urn:xmpp:mam:2'/>"), asking(`<query xmlns='http://jabber.org/protocol/disco#items'/>`, 'get', SERVICE),
  ]) for (const device of [nurse, stranger]) await device.asks(request)
  await juliet.asks(changing("<item affiliation='member' jid='romeo@montague.lit'/>", "<item affiliation='admin' jid='tybalt@capulet.lit'/>"))
  await juliet.asks(changing("<item affiliation='member' jid='tybalt@capulet.lit'/>", "<item affiliation='member' jid='absent@verona.lit'/>"))
  await street.says(asking(`<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>${field('FORM_TYPE', 'http://jabber.org/protocol/muc#register')}${field('muc#register_roomnick', 'rose')}</x></query>`))
  await juliet.asks(changing("<item nick='tybalt' role='none'/>"))
  await tybalt.says(entering('tybalt'))
  await juliet.asks(changing("<item affiliation='outcast' jid='tybalt@capulet.lit'><reason>brawl</reason></item>"))
  await nurse.says(entering('nurse'))
  await juliet.asks(configuring({ moderatedroom: '1' }))
  await juliet.asks(asking(`<query ${OWNER}><destroy><reason>end</reason></destroy></query>`))
  const all = heard.join('\n')
  t.ok(all.includes('psst') && !all.includes('rose') && all.includes('invite'), 'there was something to hear')
  t.notMatch(all.replaceAll('to="nurse@capulet.lit/room"', ''), SECRET)
  t.ok([...juliet.unread].some(element => SECRET.test(octets(element))), 'a moderator does see addresses')
})

t.test('the subject of a room is told to those who may enter it, and to no others', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  await juliet.says(subject('elopement'))
  const romeo = await s.device('romeo@montague.lit/orchard')
  const isTold = async (): Promise<boolean> =>
    octets(await romeo.asks(asking("<query xmlns='http://jabber.org/protocol/disco#info'/>", 'get'))).includes('elopement')
  t.equal(await isTold(), true, 'an open room')
  await juliet.asks(configuring({ membersonly: '1' }))
  t.equal(await isTold(), false, 'a members-only room')
  await juliet.asks(changing("<item affiliation='member' jid='romeo@montague.lit'/>"))
  t.equal(await isTold(), true, 'a member')
  await juliet.asks(changing("<item affiliation='outcast' jid='romeo@montague.lit'/>"))
  t.equal(await isTold(), false, 'somebody who is banned')
})
