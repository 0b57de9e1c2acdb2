/** Which connections are accepted, and which have to close. */
import { once } from 'node:events'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import type { Logger } from '../../lib/base/logger.js'
import { Acceptor, type AcceptedStream, type AcceptedHome, type AcceptorSettings } from '../../lib/stream/acceptor.js'
import { memoryPair } from '../../lib/stream/memory-transport.js'
import { TcpTransport } from '../../lib/stream/tcp-transport.js'
import type { Transport } from '../../lib/stream/transport.js'
import { FakeClock } from '../fake-clock.js'

/** Sends nothing, and notes why it was closed. */
class Guest implements AcceptedStream {
  why: string | undefined
  begun = 0
  readonly transport: Transport
  readonly home: AcceptedHome<Guest>

  constructor (transport: Transport, home: AcceptedHome<Guest>) {
    this.transport = transport
    this.home = home
  }

  begin (): Promise<void> { this.begun++; return Promise.resolve() }
  cut (reason: Error): void { this.why = reason.message; this.leave() }
  leave (): void { this.home.gone(this) }
  proves (): void { this.home.established(this) }
}

function inn (t: Test, how: Partial<AcceptorSettings<Guest>> = {}) {
  const clock = new FakeClock()
  const lines: { readonly event: string, readonly fields: unknown }[] = []
  const note = (event: string, fields: unknown): void => { lines.push({ event, fields }) }
  const log: Logger = { isDebugging: false, debug: note, info: note, warn: note, error: note, with: () => log }
  const guests: Guest[] = []
  const acceptor = new Acceptor<Guest>({
    clock, log, event: 'guests refused', most: 100, mostUnproven: 3, handshakes: 60,
    ofNetwork: () => 10,
    link: socket => new TcpTransport(socket, clock),
    stream: (transport, home) => {
      const guest = new Guest(transport, home)
      guests.push(guest)
      return guest
    },
    ...how,
  })
  t.teardown(() => { acceptor.close() })
  const comes = (network = '192.0.2.1'): Guest => {
    const [transport] = memoryPair({ clock })
    acceptor.accept(transport, network)
    const guest = guests.at(-1)
    if (guest === undefined) throw new Error('nobody was let in')
    return guest
  }
  const turnedAway = () => lines.filter(({ event }) => event === 'guests refused').map(({ fields }) => fields)
  return { acceptor, clock, guests, comes, turnedAway }
}

t.test('if too many connections are unauthenticated, the oldest of them is closed; authenticated ones stay', t => {
  const { acceptor, comes, turnedAway, clock } = inn(t)
  const [oldest, proven] = [comes(), comes('192.0.2.2')]
  proven.proves()
  const [second] = [comes(), comes()]
  t.equal(acceptor.size, 4)
  t.equal(acceptor.proven, 1)
  t.equal(oldest.why, undefined)
  comes('192.0.2.3')
  t.match(oldest.why, /closed to make room for others/)
  t.same([proven.why, second?.why], [undefined, undefined], 'one was enough')
  t.same(turnedAway(), [{ reason: 'too many that have proved nothing', network: '192.0.2.1', count: 1 }])
  for (let n = 0; n < 5; n++) comes('192.0.2.3')
  t.equal(turnedAway().length, 1, 'a flood is one log line')
  clock.pass(10_000)
  comes('192.0.2.3')
  t.match(turnedAway().at(-1), { count: 6 })
  t.equal(acceptor.turnedAway.get('turned away', { reason: 'too many that have proved nothing' }), 7)
  t.equal(acceptor.size, 4)
  t.equal(proven.why, undefined)
  t.end()
})

