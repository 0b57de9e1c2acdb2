/** Other servers while ours stops: what they say is taken, or said again after the start, or they hear that it was not taken. */
import type { Test } from 'tap'
import { takeNoMore } from '../../lib/s2s/federation.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import type { Device } from '../device.js'
import { parseElement } from '../parse.js'
import { BIDI, DIALBACK, EXTERNAL, external, header, message, OURS, scene, SUCCESS, THEIRS, type Line, type Net, type Peer, type Town } from './stage.js'

const SM = "xmlns='urn:xmpp:sm:3'"
const SM_FEATURE = "<sm xmlns='urn:xmpp:sm:3'/>"
const SPEAKS_BIDI = "<bidi xmlns='urn:xmpp:bidi'/>"

interface Verona { readonly ours: Town, readonly peer: Peer, readonly romeo: Device }

async function verona (net: Net): Promise<Verona> {
  const ours = await net.town(OURS)
  return { ours, peer: await net.peer(THEIRS), romeo: await ours.s.device(`romeo@${OURS}/orchard`) }
}

const toRomeo = (words: string): string => message(`juliet@${THEIRS}`, `romeo@${OURS}`, words)
const toJuliet = (words: string): string => `<message to='juliet@${THEIRS}'><body>${words}</body></message>`
const bodies = (device: Device): readonly string[] => device.unread.flatMap(stanza => stanza.getChildText('body') ?? [])

