/** Bounds that no conf names, or that hold if it names none. Each is reached by itself, through its own interface. */
import { join } from 'node:path'
import t from 'tap'
import { silent } from '../../lib/base/logger.js'
import { Entities } from '../../lib/host/entities.js'
import { entityKind } from '../../lib/host/entity.js'
import { SqliteStorage } from '../../lib/storage/sqlite/driver.js'
import { records } from '../../lib/storage/store.js'
import { HandshakeWatch } from '../../lib/stream/handshake-watch.js'
import { memoryPair, type MemoryTransport } from '../../lib/stream/memory-transport.js'
import { objectionToChain } from '../../lib/stream/peer-chain.js'
import { Stream, type StreamEnd } from '../../lib/stream/stream.js'
import { StanzaError } from '../../lib/xmpp/errors.js'
import { jidsKept, parseJid } from '../../lib/xmpp/jid.js'
import { Stanza } from '../../lib/xmpp/stanza.js'
import { RemotePresenceCache } from '../../modules/presence/remote-presence.js'
import type { Device } from '../device.js'
import { FakeClock } from '../fake-clock.js'
import { parseElement } from '../parse.js'
import { form, MODULES, options, outcome, publishes, pubsub } from '../pubsub/stage.js'
import { scenario } from '../scenario.js'
import { temporaryFolder } from '../temporary-folder.js'

const KIB = 1024
const MIB = 1024 * KIB
const text = (bytes: number): string => 'x'.repeat(bytes)

// ---- A host -------------------------------------------------------------------------------------

t.test('the loaded entities of a host are bounded in number and bytes if the conf names no bounds', async t => {
  const fill = async (
    count: number, bytes: number, isBusy: boolean,
  ): Promise<{ readonly size: number, readonly refused: number }> => {
    const entities = new Entities({
      clock: new FakeClock(), log: silent, settings: {},
      turn: (_, work) => { void work() }, commit: () => Promise.resolve(),
    })
    const box = entities.kind(entityKind<number>('box'))
    entities.add(box, { load: () => 1, bytes: () => bytes, isBusy: () => isBusy, info: () => undefined })
    let refused = 0
    for (let n = 0; n < count; n++) {
      await entities.with(box, parseJid(`box${n}@boxes.lit`), () => {}).catch((error: unknown) => {
        if (error instanceof StanzaError && error.condition === 'resource-constraint') refused++
        else throw error
      })
    }
    entities.end()
    return { size: entities.size, refused }
  }
  t.same(await fill(20_010, 100, false), { size: 20_000, refused: 0 })
  t.same(await fill(20_010, 100, true), { size: 20_000, refused: 10 })
  const { size } = await fill(150, MIB, false)
  t.ok(size === 127 || size === 128, `${size} of 1 MiB`)
  t.same(await fill(150, MIB, true), { size: 128, refused: 22 })
})

t.test('the presence of a contact on another server is kept only if it is short, and of few devices', t => {
  const romeo = parseJid('romeo@montague.lit')
  const hear = (count: number, status: number): number => {
    const cache = new RemotePresenceCache(16 * MIB)
    cache.ask(romeo, parseJid('juliet@evil.lit'), 0)
    for (let n = 0; n < count; n++) {
      const element = parseElement(`<presence><status>${text(status)}</status></presence>`)
      cache.hear(romeo, new Stanza('presence', element, parseJid(`juliet@evil.lit/${n}`), romeo), [], 0)
    }
    return cache.size
  }
  t.same([hear(1, 8000), hear(1, 8193)], [1, 0], 'characters')
  t.same([hear(30, 10), hear(31, 10)], [1, 0], 'devices')
  t.end()
})

t.test('a long address is not kept', t => {
  const before = jidsKept()
  const long = `Romeo@montague.lit/${text(200)}`
  t.not(parseJid(long), parseJid(long))
  t.equal(parseJid('romeo@long.lit'), parseJid('romeo@long.lit'))
  t.ok(jidsKept() - before <= 2, 'only the short one and its text')
  t.end()
})

t.test('the writes that wait for the disk are bounded in number if nothing else is said', async t => {
  const storage = await SqliteStorage.open({ file: join(temporaryFolder(t), 'test.db'), durability: 'os', log: silent })
  const numbers = await storage.open('test.numbers', records<number>(1))
  const write = numbers.putting('a', 'b', 1)
  const failed: number[] = []
  for (let n = 0; n < 100_002; n++) {
    storage.after(storage.submit([write]), error => { if (error !== undefined) failed.push(n) })
  }
  await storage.flush()
  t.same(failed, [100_000, 100_001])
  await storage.close()
})

// ---- A stream -----------------------------------------------------------------------------------

const HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='a.lit'>"
async function turns (): Promise<void> {
  for (let n = 0; n < 5; n++) await new Promise(resolve => { setImmediate(resolve) })
}

interface Streaming {
  readonly stream: Stream
  readonly peer: MemoryTransport
  readonly ends: StreamEnd[]
  readonly says: (text: string) => Promise<void>
}

/** Opens a stream whose first element is never done. */
async function streaming (): Promise<Streaming> {
  const clock = new FakeClock()
  const [transport, peer] = memoryPair({ clock })
  const ends: StreamEnd[] = []
  const never = new Promise<void>(() => {})
  const stream: Stream = new Stream(transport, {
    role: 'receiving', namespace: 'jabber:client', clock, ids: { next: () => 'id' }, domain: 'a.lit', log: silent,
    limits: { bytes: MIB, elements: 1000, depth: 20, attributes: 20, name: 100 },
  }, {
    opened: () => { stream.reply('a.lit'); stream.establish('b') },
    element: () => never, over: end => { ends.push(end) }, closed () {},
  })
  peer.open({ data () {}, drained () {}, closed () {} })
  stream.start()
  const says = async (text: string): Promise<void> => { peer.write(text); await turns() }
  await says(HEADER)
  return { stream, peer, ends, says }
}