/** Returns how long each connection waited for its handshake, in milliseconds; undefined if it was refused. */
async function waits (clock: FakeClock, guests: readonly Guest[]): Promise<readonly (number | undefined)[]> {
  const begun = clock.now()
  const waited = guests.map(() => -1 as number | undefined)
  guests.forEach((guest, n) => {
    guest.home.handshake(ms => new Promise(resolve => { clock.after(ms, resolve) }))
      .then(() => { waited[n] = clock.now() - begun }, () => { waited[n] = undefined })
  })
  for (let n = 0; n < 1200; n++) {
    await new Promise(resolve => { setImmediate(resolve) })
    clock.pass(10)
  }
  return waited
}

t.test('a network that floods with handshakes waits in its own queue, and delays no other network', async t => {
  const { comes, clock } = inn(t, { mostUnproven: 10_000 })
  const flood = Array.from({ length: 1000 }, () => comes('192.0.2.1'))
  const waited = await waits(clock, [...flood, comes('192.0.2.2'), comes('192.0.2.3')])
  t.same(waited.slice(-2), [0, 0])
  t.same(waited.slice(0, 50), Array.from({ length: 50 }, () => 0))
  t.equal(waited[50], 20)
  t.equal(waited[549], 10_000)
  t.same(waited.slice(550, 1000), Array.from({ length: 450 }, () => undefined), 'a wait of more than ten seconds is refused')
})

t.test('a network whose handshakes use much CPU time waits for it, and delays no other network', async t => {
  const { comes, clock } = inn(t, { mostUnproven: 10_000 })
  const shakes = async (network: string, ...spent: readonly number[]): Promise<void> => {
    const { home } = comes(network)
    await home.handshake(() => Promise.reject(new Error('it waits')))
    for (const ms of spent) home.spent(ms)
  }
  for (let n = 0; n < 5; n++) await shakes('192.0.2.1', 12, 8) // ten times the usual: fifty handshakes together
  for (let n = 0; n < 5; n++) await shakes('192.0.2.2', 1, 1)
  const dear = Array.from({ length: 4 }, () => comes('192.0.2.1'))
  const waited = await waits(clock, [...dear, comes('192.0.2.2'), comes('192.0.2.3')])
  t.same(waited, [20, 40, 60, 80, 0, 0])
})

t.test('the handshakes of all networks together have a limit', async t => {
  const { comes, clock } = inn(t, { mostUnproven: 10_000 })
  const waited = await waits(clock, Array.from({ length: 700 }, (_, n) => comes(`192.0.2.${n}`)))
  t.equal(waited.filter(wait => wait === 0).length, 60)
  t.equal(waited.filter(wait => wait === undefined).length, 40)
  t.equal(waited[659], 10_000)
})

t.test('over sockets, connections are limited per network and in all; existing ones stay when the acceptor closes', async t => {
  const { acceptor, guests, turnedAway } = inn(t, { most: 2, ofNetwork: () => 1, probe: 1000 })
  const port = await acceptor.listen('127.0.0.1', 0)
  const from = (localAddress: string) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress })
    socket.on('error', () => {})
    t.teardown(() => { socket.destroy() })
    return socket
  }
  await once(from('127.0.0.1'), 'connect')
  await once(from('127.0.0.1'), 'close')
  await once(from('127.0.0.2'), 'connect')
  while (guests.length < 2) await new Promise(resolve => { setImmediate(resolve) })
  await once(from('127.0.0.3'), 'close')
  t.match(turnedAway(), [{ reason: 'too many from one network', network: '127.0.0.1' }])
  t.same([...acceptor.turnedAway].map(({ labels, value }) => [labels['reason'], value]), [['too many from one network', 1], ['too many', 1]])
  t.same(guests.map(({ begun }) => begun), [1, 1])
  t.equal(acceptor.networks, 2)
  acceptor.close()
  t.equal(acceptor.size, 2)
  let isEmpty = false
  const emptied = acceptor.emptied().then(() => { isEmpty = true })
  guests[0]?.leave()
  guests[0]?.leave()
  await Promise.resolve()
  t.notOk(isEmpty)
  for (const guest of guests) {
    guest.leave()
    guest.transport.destroy()
  }
  await emptied
  await acceptor.emptied()
  t.equal(acceptor.networks, 0)
})
