/** The reads that a retraction causes are charged to its sender and bounded. */
import t from 'tap'
import { scenario } from '../scenario.js'

const JULIET = 'juliet@capulet.lit'
/** A message that another device of its sender may not retract, and that is expensive to check. */
const large = (id: string): string => `<message to='${JULIET}' type='chat' id='${id}'><x xmlns='http://jabber.org/protocol/muc#user'/><body>${'x'.repeat(200_000)}</body></message>`
const retraction = (id: string, own: string): string => `<message to='${JULIET}' type='chat' id='${own}'><retract xmlns='urn:xmpp:message-retract:1' id='${id}'/></message>`

t.test('a retraction of many large messages costs its sender what was read for it, and stops after 1 MiB of each archive', async t => {
  const s = await scenario(t, { modules: ['mam', 'message', 'roster', 'limits'], settings: { limits: { sessionStanzasPerSecond: 10_000, addressStanzasPerSecond: 10_000, strangerMessagesPerMinute: 10_000 } } })
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device('romeo@montague.lit/orchard')
  const other = await s.device('romeo@montague.lit/home')
  for (let n = 0; n < 12; n++) {
    await romeo.says(large('same'))
    juliet.forget()
    await s.pass('1m')
  }
  t.notOk(romeo.paused)
  await other.says(retraction('another', 'r0'))
  t.notOk(other.paused, 'a retraction that finds nothing costs nothing')
  const charge = other.session.charge.bind(other.session)
  let units = 0
  other.session.charge = by => {
    units += by
    charge(by)
  }
  await other.says(retraction('same', 'r1'))
  t.ok(units > 2 * 10_000 && units < 2 * 14_000, `${units} units for 1 MiB of both archives`)
  t.ok(other.paused)
  t.notOk(juliet.paused)
})

t.test('many retractions at once are processed one after the other for each archive, with a bound on those that wait', async t => {
  const s = await scenario(t, { modules: ['mam', 'message', 'roster'] })
  const juliet = await s.device(`${JULIET}/balcony`)
  const romeo = await s.device('romeo@montague.lit/orchard')
  const messages = Array.from({ length: 300 }, (_, n) => [`<message to='${JULIET}' type='chat' id='m${n}'><body>${n}</body></message>`, retraction(`m${n}`, `r${n}`)])
  for (const [message = ''] of messages) await romeo.says(message)
  await romeo.says(messages.slice(0, 90).map(([, retraction = '']) => retraction).join(''))
  t.notOk(s.lines.some(({ event }) => event === 'message retraction failed'))
  for (let n = 0; n < 90; n++) await s.settled() // one after the other
  juliet.forget()
  await juliet.says("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
  t.equal(juliet.unread.filter(one => one.toString().includes('<retracted ')).length, 90)
  await romeo.says(messages.slice(90).map(([, retraction = '']) => retraction).join(''))
  t.equal(s.lines.filter(({ event }) => event === 'message retraction failed').length, 2, 'one log line for each archive')
})
