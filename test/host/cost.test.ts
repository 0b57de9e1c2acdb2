/**
 * The cost of stanzas is charged to the account that sends them. The devices of an account over its budget are read
 * more slowly, and nothing is lost.
 */
import t from 'tap'
import { Budgets } from '../../lib/base/rate.js'
import { costOfBytes, costOfRows } from '../../lib/host/cost.js'
import { FakeClock } from '../fake-clock.js'
import { scenario, type Device, type Scenario } from '../scenario.js'

const ALL = { sessionStanzasPerSecond: 1000, addressStanzasPerSecond: 10_000 }
const MESSAGE = "<message to='juliet@capulet.lit' type='chat'><body>!</body></message>"
const many = (count: number, stanza: string): string[] => Array.from({ length: count }, () => stanza)

/** A scene with a budget of ten units a second and a burst of 100. */
async function stage (test: Parameters<typeof scenario>[0], modules: readonly string[] = []): Promise<Scenario> {
  return await scenario(test, { modules: ['roster', 'presence', 'message', 'private', 'limits', ...modules], settings: { limits: { ...ALL, accountCostPerSecond: 10 } } })
}

async function three (s: Scenario): Promise<readonly Device[]> {
  return [await s.device('juliet@capulet.lit/a'), await s.device('juliet@capulet.lit/b'), await s.device('juliet@capulet.lit/c')]
}

t.test('each recipient device of a message is charged to its sender, and a sender over its budget is read more slowly', async t => {
  const s = await stage(t)
  const [juliet] = await three(s)
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(...many(33, MESSAGE))
  t.equal(romeo.paused, false, '99 units')
  await romeo.says(MESSAGE)
  t.equal(romeo.paused, true, '102 units')
  t.equal(juliet?.unread.filter(({ name }) => name === 'message').length, 34, 'every stanza that was read arrived')
  t.equal(juliet?.paused, false, 'a recipient is not charged')
  await s.pass('1s')
  t.equal(romeo.paused, false)
})

t.test('an answer is charged by its size', async t => {
  const s = await stage(t)
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(`<iq type='set' id='s'><query xmlns='jabber:iq:private'><n xmlns='a:b'>${'x'.repeat(50_000)}</n></query></iq>`)
  const get = "<iq type='get' id='g'><query xmlns='jabber:iq:private'><n xmlns='a:b'/></query></iq>"
  await romeo.says(get, get)
  t.equal(romeo.paused, false, 'less than 100 KiB')
  await romeo.says(get)
  t.equal(romeo.paused, true)
  t.equal(costOfBytes(2048), 2)
  t.equal(costOfRows(100), 10)
})

t.test('the devices of an account share one budget, also with a device that connects later', async t => {
  const s = await stage(t)
  await three(s)
  const romeo = await s.device('romeo@montague.lit/a')
  const other = await s.device('romeo@montague.lit/b')
  const paris = await s.device('paris@montague.lit/x')
  await romeo.says(...many(40, MESSAGE)) // 120 units
  t.equal(romeo.paused, true)
  await other.says(MESSAGE)
  t.equal(other.paused, true, 'its first message uses up the budget of the account')
  await paris.says(MESSAGE)
  t.equal(paris.paused, false, 'another account has its own budget')
  await romeo.loses('connection')
  await other.loses('connection')
  const next = await s.device('romeo@montague.lit/c')
  await next.says(MESSAGE)
  t.equal(next.paused, true, 'a new device starts with what the others left')
  await s.pass('20s')
  await next.says(MESSAGE)
  t.equal(next.paused, false)
})

t.test('a reload changes the budget of connected devices', async t => {
  const s = await stage(t)
  await three(s)
  const romeo = await s.device('romeo@montague.lit/a')
  await s.reload('limits', { ...ALL, accountCostPerSecond: 1000 })
  await romeo.says(...many(100, MESSAGE))
  t.equal(romeo.paused, false)
  await s.reload('limits', { ...ALL, accountCostPerSecond: 10 })
  await romeo.says(...many(40, MESSAGE))
  t.equal(romeo.paused, true)
})

t.test('presence over the budget is delayed and not dropped: subscribers get all of it in order', async t => {
  const s = await stage(t)
  const romeo = await s.device('romeo@montague.lit/orchard')
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await romeo.says("<presence to='juliet@capulet.lit' type='subscribed'/>")
  await juliet.says("<presence to='romeo@montague.lit' type='subscribe'/>")
  juliet.forget()
  for (let n = 0; n < 150; n++) await romeo.says(`<presence><status>${n}</status></presence>`)
  t.equal(romeo.paused, true)
  const heard = juliet.unread.filter(({ name }) => name === 'presence').map(presence => presence.getChildText('status'))
  t.same(heard, Array.from({ length: 150 }, (_, n) => String(n)))
  juliet.forget()
})

t.test('budgets in use are kept, and of the others the latest', t => {
  const clock = new FakeClock()
  const budgets = new Budgets(clock, 1, 10, 2)
  const held = budgets.hold('held')
  held.take(10)
  for (let n = 0; n < 1000; n++) budgets.of(`passing ${n}`).take(5)
  t.equal(budgets.of('held'), held)
  t.equal(budgets.of('passing 999').level, 5)
  t.equal(budgets.of('passing 0').level, 10, 'forgotten')
  t.equal(budgets.hold('held'), held)
  budgets.leave('held')
  t.equal(budgets.held, 1)
  budgets.leave('held')
  t.equal(budgets.held, 0)
  t.equal(budgets.of('held'), held, 'a budget is remembered for a while')
  budgets.leave('nobody')
  t.end()
})
