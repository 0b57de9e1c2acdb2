/** XEP-0050 Ad-Hoc Commands: the responder for hosts, accounts and entities. */
import t, { type Test } from 'tap'
import { adHocCommands, DataForm, defineModule, field, NS, StanzaError } from '../../lib/api.js'
import type { AdHocCommand, CommandRun } from '../../lib/api.js'
import { childElements, localName, type Element } from '../../lib/xml/element.js'
import echo from '../echo/room.js'
import { scenario, type Device, type Scenario } from '../scenario.js'

const NAME = field.text('name', { label: 'Name', required: true })
const SIZE = field.text('size', { label: 'Size' })
const FIRST = new DataForm('urn:example:first', [NAME], { title: 'First' })
const SECOND = new DataForm('urn:example:second', [SIZE], { title: 'Second' })
const done: string[] = []

/** A command that reports what it was given. */
const greet: AdHocCommand = {
  node: 'greet',
  name: 'Greet somebody',
  at: 'host',
  mayRun: ({ asker }) => asker.local !== 'tybalt',
  steps: [{ form: FIRST, filled: () => [NAME.is('nobody')] }, { form: SECOND }],
  finish ({ answers: [first, second], batch }: CommandRun) {
    if (first?.get(NAME) === 'Paris') throw new StanzaError('not-acceptable')
    batch.committed(() => { done.push(`${String(first?.get(NAME))} ${String(second?.get(SIZE))}`) })
    return { notes: [{ type: 'info', text: `Hello ${String(first?.get(NAME))}` }] }
  },
}
const count: AdHocCommand = {
  node: 'count', name: 'Count', at: 'host', mayRun: () => Promise.resolve(true),
  finish: () => Promise.resolve({ payload: SECOND.result([SIZE.is('3')]) }),
}
const own: AdHocCommand = {
  node: 'own', name: 'Own', at: 'account', mayRun: ({ asker, to }) => asker.bare.equals(to), finish: () => ({}),
}
const room: AdHocCommand = {
  node: 'room', name: 'Room', at: 'entity', mayRun: () => true,
  finish: ({ entity }) => ({ notes: [{ type: 'info', text: String(entity?.kind) }] }),
}

const declares = defineModule({
  name: 'declares',
  at: 'everywhere',
  requires: ['ad-hoc-commands'],
  setup (host) {
    host.whileUp(() => {
      const declared = [greet, count, own, room].map(command => host.use(adHocCommands).declare(command))
      return () => { for (const remove of declared) remove() }
    })
  },
})

const HOST = 'capulet.lit'
const HALL = 'hall@echo.capulet.lit'
let asked = 0

async function runs (device: Device, to: string, attributes: string, form = ''): Promise<Element> {
  return await device.asks(`<iq type='set' to='${to}' id='c${++asked}'><command xmlns='${NS.COMMANDS}' ${attributes}>${form}</command></iq>`)
}
const query = (to: string, namespace: string, node?: string): string =>
  `<iq type='get' to='${to}' id='q${++asked}'><query xmlns='${namespace}'${node === undefined ? '' : ` node='${node}'`}/></iq>`
const filled = (type: string, name: string, value: string, is = 'submit'): string =>
  `<x xmlns='${NS.DATA}' type='${is}'><field var='FORM_TYPE'><value>urn:example:${type}</value></field><field var='${name}'><value>${value}</value></field></x>`

/** The condition and the type of an error, with the condition of XEP-0050. */
function errorOf (reply: Element): readonly (string | undefined)[] {
  const error = reply.getChild('error')
  return error === undefined ? [] : [error.attrs['type'], ...childElements(error).map(localName).filter(name => name !== 'text')]
}

function commandIn (reply: Element): Element {
  const command = reply.getChild('command')
  if (command === undefined) throw new Error(`no command in ${reply.toString()}`)
  return command
}

const idOf = (reply: Element): string => String(commandIn(reply).attrs['sessionid'])
const actionsOf = (reply: Element): readonly string[] => {
  const actions = commandIn(reply).getChild('actions')
  return [String(actions?.attrs['execute']), ...actions === undefined ? [] : childElements(actions).map(localName)]
}

async function stage (test: Test): Promise<{ readonly s: Scenario, readonly juliet: Device }> {
  const s = await scenario(test, { modules: ['presence', 'roster', 'message', 'disco', declares], services: { 'echo.capulet.lit': [echo, declares] } })
  done.length = 0
  return { s, juliet: await s.device('juliet@capulet.lit/balcony') }
}

