/** XEP-0500: the time between two messages of one user in a room. */
import t from 'tap'
import { SlowMode } from '../../modules/muc/slow-mode.js'
import { conditionOf } from '../stanzas.js'
import { asking, changing, codesIn, configuring, guest, hall, HALL, OWNER, says, stage, subject, told } from './stage.js'

const bodies = (heard: readonly Parameters<typeof told>[0][number][]): readonly string[] => told(heard).filter(one => one.includes(' says '))

t.test('§3 an owner sets the duration, the room tells it, and only a whole number from 0 on is accepted', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  const form = (await juliet.asks(asking(`<query ${OWNER}/>`, 'get'))).getChild('query')?.getChild('x')
  const shown = form?.getChildren('field').find(({ attrs }) => attrs['var'] === 'muc#roomconfig_slow_mode_duration')
  t.match(shown, { attrs: { type: 'text-single' } })
  t.equal(shown?.getChildText('value'), '0')
  t.match(shown?.getChild('validate', 'http://jabber.org/protocol/xdata-validate')?.attrs, { datatype: 'xs:integer' })
  t.match(shown?.getChild('validate')?.getChild('range')?.attrs, { min: '0', max: '86400' })
  for (const wrong of ['-1', '86401', 'soon', '1.5']) {
    t.equal(conditionOf(await juliet.asks(configuring({ slow_mode_duration: wrong }))), 'not-acceptable', wrong)
  }
  juliet.forget()
  t.equal((await juliet.asks(configuring({ slow_mode_duration: '20' }))).attrs['type'], 'result')
  t.ok(juliet.unread.some(element => codesIn(element).includes('104')))
  const info = (await juliet.asks(asking("<query xmlns='http://jabber.org/protocol/disco#info'/>", 'get'))).getChild('query')?.getChild('x')
  const told = info?.getChildren('field').find(({ attrs }) => attrs['var'] === 'muc#roominfo_slow_mode_duration')
  t.match(told?.attrs, { type: 'text-single' })
  t.equal(told?.getChildText('value'), '20')
})

t.test('§5 a message too soon is refused with the duration, for all devices and nicks of a user, and nobody else gets it', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { slow_mode_duration: '20' })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const other = await guest(s, 'romeo@montague.lit/street', 'montague')
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  for (const device of [juliet, romeo, other, nurse]) device.forget()
  await romeo.says(says('one'))
  await s.pass('19s')
  await romeo.says(says('two'))
  await other.says(says('three'))
  const refused = romeo.unread.at(-1)
  t.equal(conditionOf(refused), 'policy-violation')
  t.equal(refused?.getChild('error')?.attrs['type'], 'wait')
  t.match(refused?.getChild('error')?.getChildText('text'), /wait 20 s .* 1 s now/)
  t.equal(conditionOf(other.unread.at(-1)), 'policy-violation')
  await nurse.says(says('four'))
  await s.pass('1s')
  await other.says(says('five'))
  t.same(bodies(juliet.unread), ['romeo says one', 'nurse says four', 'montague says five'])
})

t.test('§5 only messages with a body count, and admins and owners are not limited', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { slow_mode_duration: '20', changesubject: '1' })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const nurse = await guest(s, 'nurse@capulet.lit/room')
  await juliet.says(changing("<item affiliation='admin' jid='nurse@capulet.lit'/>"), changing("<item role='moderator' nick='romeo'/>"))
  for (const device of [juliet, romeo, nurse]) device.forget()
  await romeo.says(says('one'), `<message to='${HALL}' type='groupchat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>`, subject('Love'))
  t.notOk(romeo.unread.some(element => element.attrs['type'] === 'error'))
  await romeo.says(says('two'))
  t.equal(conditionOf(romeo.unread.at(-1)), 'policy-violation', 'a moderator without an affiliation is limited')
  await juliet.says(says('three'), says('four'))
  await nurse.says(says('five'), says('six'))
  t.same(bodies(juliet.unread), ['romeo says one', 'juliet says three', 'juliet says four', 'nurse says five', 'nurse says six'])
})

t.test('a refused message does not make the user wait longer, and a shorter duration counts at once', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { slow_mode_duration: '20' })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await romeo.says(says('one'))
  await s.pass('15s')
  await romeo.says(says('two'))
  await s.pass('5s')
  await romeo.says(says('three'))
  await juliet.asks(configuring({ slow_mode_duration: '5' }))
  await s.pass('5s')
  await romeo.says(says('four'))
  t.same(bodies(juliet.unread), ['romeo says one', 'romeo says three', 'romeo says four'])
})

