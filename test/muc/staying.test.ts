/** Rooms through restarts, crashes and full disks: nobody leaves, nothing is lost, and nobody is a ghost. */
import t from 'tap'
import { enable } from '../managed.js'
import { scenario, startServer } from '../scenario.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { DEFAULTS, isConfig } from '../../modules/muc/config.js'
import { History } from '../../modules/muc/history.js'
import { readRoom, type RoomStores } from '../../modules/muc/stored.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import { conditionOf, SM } from '../stanzas.js'
import { asking, changing, codesIn, configuring, entering, guest, hall, HALL, itemsOf, listing, says, SCENE, SERVICE, stage, subject, told } from './stage.js'

t.test('a room is the same after a restart: its configuration, affiliations, subject, history and avatar', async t => {
  const storage = new MemoryStorage()
  const first = await startServer({ ...SCENE, storage })
  const juliet = await hall(first, { roomname: 'Hall', moderatedroom: '1', persistentroom: '1' })
  await juliet.asks(changing("<item affiliation='admin' jid='nurse@capulet.lit'/>"))
  await juliet.asks(asking("<vCard xmlns='vcard-temp'><PHOTO><BINVAL>AAAA</BINVAL></PHOTO></vCard>"))
  await juliet.says(says('1'), subject('Love'))
  const id = juliet.unread.find(({ name, attrs }) => name === 'message' && attrs['id'] === '1')?.getChild('occupant-id')?.attrs['id']
  await first.end()

  const s = await stage(t, { storage, ids: 'second', hosts: ['capulet.lit'] })
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says(entering('nurse'))
  t.same(told(nurse.unread).filter(text => !text.includes('undefined')), ['nurse admin/moderator 110', 'juliet says 1 (delayed)', '(room) subject Love (delayed)'])
  const info = (await nurse.asks(asking("<query xmlns='http://jabber.org/protocol/disco#info'/>", 'get'))).getChild('query')
  t.equal(info?.getChild('identity')?.attrs['name'], 'Hall')
  t.ok(info?.getChildren('feature').some(({ attrs }) => attrs['var'] === 'muc_moderated'))
  t.equal((await nurse.asks(asking("<vCard xmlns='vcard-temp'/>", 'get'))).getChild('vCard')?.getChild('PHOTO')?.getChildText('BINVAL'), 'AAAA')
  nurse.forget()
  await (await s.device('juliet@capulet.lit/chamber')).says(entering('juliet'))
  t.equal(nurse.unread[0]?.getChild('occupant-id')?.attrs['id'], id, 'XEP-0421: the occupant id is the same')
})

t.test('those whose sessions survive a planned stop are in the room after it, and nobody sees them go', async t => {
  const storage = new MemoryStorage()
  const scene = { ...SCENE, storage, modules: [...SCENE.modules ?? [], 'stream-management'] }
  const first = await startServer(scene)
  const juliet = await hall(first)
  const id = await enable(juliet)
  const romeo = await guest(first, 'romeo@montague.lit/orchard')
  const romeoId = await enable(romeo)
  juliet.forget()
  await first.server.stop()
  t.same(told(juliet.unread.filter(({ name }) => name === 'presence')), [])

  const s = await scenario(t, { ...scene, ids: 'second', hosts: ['capulet.lit', 'montague.lit'] })
  const { device: back } = await s.resume('juliet@capulet.lit', `<resume ${SM} previd='${id}' h='0'/>`)
  const { device: romeoBack } = await s.resume('romeo@montague.lit', `<resume ${SM} previd='${romeoId}' h='0'/>`)
  back?.forget()
  await romeoBack?.says(says('I live'))
  t.same(back === undefined ? [] : told(back.unread), ['romeo says I live'])
})

t.test('after a crash a session that cannot be resumed does not keep the others of its account from it', async t => {
  const storage = new MemoryStorage()
  const scene = { ...SCENE, storage, modules: [...SCENE.modules ?? [], 'stream-management'] }
  const first = await startServer(scene)
  const juliet = await hall(first)
  await enable(juliet, `<enable ${SM}/>`)
  const chamber = await first.device('juliet@capulet.lit/chamber')
  const id = await enable(chamber)
  const romeo = await guest(first, 'romeo@montague.lit/orchard')
  await romeo.says(says('I live'))
  await first.settled()
  const s = await scenario(t, { ...scene, ids: 'second', hosts: ['capulet.lit', 'montague.lit'] })
  const { answer } = await s.resume('juliet@capulet.lit', `<resume ${SM} previd='${id}' h='0'/>`)
  t.equal(answer.name, 'resumed')
  await first.end()
})

