/** The queues for all other servers are bounded together, and a long answer waits until there is room. */
import { xml } from '../../lib/xml/element.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza, type Addressed } from '../../lib/xmpp/stanza.js'
import { EXTERNAL, header, OURS, scene, SUCCESS, THEIRS, type Line, type Net } from './stage.js'

scene('when the queues for all servers are full, the longest queue loses its newest stanzas, and no other does', async (t, net) => {
  const ours = await net.town(OURS, { limits: { queue: { stanzas: 1000, size: 60 * 1024 * 1024, time: 30_000 } } })
  const [many, few] = ['many.test', 'few.test']
  await net.peer(many)
  await net.peer(few)
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const send = async (domain: string, count: number): Promise<void> => {
    for (let n = 0; n < count; n++) await romeo.says(`<message to='juliet@${domain}' id='${domain} ${n}'><body>${'x'.repeat(250 * 1024)}</body></message>`)
  }
  await send(many, 220)
  await send(few, 60)
  t.match(ours.link(few), { queue: 60 })
  const refused = romeo.unread.map(({ attrs }) => attrs['id'])
  t.ok(refused.length > 0 && refused.every(id => String(id).startsWith(many)), 'messages to many.test come back')
  t.equal(refused[0], `${many} 219`, 'the last one comes first')
})

const QUEUE = { stanzas: 1000, size: 2_000_000, time: 30_000 }
const JULIET = parseJid(`juliet@${THEIRS}/balcony`)
const PIECES = 300

/** Yields messages of 10 KB; `made` counts them. */
function * pieces (made: { count: number }, to = JULIET): Generator<Addressed> {
  for (let n = 0; n < PIECES; n++) {
    made.count++
    yield stanza(xml('message', { type: 'chat', id: `p${n}` }, xml('body', {}, 'x'.repeat(10_000))), parseJid(`room@${OURS}`), to)
  }
}

async function letsIn (net: Net, line: Line): Promise<void> {
  await line.says(SUCCESS)
  await line.says(`${header(THEIRS, { id: line.id })}<stream:features/>`)
  await net.settled()
}

scene('a long answer to another server is made as fast as that server reads', async (t, net) => {
  const ours = await net.town(OURS, { limits: { queue: QUEUE } })
  const peer = await net.peer(THEIRS)
  const made = { count: 0 }
  const drawn = ours.s.host(OURS).outlet(parseJid(`room@${OURS}`)).draw(JULIET, pieces(made))
  t.ok(made.count < 20, `little of 3 MB is made before there is a stream: ${made.count}`)
  const line = await peer.takes(THEIRS, EXTERNAL)
  line.gets('<auth')
  line.transport.pause()
  await letsIn(net, line)
  await net.pass(5000)
  t.ok(made.count < 40, `little is made while the other server reads nothing: ${made.count}`)
  line.transport.resume()
  for (let n = 0; n < 200 && !line.heard.includes(`p${PIECES - 1}'`) && !line.heard.includes(`p${PIECES - 1}"`); n++) await net.pass(100)
  t.equal(await drawn, true)
  t.equal(line.heard.split('<message').length - 1, PIECES, 'all of it arrives')
})

scene('a long answer ends if the server cannot be reached, or reads nothing for a minute', async (t, net) => {
  const ours = await net.town(OURS, { limits: { queue: QUEUE } })
  const outlet = ours.s.host(OURS).outlet(parseJid(`room@${OURS}`))
  const made = { count: 0 }
  const nowhere = outlet.draw(JULIET, pieces(made))
  await net.pass(2000)
  t.equal(await nowhere, false)
  const deaf = await net.peer('verona.test')
  const escalus = parseJid('escalus@verona.test/palace')
  let isOver = false
  const drawn = Promise.resolve(outlet.draw(escalus, pieces(made, escalus))).finally(() => { isOver = true })
  const line = await deaf.takes('verona.test', EXTERNAL)
  line.gets('<auth')
  line.transport.pause()
  await line.says(`${SUCCESS}${header('verona.test', { id: line.id })}<stream:features/>`)
  await net.pass(55_000)
  t.equal(isOver, false)
  await net.pass(10_000)
  t.equal(await drawn, false)
  t.ok(made.count < 50)
})
