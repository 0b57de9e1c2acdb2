/** XEP-0317: hats, and the commands that manage them. */
import t from 'tap'
import type { Element } from '../../lib/xml/element.js'
import type { Device } from '../scenario.js'
import { conditionOf } from '../stanzas.js'
import { asking, changing, codesIn, entering, field, guest, hall, HALL, SCENE, SERVICE, stage } from './stage.js'

const WITH_COMMANDS = { ...SCENE, services: { [SERVICE]: ['muc', 'mam', 'disco', 'ping', 'ad-hoc-commands'] } }
const HATS = 'urn:xmpp:hats:0'
const TEACHER = 'http://tech.example.edu/hats#Teacher'
const form = (fields: Readonly<Record<string, string>>): string =>
  `<x xmlns='jabber:x:data' type='submit'>${field('FORM_TYPE', 'urn:xmpp:hats:commands')}${Object.entries(fields).map(([name, value]) => field(`hats#${name}`, value)).join('')}</x>`
const command = (name: string, inside = '', more = ''): string =>
  asking(`<command xmlns='http://jabber.org/protocol/commands' node='urn:xmpp:hats:commands:${name}'${more}>${inside}</command>`)
const create = (title: string, uri: string, hue = '327.255249'): string => command('create', form({ title, uri, ...hue === '' ? {} : { hue } }))
const assign = (jid: string, uri = TEACHER): string => command('assign', form({ jid, uri }))

/** The titles of the hats that somebody was last seen with; undefined if nobody has told. */
function wornBy (nick: string, device: Device): readonly string[] | undefined {
  const seen = device.unread.filter(({ name, attrs }) => name === 'presence' && attrs['from'] === `${HALL}/${nick}`).at(-1)
  return seen === undefined ? undefined : (seen.getChild('hats', HATS)?.getChildren('hat') ?? []).map(({ attrs }) => String(attrs['title']))
}

const valuesOf = (element: Element | undefined): readonly (readonly [string, string | null])[] =>
  (element?.getChildren('field') ?? []).map(one => [String(one.attrs['var']), one.getChildText('value')])
const rowsOf = (answer: Element): readonly unknown[] =>
  (answer.getChild('command')?.getChild('x')?.getChildren('item') ?? []).map(item => Object.fromEntries(valuesOf(item)))
const infoOf = async (device: Device): Promise<Element | undefined> =>
  (await device.asks(asking("<query xmlns='http://jabber.org/protocol/disco#info'/>", 'get'))).getChild('query')

t.test('§2 a room has the feature, and a hash of its hats once it has any', async t => {
  const s = await stage(t, WITH_COMMANDS)
  const juliet = await hall(s)
  const hash = async (): Promise<string | null | undefined> => new Map(valuesOf((await infoOf(juliet))?.getChild('x'))).get('hats#hash')
  t.ok((await infoOf(juliet))?.getChildren('feature').some(({ attrs }) => attrs['var'] === HATS))
  t.equal(await hash(), undefined)
  await juliet.asks(create('Teacher', TEACHER))
  const first = await hash()
  t.match(first, /^[0-9a-f]{40}$/)
  await juliet.asks(create('Head teacher', TEACHER))
  t.not(await hash(), first)
})

t.test('§3.2 a hat is made by the form, step by step, and all are told that the configuration has changed', async t => {
  const s = await stage(t, WITH_COMMANDS)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  const shown = (await juliet.asks(command('create', '', " action='execute'"))).getChild('command')
  t.equal(shown?.attrs['status'], 'executing')
  t.same(valuesOf(shown?.getChild('x')).map(([name]) => name), ['FORM_TYPE', 'hats#title', 'hats#uri', 'hats#hue'])
  juliet.forget()
  romeo.forget()
  const done = await juliet.asks(command('create', form({ title: 'Teacher', uri: TEACHER }), ` sessionid='${String(shown?.attrs['sessionid'])}' action='complete'`))
  t.equal(done.getChild('command')?.attrs['status'], 'completed')
  for (const device of [juliet, romeo]) t.ok(device.unread.some(one => one.attrs['type'] === 'groupchat' && codesIn(one).includes('104')))
  t.same(rowsOf(await romeo.asks(command('list'))), [{ 'hats#title': 'Teacher', 'hats#uri': TEACHER, 'hats#hue': '' }])
})