t.test('after a crash the room is as it was, and those of this server who are gone leave it', async t => {
  const storage = new MemoryStorage()
  const first = await startServer({ ...SCENE, storage })
  await hall(first, { persistentroom: '1' })
  await guest(first, 'romeo@montague.lit/orchard')
  await first.settled()
  // Nothing has ended the first server: it is as if it were killed. The second one has what was stored.
  const s = await stage(t, { storage, ids: 'second', hosts: ['capulet.lit', 'montague.lit'] })
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says(entering('nurse'))
  t.ok(told(nurse.unread).includes('nurse none/participant 110'))
  await s.pass('61s')
  nurse.forget()
  await nurse.says(entering('nurse'))
  t.same(told(nurse.unread), ['nurse none/participant 110', '(room) subject'], 'nobody is a ghost')
  await first.end()
})

t.test('an occupant of a component stays in the room while the component is there', async t => {
  const gateway = 'irc.capulet.lit'
  const s = await stage(t, {
    services: { ...SCENE.services, [gateway]: ['disco', 'component'] }, settings: { component: { secret: { file: 'irc' } } },
  })
  const juliet = await hall(s)
  const sent: string[] = []
  const leave = s.server.doors.at(gateway)?.enter({
    address: '192.0.2.7', backlog: 0, send: stanza => { sent.push(stanza.octets()) }, end () {},
  })
  const puppet = parseJid(`puck@${gateway}/wood`)
  const room = parseJid(`${HALL}/puck`)
  s.server.pipeline.route(stanza(s.element(entering('puck')), puppet, room))
  await s.pass('2m')
  t.same(told(juliet.unread), ['puck none/participant'], 'nobody has left')
  await s.pass('15m')
  t.ok(sent.some(text => text.includes('urn:xmpp:ping')), 'it is asked whether it is there')
  t.same(told(juliet.unread).slice(1), ['puck unavailable none/none 333'], 'and has not answered')
  leave?.()
})

t.test('the first message after a crash finds out who is gone', async t => {
  const storage = new MemoryStorage()
  const first = await startServer({ ...SCENE, storage })
  await hall(first, { persistentroom: '1' })
  await guest(first, 'romeo@montague.lit/orchard')
  await first.settled()
  const s = await stage(t, { storage, ids: 'second', hosts: ['capulet.lit', 'montague.lit'] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(entering('juliet'))
  t.ok(told(juliet.unread).includes('romeo none/participant'))
  juliet.forget()
  await juliet.says(says('Romeo?'))
  t.same(told(juliet.unread), ['juliet says Romeo?', 'romeo unavailable none/none 333'])
  await first.end()
})

t.test('a room that is unloaded is loaded as it was, with its history from the archive', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { persistentroom: '1' })
  await juliet.says(says('1'), says('2', "<no-store xmlns='urn:xmpp:hints'/>"), says('3'))
  await juliet.says(`<presence to='${HALL}/juliet' type='unavailable'/>`)
  await s.pass('11m')
  t.equal(s.host(SERVICE).entities.size, 0)
  juliet.forget()
  await juliet.says(entering('juliet'))
  t.same(told(juliet.unread), ['juliet owner/moderator 110', 'juliet says 1 (delayed)', 'juliet says 3 (delayed)', '(room) subject'])
})

t.test('while the disk is full nothing half happens, and all goes on when it is not', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { persistentroom: '1' })
  const romeo = await s.device('romeo@montague.lit/orchard')
  s.storage.failing = new Error('the disk is full')
  await romeo.says(entering('romeo'))
  t.same([conditionOf(romeo.unread[0]), romeo.unread[0]?.getChild('error')?.attrs['type']], ['resource-constraint', 'wait'])
  const ban = changing("<item affiliation='outcast' jid='romeo@montague.lit'/>")
  t.equal(conditionOf(await juliet.asks(ban)), 'resource-constraint')
  t.equal(conditionOf(await juliet.asks(configuring({ membersonly: '1' }))), 'resource-constraint')
  await juliet.says(says('unheard'))
  s.storage.failing = undefined
  juliet.forget()
  romeo.forget()
  await romeo.says(entering('romeo'))
  t.same(told(romeo.unread), ['juliet owner/moderator', 'romeo none/participant 110', '(room) subject'], 'neither banned nor members-only, and no message that was refused')
  t.same(itemsOf(await juliet.asks(listing("<item affiliation='outcast'/>"))), [])
})

t.test('a device whose session ends leaves the room; the last one ends a temporary room with all that is stored', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  juliet.forget()
  romeo.session.close()
  await s.settled()
  t.same(told(juliet.unread), ['romeo unavailable none/none'])
  await juliet.says(says('alone'))
  juliet.session.close()
  await s.settled()
  t.same(await s.traces(HALL), [])
})

