import t, { type Test } from 'tap'
import { silent, type Fields, type Logger } from '../../lib/base/logger.js'
import type { Maybe } from '../../lib/base/maybe.js'
import { TokenBucket } from '../../lib/base/rate.js'
import { memoryPair, type MemoryTransport } from '../../lib/stream/memory-transport.js'
import { StreamOver, type Negotiation, type StreamFeature } from '../../lib/stream/negotiation.js'
import { Negotiator } from '../../lib/stream/negotiator.js'
import { CLOSE_TIMEOUT, PeerStreamError, Stream, type StreamEnd, type StreamSettings } from '../../lib/stream/stream.js'
import { FAREWELL } from '../../lib/stream/transport.js'
import { xml, type ParsedElement } from '../../lib/xml/element.js'
import { StreamError } from '../../lib/xmpp/errors.js'
import { FakeClock } from '../fake-clock.js'
import { parseElement } from '../parse.js'

const LIMITS = { bytes: 100_000, elements: 1000, depth: 20, attributes: 20, name: 100 }
const HEADER = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='theirs' from='b.lit' to='a.lit'>"

interface Scene {
  readonly stream: Stream<string>
  readonly peer: MemoryTransport
  readonly transport: MemoryTransport
  readonly clock: FakeClock
  readonly ends: StreamEnd[]
  readonly elements: string[]
  readonly heard: () => string
  readonly errors: Fields[]
  readonly says: (text: string) => Promise<void>
}

/** Runs a test on a stream between servers and its peer, and checks that the stream leaves nothing. */
function scene (
  title: string,
  how: Partial<StreamSettings> & { readonly handles?: (element: ParsedElement) => Maybe<void>, readonly rated?: (clock: FakeClock) => StreamSettings['rate'] },
  play: (t: Test, s: Scene) => Promise<void>,
): void {
  void t.test(title, async t => {
    const clock = new FakeClock()
    const [transport, peer] = memoryPair({ clock })
    const ends: StreamEnd[] = []
    const elements: string[] = []
    const errors: Fields[] = []
    let [heard, closes, ids] = ['', 0, 0]
    const rate = how.rated?.(clock)
    const stream: Stream<string> = new Stream<string>(transport, {
      role: 'receiving', namespace: 'jabber:server', clock, ids: { next: () => `id-${++ids}` }, limits: LIMITS, domain: 'a.lit',
      log: { ...silent, error: (_: string, fields: Fields = {}) => { errors.push(fields) } } satisfies Logger,
      ...how, ...rate === undefined ? {} : { rate },
    }, {
      opened: () => { if (how.role !== 'initiating') stream.reply('a.lit'); stream.establish('b.lit') },
      element: element => { elements.push(element.name); return how.handles?.(element) },
      over: end => { ends.push(end) },
      closed: () => { closes++ },
    })
    peer.open({ data: chunk => { heard += Buffer.from(chunk).toString() }, drained () {}, closed () {} })
    stream.start()
    const says = async (text: string): Promise<void> => { peer.write(text); await settled() }
    await play(t, { stream, peer, transport, clock, ends, elements, errors, heard: () => heard, says })
    peer.destroy()
    await settled()
    t.equal(stream.state.at, 'closed')
    t.equal(ends.length, 1, '`over` ran once')
    t.equal(closes, 1, '`closed` ran once')
    t.equal(clock.timers, 0, 'no timer is left')
  })
}

async function settled (): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise(resolve => { setImmediate(resolve) })
}

