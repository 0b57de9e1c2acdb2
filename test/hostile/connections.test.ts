/** Opens ten thousand connections and drops each at some stage of the negotiation. The server keeps nothing of them. */
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { HEADER, RawClient, SASL, STARTTLS } from './peer.js'
import { ServerProcess, type Report } from './server.js'
import { staysBelow, turnsStayShort } from './turns.js'

/** Set HOSTILE_CONNECTIONS=160000 HOSTILE_TLS=6000 for more. */
const PLAIN = Number(process.env['HOSTILE_CONNECTIONS'] ?? 10_000)
const ENCRYPTED = Number(process.env['HOSTILE_TLS'] ?? 500)
const AT_ONCE = 100
const NAMES = 60
const MIB = 1024 * 1024
/** The longest wait for what a server gives back after its last connection, in milliseconds. */
const MOMENT = 60_000

interface Visit { readonly server: ServerProcess, readonly n: number, readonly from: string, readonly name: string }
type Stage = (visit: Visit) => Promise<RawClient>

const plain = ({ server, from }: Visit): Promise<RawClient> => RawClient.at(server.ports.none, from)
const clear = ({ server, from }: Visit): Promise<RawClient> => RawClient.at(server.ports.required, from)
const says = (stage: Stage, text: string): Stage => async visit => {
  const peer = await stage(visit)
  peer.says(text)
  return peer
}
const opened = (stage: Stage): Stage => async visit => {
  const peer = await stage(visit)
  await peer.opens()
  return peer
}
const loggedIn: Stage = async visit => {
  const peer = await plain(visit)
  await peer.logsIn(visit.name)
  return peer
}
const bound = (start: Stage): Stage => async visit => (await start(visit)).comes(visit.name, `r${visit.n}`)

const PROCEED: Stage = async visit => {
  const peer = await opened(clear)(visit)
  peer.says(STARTTLS)
  await peer.gets('<proceed')
  return peer
}
/** The first bytes of a TLS ClientHello. */
const HELLO = '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'

const STAGES: Readonly<Record<string, Stage>> = {
  'TCP only': plain,
  'half a header': says(plain, HEADER.slice(0, 60)),
  'the header sent': says(plain, HEADER),
  'features read': opened(plain),
  'half an element': says(opened(plain), '<auth xmlns='),
  'STARTTLS asked for': says(opened(clear), STARTTLS),
  'STARTTLS proceeds': PROCEED,
  'no handshake at all': says(PROCEED, 'GET / HTTP/1.1\r\n\r\n'),
  'in the midst of a handshake': says(PROCEED, HELLO),
  'no XML': says(plain, '\x00\xff<<<'),
  'a login begun': says(opened(plain), `<auth xmlns='${SASL}' mechanism='SCRAM-SHA-256'>`),
  'challenged': async visit => {
    const peer = await opened(plain)(visit)
    await peer.begins(visit.name)
    return peer
  },
  'authenticated': async visit => {
    const peer = await opened(plain)(visit)
    await (await peer.begins(visit.name))()
    return peer
  },
  'restarted': loggedIn,
  'binding': says(loggedIn, "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"),
  'bound': bound(plain),
  'present': says(bound(plain), '<presence/>'),
  'in the midst of a stanza': says(bound(plain), "<presence/><message to='x0@a'><body>"),
  'asking': says(bound(plain), "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>".repeat(10)),
  'closed in order': says(bound(plain), '</stream:stream>'),
}

const direct: Stage = ({ server, from }) => RawClient.at(server.ports.direct, from)
const secured = (start: Stage): Stage => async visit => {
  const peer = await start(visit)
  await peer.encrypts(visit.n % 3 === 0 ? { maxVersion: 'TLSv1.2' } : {})
  return peer
}
const TLS_STAGES: Readonly<Record<string, Stage>> = {
  'direct: TCP only': direct,
  'direct: in the midst of a handshake': says(direct, HELLO),
  'direct: another protocol': says(direct, HEADER),
  'TLS up': secured(direct),
  'TLS up by STARTTLS': secured(PROCEED),
  'features read': opened(secured(direct)),
  'challenged': async visit => {
    const peer = await opened(secured(PROCEED))(visit)
    await peer.begins(visit.name)
    return peer
  },
  'bound': bound(secured(direct)),
  'in the midst of a stanza': says(bound(secured(PROCEED)), '<presence/><message><body>'),
}

/** Makes `count` visits, `AT_ONCE` at a time, and drops each at the next stage in turn. */
async function waves (server: ServerProcess, stages: Readonly<Record<string, Stage>>, count: number): Promise<void> {
  const all = Object.entries(stages)
  let next = 0
  const visitor = async (): Promise<void> => {
    while (next < count) {
      const n = next++
      const [what, stage] = all[n % all.length] as [string, Stage]
      const visit = { server, n, from: `127.0.${1 + n % 5}.${2 + n % 40}`, name: `x${n % NAMES}` }
      const peer = await stage(visit).catch((error: unknown) => { throw new Error(`${what}: ${String(error)}`) })
      peer.drops((['destroy', 'end', 'reset'] as const)[n % 3])
      await peer.gone()
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, visitor))
}

t.test('connections that are dropped at each stage of the negotiation leave nothing', { timeout: 1_200_000 }, async t => {
  const server = await ServerProcess.start(t, {
    listener: 'rate = "10MiB/s"',
    limits: '{ sessionStanzasPerSecond = 10000, addressStanzasPerSecond = 100000 }',
    conf: '[limits]\nconnectionsPerAddress = 1000\n',
  })
  for (let i = 0; i < NAMES; i++) await server.account(`x${i}`)
  await waves(server, STAGES, 1500) // warm up, so that compiled code and caches do not count as a leak
  await waves(server, TLS_STAGES, 120)
  await server.quiet()
  await server.rested()
  const before = await server.report()

  const began = performance.now()
  await turnsStayShort(t, async () => {
    await server.turns()
    await waves(server, STAGES, PLAIN)
    return (await server.turns()).worst
  })
  const middle = performance.now()
  await waves(server, TLS_STAGES, ENCRYPTED)
  const seconds = (from: number, to: number): string => `${((to - from) / 1000).toFixed(1)} s`
  t.comment(`${PLAIN} plain in ${seconds(began, middle)}, ${ENCRYPTED} with TLS in ${seconds(middle, performance.now())}`)
  await server.quiet()

  const left = ({ sessions, waits, connections, timers, files, resources }: Report) => ({
    sessions, waits, connections, timers, files, resources,
  })
  await server.rested()
  let after = await server.report()
  // The last sockets and files are given back a moment later.
  const end = performance.now() + MOMENT
  while (performance.now() < end && !isDeepStrictEqual(left(after), left(before))) after = await server.report()
  t.same(left(after), left(before), 'no stream, session, timer, socket or file is left')
  await staysBelow(t, 10, async () => {
    const { heap, external } = await server.report()
    return (heap + external - before.heap - before.external) / MIB
  }, grown => `the heap has grown by ${grown.toFixed(1)} MiB`)
  t.same(await server.errors(), [], 'no unexpected error was logged')
})
