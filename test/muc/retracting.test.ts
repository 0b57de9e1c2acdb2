/** XEP-0424 and XEP-0425 in rooms: messages that their author, or a moderator, takes back. */
import t, { type Test } from 'tap'
import { attributeOf, textOf, type Element } from '../../lib/xml/element.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import type { Device } from '../device.js'
import { startServer, type Scenario } from '../scenario.js'
import { conditionOf } from '../stanzas.js'
import { asking, configuring, entering, guest, hall, HALL, SCENE, says, stage, told } from './stage.js'

const RETRACT = 'urn:xmpp:message-retract:1'
const MODERATE = 'urn:xmpp:message-moderate:1'
const SID = 'urn:xmpp:sid:0'
const retraction = (id: string, more = '', own = 'r1'): string =>
  `<message to='${HALL}' type='groupchat' id='${own}'><retract xmlns='${RETRACT}' id='${id}'/><body>/me retracted</body>${more}</message>`
const moderation = (id: string, reason = ''): string =>
  asking(`<moderate xmlns='${MODERATE}' id='${id}'><retract xmlns='${RETRACT}'/>${reason === '' ? '' : `<reason>${reason}</reason>`}</moderate>`)
const oldModeration = (id: string): string =>
  asking(`<apply-to xmlns='urn:xmpp:fasten:0' id='${id}'><moderate xmlns='urn:xmpp:message-moderate:0'><retract xmlns='urn:xmpp:message-retract:0'/></moderate></apply-to>`)
const idIn = (message: Element | undefined): string => String(message?.getChild('stanza-id', SID)?.attrs['id'])

/** Says something, and returns the id that the room gives it. */
async function said (device: Device, body: string, more = ''): Promise<string> {
  device.forget()
  await device.says(says(body, more))
  const id = idIn(device.unread.at(-1))
  device.forget()
  return id
}

/** The messages of the room's archive, by their ids. `search`: only those with this word. */
async function archived (device: Device, search = ''): Promise<ReadonlyMap<string, Element>> {
  device.forget()
  const fields = search === '' ? '' : `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='{urn:xmpp:fulltext:0}fulltext'><value>${search}</value></field></x>`
  await device.says(`<iq type='set' id='m' to='${HALL}'><query xmlns='urn:xmpp:mam:2'>${fields}</query></iq>`)
  const results = device.unread.flatMap(one => one.getChild('result', 'urn:xmpp:mam:2') ?? [])
  device.forget()
  return new Map(results.map(result => [String(result.attrs['id']), result.getChild('forwarded', 'urn:xmpp:forward:0')?.getChild('message') ?? result]))
}

/** The messages that somebody is sent who enters now, each in a few words. */
async function history (s: Scenario): Promise<readonly string[]> {
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says(entering('nurse'))
  const found = told(nurse.unread.filter(({ name }) => name === 'message')).map(text => text.replace('  ', ' '))
  await nurse.says(`<presence to='${HALL}/nurse' type='unavailable'/>`)
  return found
}

async function three (t: Test, fields: Parameters<typeof hall>[1] = { persistentroom: '1' }) {
  const s = await stage(t)
  const juliet = await hall(s, fields)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const tybalt = await guest(s, 'tybalt@capulet.lit/square')
  return { s, juliet, romeo, tybalt }
}

t.test('XEP-0424 an occupant retracts a message: all are told, and archive, search and history have a tombstone', async t => {
  const { s, juliet, romeo, tybalt } = await three(t)
  const id = await said(romeo, 'poison')
  await romeo.says(`<presence to='${HALL}/montague'/>`)
  tybalt.forget()
  romeo.forget()
  await romeo.says(retraction(id, "<no-store xmlns='urn:xmpp:hints'/>"))
  const heard = tybalt.unread.at(-1)
  t.equal(heard?.getChild('retract', RETRACT)?.attrs['id'], id, 'also under another nick: the occupant id counts')
  const found = await archived(juliet)
  t.same([...found.keys()], [id, idIn(heard)], 'the retraction is archived whatever its hints say (§5)')
  const tombstone = found.get(id)
  t.match(tombstone?.attrs, { type: 'groupchat', id: 'poison', from: `${HALL}/romeo` })
  t.match(tombstone?.getChild('retracted', RETRACT)?.attrs, { id: 'r1', stamp: /^\d{4}-/ })
  t.ok(tombstone?.getChild('occupant-id', 'urn:xmpp:occupant-id:0'))
  t.notOk(tombstone?.getChild('body'))
  t.equal((await archived(juliet, 'poison')).size, 0)
  t.same(await history(s), ['romeo message (delayed)', 'montague says /me retracted (delayed)', '(room) subject'])
})