const retraction = (id: string, own: string): string =>
  `<message to='${HALL}' type='groupchat' id='${own}'><retract xmlns='urn:xmpp:message-retract:1' id='${id}'/><body>${own}</body></message>`
const mention = (uri: string, more = ''): string =>
  `<message to='${HALL}' type='groupchat'><reference xmlns='urn:xmpp:reference:0' type='mention' uri='${uri}'/>${more}</message>`

t.test('§5 a retraction with a text counts, unless it takes back a text of the user', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { slow_mode_duration: '20' })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const said = async (stanza: string): Promise<string> => {
    romeo.forget()
    await romeo.says(stanza)
    return String(romeo.unread.at(-1)?.getChild('stanza-id')?.attrs['id'])
  }
  const one = await said(says('one'))
  const bare = await said(`<message to='${HALL}' type='groupchat' id='bare'><thing xmlns='urn:example:thing'/></message>`)
  for (const [id, own] of [['unknown', 'two'], [bare, 'three']] as const) {
    await romeo.says(retraction(id, own))
    t.equal(conditionOf(romeo.unread.at(-1)), 'policy-violation', own)
  }
  await romeo.says(retraction(one, 'four'))
  t.equal(conditionOf(romeo.unread.at(-1)), undefined, 'who has said something may take it back at once')
  await romeo.says(retraction(one, 'five'))
  t.equal(conditionOf(romeo.unread.at(-1)), 'policy-violation')
  await s.pass('20s')
  await romeo.says(retraction('unknown', 'six'), says('seven'))
  t.equal(conditionOf(romeo.unread.at(-1)), 'policy-violation')
  t.same(bodies(juliet.unread), ['romeo says one', 'romeo says four', 'romeo says six'])
})

t.test('a mention without a text counts as well in a room that forwards mentions, whoever is mentioned', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { slow_mode_duration: '20', forwardmentions: '1' })
  await juliet.asks(changing("<item affiliation='member' jid='nurse@capulet.lit'/>"))
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await romeo.says(says('one'))
  for (const whom of ['nurse@capulet.lit', 'nobody@capulet.lit']) {
    await romeo.says(mention(`xmpp:${whom}`))
    t.equal(conditionOf(romeo.unread.at(-1)), 'policy-violation', whom)
  }
})

t.test('a message that is not stored does not count', async t => {
  const s = await stage(t)
  const juliet = await hall(s, { slow_mode_duration: '20' })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  s.storage.failing = new Error('the disk is full')
  await romeo.says(says('one'))
  t.equal(conditionOf(romeo.unread.at(-1)), 'resource-constraint')
  s.storage.failing = undefined
  await romeo.says(says('two'), says('three'))
  t.equal(conditionOf(romeo.unread.at(-1)), 'policy-violation')
  t.same(bodies(juliet.unread), ['romeo says two'])
})

t.test('a failure gives back its own message alone, and a clock that is set back stops nobody', t => {
  const slow = new SlowMode()
  const first = slow.take('romeo@montague.lit', 1000, 1)
  const second = slow.take('romeo@montague.lit', 2000, 1)
  slow.giveBack('romeo@montague.lit', 1000, first)
  t.throws(() => slow.take('romeo@montague.lit', 2500, 1), /wait 1 s/)
  slow.giveBack('romeo@montague.lit', 2000, second)
  t.equal(slow.take('romeo@montague.lit', 2500, 1), 1000)
  t.equal(slow.take('romeo@montague.lit', 500, 60), 2500)
  t.throws(() => slow.take('romeo@montague.lit', 501, 60), /wait 60 s/)
  t.end()
})

t.test('a room remembers the last message of 10,000 users, and forgets those who may speak again', t => {
  const slow = new SlowMode()
  for (let n = 0; n < 10_001; n++) slow.take(`user${n}@montague.lit`, 1000, 60)
  t.doesNotThrow(() => slow.take('user0@montague.lit', 1000, 60), 'the oldest is forgotten')
  t.throws(() => slow.take('user10000@montague.lit', 1000, 60), /policy-violation/)
  const full = slow.bytes
  t.ok(full > 10_000 * 100)
  slow.take('nurse@capulet.lit', 61_000, 60)
  t.ok(slow.bytes < full / 1000)
  slow.giveBack('nurse@capulet.lit', 61_000, undefined)
  t.equal(slow.bytes, 0)
  t.end()
})