t.test('a command runs from its first form to its end, forth and back; its work is done once, after the commit', async t => {
  const { juliet } = await stage(t)
  const first = await runs(juliet, HOST, "node='greet' action='execute'")
  t.match(commandIn(first).attrs, { node: 'greet', status: 'executing' })
  t.same(actionsOf(first), ['next', 'next'])
  t.equal(commandIn(first).getChild('x', NS.DATA)?.getChildText('title'), 'First')
  t.match(first.toString(), /<value>nobody<\/value>/)
  const at = `node='greet' sessionid='${idOf(first)}'`
  const second = await runs(juliet, HOST, at, filled('first', 'name', 'Romeo'))
  t.same(actionsOf(second), ['complete', 'prev', 'complete'])
  const back = await runs(juliet, HOST, `${at} action='prev'`)
  t.same(actionsOf(back), ['next', 'next'])
  await runs(juliet, HOST, `${at} action='next'`, filled('first', 'name', 'Juliet'))
  t.same(done, [])
  const end = await runs(juliet, HOST, `${at} action='complete'`, filled('second', 'size', '3', 'cancel'))
  t.match(commandIn(end).attrs, { node: 'greet', status: 'completed', sessionid: idOf(first) })
  t.equal(commandIn(end).getChildText('note'), 'Hello Juliet')
  t.same(done, ['Juliet 3'])
  t.same(errorOf(await runs(juliet, HOST, at, filled('second', 'size', '3'))), ['cancel', 'not-allowed', 'session-expired'])
  t.same(done, ['Juliet 3'])
})

t.test('a command without steps is done at once, and a cancelled one is over', async t => {
  const { juliet } = await stage(t)
  const counted = await runs(juliet, HOST, "node='count'")
  t.equal(commandIn(counted).attrs['status'], 'completed')
  t.match(counted.toString(), /<value>3<\/value>/)
  const at = `node='greet' sessionid='${idOf(await runs(juliet, HOST, "node='greet'"))}'`
  t.equal(commandIn(await runs(juliet, HOST, `${at} action='cancel'`)).attrs['status'], 'canceled')
  t.same(errorOf(await runs(juliet, HOST, `${at} action='cancel'`)), ['cancel', 'not-allowed', 'session-expired'])
})

t.test('each mistake has its condition, and the command still runs after it', async t => {
  const { s, juliet } = await stage(t)
  const at = `node='greet' sessionid='${idOf(await runs(juliet, HOST, "node='greet'"))}'`
  const mistakes: readonly (readonly [attributes: string, form: string, error: readonly string[]])[] = [
    [`${at} action='dance'`, '', ['modify', 'bad-request', 'malformed-action']],
    [`${at} action='prev'`, '', ['modify', 'bad-request', 'bad-action']],
    [`${at} action='complete'`, filled('first', 'name', 'x'), ['modify', 'bad-request', 'bad-action']],
    [at, '', ['modify', 'bad-request', 'bad-payload']],
    [at, filled('second', 'name', 'x'), ['modify', 'bad-request', 'bad-payload']],
    [at, `<x xmlns='${NS.DATA}' type='submit'><field var='FORM_TYPE'><value>urn:example:first</value></field></x>`, ['modify', 'bad-request', 'bad-payload']],
    ["node='greet' action='next'", '', ['modify', 'bad-request', 'bad-action']],
    ["node='greet' sessionid='unknown'", '', ['modify', 'bad-request', 'bad-sessionid']],
    [`node='count' sessionid='${at.split("'")[3] ?? ''}'`, '', ['modify', 'bad-request', 'bad-sessionid']],
    ["node='nothing'", '', ['cancel', 'item-not-found']],
    ['', '', ['modify', 'bad-request']],
  ]
  for (const [attributes, form, error] of mistakes) {
    t.same(errorOf(await runs(juliet, HOST, attributes, form)), error, attributes)
  }
  const other = await s.device('juliet@capulet.lit/chamber')
  t.same(errorOf(await runs(other, HOST, at, filled('first', 'name', 'x'))), ['modify', 'bad-request', 'bad-sessionid'])
  t.same(actionsOf(await runs(juliet, HOST, at, filled('first', 'name', 'Paris'))), ['complete', 'prev', 'complete'])
  t.same(errorOf(await runs(juliet, HOST, at, filled('second', 'size', '1'))), ['modify', 'not-acceptable'])
  t.same(actionsOf(await runs(juliet, HOST, `${at} action='prev'`)), ['next', 'next'], 'the command still runs')
})