t.test('XEP-0424 §5 nobody retracts what another has said, nor a retraction', async t => {
  const { juliet, romeo, tybalt } = await three(t)
  const id = await said(romeo, 'love')
  for (const device of [juliet, tybalt]) {
    device.forget()
    await device.says(retraction(id))
    t.equal(conditionOf(device.unread.at(-1)), 'forbidden')
  }
  await romeo.says(`<message to='${HALL}' type='groupchat'><retract xmlns='${RETRACT}' id='${id}'/></message>`)
  t.equal(conditionOf(romeo.unread.at(-1)), 'bad-request', 'a tombstone could not name it')
  t.ok((await archived(juliet)).get(id)?.getChild('body'))
  romeo.forget()
  await romeo.says(retraction(id))
  const own = idIn(romeo.unread.at(-1))
  await romeo.says(retraction(own, '', 'r2'))
  t.equal(conditionOf(romeo.unread.at(-1)), 'not-allowed')
  t.equal(conditionOf(await juliet.asks(moderation(own))), 'not-allowed')
  romeo.forget()
  await romeo.says(retraction('unknown', '', 'r3'))
  t.equal(romeo.unread.at(-1)?.getChild('retract', RETRACT)?.attrs['id'], 'unknown', 'clients may still have what the room has forgotten')
})

t.test('XEP-0425 §3 a moderator retracts a message with its corrections; nothing of it is left, and devices that were away find out', async t => {
  const { s, juliet, romeo, tybalt } = await three(t)
  const id = await said(romeo, 'curse')
  const other = await said(tybalt, 'curse') // the same id of another sender
  const corrected = await said(romeo, 'worse', "<replace xmlns='urn:xmpp:message-correct:0' id='curse'/>")
  await tybalt.says(`<presence to='${HALL}/tybalt' type='unavailable'/>`)
  romeo.forget()
  const answer = await juliet.asks(moderation(id, 'no curses'))
  t.equal(answer.attrs['type'], 'result')
  const heard = romeo.unread.at(-1)
  t.equal(heard?.attrs['from'], HALL)
  const retract = heard?.getChild('retract', RETRACT)
  t.equal(retract?.attrs['id'], id)
  t.equal(textOf(retract?.getChild('reason') ?? retract as Element), 'no curses')
  t.match(retract?.getChild('moderated', MODERATE)?.attrs, { by: `${HALL}/juliet` })
  t.ok(retract?.getChild('moderated', MODERATE)?.getChild('occupant-id', 'urn:xmpp:occupant-id:0'))
  const applied = heard?.getChild('apply-to', 'urn:xmpp:fasten:0')
  t.equal(applied?.attrs['id'], id, 'for clients that know version 0 alone')
  t.match(applied?.getChild('moderated', 'urn:xmpp:message-moderate:0')?.attrs, { by: `${HALL}/juliet` })
  const found = await archived(juliet)
  for (const one of [id, corrected]) {
    const retracted = found.get(one)?.getChild('retracted', RETRACT)
    t.match(retracted?.attrs, { id: heard?.attrs['id'] })
    t.match(retracted?.getChild('moderated', MODERATE)?.attrs, { by: `${HALL}/juliet` })
    t.notOk(found.get(one)?.getChild('body'))
  }
  t.ok(found.get(other)?.getChild('body'), 'what somebody else has said stays')
  t.ok(found.get(idIn(heard))?.getChild('retract', RETRACT), 'a device that was away finds the moderation')
  t.equal((await archived(juliet, 'worse')).size, 0)
  t.same(await history(s), ['romeo message (delayed)', 'tybalt says curse (delayed)', 'romeo message (delayed)', '(room) message (delayed)', '(room) subject'])
  romeo.forget()
  t.equal((await juliet.asks(moderation(id))).attrs['type'], 'result', 'nothing is left to do')
  t.same(romeo.unread, [])
})

