/** Streams are the same in every framing: here as XML streams, and in frames that stand alone (RFC 7395). */
import t from 'tap'
import type { AnyModule } from '../../lib/host/module.js'
import type { ParsedElement } from '../../lib/xml/element.js'
import { WEB_FRAMES } from '../../lib/web/frames.js'
import { Parser } from '../../lib/xml/parser.js'
import message from '../../modules/message.js'
import presence from '../../modules/presence/index.js'
import roster from '../../modules/roster/index.js'
import streamManagement from '../../modules/stream-management/index.js'
import { SM } from '../stanzas.js'
import { FrameTransport } from '../web-frames.js'
import { auth, bind, DOMAIN, header, openFrame, OTHER, PASSWORD, scene, STARTTLS, type Client, type Stage } from './stage.js'

const MODULES = [roster, presence, message, streamManagement] as unknown as readonly AnyModule[]
const CLOSE = '<close xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>'
const LIMITS = { bytes: 100_000, elements: 1000, depth: 64, attributes: 64, name: 1024 }
const JULIET = { account: `juliet@${DOMAIN}` }
const to = (address: string, text: string, more = ''): string =>
  `<message to='${address}' type='chat'><body>${text}</body>${more}</message>`
const bodiesIn = (text: string): string[] => [...text.matchAll(/<body>(\w+)<\/body>/g)].map(([, body = '']) => body)

/** Parses a frame by itself. Throws unless it is exactly one element with all its namespaces. */
function alone (frame: string): ParsedElement {
  const found: ParsedElement[] = []
  const parser = new Parser({ limits: LIMITS, contentNamespace: 'jabber:client', isRootless: true }, {
    opened () {}, element: element => { found.push(element) }, closed () {},
  })
  parser.write(Buffer.from(frame))
  const [element] = found
  if (element === undefined || found.length !== 1 || !parser.isIdle) throw new Error(`not one element: ${frame}`)
  return element
}

const namesOf = (client: Client): string[] => client.frames.map(frame => {
  const { name, ns } = alone(frame)
  return `${name} ${ns}`
})

async function managed (s: Stage, frames: boolean): Promise<{ readonly client: Client, readonly id: string }> {
  const client = await s.bound('orchard', { frames })
  await client.says('<presence/>', `<enable ${SM} resume='true'/>`)
  await client.until('<enabled')
  const id = /<enabled [^>]*\bid="([^"]+)"/.exec(client.heard)?.[1] ?? ''
  client.forget()
  return { client, id }
}

