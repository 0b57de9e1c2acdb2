/** Attacks on the listener of the web of a started server: no turn of its event loop is long, and its memory stays. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as rest } from 'node:timers/promises'
import t from 'tap'
import type { Listening } from '../../lib/main.js'
import { DOMAIN, ServerProcess } from './server.js'
import { staysBelow, turnsStayShort } from './turns.js'

const MIB = 1024 * 1024
// A BOSH session without a login ends soon.
const CONF = '[limits]\nnegotiationTimeout = "3s"\n[[listen]]\nfor = "web"\naddress = ["127.0.0.1"]\nport = 0\ntls = "none"'
const HANDSHAKE = 'GET /xmpp-websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n'
const OPEN = `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0' to='${DOMAIN}'/>`

/** Returns a masked frame; the mask is zero, so the content is not changed by it (RFC 6455 §5.2). */
function frame (code: number, content: Buffer, length = content.length): Buffer {
  const head = length < 126
    ? [code, 0x80 | length]
    : length < 0x10000
      ? [code, 0xfe, length >> 8, length & 0xff]
      : [code, 0xff, 0, 0, 0, 0, ...[24, 16, 8, 0].map(by => length >>> by & 0xff)]
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), content])
}

const text = (content: string): Buffer => frame(0x81, Buffer.from(content))

t.test('the listener of the web withstands attacks', { timeout: 1_200_000 }, async t => {
  const server = await ServerProcess.start(t, { conf: CONF })
  const { port = 0 } = (await server.ask({ ask: 'ports' }) as readonly Listening[]).find(({ for: whom }) => whom === 'web') ?? {}

  /** Opens connections from several addresses, and sends on each the pieces as far as the server takes them. */
  const attack = async (
    count: number, pieces: (n: number) => readonly Buffer[], reads = true,
  ): Promise<readonly Socket[]> => {
    const sockets = await Promise.all(Array.from({ length: count }, async (_, n) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: `127.0.0.${2 + n % 20}` })
      socket.on('error', () => {})
      if (reads) socket.resume()
      else socket.pause()
      await Promise.race([once(socket, 'connect'), once(socket, 'close')])
      return socket
    }))
    await Promise.all(sockets.map(async (socket, n) => {
      for (const piece of pieces(n)) {
        if (socket.destroyed) return
        if (socket.write(piece)) continue
        const over = new AbortController() // ends the other waits
        const { signal } = over
        await Promise.race([once(socket, 'drain', { signal }), once(socket, 'close', { signal }), rest(500, undefined, { signal })])
        over.abort()
      }
    }))
    return sockets
  }
  const over = async (sockets: readonly Socket[]): Promise<void> => {
    for (const socket of sockets) socket.destroy()
    await server.quiet()
  }

  const many = <T>(count: number, piece: T): readonly T[] => Array.from({ length: count }, () => piece)
  const handshake = Buffer.from(HANDSHAKE)
  const http = (body: string, path = '/http-bind'): Buffer => Buffer.from(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
  const bosh = (rid: number, payload = ''): Buffer => http(`<body rid='${rid}' to='${DOMAIN}' wait='60' hold='1' ver='1.6' xmlns='http://jabber.org/protocol/httpbind'>${payload}</body>`)

  for (const [title, count, pieces, reads] of [
    ['messages that never end', 100, () => [handshake, text(OPEN), frame(0x01, Buffer.alloc(60_000, 'x'), 250_000)], true],
    ['messages that are announced to be enormous', 100, () => [handshake, frame(0x01, Buffer.alloc(10, 'x'), 0x7fffffff)], true],
    ['messages in very many fragments', 50, () => [handshake, frame(0x01, Buffer.from('<')), ...many(20, Buffer.concat(many(500, frame(0x00, Buffer.from('x')))))], true],
    ['empty fragments', 50, () => [handshake, frame(0x01, Buffer.alloc(0)), ...many(20, Buffer.concat(many(1000, frame(0x00, Buffer.alloc(0)))))], true],
    ['pings of one that reads nothing', 50, () => [handshake, text(OPEN), ...many(100, Buffer.concat(many(500, frame(0x89, Buffer.alloc(100, 'x')))))], false],
    ['hostile XML in messages', 100, n => [handshake, text(OPEN), text(`<a xmlns='u'>${'<b>'.repeat(n % 2 === 0 ? 3000 : 10)}`)], true],
    ['handshakes that are none', 200, n => [Buffer.from(HANDSHAKE.replace(n % 2 === 0 ? '13' : '99', 'x').replace('xmpp\r', 'y\r'))], true],
    ['heads that never end', 200, () => [Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n'), ...many(100, Buffer.from(`X: ${'x'.repeat(100)}\r\n`))], true],
    ['requests that nobody reads the answers of', 100, () => many(50, Buffer.from('GET /.well-known/host-meta HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(50))), false],
    ['sessions of BOSH', 200, n => many(10, bosh(n + 1)), true],
    ['bodies of BOSH with very many elements', 100, n => [bosh(n + 1, '<a/>'.repeat(60_000))], true],
    ['start tags of BOSH that never end', 100, () => [http(`<body ${"a='b' ".repeat(40_000)}`)], true],
  ] as const satisfies readonly (readonly [string, number, (n: number) => readonly Buffer[], boolean])[]) {
    await t.test(`${title}: no turn is long, and the memory is free again`, async t => {
      await over(await attack(count, pieces, reads)) // code is compiled
      const before = (await server.report()).heap
      await turnsStayShort(t, async () => {
        await server.turns()
        await over(await attack(count, pieces, reads))
        return (await server.turns()).worst
      })
      await staysBelow(t, 8 * MIB, async () => (await server.report()).heap - before, grown => `${Math.round(grown / 1024)} KiB more`)
      t.same(await server.errors(), [])
    })
  }
})