t.test('§3.5, §3.6 a hat is in every presence of who wears it, also after a restart, until it is taken off', async t => {
  const s = await stage(t, WITH_COMMANDS)
  const juliet = await hall(s, { persistentroom: '1' })
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await juliet.asks(create('Teacher', TEACHER))
  await juliet.asks(create('Host', 'urn:example:host', ''))
  for (const device of [juliet, romeo]) device.forget()
  t.equal((await juliet.asks(assign('romeo@montague.lit/street'))).attrs['type'], 'result')
  for (const device of [juliet, romeo]) t.same(wornBy('romeo', device), ['Teacher'])
  const hat = romeo.unread.at(-1)?.getChild('hats', HATS)?.getChild('hat')
  t.same(hat?.attrs, { title: 'Teacher', uri: TEACHER, hue: '327.255249' })
  await juliet.asks(assign(`${HALL}/romeo`, 'urn:example:host'))
  t.same(wornBy('romeo', juliet), ['Teacher', 'Host'], 'an occupant is named by nick too')
  const nurse = await s.device('nurse@capulet.lit/room')
  await nurse.says(entering('nurse'))
  t.same(wornBy('romeo', nurse), ['Teacher', 'Host'])
  t.same(rowsOf(await juliet.asks(command('list-assigned'))).length, 2)

  await s.end()
  const next = await stage(t, { ...WITH_COMMANDS, storage: s.storage, ids: 'next' })
  const again = await next.device('juliet@capulet.lit/balcony')
  await again.says(entering('juliet'))
  const late = await next.device('romeo@montague.lit/orchard')
  await late.says(entering('romeo'))
  t.same(wornBy('romeo', again), ['Teacher', 'Host'])
  again.forget()
  await again.asks(command('unassign', form({ jid: 'romeo@montague.lit', uri: TEACHER })))
  t.same(wornBy('romeo', again), ['Host'])
  t.equal(conditionOf(await again.asks(command('unassign', form({ jid: 'romeo@montague.lit', uri: TEACHER })))), 'item-not-found')
  again.forget()
  await again.asks(command('destroy', form({ uri: 'urn:example:host' })))
  t.same(wornBy('romeo', again), [], '§3.3')
  t.same(rowsOf(await again.asks(command('list'))).length, 1)
  again.forget()
  await late.says(`<presence to='${HALL}/romeo' type='unavailable'/>`)
  t.same(wornBy('romeo', again), [])
})

t.test('only admins manage hats and see who wears them, nobody lists them who may not enter, and nobody forges one', async t => {
  const s = await stage(t, WITH_COMMANDS)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await juliet.says(changing("<item role='moderator' nick='romeo'/>"), changing("<item affiliation='outcast' jid='tybalt@capulet.lit'/>"))
  await juliet.asks(create('Teacher', TEACHER))
  for (const one of [create('Cook', 'urn:example:cook'), assign('romeo@montague.lit'), command('destroy'), command('unassign'), command('list-assigned')]) {
    t.equal(conditionOf(await romeo.asks(one)), 'forbidden', one)
  }
  const tybalt = await s.device('tybalt@capulet.lit/street')
  t.equal(conditionOf(await tybalt.asks(command('list'))), 'forbidden')
  t.equal(conditionOf(await tybalt.asks(command('list').replace(HALL, `nowhere@${SERVICE}`))), 'item-not-found')
  juliet.forget()
  await romeo.says(`<presence to='${HALL}/romeo'><hats xmlns='${HATS}'><hat title='Teacher' uri='${TEACHER}'/></hats></presence>`)
  t.same(wornBy('romeo', juliet), [])
})

t.test('what is no hat is refused: URIs, hues, users, hats that are not there, and too many', async t => {
  const s = await stage(t, WITH_COMMANDS)
  const juliet = await hall(s)
  for (const one of [create('Teacher', 'no uri'), create('Teacher', 'teacher'), create('', TEACHER), create('Teacher', TEACHER, '361'),
    create('Teacher', TEACHER, 'red'), create('x'.repeat(129), TEACHER), command('create', form({ title: 'Teacher' }))]) {
    t.equal(conditionOf(await juliet.asks(one)), 'bad-request', one)
  }
  await juliet.asks(create('Teacher', TEACHER))
  t.equal(conditionOf(await juliet.asks(assign('capulet.lit'))), 'bad-request')
  t.equal(conditionOf(await juliet.asks(assign(`${HALL}/nobody`))), 'item-not-found')
  t.equal(conditionOf(await juliet.asks(assign('romeo@montague.lit', 'urn:example:none'))), 'item-not-found')
  for (let n = 0; n < 99; n++) await juliet.asks(create(`Hat ${n}`, `urn:example:${n}`))
  t.equal(conditionOf(await juliet.asks(create('One more', 'urn:example:more'))), 'resource-constraint')
  t.equal((await juliet.asks(create('Changed', TEACHER))).attrs['type'], 'result', 'one that is there can be changed')
  for (let n = 0; n < 10; n++) await juliet.asks(assign('romeo@montague.lit', `urn:example:${n}`))
  t.equal(conditionOf(await juliet.asks(assign('romeo@montague.lit'))), 'resource-constraint')
})