scene('a client logs in, chats and closes its stream in frames, each of which stands alone', { modules: MODULES }, async (t, s) => {
  const romeo = s.connect({ secure: true, frames: true })
  await romeo.opens()
  t.same(namesOf(romeo), ['open urn:ietf:params:xml:ns:xmpp-framing', 'stream:features http://etherx.jabber.org/streams'])
  t.match(romeo.frames[0], new RegExp(`^<open [^>]*id="[^"]+" from="${DOMAIN}"[^>]*version="1.0" xml:lang="en"/>$`))
  await romeo.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await romeo.until('<success')
  romeo.forget()
  await romeo.opens()
  await romeo.says(bind('orchard'))
  await romeo.until('</iq>')
  t.same(namesOf(romeo), [
    'open urn:ietf:params:xml:ns:xmpp-framing', 'stream:features http://etherx.jabber.org/streams', 'iq jabber:client',
  ])
  const juliet = await s.bound('balcony', JULIET)
  romeo.forget()
  await juliet.says(`${to(`romeo@${DOMAIN}/orchard`, 'one')}${to(`romeo@${DOMAIN}/orchard`, 'two', "<x xmlns='urn:example'><message xmlns='jabber:client'/></x>")}`)
  t.same(namesOf(romeo), ['message jabber:client', 'message jabber:client'])
  t.same(bodiesIn(romeo.heard), ['one', 'two'])
  await romeo.says(to(`juliet@${DOMAIN}/balcony`, 'three', "<y xmlns='urn:example'/>"))
  t.match(juliet.heard, /<message [^>]*from="romeo@montague.lit\/orchard"[^>]*><body>three<\/body><y xmlns=["']urn:example["']\/><\/message>/)
  t.notMatch(juliet.heard, /<message [^>]*xmlns/, 'a stanza in an XML stream does not repeat its namespace')
  romeo.forget()
  await romeo.says(CLOSE)
  t.same(romeo.frames, [CLOSE])
  t.ok(romeo.isClosed)
})

for (const [before, after] of [[false, true], [true, false], [true, true]] as const) {
  const name = (frames: boolean): string => frames ? 'frames' : 'an XML stream'
  scene(`a session from ${name(before)} is resumed in ${name(after)}, with each stanza once and in order`, { modules: MODULES }, async (t, s) => {
    const { client, id } = await managed(s, before)
    const juliet = await s.bound('balcony', JULIET)
    const address = `romeo@${DOMAIN}/orchard`
    await juliet.says(`${to(address, 'one')}${to(address, 'two')}`)
    t.same(bodiesIn(client.heard), ['one', 'two'])
    client.transport.destroy(new Error('a tunnel'))
    await s.settled()
    await juliet.says(to(address, 'three'))
    const again = await s.loggedIn({ frames: after })
    await again.says(`<resume ${SM} previd='${id}' h='1'/>`)
    await again.until('<resumed')
    t.same(bodiesIn(again.heard), ['two', 'three'])
    if (after) {
      t.same(namesOf(again), ['resumed urn:xmpp:sm:3', 'message jabber:client', 'message jabber:client', 'r urn:xmpp:sm:3'])
    }
    again.forget()
    await again.says(`<a ${SM} h='3'/>`, to(`juliet@${DOMAIN}/balcony`, 'four'), `<r ${SM}/>`)
    t.match(again.heard, /<a xmlns="urn:xmpp:sm:3" h="1"\/>/)
    t.same(bodiesIn(juliet.heard), ['four'])
  })
}

scene('frames that come while one is handled wait, also those of the next stream', { modules: MODULES }, async (t, s) => {
  const client = s.connect({ secure: true, frames: true })
  await client.says(openFrame(), auth('PLAIN', `\0romeo\0${PASSWORD}`), openFrame(), bind('orchard'), '<presence/>')
  await client.until('<presence')
  t.equal(client.stream.state.at, 'established')
})

for (const [title, frames, condition] of [
  ['an XML stream in frames', [header()], 'not-well-formed'],
  ['a first frame that opens no stream', ["<message xmlns='jabber:client'/>"], 'invalid-namespace'],
  ['a second <open/> before the first is done with', [openFrame(), openFrame()], 'bad-format'],
  ['two elements in one frame', [openFrame(), "<a xmlns='urn:example'/><b xmlns='urn:example'/>"], 'not-well-formed'],
  ['half an element', [openFrame(), "<a xmlns='urn:example'>"], 'not-well-formed'],
  ['white space before an element', [openFrame(), " <a xmlns='urn:example'/>"], 'not-well-formed'],
  ['text in a frame', [openFrame(), "<a xmlns='urn:example'/>text"], 'bad-format'],
  ['an empty frame', [openFrame(), ' '], 'not-well-formed'],
  ['an end tag without a name', [openFrame(), '</>'], 'not-well-formed'],
  ['the end tag of a stream', [openFrame(), '</stream:stream>'], 'not-well-formed'],
  ['a frame without a namespace', [openFrame(), '<starttls/>'], 'invalid-namespace'],
  ['a prefix of a frame before', [openFrame(`${DOMAIN}' xmlns:p='urn:example`), '<p:a/>'], 'not-well-formed'],
  ['the prefix of a stream that is not declared', [openFrame(), '<stream:error/>'], 'not-well-formed'],
  ['an unknown host', [openFrame('nowhere.lit')], 'host-unknown'],
] as const) {
  scene(`${title} ends the stream with an error in a frame of its own`, {}, async (t, s) => {
    const client = s.connect({ secure: true, frames: true })
    await client.says(...frames)
    t.equal(client.error, condition)
    t.same(namesOf(client).slice(-2), ['stream:error http://etherx.jabber.org/streams', 'close urn:ietf:params:xml:ns:xmpp-framing'])
    t.match(namesOf(client)[0], 'open urn:ietf:params:xml:ns:xmpp-framing')
  })
}

scene('a client that logs in again in frames may not change its host', {}, async (t, s) => {
  const client = s.connect({ secure: true, frames: true })
  await client.opens()
  await client.says(auth('PLAIN', `\0romeo\0${PASSWORD}`))
  await client.until('<success')
  await client.opens(OTHER)
  t.equal(client.error, 'not-authorized')
})

scene('frames know no STARTTLS: without TLS below them the stream ends', {}, async (t, s) => {
  const client = s.connect({ frames: true })
  await client.says(openFrame(), STARTTLS)
  t.equal(client.error, 'policy-violation')
  t.notMatch(client.heard, /starttls|features/)
})

scene('a silent client in frames is asked by its transport, not by white space', { modules: MODULES }, async (t, s) => {
  const client = await s.bound('orchard', { frames: true })
  const { peer } = client.transport instanceof FrameTransport ? client.transport : { peer: undefined }
  t.equal(peer?.pings, 0)
  await s.pass(s.world.limits.keepalive)
  t.same([peer?.pings, client.frames], [1, []])
})

void t.test('an element keeps its meaning if it is taken out of a stream', async t => {
  for (const [inside, outside] of [
    ['<message><body>x</body></message>', '<message xmlns="jabber:client"><body>x</body></message>'],
    ['<message to="a&gt;b"/>', '<message xmlns="jabber:client" to="a&gt;b"/>'],
    ['<a xmlns="urn:xmpp:sm:3" h="1"/>', '<a xmlns="urn:xmpp:sm:3" h="1"/>'],
    ['<stream:features/>', '<stream:features xmlns:stream="http://etherx.jabber.org/streams"/>'],
    ['<iq id="1"><stream:x/></iq>', '<iq xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" id="1"><stream:x/></iq>'],
    ['<iq xmlns:stream="urn:example"><stream:x/></iq>', '<iq xmlns="jabber:client" xmlns:stream="urn:example"><stream:x/></iq>'],
  ] as const) {
    t.equal(WEB_FRAMES.element(inside), outside)
    alone(outside)
  }
})
