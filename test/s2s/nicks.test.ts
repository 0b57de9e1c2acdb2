/** Remote resources and nicks that Sestina's own rules would refuse: their stanzas are delivered, or answered. */
import { DIALBACK, EXTERNAL, OURS, SUCCESS, header, message, scene } from './stage.js'

const ROOMS = 'rooms.test'
const FAMILY = '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}'

scene('stanzas from a nick with a joiner or another part of an emoji are delivered', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const peer = await net.peer(ROOMS, {})
  const line = await peer.enters(ours, ROOMS, OURS)
  for (const nick of [FAMILY, '\u2764\ufe0f', '\u06cc\u200c\u06cc', 'x\u200d', '\u{1f3f4}\u{e0067}\u{e0062}\u{e007f}']) {
    await line.says(`<presence from='verona@${ROOMS}/${nick}' to='romeo@${OURS}/orchard'/>${message(`verona@${ROOMS}/${nick}`, `romeo@${OURS}/orchard`, 'hello')}`)
    await net.settled()
    await romeo.gets(`<presence from='verona@${ROOMS}/${nick}'/>`)
    await romeo.gets(`<message from='verona@${ROOMS}/${nick}'><body>hello</body></message>`)
  }
  t.equal(ours.counters.get('malformed'), undefined)
})

scene('a request from an address that cannot be parsed is answered, to its bare address', async (t, net) => {
  const ours = await net.town(OURS, { trust: 'dialback' })
  const romeo = await ours.s.device(`romeo@${OURS}/orchard`)
  const peer = await net.peer(ROOMS, {})
  const line = await peer.enters(ours, ROOMS, OURS)
  const from = `verona@${ROOMS}/\u200b`
  await line.says(`<iq type='get' id='q' from='${from}' to='romeo@${OURS}/orchard'><ping xmlns='urn:xmpp:ping'/></iq>${message(from, `romeo@${OURS}`, 'hidden')}`)
  const back = await peer.takes(ROOMS, `${EXTERNAL}${DIALBACK}`)
  await back.says(SUCCESS)
  await back.says(`${header(ROOMS, { id: 'x' })}<stream:features/>`)
  t.match(back.heard, /<iq [^>]*id=["']q["'][^>]*>.*jid-malformed/)
  t.notMatch(back.heard, /<message/, 'a room would take that error as its occupant leaving')
  await romeo.getsNothing()
  t.equal(line.error, undefined)
  t.equal(ours.counters.get('malformed'), 2)
})
