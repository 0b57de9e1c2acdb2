/** The wire of the web: input is passed on in order and in turns, and what is written reaches the socket. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { Turns } from '../../lib/base/turns.js'
import { PacedWire } from '../../lib/web/paced-wire.js'

const PIECE = 16 * 1024
const MIB = 1024 * 1024

interface Stage {
  readonly peer: Socket
  /** Ours, below the wire. */
  readonly socket: Socket
  readonly wire: PacedWire
}

/** Connects a peer to a wire. `spends`: a turn is used up after a piece. */
async function stage (t: Test, spends: boolean): Promise<Stage> {
  const listener = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  const peer = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const [socket] = await once(listener, 'connection') as [Socket]
  listener.close()
  socket.on('error', () => {})
  let now = 0
  const wire = new PacedWire(socket, new Turns(() => spends ? now++ : 0, 2))
  t.teardown(() => {
    peer.destroy()
    wire.destroy()
  })
  return { peer, socket, wire }
}

/** Returns a text that differs at each place. */
const long = (bytes: number): Buffer => Buffer.from(Array.from({ length: bytes / 8 }, (_, n) => String(n).padStart(8, '.')).join(''))

async function all (wire: PacedWire): Promise<readonly Buffer[]> {
  const pieces: Buffer[] = []
  wire.on('data', (piece: Buffer) => { pieces.push(piece) })
  await once(wire, 'end')
  return pieces
}

for (const spends of [false, true]) {
  await t.test(`all input is passed on in order and in short pieces, ${spends ? 'few in a turn' : 'and turns are long'}`, async t => {
    const { peer, wire } = await stage(t, spends)
    const sent = long(MIB)
    peer.end(sent)
    const pieces = await all(wire)
    t.ok(Buffer.concat(pieces).equals(sent))
    t.ok(pieces.every(({ length }) => length <= PIECE))
  })
}

t.test('no turn passes on more than its share', async t => {
  const { peer, wire } = await stage(t, true)
  const counts: number[] = []
  let inTurn = 0
  wire.on('data', () => {
    if (++inTurn > 1) return
    setImmediate(() => {
      counts.push(inTurn)
      inTurn = 0
    })
  })
  peer.end(long(MIB))
  await once(wire, 'end')
  t.ok(counts.length > 10)
  t.ok(Math.max(...counts) <= 4, `${Math.max(...counts)} pieces in one turn`)
})

t.test('a reader that pauses holds up the peer, and gets the rest when it reads on', async t => {
  const { peer, wire } = await stage(t, false)
  const sent = long(16 * MIB)
  wire.once('data', () => { wire.pause() })
  peer.end(sent)
  const [first] = await once(wire, 'data') as [Buffer]
  t.equal(wire.isPaused(), true)
  t.ok(wire.readableLength < MIB, 'little is held')
  t.ok(peer.writableLength > 0)
  const rest = all(wire)
  wire.resume()
  t.ok(Buffer.concat([first, ...await rest]).equals(sent))
})

t.test('what is written, together or one by one, reaches the peer, and the end after it', async t => {
  const { peer, wire } = await stage(t, false)
  let heard = ''
  peer.setEncoding('latin1').on('data', (text: string) => { heard += text })
  wire.write('one ')
  wire.cork()
  wire.write('two ')
  wire.write(Buffer.from('three '))
  wire.write('ü', 'latin1')
  wire.uncork()
  wire.end('.')
  await once(peer, 'end')
  t.equal(heard, 'one two three ü.')
})

t.test('a wire is destroyed with its socket, and a socket with its wire', async t => {
  const one = await stage(t, false)
  one.wire.resume()
  one.peer.resetAndDestroy()
  await once(one.wire, 'close')
  t.ok(one.socket.destroyed)
  const two = await stage(t, true)
  two.wire.destroy()
  await once(two.wire, 'close')
  t.ok(two.socket.destroyed)
})

t.test('destroySoon cuts after what was written', async t => {
  const { peer, socket, wire } = await stage(t, false)
  const sent = long(MIB)
  const heard: Buffer[] = []
  peer.on('data', (piece: Buffer) => { heard.push(piece) })
  wire.write(sent)
  wire.destroySoon()
  await once(wire, 'close')
  t.ok(socket.destroyed)
  await once(peer, 'end')
  t.ok(Buffer.concat(heard).equals(sent))
})