scene('an initiating stream sends its header first, and takes the id from the answer', { role: 'initiating' }, async (t, s) => {
  s.stream.open({ from: 'a.lit', to: 'b.lit' })
  await settled()
  t.match(s.heard(), /^<\?xml version='1.0'\?><stream:stream [^>]*from=["']a.lit["'] to=["']b.lit["']/)
  t.notMatch(s.heard(), /id=/)
  t.same(s.stream.state, { at: 'opening' })
  await s.says(HEADER)
  t.same(s.stream.state, { at: 'established', by: 'b.lit' })
  t.equal(s.stream.id, 'theirs')
  t.equal(s.stream.header?.from?.domain, 'b.lit')
  await s.says('<stream:features/><message/>')
  t.same(s.elements, ['stream:features', 'message'])
})

scene('an initiating stream reads the host that <see-other-host/> names', { role: 'initiating' }, async (t, s) => {
  s.stream.open({ to: 'b.lit' })
  await s.says(HEADER + "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>[2001:db8::1]:9222</see-other-host></stream:error>")
  const reason = s.ends[0]?.reason
  t.ok(reason instanceof PeerStreamError)
  t.match(reason, { condition: 'see-other-host', host: '[2001:db8::1]:9222' })
  t.match(s.heard(), /<\/stream:stream>$/)
})

scene('a stream error of the peer is reported by its condition; an unknown one is undefined-condition', {}, async (t, s) => {
  await s.says(HEADER + "<stream:error><a xmlns='urn:example'/></stream:error>")
  t.match(s.ends, [{ by: 'peer', reason: { condition: 'undefined-condition', host: undefined } }])
  t.same(s.stream.state, { at: 'closed', reason: undefined })
})

scene('a stream that its peer closes is closed in turn, without an error', {}, async (t, s) => {
  await s.says(HEADER + '<message/></stream:stream>')
  t.same(s.ends, [{ by: 'peer', reason: undefined }])
  t.same(s.elements, ['message'])
  t.match(s.heard(), /<\/stream:stream>$/)
})

scene('a stream whose connection breaks is lost', {}, async (t, s) => {
  await s.says(HEADER)
  s.transport.destroy(new Error('broken'))
  await settled()
  t.match(s.ends, [{ by: 'loss', reason: { message: 'broken' } }])
  s.stream.send('x')
  s.stream.close()
  s.stream.fail(new StreamError('reset'))
  s.stream.expire(1)
  s.stream.watch({ keepalive: 1, idle: 1 })
  s.stream.establish('again')
  s.stream.negotiate(true, undefined)
  t.equal(s.stream.isOver, true)
  t.same(s.errors, [])
})

scene('a stream that is closed before its header was sent sends the header first', {}, async (t, s) => {
  s.stream.close(new StreamError('resource-constraint', 'too many'))
  await settled()
  t.match(s.heard(), /^<\?xml version='1.0'\?><stream:stream [^>]*from="a.lit"[^>]*><stream:error><resource-constraint .*too many<\/text><\/stream:error><\/stream:stream>$/)
  t.match(s.ends, [{ by: 'us', reason: { condition: 'resource-constraint' } }])
})

scene('after the stream was closed nothing of the peer is handled', {}, async (t, s) => {
  await s.says(HEADER)
  s.stream.close()
  await s.says('<message/><message/>')
  t.same(s.elements, [])
  t.same(s.stream.state, { at: 'closing', side: 'ours' })
  await s.says('<<<')
  t.equal(s.heard().split('</stream:stream>').length, 2)
  s.clock.pass(CLOSE_TIMEOUT + FAREWELL)
})

const work: (() => void)[] = []
scene('elements are handled one at a time, and reading stops if too many wait', {
  queue: 3, handles: () => new Promise(resolve => { work.push(resolve) }),
}, async (t, s) => {
  await s.says(HEADER + '<a/>'.replaceAll('<a/>', '<message/>').repeat(10))
  t.equal(s.elements.length, 1)
  await s.says('<presence/>'.repeat(10))
  t.ok(s.peer.backlog > 0, 'the rest waits at the peer')
  for (let turn = 0; turn < 20; turn++) {
    t.equal(s.elements.length, turn + 1)
    work.shift()?.()
    await settled()
  }
  t.equal(s.peer.backlog, 0)
  t.equal(s.elements.length, 20)
})

scene('elements that wait when the stream ends are not handled', { handles: () => new Promise(resolve => { work.push(resolve) }) }, async (t, s) => {
  await s.says(HEADER + '<message/><presence/>')
  s.stream.close(new StreamError('conflict'))
  work.shift()?.()
  await settled()
  t.same(s.elements, ['message'])
})

scene('bad XML after good elements ends the stream once these have been handled', { handles: () => new Promise(resolve => { work.push(resolve) }) }, async (t, s) => {
  await s.says(HEADER + '<message/><presence/><a></b>')
  t.same(s.ends, [])
  work.shift()?.()
  await settled()
  t.same(s.elements, ['message', 'presence'])
  work.shift()?.()
  await settled()
  t.match(s.ends, [{ by: 'us', reason: { condition: 'not-well-formed' } }])
})

scene('a handler that rejects ends the stream with its stream error, or with internal-server-error', {
  handles: element => Promise.reject(new Error(element.name)),
}, async (t, s) => {
  await s.says(HEADER + '<message/><presence/>')
  t.same(s.elements, ['message'])
  t.match(s.heard(), /<internal-server-error/)
  t.match(s.errors, [{ error: { message: 'message' } }])
})

scene('a stream can be paused, and elements that come meanwhile wait', {}, async (t, s) => {
  await s.says(HEADER)
  s.stream.pause()
  s.stream.pause()
  await s.says('<message/>')
  t.same(s.elements, [])
  s.stream.resume()
  await settled()
  t.same(s.elements, ['message'])
  s.stream.resume()
  s.stream.pause()
  s.stream.close()
  await s.says('</stream:stream>')
  t.same(s.stream.state, { at: 'closed', reason: undefined }, 'a paused stream still notices the end')
})

scene('bad XML that came during a pause ends the stream after it', {}, async (t, s) => {
  await s.says(HEADER)
  s.stream.pause()
  s.peer.write('<message/><a></b>')
  s.transport.resume() // a chunk that was on its way
  await settled()
  s.stream.resume()
  await settled()
  t.same(s.elements, ['message'])
  t.match(s.ends, [{ by: 'us', reason: { condition: 'not-well-formed' } }])
})

scene('the rate of elements is limited as well', { rated: clock => ({ elements: new TokenBucket(clock, 1, 2) }) }, async (t, s) => {
  await s.says(HEADER + '<message/>'.repeat(4))
  t.equal(s.elements.length, 3)
  s.clock.pass(999)
  t.equal(s.elements.length, 3)
  s.clock.pass(1)
  await settled()
  t.equal(s.elements.length, 4)
})

scene('a peer that reads slowly is not read until it does', { highWater: 10, backlogBound: 1000 }, async (t, s) => {
  await s.says(HEADER)
  s.peer.pause()
  s.stream.send('<a>123456789</a>')
  await s.says('<message/>')
  t.same(s.elements, [])
  s.peer.resume()
  await settled()
  t.same(s.elements, ['message'])
  s.peer.pause()
  s.stream.send('x'.repeat(1001))
  t.match(s.ends, [{ by: 'us', reason: { condition: 'policy-violation' } }])
})

scene('the limits can change while the stream is open', {}, async (t, s) => {
  await s.says(HEADER)
  s.stream.limits = { ...s.stream.limits, bytes: 100 }
  t.equal(s.stream.limits.bytes, 100)
  await s.says(`<message>${'x'.repeat(100)}`)
  t.match(s.ends, [{ reason: { condition: 'policy-violation' } }])
})

scene('a stream sends no keepalive if none is set, and ends after the idle time', {}, async (t, s) => {
  await s.says(HEADER)
  const { length } = s.heard()
  s.stream.watch({ keepalive: undefined, idle: 1 })
  s.stream.watch({ keepalive: undefined, idle: 1000 })
  s.clock.pass(999)
  await settled()
  t.equal(s.heard().length, length)
  s.clock.pass(1)
  t.match(s.ends, [{ by: 'us', reason: { condition: 'connection-timeout' } }])
})

// ---- The token bucket -------------------------------------------------------------------------

void t.test('a token bucket lets a burst through, then returns how long to wait', t => {
  const clock = new FakeClock()
  const bucket = new TokenBucket(clock, 100, 1000)
  t.equal(bucket.take(1000), 0)
  t.equal(bucket.take(1), 10)
  t.equal(bucket.take(99), 1000)
  clock.pass(1000)
  t.equal(bucket.take(0), 0)
  clock.pass(1_000_000)
  t.equal(bucket.take(1001), 10, 'a long pause earns no more than the burst')
  t.end()
})

// ---- The negotiator -----------------------------------------------------------------------------

const NOTHING: Negotiation = {
  state: { at: 'opening' }, role: 'client', domain: 'a.lit', address: '', lang: undefined, tls: undefined, secure: true, identity: undefined, from: undefined,
  isOver: false, send () {}, next: () => Promise.reject(new StreamOver()),
  wait: () => Promise.resolve(), startTls: () => Promise.resolve(),
}

function negotiate (features: readonly StreamFeature<string>[]) {
  const told: string[] = []
  const negotiator = new Negotiator<string>(NOTHING, {
    features: () => features,
    send: text => { told.push(text) },
    restart: () => { told.push('restart') },
    identified: identity => { told.push(`identified ${identity.toString()}`) },
    established: session => { told.push(`established ${session}`) },
    failed: error => { told.push(`failed ${String(error)}`) },
  })
  return { negotiator, told }
}

void t.test('features are offered in order; those without `take` are announcements only', async t => {
  const { negotiator, told } = negotiate([
    { namespace: 'urn:a', offered: () => xml('a', { xmlns: 'urn:a' }) },
    { namespace: 'urn:b', offered: () => undefined, take: () => Promise.resolve({ go: 'continue' }) },
    { namespace: 'urn:c', offered: () => xml('c', { xmlns: 'urn:c' }), take: () => Promise.resolve({ go: 'session', session: 'it' }) },
  ])
  negotiator.offer()
  t.same(told.splice(0), ['<stream:features><a xmlns="urn:a"/><c xmlns="urn:c"/></stream:features>'])
  const unknown = new StreamError('unsupported-stanza-type')
  for (const name of ['a', 'b']) t.throws(() => negotiator.receive(parseElement(`<${name} xmlns='urn:${name}'/>`)), unknown)
  await negotiator.receive(parseElement("<c xmlns='urn:c'/>"))
  t.same(told, ['established it'])
  t.throws(() => negotiator.receive(parseElement("<c xmlns='urn:c'/>")), unknown, 'once established, nothing is offered')
})

void t.test('an authenticated peer is offered more on the same stream', async t => {
  const { parseJid } = await import('../../lib/xmpp/jid.js')
  const { negotiator, told } = negotiate([
    { namespace: 'urn:a', offered: () => xml('a', { xmlns: 'urn:a' }), take: () => Promise.resolve({ go: 'identity', identity: parseJid('romeo@a.lit') }) },
  ])
  negotiator.offer()
  told.length = 0
  await negotiator.receive(parseElement("<a xmlns='urn:a'/>"))
  t.same(told, ['identified romeo@a.lit', '<stream:features><a xmlns="urn:a"/></stream:features>'])
})

void t.test('two negotiation steps at once are a defect; the answer of a step after the end is ignored', async t => {
  let finish = (): void => {}
  const { negotiator, told } = negotiate([{
    namespace: 'urn:a',
    offered: () => xml('a', { xmlns: 'urn:a' }),
    take: () => new Promise(resolve => { finish = () => { resolve({ go: 'restart' }) } }),
  }])
  negotiator.offer()
  told.length = 0
  const step = negotiator.receive(parseElement("<a xmlns='urn:a'/>"))
  t.throws(() => negotiator.receive(parseElement("<a xmlns='urn:a'/>")), { message: /two negotiation steps/ })
  negotiator.end()
  await step
  finish()
  await settled()
  t.same(told, [])
  await t.rejects(negotiator.next(), { message: 'the stream is over' })
})

void t.test('a step that fails is reported, and so is one that the end of the stream interrupts', async t => {
  const { negotiator, told } = negotiate([
    { namespace: 'urn:a', offered: () => xml('a', { xmlns: 'urn:a' }), take: () => Promise.reject(new Error('broken')) },
    { namespace: 'urn:b', offered: () => xml('b', { xmlns: 'urn:b' }), take: async () => { await negotiator.next(); return { go: 'continue' } } },
  ])
  negotiator.offer()
  told.length = 0
  await negotiator.receive(parseElement("<a xmlns='urn:a'/>"))
  t.same(told.splice(0), ['failed Error: broken'])
  await negotiator.receive(parseElement("<b xmlns='urn:b'/>"))
  negotiator.end()
  await settled()
  t.same(told, ['failed Error: the stream is over'])
})
