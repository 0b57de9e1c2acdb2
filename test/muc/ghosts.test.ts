/** Occupants of other servers who are gone without a word, and rooms that are found after a start. */
import t, { type Test } from 'tap'
import { serverReturned } from '../../lib/host/events.js'
import type { Element } from '../../lib/xml/element.js'
import { MemoryStorage } from '../../lib/storage/memory.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import { startServer, type Device, type Scenario } from '../scenario.js'
import { conditionOf } from '../stanzas.js'
import { asking, entering, guest, hall, HALL, says, SCENE, SERVICE, stage, told } from './stage.js'

/** The domain of a component stands for another server: for the room, both are the same. */
const ELSEWHERE = 'fairies.lit'
const PUCK = `puck@${ELSEWHERE}/wood`

interface Elsewhere {
  readonly s: Scenario
  readonly juliet: Device
  readonly sent: Element[]
  says (text: string): Promise<void>
}

/** Puck of another server is in Juliet's room. */
async function elsewhere (t: Test): Promise<Elsewhere> {
  const s = await stage(t, {
    services: { ...SCENE.services, [ELSEWHERE]: ['disco', 'component'] }, settings: { component: { secret: { file: 'fairies' } } },
  })
  const juliet = await hall(s)
  const sent: Element[] = []
  s.server.doors.at(ELSEWHERE)?.enter({ address: '192.0.2.7', backlog: 0, send: one => { sent.push(s.element(one.octets())) }, end () {} })
  const says = async (text: string): Promise<void> => {
    const element = s.element(text)
    s.server.pipeline.route(stanza(element, parseJid(PUCK), parseJid(String(element.attrs['to']))))
    await s.settled()
  }
  await says(entering('puck'))
  juliet.forget()
  sent.splice(0)
  return { s, juliet, sent, says }
}

const pings = (sent: readonly Element[]): readonly Element[] => sent.filter(one => one.getChild('ping') !== undefined)
const refusing = (name: string, { attrs }: Element, condition = 'service-unavailable'): string =>
  `<${name} type='error' to='${HALL}' id='${String(attrs['id'])}'><error type='cancel'><${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></${name}>`

t.test('when a server is back, its occupants are asked; who is not there any more leaves', async t => {
  const { s, juliet, sent, says } = await elsewhere(t)
  await s.host(SERVICE).hooks.fire(serverReturned, { peer: 'moon.lit' })
  t.equal(pings(sent).length, 0, 'those of other servers are not')
  await s.host(SERVICE).hooks.fire(serverReturned, { peer: ELSEWHERE })
  const [ping] = pings(sent)
  if (ping === undefined) throw new Error('not asked')
  sent.splice(0)
  await says(refusing('iq', ping))
  t.same(told(juliet.unread), [], 'a client that knows no ping says the same')
  const [probe] = sent
  t.match(String(probe), /^<message [^>]*type="groupchat"/, 'a message that no client answers')
  t.equal(probe?.getChild('body'), undefined)
  await says(refusing('message', probe ?? ping))
  t.same(told(juliet.unread), ['puck unavailable none/none 333'])
})

t.test('who answers a ping with an error, and gets messages, stays', async t => {
  const { s, juliet, sent, says } = await elsewhere(t)
  await s.host(SERVICE).hooks.fire(serverReturned, { peer: ELSEWHERE })
  for (const ping of pings(sent)) await says(refusing('iq', ping, 'feature-not-implemented'))
  sent.splice(0)
  await says(refusing('message', s.element("<message id='another'/>")))
  await s.pass('2s') // some are asked in each second
  for (const ping of pings(sent)) await says(refusing('iq', ping, 'service-unavailable'))
  await s.pass('10m')
  t.same(told(juliet.unread), [])
})

t.test('an error that may come from a client makes the room ask, once a minute at most', async t => {
  const { s, juliet, sent, says: puckSays } = await elsewhere(t)
  const bounces = async (): Promise<void> => { await puckSays(refusing('message', s.element("<message id='1'/>"))) }
  await juliet.says(says('1'))
  for (let n = 0; n < 3; n++) await bounces()
  const [ping, ...more] = pings(sent)
  t.same(more, [])
  await puckSays(`<iq type='result' to='${HALL}' id='${String(ping?.attrs['id'])}'/>`)
  await s.pass('61s')
  await bounces()
  t.equal(pings(sent).length, 2)
})

t.test('a request to an occupant that is not answered comes back', async t => {
  const { s, juliet, sent } = await elsewhere(t)
  await juliet.says(asking("<query xmlns='jabber:iq:version'/>", 'get', `${HALL}/puck`))
  t.equal(sent.length, 1)
  await s.pass('1m')
  t.same(juliet.unread, [])
  await s.pass('2m')
  t.same(juliet.unread.map(one => [one.attrs['id'], conditionOf(one), one.attrs['from']]), [['a', 'remote-server-timeout', `${HALL}/puck`]])
})

t.test('after a crash a temporary room whose occupants are gone ends, although nobody asks for it', async t => {
  const storage = new MemoryStorage()
  const first = await startServer({ ...SCENE, storage })
  await hall(first)
  await first.settled()
  const s = await stage(t, { storage, ids: 'second', hosts: ['capulet.lit', 'montague.lit'] })
  await s.pass('61s')
  t.same(await s.traces(HALL), [])
  await first.end()
})

t.test('an invitation can be declined after a restart', async t => {
  const storage = new MemoryStorage()
  const first = await startServer({ ...SCENE, storage })
  const juliet = await hall(first, { persistentroom: '1' })
  await juliet.says(`<message to='${HALL}'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='romeo@montague.lit'/></x></message>`)
  await first.end()
  const s = await stage(t, { storage, ids: 'second', hosts: ['capulet.lit'] })
  const back = await s.device('juliet@capulet.lit/balcony')
  await back.says(entering('juliet'))
  back.forget()
  const romeo = await s.device('romeo@montague.lit/orchard')
  const declining = `<message to='${HALL}'><x xmlns='http://jabber.org/protocol/muc#user'><decline to='juliet@capulet.lit'/></x></message>`
  await romeo.says(declining)
  t.equal(back.unread.at(-1)?.getChild('x')?.getChild('decline')?.attrs['from'], 'romeo@montague.lit')
  await romeo.says(declining)
  t.equal(conditionOf(romeo.unread.at(-1)), 'item-not-found', 'once')
})

t.test('long reasons count in what a room takes', async t => {
  const s = await stage(t)
  const juliet = await hall(s)
  await guest(s, 'romeo@montague.lit/orchard')
  const before = s.host(SERVICE).entities.bytes
  const items = Array.from({ length: 20 }, (_, n) => `<item affiliation='outcast' jid='fool${n}@montague.lit'><reason>${'x'.repeat(900)}</reason></item>`)
  await juliet.asks(asking(`<query xmlns='http://jabber.org/protocol/muc#admin'>${items.join('')}</query>`))
  t.ok(s.host(SERVICE).entities.bytes - before > 20 * 900)
})