/** As the process stops, up to where its hosts are gone; `meanwhile` is played when nothing more is taken, before that. */
function stop (ours: Town, meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<void> {
  return ours.s.server.stop(async () => {
    await takeNoMore(ours.links, [ours.listener])
    await meanwhile()
  })
}

async function stops (ours: Town, net: Net, meanwhile: () => Promise<void>): Promise<void> {
  const stopped = stop(ours, meanwhile)
  for (let n = 0; n < 3; n++) await net.pass(2500)
  await stopped
}

/** The peer lets us in on a stream that serves both directions. */
async function letsIn (peer: Peer, features: string): Promise<Line> {
  const line = await peer.takes(THEIRS, `${EXTERNAL}${BIDI}${DIALBACK}`)
  await line.says(SUCCESS)
  await line.says(`${header(THEIRS, { id: 'second' })}<stream:features>${features}</stream:features>`)
  return line
}

function wasLeft (t: Test, line: Line): void {
  t.equal(line.error, undefined)
  t.notMatch(line.heard, /<\/stream:stream>/)
}

scene('a peer that cannot resume hears that the server stops as soon as nothing more is taken', async (t, net) => {
  const { ours, peer, romeo } = await verona(net)
  const line = await peer.enters(ours, THEIRS, OURS)
  await line.says(toRomeo('one'))
  await stops(ours, net, async () => {
    await net.settled()
    t.equal(line.error, 'system-shutdown')
  })
  t.same(bodies(romeo), ['one'])
})

scene('a peer that can resume is left alone: what it says after that is not counted', async (t, net) => {
  const { ours, peer, romeo } = await verona(net)
  const line = await peer.enters(ours, THEIRS, OURS)
  await line.says(`<enable ${SM} resume='true'/>`)
  await line.says(toRomeo('one'))
  await stops(ours, net, () => line.says(toRomeo('two')))
  await line.says(`${toRomeo('three')}<r ${SM}/>`)
  line.gets('<a xmlns="urn:xmpp:sm:3" h="1"/>')
  wasLeft(t, line)
  t.same(bodies(romeo), ['one'])
})

scene('a stream in both directions carries answers on; a peer that cannot resume it is told with its next stanza that it was not taken', async (t, net) => {
  const { ours, peer, romeo } = await verona(net)
  const line = await peer.opens(ours, THEIRS, OURS)
  await line.says(SPEAKS_BIDI)
  await line.says(external())
  await line.says(header(THEIRS, { to: OURS }))
  await stops(ours, net, async () => {
    wasLeft(t, line)
    const [from, to] = [parseJid(`romeo@${OURS}/orchard`), parseJid(`juliet@${THEIRS}`)]
    ours.s.server.router.route(stanza(parseElement(toJuliet('an answer')), from, to))
    await net.settled()
    line.gets('an answer')
    await line.says(toRomeo('late'))
    t.equal(line.error, 'system-shutdown')
  })
  t.same(bodies(romeo), [])
})

scene('a stream of ours that can be resumed takes nothing more, either, and is not ended by what comes when the hosts are gone', async (t, net) => {
  const { ours, peer, romeo } = await verona(net)
  await romeo.says(toJuliet('one'))
  const line = await letsIn(peer, SM_FEATURE)
  await line.says(`<enabled ${SM} resume='true' id='of-theirs'/><a ${SM} h='1'/>`)
  await line.says(toRomeo('one'))
  await stops(ours, net, () => line.says(toRomeo('two')))
  await line.says(`${toRomeo('three')}<r ${SM}/>`)
  wasLeft(t, line)
  line.gets('<a xmlns="urn:xmpp:sm:3" h="1"/>')
  t.same(bodies(romeo), ['one'])
})

scene('a peer that cannot resume a stream of ours is told with its next stanza that it was not taken', async (t, net) => {
  const { ours, peer, romeo } = await verona(net)
  await romeo.says(toJuliet('one'))
  const line = await letsIn(peer, '')
  await line.says(toRomeo('one'))
  await stops(ours, net, async () => {
    wasLeft(t, line)
    await line.says(toRomeo('two'))
    t.equal(line.error, 'system-shutdown')
  })
  t.same(bodies(romeo), ['one'])
})

scene('a stream of ours that is opened while the server stops takes nothing', async (t, net) => {
  const { ours, peer, romeo } = await verona(net)
  await romeo.says(toJuliet('one'))
  await stops(ours, net, async () => {
    const line = await letsIn(peer, '')
    line.gets('<body>one</body>')
    await line.says(toRomeo('late'))
    t.equal(line.error, 'system-shutdown')
  })
  t.same(bodies(romeo), [])
})

scene('the answer that confirms a stream of ours is taken on the peer’s own stream, before that ends', async (t, net) => {
  const { ours, peer, romeo } = await verona(net)
  await romeo.says(toJuliet('one'))
  const line = await letsIn(peer, '')
  const back = await peer.enters(ours, THEIRS, OURS)
  const answers = async (): Promise<void> => {
    const [, id = ''] = /<iq [^>]*id="([^"]+)"/.exec(line.gets(/<iq [^>]*>/)) ?? []
    await back.says(`<iq type='result' id='${id}' from='${THEIRS}' to='${OURS}'/>`)
  }
  await net.pass(1000)
  await answers() // it is known now that it does answer
  await romeo.says(toJuliet('two'))
  const stopped = stop(ours)
  await net.settled()
  t.equal(back.error, undefined)
  await answers()
  t.equal(back.error, 'system-shutdown')
  await net.pass(2500)
  await stopped
  t.equal(ours.counters.get('unacknowledged'), undefined, 'and so nothing is said to be lost')
})

scene('who asks again and again to enable or to resume is answered ten times', async (t, net) => {
  const { ours, peer } = await verona(net)
  const asks = {
    'before login': [await peer.opens(ours, THEIRS, OURS), `<enable ${SM}/>`],
    'to resume before login': [await peer.opens(ours, THEIRS, OURS), `<resume ${SM} previd='x' h='0'/>`],
    'to resume what is not known': [await peer.enters(ours, THEIRS, OURS), `<resume ${SM} previd='x' h='0'/>`],
    'to resume without a count': [await peer.enters(ours, THEIRS, OURS), `<resume ${SM} previd='x'/>`],
  } as const
  for (const [title, [line, text]] of Object.entries(asks)) {
    await line.says(text.repeat(10))
    t.equal(line.error, undefined, title)
    t.equal(line.heard.match(/<failed /g)?.length, 10, title)
    await line.says(text)
    t.equal(line.error, 'policy-violation', title)
  }
})