t.test('a change of hats is paid for by who makes it, and what changes nothing tells nobody', async t => {
  const s = await stage(t, WITH_COMMANDS)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await juliet.asks(create('Teacher', TEACHER))
  let charged = 0
  const session = s.host('capulet.lit').sessions.at(juliet.jid)
  if (session !== undefined) session.charge = units => { charged += units }
  await juliet.asks(assign('romeo@montague.lit'))
  t.ok(charged >= 2, 'both are told')
  romeo.forget()
  await juliet.asks(create('Teacher', TEACHER))
  t.same(romeo.unread, [])
  charged = 0
  await juliet.asks(create('Head teacher', TEACHER))
  t.ok(charged >= 4, 'both are told of the hat and of the list')
})

t.test('the hats of a user stay small in presence, and those of a room in memory', async t => {
  const s = await stage(t, WITH_COMMANDS)
  const juliet = await hall(s)
  const session = s.host('capulet.lit').sessions.at(juliet.jid)
  if (session !== undefined) session.charge = () => {} // the bounds hold whatever the device has paid
  t.equal(conditionOf(await juliet.asks(create('&amp;'.repeat(128), `urn:example:${'&amp;'.repeat(100)}`))), 'bad-request')
  const name = 'x'.repeat(900)
  for (let n = 0; n < 30; n++) await juliet.asks(create(`Hat ${n}`, `urn:example:${n}`))
  let worn = 0
  let last: string | undefined
  for (; worn < 300 && last === undefined; worn++) {
    last = conditionOf(await juliet.asks(assign(`${worn}${name}@montague.lit`, `urn:example:${worn % 30}`)))
  }
  t.equal(last, 'resource-constraint')
  t.ok(worn * 2 * name.length < 512 * 1024)
})

t.test('while the disk is full no hat changes, and all goes on when it is not', async t => {
  const s = await stage(t, WITH_COMMANDS)
  const juliet = await hall(s)
  const romeo = await guest(s, 'romeo@montague.lit/orchard')
  await juliet.asks(create('Teacher', TEACHER))
  await juliet.asks(assign('romeo@montague.lit'))
  for (const device of [juliet, romeo]) device.forget()
  s.storage.failing = new Error('the disk is full')
  for (const one of [create('Cook', 'urn:example:cook'), create('Cook', TEACHER), assign('juliet@capulet.lit'), command('unassign', form({ jid: 'romeo@montague.lit', uri: TEACHER })), command('destroy', form({ uri: TEACHER }))]) {
    t.equal(conditionOf(await juliet.asks(one)), 'resource-constraint', one)
  }
  s.storage.failing = undefined
  t.same(romeo.unread, [])
  t.same(rowsOf(await juliet.asks(command('list'))), [{ 'hats#title': 'Teacher', 'hats#uri': TEACHER, 'hats#hue': '327.255249' }])
  t.same(rowsOf(await juliet.asks(command('list-assigned'))).length, 1)
  await juliet.asks(assign('juliet@capulet.lit'))
  t.same(wornBy('juliet', romeo), ['Teacher'])
})

t.test('the list of who wears hats fits into a stanza that every server takes', async t => {
  const s = await stage(t, WITH_COMMANDS)
  const juliet = await hall(s)
  const session = s.host('capulet.lit').sessions.at(juliet.jid)
  if (session !== undefined) session.charge = () => {}
  for (let n = 0; n < 50; n++) await juliet.asks(create(`Title of hat ${n}`, `http://tech.example.edu/hats#${n}`))
  for (let n = 0; n < 500; n++) await juliet.asks(assign(`student${n}@tech.example.edu`, `http://tech.example.edu/hats#${n % 50}`))
  t.equal(conditionOf(await juliet.asks(assign('romeo@montague.lit', 'http://tech.example.edu/hats#1'))), 'resource-constraint')
  const answer = await juliet.asks(command('list-assigned'))
  t.equal(rowsOf(answer).length, 500)
  t.ok(String(answer).length < 256 * 1024)
  const described = answer.getChild('command')?.getChild('x')?.getChild('reported')?.getChildren('field') ?? []
  t.same(described.map(({ attrs }) => attrs['type']), ['jid-single', 'text-single', 'text-single', 'text-single'])
})
