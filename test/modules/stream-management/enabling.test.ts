/** Enabling stream management (XEP-0198 §3). */
import t from 'tap'
import { enable } from '../../managed.js'
import { ENABLE, SM } from '../../stanzas.js'
import { a, body, managedCouple, r, stage, toJuliet } from './stage.js'

t.test('enabling stream management returns an id for resumption and the resume timeout', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(ENABLE)
  const enabled = await juliet.gets(`<enabled ${SM} resume='true' max='900'/>`)
  t.ok(enabled.attrs['id'])
  await juliet.says(ENABLE)
  t.equal(juliet.error?.condition, 'policy-violation')
})

t.test('a client can ask for a shorter resume timeout, but not for a longer one', async t => {
  const s = await stage(t)
  const one = await s.device('juliet@capulet.lit/one')
  await one.says(`<enable ${SM} resume='1' max='60'/>`)
  await one.gets(`<enabled ${SM} max='60'/>`)
  const two = await s.device('juliet@capulet.lit/two')
  await two.says(`<enable ${SM} resume='true' max='999999'/>`)
  await two.gets(`<enabled ${SM} max='900'/>`)
})

t.test('a client that does not ask for resumption gets acknowledgements but no id', async t => {
  const s = await stage(t)
  const { romeo } = await managedCouple(s)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  await chamber.says(`<enable ${SM}/>`)
  const enabled = await chamber.gets(`<enabled ${SM}/>`)
  t.notOk(enabled.attrs['id'] ?? enabled.attrs['resume'] ?? enabled.attrs['max'])
  await chamber.says(`<presence/>${r}`)
  await chamber.getsInAnyOrder('<presence/>', r, a(1))
  await chamber.loses('connection')
  t.equal(chamber.session.connection, 'closed')
  await romeo.says(toJuliet('later', "<x xmlns='urn:x'/>"))
})

t.test('stream management cannot be enabled before a resource is bound', async t => {
  const s = await stage(t)
  await s.account('juliet@capulet.lit')
  const { answer, device } = await s.resume('juliet@capulet.lit', ENABLE)
  t.notOk(device)
  t.match(answer.toString(), /unexpected-request/)
})

t.test('acknowledgements without stream management are refused', async t => {
  const s = await stage(t)
  const juliet = await s.device('juliet@capulet.lit/balcony')
  await juliet.says(r)
  await juliet.gets(`<failed ${SM}><unexpected-request/></failed>`.replace('<unexpected-request/>', "<unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"))
  await juliet.says(a(0), `<resume ${SM} previd='x' h='0'/>`)
  await juliet.gets(`<failed ${SM}/>`)
  await juliet.gets(`<failed ${SM}/>`)
})

t.test('stream management is not enabled if nothing can be stored, and the stream goes on', async t => {
  const s = await stage(t)
  const { romeo } = await managedCouple(s)
  const chamber = await s.device('juliet@capulet.lit/chamber')
  s.storage.failing = new Error('no space left')
  await chamber.says(ENABLE)
  s.storage.failing = undefined
  await chamber.gets(`<failed ${SM}><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`)
  await romeo.says(toJuliet('still here'))
  await chamber.gets(body('still here'))
  await enable(chamber)
})