t.test('who may not run a command does not see it, and is forbidden to run it', async t => {
  const { s, juliet } = await stage(t)
  const tybalt = await s.device('tybalt@capulet.lit/street')
  const listed = async (device: Device, to: string): Promise<readonly (string | undefined)[]> =>
    (await device.asks(query(to, NS.DISCO_ITEMS, NS.COMMANDS))).getChild('query')?.getChildren('item').map(({ attrs }) => attrs['node']) ?? []
  t.same(await listed(juliet, HOST), ['greet', 'count'])
  t.same(await listed(tybalt, HOST), ['count'])
  t.same(errorOf(await runs(tybalt, HOST, "node='greet'")), ['cancel', 'forbidden'])
  t.same(errorOf(await tybalt.asks(query(HOST, NS.DISCO_INFO, 'greet'))), ['cancel', 'forbidden'])
  const info = (await juliet.asks(query(HOST, NS.DISCO_INFO, 'greet'))).getChild('query')
  t.match(info?.getChild('identity')?.attrs, { category: 'automation', type: 'command-node', name: 'Greet somebody' })
  t.same(info?.getChildren('feature').map(({ attrs }) => attrs['var']), [NS.COMMANDS, NS.DATA])
  const list = (await juliet.asks(query(HOST, NS.DISCO_INFO, NS.COMMANDS))).getChild('query')
  t.match(list?.getChild('identity')?.attrs, { category: 'automation', type: 'command-list' })
})

t.test('accounts and entities have commands too; a stranger gets the answer for an account that does not exist', async t => {
  const { s, juliet } = await stage(t)
  const self = 'juliet@capulet.lit'
  t.equal(commandIn(await runs(juliet, self, "node='own'")).attrs['status'], 'completed')
  const romeo = await s.device('romeo@montague.lit/orchard')
  t.same(errorOf(await runs(romeo, self, "node='own'")), errorOf(await runs(romeo, 'nobody@capulet.lit', "node='own'")))
  await s.contact(self, 'romeo@montague.lit')
  t.same(errorOf(await runs(romeo, self, "node='own'")), ['cancel', 'forbidden'])
  await juliet.says(`<presence to='${HALL}'/>`)
  t.equal(commandIn(await runs(juliet, HALL, "node='room'")).getChildText('note'), 'echo room')
  t.match((await juliet.asks(query(HALL, NS.DISCO_INFO))).toString(), new RegExp(`var="${NS.COMMANDS}"`))
  t.match((await juliet.asks(query(self, NS.DISCO_INFO))).toString(), new RegExp(`var="${NS.COMMANDS}"`))
  t.match((await juliet.asks(query(HOST, NS.DISCO_INFO))).toString(), new RegExp(`var="${NS.COMMANDS}"`))
})

t.test('the feature is there only while there are commands', async t => {
  const s = await scenario(t, { modules: ['presence', 'roster', 'disco', 'ad-hoc-commands'] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  t.notMatch((await juliet.asks(query(HOST, NS.DISCO_INFO))).toString(), NS.COMMANDS)
  t.same(errorOf(await juliet.asks(query(HOST, NS.DISCO_ITEMS, NS.COMMANDS))), ['cancel', 'item-not-found'])
})

t.test('disco that is turned off and on by a reload lists the commands again; without it they run', async t => {
  const { s, juliet } = await stage(t)
  await s.turnsOff('disco')
  t.equal(commandIn(await runs(juliet, HOST, "node='count'")).attrs['status'], 'completed')
  await s.turnsOn('disco')
  t.match((await juliet.asks(query(HOST, NS.DISCO_INFO))).toString(), new RegExp(`var="${NS.COMMANDS}"`))
  t.match((await juliet.asks(query(HOST, NS.DISCO_ITEMS, NS.COMMANDS))).toString(), /node="greet"/)
})

t.test('commands that run are bounded in number for one account, in bytes and in time', async t => {
  const { s, juliet } = await stage(t)
  const ids: string[] = []
  for (let n = 0; n < 20; n++) ids.push(idOf(await runs(juliet, HOST, "node='greet'")))
  const go = async (id: string, name = 'x'): Promise<readonly (string | undefined)[]> =>
    errorOf(await runs(juliet, HOST, `node='greet' sessionid='${id}' action='next'`, filled('first', 'name', name)))
  t.same(await go(ids[0] ?? ''), ['modify', 'bad-request', 'bad-sessionid'], 'the oldest has made room')
  t.same(await go(ids[19] ?? ''), [])
  const romeo = await s.device('romeo@montague.lit/orchard')
  t.equal(commandIn(await runs(romeo, HOST, "node='greet'")).attrs['status'], 'executing', 'another account is not affected')
  t.same(await go(ids[18] ?? '', 'x'.repeat(100_000)), ['modify', 'bad-request', 'bad-payload'])
  await s.pass('11m')
  const late = idOf(await runs(juliet, HOST, "node='greet'"))
  t.same(await go(ids[17] ?? ''), ['cancel', 'not-allowed', 'session-expired'])
  t.same(await go(late), [])
})
