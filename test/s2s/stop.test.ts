/**
 * Other servers while Sestina stops: their stanzas are handled, or sent again after the start, or refused with an
 * error.
 */
import type { Test } from 'tap'
import { takeNoMore } from '../../lib/s2s/federation.js'
import { parseJid } from '../../lib/xmpp/jid.js'
import { stanza } from '../../lib/xmpp/stanza.js'
import type { Device } from '../device.js'
import { parseElement } from '../parse.js'
import {
  BIDI, DIALBACK, EXTERNAL, external, header, message, OURS, scene, SM_FEATURE, SUCCESS, THEIRS, type Line,
  type Net, type Peer, type Town,
} from './stage.js'
import { SM } from '../stanzas.js'

const SPEAKS_BIDI = "<bidi xmlns='urn:xmpp:bidi'/>"

interface Verona { readonly ours: Town, readonly peer: Peer, readonly romeo: Device }

async function verona (net: Net): Promise<Verona> {
  const ours = await net.town(OURS)
  return { ours, peer: await net.peer(THEIRS), romeo: await ours.s.device(`romeo@${OURS}/orchard`) }
}

const toRomeo = (words: string): string => message(`juliet@${THEIRS}`, `romeo@${OURS}`, words)
const toJuliet = (words: string): string => `<message to='juliet@${THEIRS}'><body>${words}</body></message>`
const bodies = (device: Device): readonly string[] => device.unread.flatMap(stanza => stanza.getChildText('body') ?? [])

/** Stops as the process does, up to the end of its hosts; `meanwhile` runs once no more stanzas are accepted. */
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

/** Lets Sestina in as the peer, on a bidirectional stream. */
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

scene('a peer that cannot resume gets system-shutdown as soon as no more stanzas are accepted', async (t, net) => {
  const { ours, peer, romeo } = await verona(net)
  const line = await peer.enters(ours, THEIRS, OURS)
  await line.says(toRomeo('one'))
  await stops(ours, net, async () => {
    await net.settled()
    t.equal(line.error, 'system-shutdown')
  })
  t.same(bodies(romeo), ['one'])
})

scene('a stream that can be resumed stays open, and later stanzas are not counted as handled', async (t, net) => {
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

scene('a bidirectional stream still carries answers out; without resumption the peer’s next stanza ends it', async (t, net) => {
  const { ours, peer, romeo } = await verona(net)
  const line = await peer.opens(ours, THEIRS, OURS)
  await line.says(SPEAKS_BIDI)
  await line.says(external())
  await line.says(header(THEIRS, { to: OURS }))
  await stops(ours, net, async () => {
    wasLeft(t, line)
    const [from, to] = [parseJid(`romeo@${OURS}/orchard`), parseJid(`juliet@${THEIRS}`)]
    ours.s.server.pipeline.route(stanza(parseElement(toJuliet('an answer')), from, to))
    await net.settled()
    line.gets('an answer')
    await line.says(toRomeo('late'))
    t.equal(line.error, 'system-shutdown')
  })
  t.same(bodies(romeo), [])
})

scene('a resumable outgoing stream accepts no more stanzas either, and stays open when the hosts are gone', async (t, net) => {
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

scene('on an outgoing stream without resumption the peer’s next stanza is refused with system-shutdown', async (t, net) => {
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

scene('an outgoing stream that opens while the server stops accepts no stanzas', async (t, net) => {
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

scene('an answer that confirms an outgoing stream is still accepted on the peer’s own stream before that ends', async (t, net) => {
  const { ours, peer, romeo } = await verona(net)
  await romeo.says(toJuliet('one'))
  const line = await letsIn(peer, '')
  const back = await peer.enters(ours, THEIRS, OURS)
  const answers = async (): Promise<void> => {
    const [, id = ''] = /<iq [^>]*id="([^"]+)"/.exec(line.gets(/<iq [^>]*>/)) ?? []
    await back.says(`<iq type='result' id='${id}' from='${THEIRS}' to='${OURS}'/>`)
  }
  await net.pass(1000)
  await answers() // now it is known that the peer answers pings
  await romeo.says(toJuliet('two'))
  const stopped = stop(ours)
  await net.settled()
  t.equal(back.error, undefined)
  await answers()
  t.equal(back.error, 'system-shutdown')
  await net.pass(2500)
  await stopped
  t.equal(ours.counters.get('unacknowledged'), undefined, 'no stanza is reported as lost')
})

scene('a peer that keeps asking to enable or resume is answered ten times', async (t, net) => {
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
