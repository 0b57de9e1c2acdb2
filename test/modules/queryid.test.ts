/** XEP-0313 §4: the id of a query is repeated in each result, so its length is bounded. */
import t from 'tap'
import { scenario } from '../scenario.js'

t.test('an archive query with an id of more than 1,024 characters is refused', async t => {
  const s = await scenario(t, { modules: ['message', 'mam'] })
  const juliet = await s.device('juliet@capulet.lit/balcony')
  const query = (length: number): string => `<iq type='set' id='q${length}'><query xmlns='urn:xmpp:mam:2' queryid='${'x'.repeat(length)}'/></iq>`
  await juliet.says(query(1025))
  t.match((await juliet.gets("<iq type='error' id='q1025'/>")).getChild('error')?.children[0], { name: 'bad-request' })
  await juliet.says(query(1024))
  await juliet.gets("<iq type='result' id='q1024'/>")
})
