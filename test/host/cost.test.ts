/** What stanzas cost is charged to the account that sends them; over its budget its devices are read more slowly, and nothing is lost. */
import t from 'tap'
import { Budgets } from '../../lib/base/rate.js'
import { costOfBytes, costOfRows } from '../../lib/host/cost.js'
import { FakeClock } from '../fake-clock.js'
import { scenario, type Device, type Scenario } from '../scenario.js'

const ALL = { session: 1000, address: 10_000 }
const MESSAGE = "<message to='juliet@capulet.lit' type='chat'><body>!</body></message>"
const many = (count: number, stanza: string): string[] => Array.from({ length: count }, () => stanza)

/** A budget of ten units a second, and 100 at once. */
async function stage (test: Parameters<typeof scenario>[0], modules: readonly string[] = []): Promise<Scenario> {
  return await scenario(test, { modules: ['roster', 'presence', 'message', 'private', 'limits', ...modules], settings: { limits: { ...ALL, cost: 10 } } })
}

async function three (s: Scenario): Promise<readonly Device[]> {
  return [await s.device('juliet@capulet.lit/a'), await s.device('juliet@capulet.lit/b'), await s.device('juliet@capulet.lit/c')]
}

t.test('each device that a message is brought to is charged to its sender, who is read more slowly over the budget', async t => {
  const s = await stage(t)
  const [juliet] = await three(s)
  const romeo = await s.device('romeo@montague.lit/orchard')
  await romeo.says(...many(33, MESSAGE))
  t.equal(romeo.paused, false, '99 units')
  await romeo.says(MESSAGE)
  t.equal(romeo.paused, true, '102 units')
  t.equal(juliet?.unread.filter(({ name }) => name === 'message').length, 34, 'what was read has arrived')
  t.equal(juliet?.paused, false, 'nobody pays for what others send to them')
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

t.test('the devices of an account have one budget, and so has the next one that comes', async t => {
  const s = await stage(t)
  await three(s)
  const romeo = await s.device('romeo@montague.lit/a')
  const other = await s.device('romeo@montague.lit/b')
  const paris = await s.device('paris@montague.lit/x')
  await romeo.says(...many(40, MESSAGE)) // 120 units
  t.equal(romeo.paused, true)
  await other.says(MESSAGE)
  t.equal(other.paused, true, 'its first message, and the account has nothing left')
  await paris.says(MESSAGE)
  t.equal(paris.paused, false, 'another account has its own')
  await romeo.loses('connection')
  await other.loses('connection')
  const next = await s.device('romeo@montague.lit/c')
  await next.says(MESSAGE)
  t.equal(next.paused, true, 'a new device begins with what the others have left')
  await s.pass('20s')
  await next.says(MESSAGE)
  t.equal(next.paused, false)
})

t.test('settings that change hold for devices that are here', async t => {
  const s = await stage(t)
  await three(s)
  const romeo = await s.device('romeo@montague.lit/a')
  await s.reload('limits', { ...ALL, cost: 1000 })
  await romeo.says(...many(100, MESSAGE))
  t.equal(romeo.paused, false)
  await s.reload('limits', { ...ALL, cost: 10 })
  await romeo.says(...many(40, MESSAGE))
  t.equal(romeo.paused, true)
})

t.test('presence over the budget is not dropped: who sees it hears all of it, in order', async t => {
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

t.test('budgets that somebody holds stay, and of the others the latest', t => {
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
  t.equal(budgets.of('held'), held, 'it is remembered for a while')
  budgets.leave('nobody')
  t.end()
})
