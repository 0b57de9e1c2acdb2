/** Stream management is turned off: nothing that it kept waits for ever. */
import t from 'tap'
import { shapes } from '../../modules/stream-management/stores.js'
import { scenario, type Device, type Scenario } from '../scenario.js'

const SM = "xmlns='urn:xmpp:sm:3'"
const HOSTS = ['montague.lit', 'capulet.lit']
const MODULES = ['presence', 'message', 'offline', 'stream-management']
const JULIET = 'juliet@capulet.lit'

async function enable (device: Device): Promise<string> {
  await device.says(`<enable ${SM} resume='true'/>`)
  return (await device.gets(`<enabled ${SM}/>`)).attrs['id'] as string
}

const toJuliet = (text: string, resource = ''): string => `<message to='${JULIET}${resource}' type='chat'><body>${text}</body></message>`
const bodies = (device: Device): string[] => device.unread.flatMap(element => element.getChildText('body') ?? [])

/** What is stored for juliet's sessions. */
async function rows (s: Scenario): Promise<number> {
  const sessions = await s.storage.open('stream-management.sessions', shapes.sessions)
  const counts = await s.storage.open('stream-management.counts', shapes.counts)
  const unacknowledged = await s.storage.open('stream-management.unacknowledged', shapes.unacknowledged)
  return (await sessions.all(JULIET)).size + (await counts.all(JULIET)).size + (await unacknowledged.size(JULIET)).entries
}

t.test('by a reload: sessions end, those that wait for their devices too, and what was not confirmed waits for the account', async t => {
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

t.test('while the server is stopped: what was written down for devices goes to their accounts, and nothing of it stays', async t => {
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

t.test('other settings end no session', async t => {
  const s = await scenario(t, { modules: MODULES, hosts: HOSTS })
  const romeo = await s.device('romeo@montague.lit/orchard')
  const balcony = await s.device(`${JULIET}/balcony`)
  const id = await enable(balcony)
  await s.reload('stream-management', { resume: '5m' })
  await romeo.says(toJuliet('one'))
  t.same(bodies(balcony), ['one'])
  await balcony.loses('connection')
  const { device } = await s.resume(JULIET, `<resume ${SM} previd='${id}' h='0'/>`)
  t.same(device === undefined ? undefined : bodies(device), ['one'])
})