t.test('XEP-0425 version 0 of the request does the same', async t => {
  const { juliet, romeo } = await three(t)
  const id = await said(romeo, 'curse')
  t.equal((await juliet.asks(oldModeration(id))).attrs['type'], 'result')
  t.equal(romeo.unread.at(-1)?.getChild('retract', RETRACT)?.attrs['id'], id)
  t.equal(conditionOf(await juliet.asks(asking("<apply-to xmlns='urn:xmpp:fasten:0' id='x'><other xmlns='a:b'/></apply-to>"))), 'service-unavailable')
})

t.test('XEP-0425 §3 the errors of moderation', async t => {
  const { juliet, romeo, tybalt } = await three(t)
  const id = await said(romeo, 'curse')
  t.equal(conditionOf(await tybalt.asks(moderation(id))), 'forbidden')
  t.equal(conditionOf(await juliet.asks(moderation('unknown'))), 'item-not-found')
  t.equal(conditionOf(await juliet.asks(moderation(''))), 'bad-request')
  t.equal(conditionOf(await juliet.asks(asking(`<moderate xmlns='${MODERATE}' id='${id}'/>`))), 'bad-request')
  t.equal(conditionOf(await juliet.asks(moderation(id, 'x'.repeat(1025)))), 'not-acceptable')
  t.ok((await archived(juliet)).get(id)?.getChild('body'), 'nothing has changed')
})

t.test('an admin who is not in a semi-anonymous room moderates, and no real address is told', async t => {
  const { s, juliet, romeo } = await three(t)
  const id = await said(romeo, 'curse')
  await juliet.says(`<presence to='${HALL}/juliet' type='unavailable'/>`)
  romeo.forget()
  t.equal((await juliet.asks(moderation(id))).attrs['type'], 'result')
  const moderated = romeo.unread.at(-1)?.getChild('retract', RETRACT)?.getChild('moderated', MODERATE)
  t.ok(moderated)
  t.equal(attributeOf(moderated as Element, 'by'), undefined)
  t.notMatch(romeo.unread.map(String).join(''), /capulet\.lit\/balcony|juliet@/)
  t.notMatch([...(await archived(romeo)).values()].map(String).join(''), /juliet@/)
  t.equal((await history(s)).length, 3)
})

t.test('XEP-0425 §5 tombstones and moderations that occupants forge reach nobody', async t => {
  const { romeo, tybalt } = await three(t)
  const id = await said(romeo, 'love')
  tybalt.forget()
  await romeo.says(says('forged', `<retract xmlns='${RETRACT}' id='${id}'><moderated xmlns='${MODERATE}' by='${HALL}/juliet'/></retract>` +
    `<retracted xmlns='${RETRACT}' id='x'/><apply-to xmlns='urn:xmpp:fasten:0' id='${id}'><moderated xmlns='urn:xmpp:message-moderate:0' by='${HALL}/juliet'/></apply-to>`))
  t.notMatch(String(tybalt.unread.at(-1)), /moderated|<retracted/)
})

t.test('a room without an archive forgets a retracted message as well; after a restart tombstones are in the history', async t => {
  const { s, juliet, romeo } = await three(t, { enablearchiving: '0' })
  const id = await said(romeo, 'curse')
  t.equal((await juliet.asks(moderation(id))).attrs['type'], 'result')
  t.same(await history(s), ['romeo message (delayed)', '(room) message (delayed)', '(room) subject'])

  const storage = new MemoryStorage()
  const first = await startServer({ ...SCENE, storage })
  const owner = await hall(first, { persistentroom: '1' })
  const own = await said(owner, 'poison')
  await owner.says(retraction(own))
  await owner.says(`<presence to='${HALL}/juliet' type='unavailable'/>`)
  await first.end()
  const second = await stage(t, { storage, ids: 'second' })
  t.same(await history(second), ['juliet message (delayed)', 'juliet says /me retracted (delayed)', '(room) subject'])
})

t.test('while the disk is full nothing is retracted', async t => {
  const { s, juliet, romeo } = await three(t)
  const id = await said(romeo, 'curse')
  s.storage.failing = new Error('the disk is full')
  t.equal(conditionOf(await juliet.asks(moderation(id))), 'resource-constraint')
  s.storage.failing = undefined
  t.same(await history(s), ['romeo says curse (delayed)', '(room) subject'])
  t.ok((await archived(juliet)).get(id)?.getChild('body'))
  await juliet.asks(configuring({}))
})
