/** If stream management is turned off, nothing that it stored waits forever. */
import t from 'tap'
import { shapes } from '../../modules/stream-management/stores.js'
import { scenario, type Scenario } from '../scenario.js'
import { enable } from '../managed.js'
import { bodies, SM } from '../stanzas.js'

const HOSTS = ['montague.lit', 'capulet.lit']
const MODULES = ['presence', 'message', 'offline', 'stream-management']
const JULIET = 'juliet@capulet.lit'

const toJuliet = (text: string, resource = ''): string => `<message to='${JULIET}${resource}' type='chat'><body>${text}</body></message>`

/** The number of rows that are stored for juliet's sessions. */
async function rows (s: Scenario): Promise<number> {
  const sessions = await s.storage.open('stream-management.sessions', shapes.sessions)
  const counts = await s.storage.open('stream-management.counts', shapes.counts)
  const unacknowledged = await s.storage.open('stream-management.unacknowledged', shapes.unacknowledged)
  const { entries } = await unacknowledged.size(JULIET)
  return (await sessions.all(JULIET)).size + (await counts.all(JULIET)).size + entries
}

t.test('a reload without the module ends every session that it managed, and unacknowledged messages wait for the account', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: HOSTS })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const balcony = await s.device(`${JULIET}/balcony`)
  const chamber = await s.device(`${JULIET}/chamber`)
  for (const device of [balcony, chamber]) await enable(device)
  await chamber.loses('connection')
  await romeo.says(toJuliet('one', '/balcony'), toJuliet('two', '/chamber'))
  t.same(bodies(balcony), ['one'])
  await s.turnsOff('stream-management')
  t.equal(balcony.error?.condition, 'reset')
  t.equal(s.host('capulet.lit').sessions.count, 0)
  t.equal(await rows(s), 0)
  await romeo.says(toJuliet('three'))
  const hall = await s.device(`${JULIET}/hall`, { presence: false })
  await hall.says('<presence/>')
  t.same(bodies(hall).sort(), ['one', 'three', 'two'])
  await hall.says(`<enable ${SM}/>`)
  t.equal(hall.error?.condition, 'unsupported-stanza-type')
})

t.test('a start without the module gives the saved messages to their accounts, and leaves no rows', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: HOSTS })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const balcony = await s.device(`${JULIET}/balcony`)
  await enable(balcony)
  await romeo.says(toJuliet('one'))
  await s.end()
  t.ok(await rows(s) > 0)
  const next = await scenario(t, { modules: ['presence', 'message', 'offline'], hosts: HOSTS, storage: s.storage, ids: 'next' })
  await next.settled()
  t.equal(next.host('capulet.lit').sessions.count, 0)
  t.equal(await rows(next), 0)
  const hall = await next.device(`${JULIET}/hall`, { presence: false })
  await hall.says('<presence/>')
  t.same(bodies(hall), ['one'])
})

t.test('a reload with other settings ends no session', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: HOSTS })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const balcony = await s.device(`${JULIET}/balcony`)
  const id = await enable(balcony)
  await s.reload('stream-management', { resumeTimeout: '5m' })
  await romeo.says(toJuliet('one'))
  t.same(bodies(balcony), ['one'])
  await balcony.loses('connection')
  const { device } = await s.resume(JULIET, `<resume ${SM} previd='${id}' h='0'/>`)
  t.same(device === undefined ? undefined : bodies(device), ['one'])
})