t.test('an operator makes rooms, changes their settings and affiliations, and sees who is in them', async t => {
  const s = await stage(t)
  const { commands } = s.host(SERVICE)
  const run = async (name: string, ...words: readonly string[]): Promise<unknown> => await commands.get(`room ${name}`)?.(words)
  t.equal(await run('create', HALL, 'juliet@capulet.lit'), 'created')
  await t.rejects(run('create', HALL, 'juliet@capulet.lit'), /conflict/)
  for (const wrong of ['juliet@capulet.lit', SERVICE]) await t.rejects(run('create', wrong, 'juliet@capulet.lit'), /not the address of a room/)
  t.match(await run('show', HALL), { locked: false, isPersistent: true, affiliations: [{ jid: 'juliet@capulet.lit', affiliation: 'owner' }] })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  t.equal(await run('set', HALL, 'roomname', 'The hall'), 'changed')
  t.ok(romeo.unread.some(one => codesIn(one).includes('104')))
  t.equal(await run('set', HALL, 'presencebroadcast', 'moderator', 'participant'), 'changed')
  t.match(await run('show', HALL), { name: 'The hall', presenceOf: ['moderator', 'participant'] })
  await t.rejects(run('set', HALL, 'colour', 'red'), /there is no setting 'colour'; there are: roomname, /)
  await t.rejects(run('set', HALL, 'membersonly', 'perhaps'), /neither true nor false/)
  t.equal(await run('affiliations', HALL, 'romeo@montague.lit', 'member'), 'changed')
  t.same(await run('occupants', HALL), [{ nick: 'romeo', role: 'participant', affiliation: 'member', devices: ['romeo@montague.lit/orchard'] }])
  t.same(await run('affiliations', HALL), [
    { jid: 'juliet@capulet.lit', affiliation: 'owner', nick: '' }, { jid: 'romeo@montague.lit', affiliation: 'member', nick: '' },
  ])
  await t.rejects(run('affiliations', HALL, 'juliet@capulet.lit', 'none'), /a room needs an owner/)
  await t.rejects(run('affiliations', HALL, 'juliet@capulet.lit', 'friend'), /an unknown affiliation/)
  romeo.forget()
  t.equal(await run('set', HALL, 'membersonly', '1'), 'changed')
  t.equal(await run('affiliations', HALL, 'romeo@montague.lit', 'none'), 'changed')
  t.ok(romeo.unread.some(one => codesIn(one).includes('321')))
  t.same(await run('occupants', HALL), [])
  await s.end()
  const next = await stage(t, { ...SCENE, storage: s.storage, ids: 'next' })
  t.match(await next.host(SERVICE).commands.get('room show')?.([HALL]), { name: 'The hall', isMembersOnly: true })
})

t.test('an operator lists, sees and destroys rooms', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { roomname: 'Hall', passwordprotectedroom: '1', roomsecret: 'cauldron' })
  const { commands } = s.host(SERVICE)
  t.match(await commands.get('room list')?.([]), [{ room: HALL, name: 'Hall', creator: 'juliet@capulet.lit' }])
  const shown = await commands.get('room show')?.([HALL])
  t.match(shown, { room: HALL, hasPassword: true, occupants: [{ nick: 'juliet', devices: ['juliet@capulet.lit/balcony'] }] })
  t.notMatch(JSON.stringify(shown), /cauldron/)
  t.equal(await commands.get('room destroy')?.([HALL]), 'destroyed')
  t.equal(juliet.unread.at(-1)?.attrs['type'], 'unavailable')
  await t.rejects(async () => await commands.get('room show')?.([HALL]), /item-not-found/)
})

t.test('a room that an older version stored has the defaults of what was added later', async t => {
  const { slowMode, forwardsMentions, ...config } = { ...DEFAULTS, name: 'Hall' }
  t.ok(isConfig(config))
  const nothing = { all: () => Promise.resolve(new Map()) }
  const row = { config, subject: { text: '', nick: '', at: 0 }, creator: '', salt: 'salt', isLocked: false }
  const stores = {
    rooms: { get: () => Promise.resolve(row) }, belongings: nothing, devices: nothing, invitations: nothing,
    cards: nothing, hats: nothing, tokens: nothing,
  } as unknown as RoomStores
  const room = await readRoom(stores, parseJid(HALL), new History(1, 1), (items, work) => { items.forEach(work) })
  t.same(room?.config, { ...config, slowMode, forwardsMentions })
})