t.test('the elements of a stream that wait for an earlier one are bounded in number, and in bytes', async t => {
  const elements = '<a/>'.repeat(900) // 3,600 bytes of XML, and far more in memory
  for (const [content, most] of [['x', 34], [text(60 * KIB), 7], [elements, 4]] as const) {
    const { peer, says } = await streaming()
    let read = 0
    for (; read < 100 && peer.backlog === 0; read++) await says(`<message>${content}</message>`)
    t.equal(read, most, `of ${content.length} bytes; the last one is not read any more`)
  }
})

t.test('a connection holds 8 MiB that its peer does not read, and is given up with more', async t => {
  const { stream, peer, ends } = await streaming()
  peer.pause()
  for (let n = 0; n < 8; n++) stream.send(text(MIB - 100))
  t.same(ends, [])
  stream.send(text(KIB))
  t.match(ends, [{ by: 'us', reason: { condition: 'policy-violation' } }])
})

// ---- TLS ----------------------------------------------------------------------------------------

t.test('the certificates of a peer are bounded in bytes, and by half of that if an authority limits names', t => {
  const limited = Buffer.from('0603551d1e', 'hex')
  const objection = (bytes: number, ...more: Buffer[]): string | undefined =>
    objectionToChain([Buffer.alloc(bytes), ...more])
  t.match(objection(16 * KIB + 1), /16385 bytes; 16384 are allowed/)
  t.match(objection(16 * KIB), /cannot be read/)
  t.match(objection(8 * KIB, limited), /8197 bytes; 8192 are allowed/)
  t.match(objection(8 * KIB - 5, limited), /cannot be read/)
  t.end()
})

t.test('a TLS handshake is bounded in bytes', t => {
  const watch = new HandshakeWatch(true)
  // a message of 15 KiB, which nobody asked for, in a record
  const body = Buffer.alloc(15 * KIB)
  const [long, short] = [body.length + 4, body.length].map(length => [length >> 8, length & 0xff])
  const record = Buffer.concat([Buffer.from([22, 3, 3, ...long ?? [], 99, 0, ...short ?? []]), body])
  for (let n = 0; n < 4; n++) watch.judge(record)
  t.throws(() => { watch.judge(record) }, /the handshake is too long/)
  t.end()
})

// ---- Nodes --------------------------------------------------------------------------------------

const JULIET = 'juliet@capulet.lit'
/** Returns a request that makes members of addresses, those with the numbers from `first` on. */
const affiliations = (first: number, count: number, length = 1): string =>
  `<affiliations node='n'>${Array.from({ length: count }, (_, n) => `<affiliation jid='${text(length)}${first + n}@d.lit' affiliation='member'/>`).join('')}</affiliations>`

/** Makes members of long addresses until there is no room for more. Returns how many there are. */
async function membersOf (device: Device, to?: string): Promise<number> {
  const how = { owner: true, ...to === undefined ? {} : { to } }
  for (let count = 0; count < 10_000; count += 150) {
    const said = outcome(await pubsub(device, 'set', affiliations(count, 150, 1000), how))
    if (said === 'cancel resource-constraint') return count
    if (said !== 'result') throw new Error(said)
  }
  return Infinity
}

t.test('the affiliations and subscriptions of a node are bounded in number, and all nodes in bytes', async t => {
  const s = await scenario(t, { modules: MODULES })
  const juliet = await s.device(`${JULIET}/balcony`)
  const asOwner = async (content: string): Promise<string> => outcome(await pubsub(juliet, 'set', content, { owner: true }))
  const make = async (): Promise<void> => { await publishes(juliet, 'n', ['a'], options({ access_model: 'open' })) }
  await make()
  t.equal(await membersOf(juliet), 900, 'of about 1,150 bytes are 1 MiB')
  t.equal(await asOwner("<delete node='n'/>"), 'result')
  await make()
  t.equal(await asOwner(affiliations(0, 1000)), 'cancel resource-constraint', 'with the owner')
  t.equal(await asOwner(affiliations(0, 999)), 'result')
  const subscriptions = (count: number): string =>
    `<subscriptions node='n'>${Array.from({ length: count }, (_, n) => `<subscription jid='x${n % 999}@d.lit/${n}' subscription='subscribed'/>`).join('')}</subscriptions>`
  t.equal(await asOwner(subscriptions(1001)), 'modify not-acceptable')
  t.equal(await asOwner(subscriptions(999)), 'result')
  const subscribe = async (name: string): Promise<string> => {
    const device = await s.device(`${name}@capulet.lit/x`)
    return outcome(await pubsub(device, 'set', `<subscribe node='n' jid='${name}@capulet.lit'/>`, { to: JULIET }))
  }
  t.equal(await subscribe('romeo'), 'result')
  t.equal(await subscribe('nurse'), 'cancel service-unavailable', 'a stranger learns nothing more')
})

t.test('a node of a service is bounded in bytes by itself', async t => {
  const to = 'nodes.capulet.lit'
  const s = await scenario(t, { modules: ['presence', 'message', 'disco'], services: { [to]: ['disco', 'pubsub'] } })
  const juliet = await s.device(`${JULIET}/balcony`)
  t.equal(outcome(await pubsub(juliet, 'set', `<create node='n'/><configure>${form('node_config', { access_model: 'open' })}</configure>`, { to })), 'result')
  t.equal(await membersOf(juliet, to), 3600, 'of about 1,150 bytes are 4 MiB')
})
