/** Ten thousand connections, dropped wherever a negotiation can be: nothing of them is left. */
import t from 'tap'
import { HEADER, Peer, SASL, STARTTLS } from './peer.js'
import { ServerProcess, type Report } from './server.js'

/** On demand more: HOSTILE_CONNECTIONS=160000 HOSTILE_TLS=6000. */
const PLAIN = Number(process.env['HOSTILE_CONNECTIONS'] ?? 10_000)
const ENCRYPTED = Number(process.env['HOSTILE_TLS'] ?? 500)
const AT_ONCE = 100
const NAMES = 60
const MIB = 1024 * 1024

interface Visit { readonly server: ServerProcess, readonly n: number, readonly from: string, readonly name: string }
type Stage = (visit: Visit) => Promise<Peer>

const plain = ({ server, from }: Visit): Promise<Peer> => Peer.at(server.ports.none, from)
const clear = ({ server, from }: Visit): Promise<Peer> => Peer.at(server.ports.required, from)
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
/** The first bytes of a handshake. */
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

const direct: Stage = ({ server, from }) => Peer.at(server.ports.direct, from)
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

/** So many visits, some at once, each dropped at the stage whose turn it is. */
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

t.test('connections that are dropped at each stage of a negotiation leave nothing behind', { timeout: 1_200_000 }, async t => {
  const server = await ServerProcess.start(t, {
    listener: 'rate = "10MiB/s"',
    limits: '{ session = 10000, address = 100000 }',
    conf: '[limits]\nconnections = 1000\n',
  })
  for (let i = 0; i < NAMES; i++) await server.account(`x${i}`)
  await waves(server, STAGES, 1500) // code that was never run, and caches, are no leak
  await waves(server, TLS_STAGES, 120)
  await server.quiet()
  await server.rested()
  const before = await server.report()
  await server.turns()

  const began = performance.now()
  await waves(server, STAGES, PLAIN)
  const { worst } = await server.turns()
  const middle = performance.now()
  await waves(server, TLS_STAGES, ENCRYPTED)
  const seconds = (from: number, to: number): string => `${((to - from) / 1000).toFixed(1)} s`
  t.comment(`${PLAIN} plain in ${seconds(began, middle)}, ${ENCRYPTED} with TLS in ${seconds(middle, performance.now())}`)
  await server.quiet()
  await server.rested()
  const after = await server.report()

  const left = ({ sessions, waits, connections, timers, files, resources }: Report) => ({
    sessions, waits, connections, timers, files, resources,
  })
  t.same(left(after), left(before), 'no stream, session, timer, socket or file')
  const grown = (after.heap - before.heap + after.external - before.external) / MIB
  t.ok(grown < 10, `the heap has grown by ${grown.toFixed(1)} MiB`)
  t.ok(worst < 1000, `a turn of the event loop used ${worst.toFixed(0)} ms of CPU`)
  t.same(await server.errors(), [], 'nothing failed unforeseen')
})
